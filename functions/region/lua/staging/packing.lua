-- Encodes the messages that a transaction publishes, for its lock records.
--
-- Guarantees: messages.lua, which describes their form, reads the same messages in the same order.

local function packMessage(place, channel, message)
  return whole(place) .. ',' .. whole(#channel) .. ',' .. whole(#message) .. '|' .. channel .. message
end

-- Returns, by key, the text after `m|` in its lock record, for all messages that a transaction has staged.
local function packedByKey(messages)
  local items, packed = {}, {}
  for place, message in ipairs(messages) do
    items[message.key] = items[message.key] or {}
    insert(items[message.key], packMessage(place, message.channel, message.text))
  end
  for key, list in pairs(items) do packed[key] = concat(list) end
  return packed
end
