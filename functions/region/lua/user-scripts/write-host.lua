-- Runs a user's script on the staged state of its transaction's keys, all of it or nothing. This text is a
-- module: lua-bundle.ts makes it a function's body, with the other modules of scripts before it. It returns what runs
-- an operation of this kind.
--
-- It calls commands by the names of the keys, declared or not. A key that the transaction does not list is staged all
-- the same, so that the script goes on, and noted: then all is dropped, and the vote names what is to be listed.
-- Every region comes to the same names as long as they hold the same data; where they do not, each names what it
-- needs itself.

local launchScript, operationOf, looks, draw

-- The vote of a transaction whose scripts touched keys that it does not list.
local function unlistedVote()
  local items = {}
  for index, notes in pairs(tx.unlisted) do
    insert(items, { index, sortByBytes(notes.keys) })
  end
  table.sort(items, function(a, b) return a[1] < b[1] end)
  return { 'u', items }
end

-- The keys that are noted for the part that runs, as a list and a set.
local function notesOfPart()
  local notes = tx.unlisted or {}
  tx.unlisted, tx.unlistedVote = notes, unlistedVote
  notes[tx.part] = notes[tx.part] or { keys = {}, seen = {}, bytes = 0 }
  return notes[tx.part]
end

-- Notes a key that the transaction does not list. A key that an earlier script noted counts for this part too.
local function note(key)
  local state = tx.states[key]
  if state and not state.isUnlisted then return end
  if not state then tx.states[key] = { at = 'base', fingerprint = '', isUnlisted = true } end
  local notes = notesOfPart()
  if notes.seen[key] then return end
  notes.seen[key] = true
  insert(notes.keys, key)
  notes.bytes = notes.bytes + #key
end

-- A script that touches more keys than any write may hold fails instead.
local function boundNotes(stop)
  local notes = tx.unlisted and tx.unlisted[tx.part]
  if not notes or (#notes.keys <= SCRIPT_BOUNDS.keys and notes.bytes <= SCRIPT_BOUNDS.foundBytes) then return end
  tx.unlisted[tx.part] = nil
  if not next(tx.unlisted) then tx.unlisted = nil end
  local bound = #notes.keys > SCRIPT_BOUNDS.keys and SCRIPT_BOUNDS.keys or SCRIPT_BOUNDS.foundBytes .. ' bytes of them'
  stop('ERR the script touches too many keys that it does not declare: more than ' .. bound)
end

-- Adds a command to what the vote tells of the scripts' changes, as their results need not tell of them.
local function noteEffect(command)
  local sizes = {}
  for index, argument in ipairs(command.arguments) do sizes[index] = whole(#argument) end
  tx.effects = redis.sha1hex((tx.effects or '') .. concat(sizes, ',') .. ';' .. concat(command.arguments))
end

-- Runs one command of the script.
local function performCommand(command, stop)
  if command.row.class == 'write' then noteEffect(command) end
  for _, position in ipairs(command.positions) do note(command.arguments[position]) end
  boundNotes(stop)
  local look = looks[command.name]
  if look then
    -- What draws at random, or goes on with a cursor, is read whole.
    local tooMuch = excess({ 1, command.arguments, {}, {} })
    if tooMuch then return nil, tooMuch end
    return look(command)
  end
  local operation, failure = operationOf(command)
  if not operation then return nil, failure end
  local isDone, reply, wrong = pcall(runAny, operation)
  -- The server refuses it: that is no result of the script, whatever it makes of errors.
  if not isDone and type(reply) == 'string' and denialOf(reply) then deny(reply) end
  if not isDone then error(reply, 0) end
  if wrong then return nil, wrong end
  return ordered(reply, operation[5] or 0)
end

local function backupsKept() return { saved = tx.saved, backups = tx.backups, names = tx.backupMark } end

-- Joins what the script has kept for undoing with what its part had: where both have a state of a key, the part's is
-- the older one.
local function joinBackups(outer)
  for key, old in pairs(tx.saved) do
    if outer.saved[key] == nil then
      outer.saved[key] = old
      local isMade = tx.backups[key]
      outer.backups[key] = isMade
      if isMade then
        insert(tx.made, backupName(key, outer.names or ''))
        must('RENAME', backupName(key), backupName(key, outer.names or ''))
      end
    elseif tx.backups[key] then
      must('UNLINK', backupName(key))
    end
  end
end

-- Runs `body`, which returns a reply, or nil and the text of an error. Where it fails, all that it changed is undone
-- and what its part has done before stands.
local function undoable(body)
  local outer, published = backupsKept(), #tx.messages
  tx.saved, tx.backups, tx.backupMark, tx.isLong = {}, {}, (outer.names or '') .. 's', true
  local reply, failure = body()
  if failure then
    undo()
    for index = #tx.messages, published + 1, -1 do tx.messages[index] = nil end
  else
    joinBackups(outer)
  end
  tx.saved, tx.backups, tx.backupMark = outer.saved, outer.backups, outer.names
  return reply, failure
end

-- Once a round, so that only rounds with scripts pay for it.
local function prepareScripts()
  local run, integerOf, refusalOf = userScripts()
  launchScript, operationOf = run, scriptCommands(integerOf, refusalOf)
  looks = scriptLooks(integerOf, refusalOf, function() return draw(2147483647) end, note)
end

-- [10, [sha, text, key…, argument…], positions of the keys, [], order, seed]
return function(operation)
  local given, keys, arguments = operation[2], {}, {}
  local count = #operation[3]
  for index = 3, #given do insert(index - 2 <= count and keys or arguments, given[index]) end
  if not launchScript then prepareScripts() end
  pace.begin(true)
  draw = drawer(operation[6])
  draw(1)
  if broken[operation] then return nil, broken[operation] end
  return undoable(function()
    local reply, failure, isCutOff = launchScript({
      sha = given[1], text = given[2], keys = keys, arguments = arguments, seed = operation[6],
      perform = performCommand,
    })
    if isCutOff then
      broken[operation], tx.isBroken = failure, true
      error(failure, 0)
    end
    return reply, failure
  end)
end
