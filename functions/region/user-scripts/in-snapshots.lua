-- Runs a user's script in a snapshot: on the keys themselves, by the region's clock. It changes nothing; the locks of
-- the keys that it does not declare are met like those of the others.
--
-- A command is ['EVAL_RO', sha, text, count of keys, key…, argument…].
--
-- This text is a module: scripts.ts makes it a function's body. It returns what runs such a command.

-- SORT_RO by patterns reads keys whose locks nobody would meet.
local function readsUnnamed(command)
  if command.name ~= 'SORT_RO' then return false end
  for index = 3, #command.arguments do
    if string.find(command.arguments[index], '*', 1, true) then return true end
  end
  return false
end

-- Returns the script's reply; the keys that it touched go into `touched`, whose field `all` tells that it looked at
-- all. `read` runs a command, `aboutAll` has those that tell of all keys.
return function(given, touched, aboutAll, read)
  local launchScript, _, refusalOf = userScripts()
  local count, keys, arguments = tonumber(given[4]), {}, {}
  for index = 5, #given do insert(index - 4 <= count and keys or arguments, given[index]) end
  local function perform(command)
    for _, position in ipairs(command.positions) do touched.keys[command.arguments[position]] = true end
    if readsUnnamed(command) then
      return nil, refusalOf(command.name .. ' with a pattern', 'it reads keys that nobody names; read them and sort')
    end
    if command.name == 'PFCOUNT' and #command.arguments == 2 then insert(command.arguments, command.arguments[2]) end
    touched.all = touched.all or aboutAll[command.name] ~= nil
    local reply = read(command.arguments)
    if type(reply) == 'table' and reply.err then return nil, reply.err end
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
