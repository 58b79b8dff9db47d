-- Runs a user's script in a snapshot: on the keys themselves, by the region's clock. It changes nothing. Keys that it
-- does not declare are checked for locks like the others.
--
-- A command is ['EVAL_RO', sha, text, count of keys, key…, argument…].
--
-- This text is a module: lua-bundle.ts makes it a function's body. Returns a function that runs such a command.

-- SORT_RO with a pattern reads keys that no command names, so nothing would check their locks.
local function readsUnnamed(command)
  if command.name ~= 'SORT_RO' then return false end
  for index = 3, #command.arguments do
    if string.find(command.arguments[index], '*', 1, true) then return true end
  end
  return false
end

-- Recorded delivery times lie in the past by the allowance for clocks; read-forms.ts corrects them likewise.
local function deliveredIn(items)
  for index, item in ipairs(items) do
    if type(item) == 'table' and items[index - 1] == 'pending' then
      for _, entry in ipairs(item) do
        local at = #entry - 1
        if entry[at] > 0 then entry[at] = entry[at] + SCRIPT_BOUNDS.skew end
      end
    elseif type(item) == 'table' then
      deliveredIn(item)
    end
  end
end

local function putBackLeast(arguments)
  local least = tonumber(arguments[5])
  if string.upper(arguments[4] or '') ~= 'IDLE' or not least or least <= 0 or least >= EXACT then return end
  arguments[5] = whole(least + SCRIPT_BOUNDS.skew)
end

local function putBack(arguments, reply)
  if arguments[1] == 'XPENDING' and #arguments > 3 then
    for _, item in ipairs(reply) do item[3] = math.max(item[3] - SCRIPT_BOUNDS.skew, 0) end
  elseif arguments[1] == 'XINFO' and string.upper(arguments[4] or '') == 'FULL' then
    deliveredIn(reply)
  end
end

local function boundSamples(arguments)
  local samples = tonumber(arguments[5])
  if not samples or not match(arguments[5], '^%d+$') then return end
  if samples == 0 or samples > SCRIPT_BOUNDS.samples then arguments[5] = whole(SCRIPT_BOUNDS.samples) end
end

-- Returns the script's reply. Adds the keys that it touched to `touched`, and sets its field `all` if the script read
-- all keys. `read` runs a command; `keyspaceCommands` has the commands that read all keys.
return function(given, touched, keyspaceCommands, read)
  local launchScript, _, refusalOf = userScripts()
  local count, keys, arguments = tonumber(given[4]), {}, {}
  for index = 5, #given do insert(index - 4 <= count and keys or arguments, given[index]) end
  local function perform(command)
    for _, position in ipairs(command.positions) do touched.keys[command.arguments[position]] = true end
    if readsUnnamed(command) then
      return nil, refusalOf(command.name .. ' with a pattern', 'it reads keys that nobody names; read them and sort')
    end
    if command.name == 'PFCOUNT' and #command.arguments == 2 then insert(command.arguments, command.arguments[2]) end
    touched.all = touched.all or keyspaceCommands[command.name] ~= nil
    if command.arguments[1] == 'XPENDING' then putBackLeast(command.arguments) end
    if command.arguments[1] == 'MEMORY' then boundSamples(command.arguments) end
    local reply = read(command.arguments)
    if type(reply) == 'table' and reply.err then return nil, reply.err end
    if type(reply) == 'table' then putBack(command.arguments, reply) end
    return reply
  end
  local time = must('TIME')
  local reply, failure = launchScript({
    sha = given[2], text = given[3], keys = keys, arguments = arguments, seed = tonumber(time[2]), isReadOnly = true,
    isPlain = true, perform = perform,
  })
  if failure then return { err = failure } end
  return reply
end
