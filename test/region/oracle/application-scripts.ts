/**
 * Scripts of the kinds that applications use, each with a sequence of calls; a bar separates the keys of a call from
 * its arguments.
 */
export const applicationScripts: Readonly<
  Record<string, { readonly text: string; readonly calls: readonly string[] }>
> = {
  'a counter that a window ends': {
    text: `
local hits = redis.call('INCRBY', KEYS[1], ARGV[2])
if hits == tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
local most = tonumber(ARGV[3])
if hits > most then return { 0, most, redis.call('PTTL', KEYS[1]) > 0 } end
return { 1, most - hits }`,
    calls: ['w|5000000 1 3', 'w|5000000 1 3', 'w|5000000 2 3', 'w|5000000 1 3', 'v|5000000 9 3'],
  },
  'two windows, the older of which counts in part': {
    text: `
local most, share = tonumber(ARGV[1]), tonumber(ARGV[2])
local now, before = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
now = now == false and 0 or tonumber(now)
before = math.floor((1 - share) * (before and tonumber(before) or 0))
if now + before >= most then return -1 end
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], 5000) end
return most - count - before`,
    calls: [
      'n o|4 0.5',
      'n o|4 0.5',
      'o p|4 0.5',
      'o p|4 0.1',
      'n o|4 0.25',
      'n o|4 0.9',
      'n o|3 0',
    ],
  },
  'a bucket that refills': {
    text: `
local size, per, cost, at = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, last = tonumber(held[1] or size), tonumber(held[2] or at)
level = math.min(size, level + math.floor((at - last) / per))
if level < cost then return { -1, tostring(per * (cost - level)) } end
redis.call('HSET', KEYS[1], 'level', level - cost, 'at', at)
redis.call('PEXPIRE', KEYS[1], math.ceil(size * per) + 50000000)
return { level - cost, at + per }`,
    calls: [
      'b|5 100 3 1000',
      'b|5 100 3 1000',
      'b|5 100 3 1150',
      'b|5 100 1 9000.5',
      'b|5 0.3 9 9000',
    ],
  },
  'a log of moments': {
    text: `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', tonumber(ARGV[1]) - ARGV[2])
local members = redis.call('ZCARD', KEYS[1])
if members < tonumber(ARGV[3]) then
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[1] .. ':' .. members)
  return cjson.encode({ ok = true, left = ARGV[3] - members - 1 })
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return cjson.encode({ ok = false, wait = first[2] + ARGV[2] - ARGV[1] })`,
    calls: ['z|100 50 2', 'z|120 50 2', 'z|130 50 2', 'z|151 50 2', 'z|152.5 50 2'],
  },
  'a lock with an owner': {
    text: `
local owner = redis.call('GET', KEYS[1])
if ARGV[1] == 'take' then
  if owner and owner ~= ARGV[2] then return redis.error_reply('TAKEN by ' .. owner) end
  return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
elseif owner ~= ARGV[2] then
  return 0
elseif ARGV[1] == 'extend' then
  return redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('DEL', KEYS[1])`,
    calls: [
      'l|take me 5000000',
      'l|take you 10',
      'l|extend me 6000000',
      'l|drop you',
      'l|drop me',
      'l|drop me',
    ],
  },
  'a queue with retries': {
    text: `
local moved = redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT')
if not moved then return redis.status_reply('EMPTY') end
local tries = redis.call('HINCRBY', 'tries', moved, 1)
if tries > tonumber(ARGV[1]) then
  redis.call('LREM', KEYS[2], 1, moved)
  redis.call('RPUSH', 'dead', moved)
  redis.call('HDEL', 'tries', moved)
end
return { moved, tries, redis.call('LLEN', KEYS[2]), redis.call('LRANGE', 'dead', 0, -1) }`,
    calls: ['in out|1', 'jobs run|1', 'run jobs|1', 'jobs run|1', 'run jobs|0', 'jobs run|0'],
  },
  'a removal by pattern': {
    text: `
local cursor, count = '0', 0
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 2)
  cursor = page[1]
  for _, key in ipairs(page[2]) do count = count + redis.call('DEL', key) end
until cursor == '0'
return count`,
    calls: ['*|jo*', '|*s', '*|none*', '*|*'],
  },
  'a document that is merged': {
    text: `
local held = redis.call('GET', KEYS[1])
local document = held and cjson.decode(held) or {}
for index = 1, #ARGV, 2 do document[ARGV[index]] = tonumber(ARGV[index + 1]) or ARGV[index + 1] end
local names = {}
for name in pairs(document) do names[#names + 1] = name end
table.sort(names)
local text = {}
for _, name in ipairs(names) do text[#text + 1] = cjson.encode(name) .. ':' .. cjson.encode(document[name]) end
text = '{' .. table.concat(text, ',') .. '}'
redis.call('SET', KEYS[1], text)
return { text, redis.sha1hex(text), #cmsgpack.pack(names) }`,
    calls: ['d|a 1', 'd|b x a 2.5', 'd|c ü', 'd|'],
  },
};
