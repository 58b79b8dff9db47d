-- Turns the commands that a user's script calls in a round into operations, as rewrites.ts does for those of a write:
-- relative expiries become absolute, ids of streams get the transaction's time, and so on; rows.ts lists the rewrites.
-- A command with an error stays as it is, so that Redis reports the error.
--
-- This text is a module: lua-bundle.ts makes it a function's body. It takes integerOf and refusalOf of run.lua.
-- Returns a function that takes a command of run.lua and returns an operation in the form of stage.lua, or nil and an
-- error.
local integerOf, refusalOf = ...
local WRITE, READ, APPEND, DELIVER, CLAIM, TRIM, DISTANCES = 0, 1, 6, 7, 8, 14, 15

-- Expiries ------------------------------------------------------------------------------------------------------------

local UNITS = {
  EX = 1000, PX = 1, EXAT = 1000, PXAT = 1, SETEX = 1000, PSETEX = 1,
  EXPIRE = 1000, PEXPIRE = 1, EXPIREAT = 1000, PEXPIREAT = 1,
}

-- The greatest integer of 64 bits, in digits and in two pieces of them: a number of Lua rounds it.
local LONGEST = { 9223372036, 854775807, digits = '9223372036854775807' }

local function areMore(digits, most)
  if #digits ~= #most then return #digits > #most end
  return before(most, digits)
end

-- Returns the greatest amount, in digits, whose time in ms still is an integer of 64 bits if it counts from `base`.
local function mostOf(unit, base)
  local high, low = math.floor(base / 1e9), math.fmod(base, 1e9)
  local borrowed = low > LONGEST[2] and 1 or 0
  local most = format('%d%09d', LONGEST[1] - high - borrowed, LONGEST[2] - low + borrowed * 1e9)
  return unit == 1000 and sub(most, 1, -4) or most
end

-- Returns the time of an expiry's amount, in ms since the epoch; or nil, and an amount that every region refuses,
-- regardless of its clock. A time that has passed for the transaction becomes one that has passed for every clock.
local function momentOf(word, measure, mayHavePassed)
  local amount = integerOf(word)
  if not amount or (amount <= 0 and not mayHavePassed) then return nil, word end
  local sign, digits = match(word, '^(%-?)(%d+)$')
  if areMore(digits, LONGEST.digits) then return nil, word end
  local unit, base = UNITS[measure], match(measure, 'AT$') and 0 or tx.now
  if areMore(digits, mostOf(unit, sign == '' and base or 0)) then return nil, sign .. LONGEST.digits end
  local moment = amount * unit + base
  return moment <= tx.now and '1' or whole(math.min(moment, SCRIPT_BOUNDS.farthestExpiry))
end

-- Parses the options of SET and GETEX. Returns the absolute time, or '' if there is none, and the other options; nil
-- if Redis will refuse them. The same option may come twice, and the last one counts.
local function expiryIn(arguments, first)
  local measured, place, others, at = nil, nil, {}, first
  while at <= #arguments do
    local option = string.upper(arguments[at])
    if option == 'EX' or option == 'PX' or option == 'EXAT' or option == 'PXAT' then
      if at == #arguments or (measured and measured ~= option) then return nil end
      measured, place, at = option, at + 1, at + 1
    else
      insert(others, option)
    end
    at = at + 1
  end
  if not place then return '', others end
  local moment, refused = momentOf(arguments[place], measured)
  if moment then return moment, others end
  arguments[place] = refused
  return nil
end

local function asItIs(command, kind)
  local writes, reads = {}, {}
  local written, last = command.row.written, #command.positions
  for index, position in ipairs(command.positions) do
    local isWritten = written == 'all' or (written == 'first' and index == 1) or (written == 'second' and index == 2)
      or (written == 'last' and index == last)
    insert(isWritten and writes or reads, position - 1)
  end
  local own = command.row.class == 'write' and WRITE or READ
  return { kind or own, command.arguments, writes, reads, command.row.order, SCRIPT_BOUNDS.skew }
end

local function withArguments(command, arguments, kind)
  command.arguments = arguments
  return asItIs(command, kind)
