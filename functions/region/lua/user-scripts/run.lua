-- Runs a user's script inside Lockstep's own. Its caller gives the function that performs the script's commands, so
-- that a round runs them on staged keys and a snapshot on the keys themselves.
--
-- This text is a module: lua-bundle.ts makes it a function's body, so that only rounds and snapshots with scripts pay
-- for it. lua-bundle.ts puts the text SCRIPT_TABLE and the module of sandbox.lua before it.
--
-- Returns runScript, integerOf and refusalOf. runScript takes a table of
--  sha, text, keys, arguments, seed; isReadOnly; isPlain if flags of the script have to include `no-writes`
--  perform(command, stop)   the command is { name, row, arguments, positions of its keys }, counted from 1;
--                           `stop` ends the script for a reason, even if the script catches errors
-- and returns the reply for `encode`, or nil and the text of the error, then true if the end of the stack cut a
-- command off half-way. It raises errors with which the server refuses a command.

-- Commands ------------------------------------------------------------------------------------------------------------

-- The maximum that a server accepts: Lua keeps 8,000 values for a call.
local MOST_ARGUMENTS = 8000
local UNKNOWN = 'ERR Unknown Redis command called from script'
local NOT_ALLOWED = 'ERR This Redis command is not allowed from script'
local WRONG_COUNT = 'ERR Wrong number of args calling Redis command from script'
local WRONG_ARGUMENT = 'ERR Lua redis lib command arguments must be strings or integers'
local NO_ARGUMENT = 'ERR Please specify at least one argument for this redis lib call'
local TOO_MANY = 'ERR too many arguments: a command of a script has at most ' .. MOST_ARGUMENTS
local READ_ONLY = 'ERR Write commands are not allowed from read-only scripts.'
local DRAWING = { SRANDMEMBER = true, HRANDFIELD = true, ZRANDMEMBER = true }
local NOT_INTEGER = 'ERR value is not an integer or out of range'

local known = {}

-- The row of a command, by its name in upper case; nil if Redis 7.0 has none. A row of the table is
-- `NAME class arity keys written order rewrite reason`, with - for nothing; user-script-table.ts writes it.
local function rowOf(name)
  if known[name] ~= nil then return known[name] or nil end
  known[name] = false
  local _, last = string.find(SCRIPT_TABLE, '\n' .. name .. ' ', 1, true)
  if not last or not match(name, '^[A-Z|._-]+$') then return nil end
  local class, arity, keys, written, order, rewrite, reason =
    match(SCRIPT_TABLE, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) ([^\n]*)', last + 1)
  local first, bound, step = match(keys, '^(%d+),(%-?%d+),(%d+)$')
  local kind, detail = match(keys, '^(%a+):?(%d*)$')
  known[name] = {
    class = class, arity = tonumber(arity), written = written, order = tonumber(order), rewrite = rewrite,
    reason = reason ~= '-' and reason, kind = kind, detail = tonumber(detail), first = tonumber(first),
    bound = tonumber(bound), step = tonumber(step),
  }
  return known[name]
end

local function hasArity(row, count)
  if row.arity >= 0 then return count == row.arity end
  return count >= -row.arity
end

-- An integer as Redis spells it, or nil.
local function integerOf(word)
  if #word > 19 or not (word == '0' or match(word, '^%-?[1-9]%d*$')) then return nil end
  return tonumber(word)
end

-- Returns Redis's error for a count of keys that is below 1, or above the number of keys.
local function keyCountError(name, count)
  local isTooSmall = not count or count < 1
  if name == 'LMPOP' or name == 'ZMPOP' or name == 'SINTERCARD' then
    if isTooSmall then return 'ERR numkeys should be greater than 0' end
    return name == 'SINTERCARD' and "ERR Number of keys can't be greater than number of args" or 'ERR syntax error'
  end
  if not count then return NOT_INTEGER end
  if not isTooSmall then return 'ERR syntax error' end
  return "ERR at least 1 input key is needed for '" .. string.lower(name) .. "' command"
end

local function countedKeys(name, arguments, at)
  local count = integerOf(arguments[at])
  if not count or count < 1 or count > #arguments - at then return nil, keyCountError(name, count) end
  local positions = at == 3 and { 2 } or {}
  for index = at + 1, at + count do insert(positions, index) end
  return positions
end

