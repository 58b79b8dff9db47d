-- Messages that a transaction publishes. They are staged in the lock record of their channel's key, and published as
-- the commit is applied, when everything else of it is in place and its locks are gone.
--
-- Guarantees: none is published before the commit, and none for an abort; those of one transaction come in their order;
-- those of one channel in the order of its transactions. They come once: a plan that the server refused has published
-- nothing, and one that is applied is not applied again, unless the server forgets that.
--
-- In a lock record, `m|` is followed by one item a message: `<place>,<bytes of the channel>,<bytes of the message>|`,
-- and these bytes. The place is its number among the messages of its transaction.

local function packMessage(place, channel, message)
  return whole(place) .. ',' .. whole(#channel) .. ',' .. whole(#message) .. '|' .. channel .. message
end

-- Adds the messages of `record`, which begin at `at`, to `messages`.
local function unpackMessages(record, at, messages)
  while at <= #record do
    local place, channelBytes, bytes, first = match(record, '^(%d+),(%d+),(%d+)|()', at)
    local second = first + tonumber(channelBytes)
    at = second + tonumber(bytes)
    local channel, message = sub(record, first, second - 1), sub(record, second, at - 1)
    insert(messages, { place = tonumber(place), channel = channel, text = message })
  end
end

-- What follows `m|` in the lock record of each key, of all messages that a transaction has staged.
local function packedByKey(messages)
  local items, packed = {}, {}
  for place, message in ipairs(messages) do
    items[message.key] = items[message.key] or {}
    insert(items[message.key], packMessage(place, message.channel, message.text))
  end
  for key, list in pairs(items) do packed[key] = concat(list) end
  return packed
end

-- Publishes what plans that were applied hold. A server that refuses one, as it does not let its user into the channel,
-- loses it there: nothing of the transaction can be taken back for it.
local function publishAll(plans)
  for _, plan in ipairs(plans) do
    table.sort(plan.messages, function(a, b) return a.place < b.place end)
    for _, message in ipairs(plan.messages) do redis.pcall('PUBLISH', message.channel, message.text) end
  end
end