end

local function withExpiry(head, others, moment)
  for _, word in ipairs(others) do insert(head, word) end
  if moment ~= '' then
    insert(head, 'PXAT')
    insert(head, moment)
  end
  return head
end

local rewriters = {}

function rewriters.set(command)
  local given = command.arguments
  local moment, others = expiryIn(given, 4)
  if not moment then return asItIs(command) end
  if #others == 0 then return { SET, given[2], given[3], moment } end
  return withArguments(command, withExpiry({ 'SET', given[2], given[3] }, others, moment))
end

rewriters['set-for'] = function(command)
  local given = command.arguments
  local moment, refused = momentOf(given[3], given[1])
  if not moment then given[3] = refused return asItIs(command) end
  return { SET, given[2], given[4], moment }
end

function rewriters.getex(command)
  local given = command.arguments
  local moment, others = expiryIn(given, 3)
  if not moment then return asItIs(command) end
  return withArguments(command, withExpiry({ 'GETEX', given[2] }, others, moment))
end

function rewriters.expire(command)
  local given = command.arguments
  local moment, refused = momentOf(given[3], given[1], true)
  if not moment then given[3] = refused return asItIs(command) end
  return withArguments(command, { 'PEXPIREAT', given[2], moment, unpack(given, 4) })
end

-- Keys ----------------------------------------------------------------------------------------------------------------

function rewriters.delete(command) return asItIs(command, DELETE) end

function rewriters.ttl(command) return { TTL, command.arguments[1], command.arguments[2] } end

rewriters['one-database'] = function(command)
  for index = 4, #command.arguments do
    if string.upper(command.arguments[index]) == 'DB' then
      return nil, refusalOf('COPY with DB', 'a region is one database; leave it out')
    end
  end
  return asItIs(command)
end

-- Redis refuses longer strings in its own words, without allocating anything.
local STRING_BYTES = 536870912

local function reachFault(name, bytes)
  if bytes <= SCRIPT_BOUNDS.reached or bytes > STRING_BYTES then return nil end
  return refusalOf(name .. ' so far out', 'the limit is byte ' .. SCRIPT_BOUNDS.reached)
end

function rewriters.reach(command)
  local given = command.arguments
  local offset = integerOf(given[3])
  if not offset or offset < 0 then return asItIs(command) end
  local bytes = math.floor(offset / 8) + 1
  if given[1] == 'SETRANGE' then bytes = #given[4] == 0 and 0 or offset + #given[4] end
  local failure = reachFault(given[1], bytes)
  if failure then return nil, failure end
  return asItIs(command)
end

-- Integers of scripts are numbers of Lua, in Redis as well as here.
rewriters['wide-bits'] = function(command)
  local given = command.arguments
  for index, word in ipairs(given) do
    local name = string.upper(word)
    if index > 2 and (name == 'SET' or name == 'INCRBY') then
      local width = tonumber(match(given[index + 1] or '', '^[iu](%d+)$') or 0)
      local mark, digits = match(given[index + 2] or '', '^(#?)(%d+)$')
      local bits = tonumber(digits or 0) * (mark == '#' and width or 1) + width
      local failure = reachFault(given[1], bits / 8)
      if failure then return nil, failure end
    end
  end
  return asItIs(command)
end

function rewriters.subcommand(command) return asItIs(command) end

-- Plain commands ignore BLOCK, as in a transaction; scripts get Redis's own error.
local function blockRefused(name) return 'ERR ' .. name .. ' command is not allowed with BLOCK option from scripts' end

function rewriters.streams(command)
  for index, word in ipairs(command.arguments) do
    if index == command.positions[1] then break end
    if string.upper(word) == 'BLOCK' and command.arguments[index + 1] then return nil, blockRefused('XREAD') end
  end
  return asItIs(command)
end

-- PFCOUNT of one key would store the count in it.
function rewriters.count(command)
  local given = command.arguments
  if #given > 2 then return asItIs(command) end
  command.positions = { 2, 3 }
  return withArguments(command, { given[1], given[2], given[2] })
end