-- Returns the positions of the keys: the first half of the words after STREAMS.
local function streamKeys(arguments)
  local at, count = 2, #arguments
  while at <= count do
    local word, left = string.upper(arguments[at]), count - at
    if word == 'STREAMS' and left >= 1 then break end
    if word == 'COUNT' and left >= 1 and not integerOf(arguments[at + 1]) then return nil, NOT_INTEGER end
    local taken = ({ GROUP = 2, BLOCK = 1, COUNT = 1, NOACK = 0 })[word]
    if not taken or left < taken then return nil, 'ERR syntax error' end
    at = at + taken + 1
  end
  local found = count - at
  if found < 1 then return nil, 'ERR syntax error' end
  if found % 2 ~= 0 then
    return nil, "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
  end
  local positions = {}
  for index = at + 1, at + found / 2 do insert(positions, index) end
  return positions
end

-- Returns the positions of the first argument, and of the key that SORT or GEORADIUS stores to: the last one counts.
local function storeKeys(name, arguments)
  local isSort, positions = name == 'SORT', { 2 }
  local taken = isSort and { LIMIT = 2, GET = 1, BY = 1 } or {}
  local at = isSort and 3 or 6
  while at <= #arguments do
    local word = string.upper(arguments[at])
    if (word == 'STORE' or (word == 'STOREDIST' and not isSort)) and at < #arguments then
      positions[2] = at + 1
      at = at + 1
    else
      at = at + (taken[word] or 0)
    end
    at = at + 1
  end
  return positions
end

-- True if the key is UTF-8 in the form that keys must have: no surrogates, and no overlong sequences.
local function isText(key)
  if not string.find(key, '[\128-\255]') then return true end
  local left = string.gsub(key, '[\1-\127%z]+', ' ')
  left = string.gsub(left, '[\194-\223][\128-\191]', '')
  left = string.gsub(left, '([\224-\239])([\128-\191])[\128-\191]', function(first, second)
    local isLong = first == '\224' and second < '\160'
    local isHalf = first == '\237' and second > '\159'
    return (isLong or isHalf) and '\255' or ''
  end)
  left = string.gsub(left, '([\240-\244])([\128-\191])[\128-\191][\128-\191]', function(first, second)
    local isLong = first == '\240' and second < '\144'
    return (isLong or first == '\244' and second > '\143') and '\255' or ''
  end)
  return not string.find(left, '[\128-\255]')
end

