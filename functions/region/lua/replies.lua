-- Runs the commands of users, and encodes their replies: each without its types, which go beside it in the form of
-- reply-shape.ts. It uses names of base.lua. Every script that runs commands of users includes it, but for the short
-- text of a round and read.lua, which encode the few replies that they have themselves.

-- Runs a command with as many arguments as a user's script can give: `unpack` alone takes fewer. Returns the reply,
-- { err = text } if the server refused it.
local function invoke(words)
  local reply
  if #words <= CHUNK then
    reply = redis.pcall(unpack(words))
  else
    reply = redis.pcall(words[1], words[2], words[3], words[4], words[5], words[6], words[7], words[8], words[9],
      unpack(words, 10))
  end
  if type(reply) == 'table' and reply.err then noteFailure(reply.err) end
  return reply
end

-- True if the error says that the server has no such command. Only the beginning of the text counts, because names of
-- groups and keys may follow it. Older servers put the position of the call in front.
local function isUnknown(failure)
  local words = match(string.lower(failure), '^@?user_script:%s*%d+:%s*(.*)') or string.lower(failure)
  words = match(words, '^err%s+(.*)') or words
  return match(words, '^unknown command') ~= nil or match(words, '^unknown redis command') ~= nil
end

local plainWithin
do
-- The path of the item that is being counted: the first `depth` positions, from the outermost array inwards.
local path, depth = {}, 0
-- The bytes of the reply that is being counted, and their bound.
local replyBytes, replyBound = 0, 0

local function noteShape(letter, text)
  insert(shape, concat(path, '.', 1, depth) .. letter)
  replyBytes = replyBytes + #text + ITEM
  return text
end

local plain

local function plainItems(items)
  depth = depth + 1
  replyBytes = replyBytes + ITEM
  for index, item in ipairs(items) do
    if replyBytes > replyBound then break end
    if type(item) == 'string' then
      replyBytes = replyBytes + #item + ITEM
    else
      path[depth] = index - 1
      local plainItem = plain(item)
      if plainItem ~= item then items[index] = plainItem end
    end
  end
  depth = depth - 1
  return items
end

-- Returns the reply without its types, and notes these in `shape`: an error inside an array would be an error of the
-- whole answer, and a status or the digits of a large integer look like a string.
function plain(reply)
  local kind = type(reply)
  if kind == 'string' then
    replyBytes = replyBytes + #reply + ITEM
    return reply
  end
  if kind ~= 'table' then
    replyBytes = replyBytes + 2 * ITEM
    return kind == 'number' and reply
  end
  if reply.err then return noteShape('e', reply.err) end
  if reply.ok then return noteShape('s', reply.ok) end
  if reply.digits then return noteShape('d', reply.digits) end
  return plainItems(reply)
end

-- Returns the plain form of a reply whose path is the further arguments, and its bytes; or nil and a number above
-- `bound` if the reply has more bytes than that. Counting stops there, so that a reply costs no more than its bound.
function plainWithin(bound, reply, ...)
  local notes = #shape
  depth, replyBytes, replyBound = select('#', ...), 0, bound
  for index = 1, depth do path[index] = (select(index, ...)) end
  local plainReply = plain(reply)
  answered = answered + replyBytes
  if replyBytes <= bound then return plainReply, replyBytes end
  for index = #shape, notes + 1, -1 do shape[index] = nil end
  return nil, replyBytes
end
end