local TAKEN_BY_SORT = { BY = 1, GET = 1, STORE = 1, LIMIT = 2, ASC = 0, DESC = 0, ALPHA = 0 }

function rewriters.sort(command)
  local given, seen, at = command.arguments, {}, 3
  while at <= #given do
    local option = string.upper(given[at])
    local taken = TAKEN_BY_SORT[option]
    if not taken or at + taken > #given then return asItIs(command) end
    seen[option] = true
    if (option == 'BY' or option == 'GET') and string.find(given[at + 1], '*', 1, true) then
      return nil, refusalOf(option .. ' with a pattern', 'it reads keys that nobody names; read them and sort')
    end
    at = at + taken + 1
  end
  if (seen.ALPHA or seen.BY) and not seen.STORE then
    return nil, refusalOf(given[1] .. ' with ALPHA or BY', 'it follows the locale of the server; add STORE')
  end
  return asItIs(command)
end

rewriters['geo-store'] = function(command)
  for index = 5, #command.arguments do
    local isNamed = string.upper(command.arguments[index]) == 'STOREDIST'
    local stores = #command.positions > 1 or command.name == 'GEOSEARCHSTORE'
    if isNamed and stores then return asItIs(command, DISTANCES) end
  end
  return asItIs(command)
end

-- Streams -------------------------------------------------------------------------------------------------------------

-- Returns the arguments of XADD and XTRIM with exact trimming, the position behind their options, and whether a LIMIT
-- follows the threshold: streams.lua computes another threshold from it. Returns nil if Redis refuses them.
local function exactTrim(given, isAdd)
  local kept, strategy, isApproximate, limit, at = { given[1], given[2] }, nil, false, nil, 3
  while at <= #given do
    local option, left = string.upper(given[at]), #given - at
    if isAdd and option == '*' then break end
    if (option == 'MAXLEN' or option == 'MINID') and left >= 1 then
      if strategy then return nil end
      local mark = given[at + 1]
      local isMarked = left >= 2 and (mark == '~' or mark == '=')
      isApproximate = isMarked and mark == '~'
      at = at + (isMarked and 2 or 1)
      strategy = { option, '=', given[at] }
    elseif option == 'LIMIT' and left >= 1 then
      at = at + 1
      limit = given[at]
    elseif isAdd and option == 'NOMKSTREAM' then
      insert(kept, option)
    elseif isAdd then
      break
    else
      return nil
    end
    at = at + 1
  end
  if limit and not (isApproximate and (integerOf(limit) or -1) >= 0) then return nil end
  for _, word in ipairs(strategy or {}) do insert(kept, word) end
  -- A limit of 0 is none.
  local isLimited = limit ~= nil and limit ~= '0'
  for _, word in ipairs(isLimited and { 'LIMIT', limit } or {}) do insert(kept, word) end
  local last = #kept + 1
  for index = at, #given do insert(kept, given[index]) end
  return kept, last, isLimited
end

function rewriters.append(command)
  local kept, last, isLimited = exactTrim(command.arguments, true)
  if not kept then return asItIs(command) end
  local bytes = 0
  for index = last + 1, #kept do bytes = bytes + #kept[index] + ITEM end
  if bytes > SCRIPT_BOUNDS.taken then
    return nil, refusalOf('XADD of so large an entry', 'the limit is ' .. SCRIPT_BOUNDS.taken .. ' bytes')
  end
  local isMade = kept[last] == '*'
  if isMade then kept[last] = whole(tx.now) .. '-*' end
  return withArguments(command, kept, (isMade and APPEND) or (isLimited and TRIM) or nil)
end

function rewriters.trim(command)
  local kept, _, isLimited = exactTrim(command.arguments, false)
  return withArguments(command, kept or command.arguments, isLimited and TRIM or nil)
end

