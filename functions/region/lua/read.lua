-- One snapshot of a few short strings in this region, as one atomic step: the state and the values are read by one
-- command. It also judges whether the commands behind it may be read, if there are no such strings. Stands alone, and
-- defines next to nothing, because most strong reads are this.
--
-- Guarantees: as snapshot.lua. It leaves a snapshot that it cannot judge or read to that script, and changes nothing.
--
-- KEYS: STATE and LEASE (region-state.lua), and the keys to read
-- ARGV: generation, isStrong, isLeased, counter, mark, and the keys whose locks matter: as in snapshot.lua; counter and
-- mark are empty for none
--
-- Replies, read by decoding.ts:
--   {'v', {{key, incarnation, sequence}…}, value…}   the locks met, as in snapshot.lua, and a value or nil per key
--   {'m'}                                            not read: snapshot.lua has to
local match, sub = string.match, string.sub
local EVERY = 'lockstep:every-key'
local MORE = { 'm' }

local found = redis.pcall('MGET', unpack(KEYS))
local state = found[1]
if not state then return MORE end
local generation, isFar, phase, marks, settled, first = match(state,
  '^3 (%d+) %d+ %d+ %d+%.%d+ %d+ %d+ ([01]) ([^ ]*) (%d+) (%d+)|()')
if generation ~= ARGV[1] then return MORE end
if ARGV[4] ~= '' then
  local at = string.find(state, ',' .. ARGV[4] .. ':' .. ARGV[5] .. ',', first, true)
  if not at or at >= first + marks then return MORE end
end

local met = {}
if ARGV[2] == '1' then
  if phase ~= '' or isFar == '1' or (ARGV[3] == '1' and not found[2]) then return MORE end
  local at = first + marks + settled
  if at <= #state then
    local wanted = { [EVERY] = true }
    for index = 6, #ARGV do wanted[ARGV[index]] = true end
    while at <= #state do
      local keyBytes, recordBytes, start = match(state, '^(%d+) (%d+) ()', at)
      local second = start + keyBytes
      local key = sub(state, start, second - 1)
      if wanted[key] then
        local incarnation, sequence = match(state, '^(%d+)%.(%d+)|', second)
        met[#met + 1] = { key, tonumber(incarnation), tonumber(sequence) }
      end
      at = second + recordBytes
    end
  end
end

for index = 3, #KEYS do
  -- MGET takes a key of another type for a missing one.
  if not found[index] and redis.call('EXISTS', KEYS[index]) == 1 then return MORE end
end
found[1], found[2] = 'v', met
return found