-- Returns the positions of a command's keys in `arguments`, the name being 1; or nil and the error.
local function positionsOf(name, row, arguments)
  local kind = row.kind
  if kind == 'none' then return {} end
  if kind == 'channel' then
    if sub(arguments[2], 1, #RESERVED) == RESERVED then
      return nil, 'ERR a channel begins with "' .. RESERVED .. '", which is reserved; give it another name'
    end
    local first = sub(arguments[2], 1, #'__keyspace@')
    if first == '__keyspace@' or first == '__keyevent@' then
      return nil, 'ERR a channel belongs to keyspace notifications, which Redis alone publishes; give it another name'
    end
    if isText(arguments[2]) and #arguments[2] <= SCRIPT_BOUNDS.channelBytes then return {} end
    return nil, 'ERR a channel is no valid Unicode text (UTF-8), or too long'
  end
  if kind == 'count' then return countedKeys(name, arguments, row.detail + 1) end
  if kind == 'streams' then return streamKeys(arguments) end
  if kind == 'store' then return storeKeys(name, arguments) end
  if row.bound == row.first then return { row.first + 1 } end
  local positions, bound = {}, row.bound
  if bound < 0 then bound = #arguments + bound end
  for index = row.first, bound, row.step do insert(positions, index + 1) end
  return positions
end

-- Returns the error of a forbidden key, or nil.
local function keyError(key)
  if sub(key, 1, #RESERVED) == RESERVED then
    return 'ERR a key begins with "' .. RESERVED .. '", which is reserved; give it another name'
  end
  if #key > SCRIPT_BOUNDS.keyBytes then return 'ERR a key has more than ' .. SCRIPT_BOUNDS.keyBytes .. ' bytes' end
  if not isText(key) then
    return 'ERR a key is not valid Unicode text (UTF-8); values may hold any bytes, keys may not'
  end
end

local function refusalOf(name, reason) return 'ERR ' .. name .. ' is not supported in a script: ' .. reason end

-- Returns the row of the command, whose arguments are strings, or nil and the error.
local function lookUp(arguments)
  local name = string.upper(arguments[1])
  local row = rowOf(name)
  if not row then return nil, UNKNOWN end
  if row.class == 'container' then
    if not arguments[2] then return nil, WRONG_COUNT end
    local subcommand = string.upper(arguments[2])
    if subcommand == 'HELP' then return nil, refusalOf(name .. ' HELP', 'see the documentation') end
    row = rowOf(name .. '|' .. subcommand)
    if not row then return nil, UNKNOWN end
    arguments[2] = subcommand
  end
  if row.class == 'outside' then return nil, NOT_ALLOWED end
  if row.class == 'refused' then return nil, refusalOf(name, row.reason) end
  if not hasArity(row, #arguments) then return nil, WRONG_COUNT end
  arguments[1] = name
  return row
end

-- Returns the command with its keys found and allowed, or nil and the error.
local function commandOf(arguments, isReadOnly)
  local row, failure = lookUp(arguments)
  if not row then return nil, failure end
  if row.class == 'write' and isReadOnly then return nil, READ_ONLY end
  local positions, wrong = positionsOf(arguments[1], row, arguments)
  if not positions then return nil, wrong end
  for _, position in ipairs(positions) do
    local forbidden = keyError(arguments[position])
    if forbidden then return nil, forbidden end
  end
  return { name = arguments[1], row = row, arguments = arguments, positions = positions }
end

-- Returns the arguments as the strings that Redis makes of a script's, or nil and the error. Passes their bytes to
-- `charge`.
local function textsOf(charge, ...)
  local count, arguments, bytes = select('#', ...), { ... }, 0
  if count == 0 then return nil, NO_ARGUMENT end
  if count > MOST_ARGUMENTS then return nil, TOO_MANY end
  for index = 1, count do
    local kind = type(arguments[index])
    if kind == 'number' then
      arguments[index] = format('%.17g', arguments[index])
    elseif kind ~= 'string' then
      return nil, WRONG_ARGUMENT
    end
    bytes = bytes + #arguments[index]
  end
  charge(bytes + count)
  return arguments
end

-- Pieces -------------------------------------------------------------------------------------------------------------

-- Values requested at once, if a command may request the same one repeatedly: the size of a reply is known only after
-- the server has made it.
local PIECE = 16

local function slice(arguments, kept, first)
  local words = { unpack(arguments, 1, kept) }
  for index = first, math.min(first + PIECE - 1, #arguments) do insert(words, arguments[index]) end
  return words
end

-- Returns commands that together do the work of a large MGET, HMGET or draw with repetition; nil for any other
-- command.
local function piecesOf(name, arguments)
  local pieces, kept = {}, ({ MGET = 1, HMGET = 2 })[name]
  if kept and #arguments > kept + PIECE then
    for first = kept + 1, #arguments, PIECE do insert(pieces, slice(arguments, kept, first)) end
    return pieces
  end
  local left = DRAWING[name] and -(integerOf(arguments[3] or '') or 0) or 0
  if left <= PIECE or left > SCRIPT_BOUNDS.draws then return nil end
  while left > 0 do
    insert(pieces, { name, arguments[2], whole(-math.min(left, PIECE)), arguments[4] })
    left = left - PIECE
  end
  return pieces
end

-- Performs a command, possibly in pieces. Returns its reply, or nil and the error.
local function carryOut(command, isReadOnly, perform, stop, charged)
  local pieces = piecesOf(command.name, command.arguments)
  if not pieces then return perform(command, stop) end
  local items = {}
  for _, arguments in ipairs(pieces) do
    local piece, wrong = commandOf(arguments, isReadOnly)
    if not piece then return nil, wrong end
    local reply, failure = perform(piece, stop)
    if failure then return nil, failure end
    for _, item in ipairs(charged(reply)) do insert(items, item) end
  end
  return items
end

-- Replies -------------------------------------------------------------------------------------------------------------

local function oneLine(value) return (string.gsub(value, '[\r\n]', ' ')) end

-- Converts a number as a cast to 64 bits does: if it does not fit, it becomes the least integer.
local function integerReply(number)
  if number ~= number or number >= 9223372036854775808 or number < -9223372036854775808 then
    return { digits = '-9223372036854775808' }
  end
  local cut = number < 0 and math.ceil(number) or math.floor(number)
  if cut == 0 then return 0 end
  return { digits = whole(cut) }
end

local converted, itemsLeft

local function line(value)
  if #value > SCRIPT_BOUNDS.errorBytes then
    local bound = SCRIPT_BOUNDS.errorBytes
    error('ERR a status or an error of a reply is too long: it has more than ' .. bound .. ' bytes', 0)
  end
  return oneLine(value)
end

local function flatReply(values, depth, hasValues)
  local items = {}
  for key, value in next, values do
    if type(key) ~= 'string' and type(key) ~= 'number' and type(key) ~= 'boolean' then
      error('ERR a reply has tables or functions as its keys, whose order differs between regions', 0)
    end
    insert(items, converted(key, depth))
    if hasValues then insert(items, converted(value, depth)) end
  end
  return items
end

local function tableReply(value, depth)
  if depth > SCRIPT_BOUNDS.depth then error('ERR a reply is nested too deeply', 0) end
  local function field(name, kind)
    local found = rawget(value, name)
    return type(found) == kind and found or nil
  end
  if field('err', 'string') then return { err = line(rawget(value, 'err')) } end
  if field('ok', 'string') then return { ok = line(rawget(value, 'ok')) } end
  if field('double', 'number') then return format('%.17g', rawget(value, 'double')) end
  if field('map', 'table') then return flatReply(rawget(value, 'map'), depth + 1, true) end
  if field('set', 'table') then return flatReply(rawget(value, 'set'), depth + 1, false) end
  if field('big_number', 'string') then return line(rawget(value, 'big_number')) end
  local verbatim = field('verbatim_string', 'table')
  if verbatim and type(rawget(verbatim, 'string')) == 'string' and type(rawget(verbatim, 'format')) == 'string' then
    return rawget(verbatim, 'string')
  end
  local items, index = {}, 1
  while rawget(value, index) ~= nil do
    items[index] = converted(rawget(value, index), depth + 1)
    index = index + 1
  end
  return items
end

-- Returns Redis's reply for a value that a script returns, in the form that `encode` takes.
function converted(value, depth)
  itemsLeft = itemsLeft - 1
  if itemsLeft < 0 then
    error('ERR a reply has too many items: more than ' .. SCRIPT_BOUNDS.items .. ' of all levels together', 0)
  end
  local kind = type(value)
  if kind == 'string' then return value end
  if kind == 'number' then return integerReply(value) end
  if kind == 'table' then return tableReply(value, depth) end
  return value == true and 1 or false
end

-- Texts ---------------------------------------------------------------------------------------------------------------

-- The flags of Redis, and Upstash's own, with which a script locks only the keys that it declares; its libraries use
-- it.
local FLAGS = {
  ['no-writes'] = true, ['allow-oom'] = true, ['allow-stale'] = true, ['no-cluster'] = true,
  ['allow-cross-slot-keys'] = true, ['allow-key-locking'] = true,
}

-- Reads the first line if it has flags. Returns the text behind it, whose lines keep their numbers, and the flags,
-- false without such a line; or nil and the error.
local function withoutFlags(given)
  if sub(given, 1, 2) ~= '#!' then return given, false end
  local last = string.find(given, '\n', 1, true)
  if not last then return nil, 'ERR Invalid script shebang' end
  local line, flags = sub(given, 1, last - 1), {}
  local _, quotes = string.gsub(line, '["\']', '')
  if quotes % 2 == 1 then return nil, 'ERR Invalid engine in script shebang' end
  local words = string.gmatch(string.gsub(line, '["\']', ''), '%S+')
  local engine = words() or ''
  if engine ~= '#!lua' then return nil, 'ERR Unexpected engine in script shebang: ' .. engine end
  for word in words do
    local list = match(word, '^flags=(.*)$')
    if not list then return nil, 'ERR Unknown lua shebang option: ' .. word end
    if list ~= '' then
      for flag in string.gmatch(list .. ',', '([^,]*),') do
        if not FLAGS[flag] then return nil, 'ERR Unexpected flag in script shebang: ' .. flag end
        flags[flag] = true
      end
    end
  end
  return sub(given, last), flags
end

-- Compiles a text to a function that sees `values` in place of the globals of their names. The text must compile alone
-- first, so that it cannot close the function around it, and so that Redis's errors are about the text itself.
local checked = {}
local function compile(source, name, values)
  if byte(source, 1) == 27 then
    return nil, format("[string \"%s\"]:1: unexpected symbol near 'char(27)'", sub(name, 1, 5))
  end
  if checked[source] ~= name then
    local alone, failure = loadstring(source, name)
    if not alone then return nil, failure end
    checked[source] = name
  end
  local names, list = {}, {}
  for each, value in pairs(values) do
    insert(names, each)
    insert(list, value)
  end
  local head = 'local ' .. concat(names, ',') .. '=... return function(...) __lockstep_v(1,1,4064,...); '
  local made, wrong = loadstring(head .. source .. '\nend', name)
  if not made then return nil, wrong end
  return made(unpack(list, 1, #names))
end

-- Returns ` script: <sha>, on @user_script:<line>.`; a text that the script compiled itself has its own name there.
local function origin(sha, place)
  local source, line = match(place, '^(.*):(%d+): $')
  if not source then return ' script: ' .. sha .. ', on @user_script.' end
  local inner = match(source, '^%[string "(.*)"%]$')
  return ' script: ' .. sha .. ', on ' .. (inner or '@' .. source) .. ':' .. line .. '.'
end

-- Returns the error if these flags do not allow the call, or nil.
local function objectionTo(given, flags)
  if not given.isPlain or not flags or flags['no-writes'] then return nil end
  return 'ERR Can not execute a script with write flag using *_ro command.'
end

-- Returns two functions of a script that begins now. The first reads the clock, ends the script if its time is over,
-- and returns the ms since the last reading. The second returns whether it ended the script: an error then has no
-- place, because regions would name different ones.
local function lookout(startedAt)
  local last, isLate = startedAt or moment(), false
  local latest = last + SCRIPT_BOUNDS.ms
  return function(stop)
    local now = moment()
    local passed = now - last
    last = now
    if now <= latest then return passed end
    isLate = true
    stop('ERR the script goes on for too long: it takes more than ' .. SCRIPT_BOUNDS.ms .. ' ms')
  end, function() return isLate end
end

local function runScript(given)
  local source, flags = withoutFlags(given.text)
  if not source then return nil, flags end
  local isReadOnly, callsLeft, values = given.isReadOnly or (flags and flags['no-writes']), SCRIPT_BOUNDS.calls, nil
  local look, isLate = lookout(given.startedAt)

  local function perform(stop, charge, charged, ...)
    callsLeft = callsLeft - 1
    if callsLeft < 0 then
      stop('ERR the script calls too many commands: more than ' .. SCRIPT_BOUNDS.calls)
    end
    if callsLeft % 10 == 0 or hasWorked() then look(stop) end
    local arguments, failure = textsOf(charge, ...)
    if not arguments then return nil, failure end
    local command, wrong = commandOf(arguments, isReadOnly)
    if not command then return nil, wrong end
    return carryOut(command, isReadOnly, given.perform, stop, charged)
  end

  local launch, whyEnded
  local _, breaks = string.gsub(source, '\n', '\n')
  local lines = breaks + 1
  values, launch, whyEnded = scriptSandbox({
    keys = given.keys, arguments = given.arguments, seed = given.seed, steps = SCRIPT_BOUNDS.steps,
    memory = SCRIPT_BOUNDS.memory, errorBytes = SCRIPT_BOUNDS.errorBytes, perform = perform, look = look,
    lines = lines, place = lines == 1 and 'user_script:1: ' or '',
    compile = function(inner, name) return compile(inner, name, values) end,
    isKnown = function(name) return type(name) == 'string' and rowOf(string.upper(name)) ~= nil end,
  })
  local main, wrong = compile(source, '@user_script', values)
  if not main then return nil, oneLine('ERR Error compiling script (new function): ' .. wrong) end
  local objection = objectionTo(given, flags)
  if objection then return nil, objection end
  local isDone, result = launch(main)
  local ending, refusal, isCutOff = whyEnded()
  if refusal then error(refusal, 0) end
  if ending then
    return nil, oneLine(ending .. origin(given.sha, (isDone or isLate()) and '' or result.place)), isCutOff
  end
  if not isDone then return nil, oneLine(result.message .. origin(given.sha, result.place)) end
  -- The reply itself is not counted among its items.
  itemsLeft = SCRIPT_BOUNDS.items + 1
  local isRight, reply = pcall(converted, result, 1)
  if not isRight then return nil, reply end
  return reply
end

return runScript, integerOf, refusalOf
