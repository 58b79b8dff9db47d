-- Runs a user's script on the staged state of its transaction's keys, all of it or nothing. This text is a module:
-- lua-bundle.ts makes it a function's body, behind the other modules of scripts. Returns a function that runs a
-- script's operation.
--
-- A script may use keys that it does not declare. A key that the transaction does not list is staged and noted, so
-- that the script can continue; then everything is dropped, and the vote names the missing keys. Regions with equal
-- data name the same keys; others name the keys that they need themselves.

local launchScript, operationOf, nondeterministic, draw

-- Returns the vote of a transaction whose scripts touched keys that it does not list.
local function unlistedVote()
  local items = {}
  for index, notes in pairs(tx.unlisted) do
    insert(items, { index, sortByBytes(notes.keys) })
  end
  table.sort(items, function(a, b) return a[1] < b[1] end)
  return { 'u', items }
end

-- Returns the keys that are noted for the current part, as a list and a set.
local function notesOfPart()
  local notes = tx.unlisted or {}
  tx.unlisted, tx.unlistedVote = notes, unlistedVote
  notes[tx.part] = notes[tx.part] or { keys = {}, seen = {}, bytes = 0 }
  return notes[tx.part]
end

-- Notes a key that the transaction does not list, also if a script of an earlier part noted it.
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

-- Fails a script that touches more keys than any write may list.
local function boundNotes(stop)
  local notes = tx.unlisted and tx.unlisted[tx.part]
  if not notes or (#notes.keys <= SCRIPT_BOUNDS.keys and notes.bytes <= SCRIPT_BOUNDS.foundBytes) then return end
  tx.unlisted[tx.part] = nil
  if not next(tx.unlisted) then tx.unlisted = nil end
  local bound = #notes.keys > SCRIPT_BOUNDS.keys and SCRIPT_BOUNDS.keys or SCRIPT_BOUNDS.foundBytes .. ' bytes of them'
  stop('ERR the script touches too many keys that it does not declare: more than ' .. bound)
end

-- Adds a command to the digest of the scripts' changes in the vote, because a script's result need not depend on them.
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
  local answerOf = nondeterministic[command.name]
  if answerOf then
    -- Random draws and scans read the whole value.
    local tooMuch = excess({ 1, command.arguments, {}, {} })
    if tooMuch then return nil, tooMuch end
    return answerOf(command)
  end
  local operation, failure = operationOf(command)
  if not operation then return nil, failure end
  local isDone, reply, wrong = pcall(runAny, operation)
  -- The server's refusal ends the transaction, even if the script would catch the error.
  if not isDone and type(reply) == 'string' and denialOf(reply) then deny(reply) end
  if not isDone then error(reply, 0) end
  if wrong then return nil, wrong end
  return ordered(reply, operation[5] or 0)
end

local function backupsKept() return { saved = tx.saved, backups = tx.backups, names = tx.backupSuffix } end

-- Merges the script's backups into those of its part. If both have a state of a key, the part's is the older one.
local function joinBackups(outer)
  for key, old in pairs(tx.saved) do
    if outer.saved[key] == nil then
      outer.saved[key] = old
      local isMade = tx.backups[key]
      outer.backups[key] = isMade
      if isMade then
        insert(tx.stagedNames, backupName(key, outer.names or ''))
        must('RENAME', backupName(key), backupName(key, outer.names or ''))
      end
    elseif tx.backups[key] then
      must('UNLINK', backupName(key))
    end
  end
end

-- Runs `body`, which returns a reply, or nil and the text of an error. If it fails, undoes all of its changes, and no
-- earlier ones of its part.
local function undoable(body)
  local outer, published = backupsKept(), #tx.messages
  tx.saved, tx.backups, tx.backupSuffix, tx.canFailLate = {}, {}, (outer.names or '') .. 's', true
  local reply, failure = body()
  if failure then
    undo()
    for index = #tx.messages, published + 1, -1 do tx.messages[index] = nil end
  else
    joinBackups(outer)
  end
  tx.saved, tx.backups, tx.backupSuffix = outer.saved, outer.backups, outer.names
  return reply, failure
end

-- Runs once per round, so that only rounds with scripts pay for it.
local function prepareScripts()
  local run, integerOf, refusalOf = userScripts()
  launchScript, operationOf = run, scriptRewrites(integerOf, refusalOf)
  nondeterministic = scriptNondeterministic(integerOf, refusalOf, function() return draw(2147483647) end, note)
end

-- [10, [sha, text, key…, argument…], positions of the keys, [], order, seed]
return function(operation)
  local given, keys, arguments = operation[2], {}, {}
  local count = #operation[3]
  for index = 3, #given do insert(index - 2 <= count and keys or arguments, given[index]) end
  if not launchScript then prepareScripts() end
  local startedAt = pace.begin(true)
  draw = drawer(operation[6])
  draw(1)
  if broken[operation] then return nil, broken[operation] end
  return undoable(function()
    local reply, failure, isCutOff = launchScript({
      startedAt = startedAt, sha = given[1], text = given[2], keys = keys, arguments = arguments, seed = operation[6],
      perform = performCommand,
    })
    if isCutOff then
      broken[operation], tx.isBroken = failure, true
      error(failure, 0)
    end
    return reply, failure
  end)
end
