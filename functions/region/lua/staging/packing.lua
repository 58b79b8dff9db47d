-- Encodes the messages that a transaction publishes, for its lock records.
--
-- Guarantees: messages.lua, which describes their form, reads the same messages in the same order.

local function packMessage(number, channel, message)
  return whole(number) .. ',' .. whole(#channel) .. ',' .. whole(#message) .. '|' .. channel .. message
end

-- Returns, by key, the text after `m|` in its lock record, for all messages that a transaction has staged.
local function packedByKey(messages)
  local items, packed = {}, {}
  for number, message in ipairs(messages) do
    items[message.key] = items[message.key] or {}
    insert(items[message.key], packMessage(number, message.channel, message.text))
  end
  for key, list in pairs(items) do packed[key] = concat(list) end
  return packed
end
