-- Takes one snapshot of a few short strings, as one atomic step: one command reads the state and the values. With no
-- such strings, it judges whether the commands that follow it may run. It includes no other file and defines next to
-- nothing, because most strong reads take this script.
--
-- Guarantees: as snapshot.lua. It changes nothing, and leaves snapshots that it cannot judge or read to that script.
--
-- KEYS: STATE, LEASE and LOCK (region-state.lua), and the keys to read
-- ARGV: generation, isStrong, isLeased, counter and nonce of the last acknowledged pair, empty for none, and the keys
-- whose locks matter; as in snapshot.lua
--
-- Replies, read by decoding.ts:
--   {'v', {{key, incarnation, sequence}…}, 0, value…}   the locks met, as in snapshot.lua, and a value or nil per key
--   {'f', 'lease'}                                      refused whole, as in snapshot.lua
--   {'m'}                                               not read: snapshot.lua has to
local match, sub = string.match, string.sub
local EVERY = 'lockstep:every-key'
local MORE = { 'm' }

local found = redis.pcall('MGET', unpack(KEYS))
local state = found[1]
if not state then return MORE end
local generation, hasFarLocks, phase, historyBytes, settledBytes, first = match(state,
  '^3 (%d+) %d+ %d+ %d+%.%d+ %d+ %d+ ([01]) ([^ ]*) (%d+) (%d+)|()')
if generation ~= ARGV[1] then return MORE end
if ARGV[4] ~= '' then
  local at = string.find(state, ',' .. ARGV[4] .. ':' .. ARGV[5] .. ',', first, true)
  if not at or at >= first + historyBytes then return MORE end
end

local met = {}
local function meet(key, record)
  local incarnation, sequence = match(record, '^(%d+)%.(%d+)|')
  met[#met + 1] = { key, tonumber(incarnation), tonumber(sequence) }
end

if ARGV[2] == '1' then
  if phase ~= '' or (ARGV[3] == '1' and not found[2]) then return { 'f', 'lease' } end
  local at = first + historyBytes + settledBytes
  if at <= #state then
    local wanted = { [EVERY] = true }
    for index = 6, #ARGV do wanted[ARGV[index]] = true end
    while at <= #state do
      local keyBytes, recordBytes, start = match(state, '^(%d+) (%d+) ()', at)
      local second = start + keyBytes
      local key = sub(state, start, second - 1)
      if wanted[key] then meet(key, sub(state, second, second + recordBytes - 1)) end
      at = second + recordBytes
    end
  end
  if hasFarLocks == '1' then
    for index, record in ipairs(redis.call('HMGET', KEYS[3], EVERY, unpack(ARGV, 6))) do
      if record then meet(index == 1 and EVERY or ARGV[index + 4], record) end
    end
  end
end

for index = 4, #KEYS do
  -- MGET returns nil for a key of another type, as for a missing one.
  if not found[index] and redis.call('EXISTS', KEYS[index]) == 1 then return MORE end
end
found[1], found[2], found[3] = 'v', met, 0
return found