-- Moves the group of XREADGROUP to the front, as streams.lua expects. The keys were found before.
function rewriters.deliver(command)
  local given, first, group, options, at = command.arguments, command.positions[1], nil, {}, 2
  while at < first - 1 do
    local word = string.upper(given[at])
    if word == 'BLOCK' then return nil, blockRefused('XREADGROUP') end
    if word == 'GROUP' then
      group, at = { given[at + 1], given[at + 2] }, at + 2
    else
      insert(options, word)
      if word == 'COUNT' then
        insert(options, given[at + 1])
        at = at + 1
      end
    end
    at = at + 1
  end
  if not group then return nil, 'ERR Missing GROUP option for XREADGROUP' end
  local arguments = { 'XREADGROUP', 'GROUP', group[1], group[2] }
  for _, word in ipairs(options) do insert(arguments, word) end
  insert(arguments, 'STREAMS')
  local moved = #arguments + 1 - first
  for index = first, #given do insert(arguments, given[index]) end
  for index, position in ipairs(command.positions) do command.positions[index] = position + moved end
  return withArguments(command, arguments, DELIVER)
end

local function claimedAt(option, amount)
  local moment = option == 'TIME' and amount or tx.now - amount
  return (moment < 0 or moment > tx.now) and tx.now or moment
end

-- Returns XCLAIM with TIME directly behind its ids; nil if Redis will refuse it.
local function claimArguments(given)
  local arguments, at = {}, 6
  while given[at] and (match(given[at], '^%d+$') or match(given[at], '^%d+%-%d+$')) do at = at + 1 end
  if at == 6 then return nil end
  for index = 1, at - 1 do insert(arguments, given[index]) end
  local time, rest = tx.now, {}
  while at <= #given do
    local option, value = string.upper(given[at]), given[at + 1]
    local taken = ({ FORCE = 0, JUSTID = 0, IDLE = 1, TIME = 1, RETRYCOUNT = 1, LASTID = 1 })[option]
    if not taken or (taken == 1 and not value) then return nil end
    if option == 'IDLE' or option == 'TIME' then
      local amount = integerOf(value)
      if not amount then return nil end
      time = claimedAt(option, amount)
    else
      insert(rest, option)
      if taken == 1 then insert(rest, value) end
    end
    at = at + taken + 1
  end
  insert(arguments, 'TIME')
  insert(arguments, whole(time))
  for _, word in ipairs(rest) do insert(arguments, word) end
  return arguments
end

-- Returns XAUTOCLAIM with COUNT; nil if Redis will refuse it.
local function autoclaimArguments(given)
  local count, isBrief, at = '100', false, 7
  while at <= #given do
    local option = string.upper(given[at])
    if option == 'JUSTID' then
      isBrief = true
    elseif option == 'COUNT' and at < #given then
      at = at + 1
      count = given[at]
    else
      return nil
    end
    at = at + 1
  end
  if (integerOf(count) or 0) < 1 then return nil end
  -- XAUTOCLAIM may claim fewer than COUNT entries, and returns the id to continue from.
  count = whole(math.min(integerOf(count), SCRIPT_BOUNDS.claimed))
  local arguments = { unpack(given, 1, 6) }
  for _, word in ipairs({ 'COUNT', count, isBrief and 'JUSTID' or nil }) do insert(arguments, word) end
  return arguments
end

function rewriters.claim(command)
  local given = command.arguments
  if not integerOf(given[5]) then return asItIs(command) end
  if given[1] == 'XCLAIM' then
    local arguments = claimArguments(given)
    if not arguments then return asItIs(command) end
    return withArguments(command, arguments, CLAIM)
  end
  local arguments = autoclaimArguments(given)
  if not arguments then return asItIs(command) end
  return withArguments(command, arguments, CLAIM)
end

function rewriters.pending(command)
  if #command.arguments == 3 then return asItIs(command) end
  return nil, refusalOf('XPENDING with a range', 'idle times differ by the clocks of regions')
end

return function(command)
  local row = command.row
  if row.reason then return nil, refusalOf(command.name, row.reason) end
  local rewrite = rewriters[row.rewrite]
  if rewrite then return rewrite(command) end
  -- A command without keys, or with an effect that is unknown here, cannot be staged.
  if row.rewrite ~= '-' or #command.positions == 0 then
    return nil, refusalOf(command.name, 'send it as an operation of its own')
  end
  return asItIs(command)
end
