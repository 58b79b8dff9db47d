-- Messages that a transaction publishes. They are staged in the lock record of their channel's key, and published when
-- the commit has been applied and its locks are gone.
--
-- Guarantees: none is published before the commit, and none for an abort; those of one transaction come in their
-- order; those of one channel in the order of its transactions. Each is published once: a plan that the server refused
-- has published nothing, and one that was applied is not applied again, unless the server loses that data.
--
-- In a lock record, `m|` is followed by the messages: `<number>,<bytes of the channel>,<bytes of the message>|` and
-- these bytes for each. The number counts the messages of its transaction.

-- Adds the messages of `record`, which begin at `at`, to `messages`.
local function unpackMessages(record, at, messages)
  while at <= #record do
    local number, channelBytes, bytes, first = match(record, '^(%d+),(%d+),(%d+)|()', at)
    local second = first + tonumber(channelBytes)
    at = second + tonumber(bytes)
    local channel, message = sub(record, first, second - 1), sub(record, second, at - 1)
    insert(messages, { number = tonumber(number), channel = channel, text = message })
  end
end

-- Publishes the messages of applied plans. If a server refuses one, e.g. because its user lacks access to the channel,
-- the message is lost there: the transaction cannot be undone for it.
local function publishAll(plans)
  for _, plan in ipairs(plans) do
    table.sort(plan.messages, function(a, b) return a.number < b.number end)
    for _, message in ipairs(plan.messages) do redis.pcall('PUBLISH', message.channel, message.text) end
  end
end
