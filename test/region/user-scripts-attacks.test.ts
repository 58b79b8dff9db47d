/** Tests hostile scripts: the sandbox, and the bounds on steps, memory, patterns and depth. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { limits } from '../../shared/limits.ts';
import { connectDirectly, withoutTimeLimit } from './direct.ts';
import {
  abortOf,
  continuingOnError,
  executed,
  increment,
  outcomesOf,
  part,
  prepareOf,
  roundOf,
  script,
} from './fixtures.ts';
import { ScriptVotes } from './script-votes.ts';
import { servers, startRedisServer, type TestServer } from './servers.ts';

describe.each(servers)('a hostile script in %s', (_, start) => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis);
  });
  beforeEach(() => server.redis.flushall());
  afterAll(() => server.stop());

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));
  const outcome = async (keys: readonly string[], ...operations: readonly Operation[]) => {
    sequence += 1;
    const { votes } = await send({ prepares: [prepareOf(sequence, keys, part(...operations))] });
    return outcomesOf(votes[0]);
  };

  it('touches none of Lockstep’s own keys, by any command', async () => {
    const tries = [
      "redis.call('DEL', 'lockstep:0:state')",
      "redis.call('GET', 'lockstep:1:lock')",
      "redis.call('RENAME', 'k', 'lockstep:0:lease')",
      "redis.call('EVAL', 'return 1', 0)",
      "redis.call('SORT', 'k', 'BY', 'lockstep:*')",
      "redis.call('ZUNIONSTORE', 'lockstep:0:lock', 1, 'k')",
      "redis.call('XREAD', 'STREAMS', 'k', 'lockstep:0:x', 0, 0)",
      "redis.call('BITOP', 'NOT', 'k', 'lockstep:0:state')",
      "redis.call('FLUSHALL')",
      "redis.call('SELECT', 1)",
    ];
    const caught = tries.map(
      (each) => `if redis.pcall${each.slice(10)}.err == nil then error('did') end`,
    );
    const before = await server.redis.keys('*');
    expect(await outcome(['k'], script(`${caught.join(' ')} return 'kept off'`))).toBe(
      '[[0,"kept off"]]',
    );
    await send({ decisions: [abortOf(sequence, ['k'])] });
    expect((await server.redis.keys('*')).filter((key) => !key.startsWith('lockstep:0:'))).toEqual(
      before,
    );
  });

  it('finds no way to the real redis', async () => {
    const ways = [
      '_G.redis',
      "rawget(_G, 'redis')",
      '_G._G.redis',
      "loadstring('return redis')()",
      "loadstring('return _G.redis')()",
      "load(function() local t = text text = nil return t end) and loadstring('return (...) or redis')()",
      'coroutine.wrap(function() return redis end)()',
      'select(2, pcall(function() return redis end))',
      'select(2, xpcall(function() return redis end, error))',
      "({pcall(loadstring, 'return redis')})[2]()",
    ];
    const reach = (way: string) =>
      script(
        `local text = 'return redis'\nlocal r = ${way}\nreturn {r == redis, r.pcall('CONFIG', 'GET', '*').err}`,
      );
    for (const way of ways.filter((each) => !each.startsWith('load('))) {
      expect(await outcome([], reach(way)), way).toBe(
        '[[0,[1,"ERR This Redis command is not allowed from script"]]]',
      );
    }
  });

  it('cannot close the code that wraps it', async () => {
    const texts = [
      "end)() redis.call('SET', 'k', '1') (function()",
      'end end return redis --',
      'return 1 end do',
    ];
    for (const each of texts) {
      expect(await outcome([], script(each))).toMatch(/^\[\[2,0,"ERR Error compiling script/);
    }
  });

  it('keeps its settings of cjson to itself', async () => {
    const sets = script(
      'cjson.encode_max_depth(1) cjson.decode_max_depth(1) return cjson.encode({1})',
    );
    await outcome([], sets);
    expect(await outcome([], script("return cjson.encode(cjson.decode('[[[1]]]'))"))).toBe(
      '[[0,"[[[1]]]"]]',
    );
  });

  it('cannot use invalid or oversized keys', async () => {
    expect(await outcome([], script("return redis.pcall('GET', '\\255').err"))).toContain(
      'not valid Unicode',
    );
    expect(
      await outcome([], script("return redis.pcall('GET', string.rep('k', 40000)).err")),
    ).toContain('bytes');
  });

  it('cannot crash the server by raising a value without a text', async () => {
    for (const raised of [
      '{}',
      '{err={}}',
      'setmetatable({}, {__tostring=error})',
      'print and 1',
      '{err=false}',
    ]) {
      expect(await outcome([], script(`error(${raised})`))).toMatch(/^\[\[2,0,"ERR /);
    }
    expect(await outcome([], script("return redis.call('GET', {})"))).toMatch(
      /^\[\[2,0,"ERR Lua redis lib/,
    );
  });

  it('changes nothing that outlives it', async () => {
    const changes = [
      'string.format = nil',
      'rawset(string, "format", nil)',
      'table.insert = nil',
      'math.floor = nil',
      'getmetatable("").__index = {}',
      'string.format = nil',
      'local _, fields = pairs(string) fields.format = nil',
      'bit.band = nil',
      'coroutine.wrap = nil',
      'struct.pack = nil',
      'setmetatable(_G, {})',
      'setmetatable(string, {__index = error})',
      'getmetatable(_G).__index = nil',
      'cjson.decode = nil',
      'rawset(_G, "tostring", nil)',
      'redis.call = nil',
      'KEYS[1] = "lockstep:0:state"',
    ];
    for (const change of changes) {
      await outcome([], script(`pcall(function() ${change} end)`));
      const whole = script(
        "return {string.format('%d', 5), ('x'):upper(), cjson.encode({1}), math.floor(1.5), tostring(1)}",
      );
      expect(await outcome([], whole), change).toBe('[[0,["5","X","[1]",1,"1"]]]');
    }
  });

  it('returns nothing that differs between regions', async () => {
    const tries = [
      "collectgarbage('count')",
      'gcinfo()',
      'next({[{}] = 1})',
      'pairs({[function() end] = 1})',
      'table.foreach({[{}] = 1}, tostring)',
      'cmsgpack.pack({[{}] = 1})',
      "setmetatable({}, {__mode = 'k'})",
      'redis.setresp(3)',
      "redis.call('OBJECT', 'ENCODING', 'k')",
      "redis.call('XINFO', 'STREAM', 'k')",
      "redis.call('INFO')",
    ];
    for (const each of tries) {
      const reply = await outcome(
        ['k'],
        script(`local ok, e = pcall(function() return ${each} end) return {ok, e}`),
      );
      await send({ decisions: [abortOf(sequence, ['k'])] });
      expect(reply, each).toMatch(
        /^\[\[0,\[null,".*(?:differ|not supported|not allowed|tells how)/,
      );
    }
  });

  it('cannot loop in a text that it compiles', async () => {
    const loops = script(
      "return {loadstring('while true do end') == nil, select(2, loadstring('return function() end'))}",
    );
    expect(await outcome([], loops)).toContain('steps are not counted');
  });
});

// The embedded server ends long scripts of all kinds by itself.
describe('a user’s script without an end', () => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis, withoutTimeLimit);
  });
  afterAll(() => server.stop());

  const outcome = async (text: string) => {
    sequence += 1;
    const prepares = [prepareOf(sequence, [`k${sequence}`], part(script(text, [`k${sequence}`])))];
    const reply = executed(await client.round(roundOf({ prepares }), 0));
    return outcomesOf(reply.votes[0]);
  };

  it('fails with a stack overflow if it recurses too deeply, and shows no line of Lockstep’s own', async () => {
    const deep =
      "local function f(n) redis.call('SET', KEYS[1], n) return 1 + f(n + 1) end return f(1)";
    const answered = await outcome(deep);
    expect(answered).toMatch(/^\[\[2,0,"ERR stack overflow script: /);
    expect(answered).toContain(', on @user_script:1."');
    expect(await server.redis.keys('lockstep:*:shadow:*')).toEqual([]);
  });

  it.each([
    'while true do pcall(function() while true do end end) end',
    'local function f() return f() end return f()',
    'while true do xpcall(function() error(1) end, function() while true do end end) end',
  ])(
    'is ended although it catches errors: %s',
    async (text) => {
      expect(await outcome(text)).toContain('goes on for too long');
    },
    60_000,
  );

  it.each([
    "while true do redis.pcall('GET', KEYS[1]) end",
    "while true do pcall(redis.call, 'INCR', KEYS[1]) end",
    "local co = coroutine.wrap(function() while true do redis.call('INCR', KEYS[1]) coroutine.yield() end end) while true do pcall(co) end",
  ])(
    'is ended by its calls: %s',
    async (text) => {
      expect(await outcome(text)).toContain('calls too many commands');
      expect(await server.redis.keys('lockstep:*:shadow:*')).toEqual([]);
    },
    60_000,
  );

  it.each<readonly [string, number, (count: number) => string, string]>([
    [
      'steps',
      limits.stepsPerScript,
      // The loop itself takes two steps.
      (count) => `for step = 3, ${count} do end return 'done'`,
      'goes on for too long',
    ],
    [
      'calls',
      limits.callsPerScript,
      (count) => `for call = 1, ${count} do redis.call('EXISTS', KEYS[1]) end return 'done'`,
      'calls too many commands',
    ],
    [
      'levels of its reply',
      limits.scriptReplyDepth,
      (count) => `local reply = 'done' for level = 1, ${count} do reply = {reply} end return reply`,
      'nested too deeply',
    ],
    [
      'draws of one call',
      limits.drawsPerCall,
      (count) =>
        `redis.call('SADD', KEYS[1], 'm') return 'done ' .. #redis.call('SRANDMEMBER', KEYS[1], -${count})`,
      'with such a count is not supported',
    ],
  ])(
    'has the maximum of %s, and not one more',
    async (_name, most, textOf, refusal) => {
      expect(await outcome(textOf(most))).toContain('done');
      expect(await outcome(textOf(most + 1))).toContain(refusal);
    },
    60_000,
  );
});

/** The cases of hostile scripts, which even a read-only token may send: each is refused by a limit. */
const beyondBounds: readonly (readonly [string, string, RegExp])[] = [
  ['a pattern that backtracks', "string.find(string.rep('a', 480), '.-.-.-b')", /too long/],
  [
    'a text that doubles without a loop',
    `(function() local s = string.rep('a', 1000) ${'s=s..s '.repeat(18)} return #s end)()`,
    /too much memory/,
  ],
  [
    'a text joined of many',
    `(function() local s = string.rep('a', 1e7) return #(${'s..'.repeat(99)}s) end)()`,
    /too (?:long|much)/,
  ],
  ['a method on a text', "#(('x'):rep(400000000))", /too much memory/],
  ['a function of a text', "#(('x').rep('x', 400000000))", /too much memory/],
  ['a function by a name that is made', "('x')['r' .. 'ep']('x', 4e8)", /too much memory/],
  [
    'a function by way of a metatable',
    "setmetatable({}, {__index = ''}).rep('x', 4e8)",
    /too much memory/,
  ],
  [
    'a function as a metamethod’s result',
    "(setmetatable({}, {__add = function(a) return a end}) + 1)['x'] or ('')[({rep = 'rep'}).rep]('x', 4e8)",
    /too much memory/,
  ],
  ['a long repetition', "#string.rep('x', 400000000)", /too much memory/],
  [
    'a replacement that grows',
    "#string.gsub(string.rep('a', 1e6), '.*', string.rep('%0', 1e3))",
    /too much memory/,
  ],
  [
    'a list of one text',
    "(function() local s, t = string.rep('a', 1e6), {} for i = 1, 1000 do t[i] = s end return #table.concat(t) end)()",
    /too much memory/,
  ],
  [
    'a list with one place far out',
    '#cjson.encode(cjson.encode_sparse_array(false, 0, 0) or {[1e8] = 1})',
    /too much memory/,
  ],
  [
    'an instance of cjson of its own',
    '(function() local j = cjson.new() j.encode_sparse_array(false, 0, 0) return #j.encode({[1e8] = 1}) end)()',
    /too much memory/,
  ],
  [
    'tables that share others, as JSON',
    '(function() local t = {} for i = 1, 22 do t = {t, t} end return #cjson.encode(t) end)()',
    /too (?:long|much)/,
  ],
  [
    'tables that share others, packed',
    '(function() local t = {} for i = 1, 15 do t = {t,t,t,t,t,t,t,t} end return #cmsgpack.pack(t) end)()',
    /too (?:long|much)/,
  ],
  [
    'arguments that are kept at each level',
    '(function() local t = {} for i = 1, 7900 do t[i] = i end local function r(...) return 1 + r(...) end return r(unpack(t)) end)()',
    /too much memory/,
  ],
  [
    'tables without an end',
    '(function() local t = {} for i = 1, 1e9 do t[i] = {} end end)()',
    /too much memory/,
  ],
  [
    'a plain search that begins everywhere',
    "string.find(string.rep('a', 1e6), string.rep('a', 5e5) .. 'b', 1, true)",
    /too long/,
  ],
  [
    'a pattern of many items',
    "string.find(string.rep('a', 1e5), string.rep('a?', 1e5))",
    /pattern is too long/,
  ],
  [
    'a digest of much',
    "redis.sha1hex(string.rep('xxxxxxxxxx', 4e6) .. redis.sha1hex(string.rep('xxxxxxxxxx', 2e6)))",
    /too (?:long|much)/,
  ],
  [
    'one value many times',
    "(function() redis.call('SET', 'k', string.rep('xxxxxxxxxx', 5e4)) local t = {'MGET'} for i = 1, 7000 do t[i + 1] = 'k' end return #redis.call(unpack(t)) end)()",
    /too much memory/,
  ],
];

describe('a script beyond a limit', () => {
  let votes: ScriptVotes;
  beforeAll(async () => {
    votes = await ScriptVotes.start();
  });
  afterAll(() => votes.stop());

  const outcome = (words: string) => votes.outcomeOf(words);

  it.each(beyondBounds)('is refused, and the vote arrives: %s', async (_name, words, refusal) => {
    expect(await outcome(`return ${words}`)).toMatch(refusal);
    // A script that catches the error cannot continue.
    expect(
      await outcome(`pcall(function() return ${words} end) return pcall(string.len, 'x')`),
    ).toMatch(refusal);
    expect(await votes.server.redis.keys('lockstep:0:*:*')).toEqual([]);
  });

  it('is refused if its memory reaches the maximum, and not before', async () => {
    const half = limits.memoryPerScript / 2;
    const words = (count: number) =>
      `local s = string.rep('${'x'.repeat(100)}', ${count}) return #s`;
    expect(await outcome(words(half / 100))).toContain(String(half));
    expect(await outcome(words(limits.memoryPerScript / 100))).toContain('too much memory');
  });

  it('finds no metatable of texts', async () => {
    expect(await outcome("return {type(getmetatable('')), type(getmetatable('x'))}")).toBe(
      '[[0,["nil","nil"]]]',
    );
  });

  it('can pass as many arguments to a command as in Redis', async () => {
    const push = (count: number) =>
      `local t = {} for i = 1, ${count} do t[i] = i end return redis.call('RPUSH', KEYS[1], unpack(t))`;
    expect(await outcome(push(7_900))).toBe('[[0,7900]]');
    expect(await outcome(push(7_990))).toMatch(/^\[\[0,7990\]\]$|too many/);
    expect(await outcome(push(8_100))).toContain('too many results to unpack');
  });

  it.each([
    ['of Lockstep', 'lockstep:x', 'reserved'],
    ['of a key’s notifications', '__keyspace@0__:k', 'keyspace notifications'],
    ['of an event’s notifications', '__keyevent@0__:del', 'keyspace notifications'],
  ])('cannot publish to a channel %s', async (_name, channel, words) => {
    expect(await outcome(`return redis.call('PUBLISH', '${channel}', '1')`)).toContain(words);
  });
});

// The server counts depth, so the test tries each place at which a command can be cut off.
describe('a script that has no stack left within a command', () => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis, withoutTimeLimit);
  });
  afterAll(() => server.stop());

  it('fails alone, and leaves no work key and no lost vote, wherever it was cut off', async () => {
    await server.redis.hset('h', Object.fromEntries(Array.from({ length: 300 }, (_, i) => [i, i])));
    const dive = (depth: number) => `
local function work()
  redis.call('APPEND', 'a', 'x') redis.call('HSET', 'h', 'f', 'v') redis.call('RPUSH', 'l', 'x')
end
local function dive(left)
  if left > 0 then return 1 + dive(left - 1) end
  pcall(work)
  return 0
end
pcall(dive, ${depth})
return redis.call('STRLEN', 'a')`;
    const keys = ['a', 'h', 'l'];
    let failed = 0;
    for (let depth = 19_900; depth <= 20_000; depth += 1) {
      const sequence = depth;
      const own = continuingOnError(
        part(increment('a'), script(dive(depth), keys), increment('a')),
      );
      const prepares = [prepareOf(sequence, keys, own)];
      const answered = outcomesOf(executed(await client.round(roundOf({ prepares }), 0)).votes[0]);
      // It did all of its work or none of it: the rest of its part sees no state in between.
      expect(answered).toMatch(
        /^\[\[0,1,(?:2,"ERR value|1,2\]\]|\{"e":"ERR stack overflow[^"]*"\},2\]\]|2,\{"e":"ERR value)/,
      );
      if (answered.includes('stack overflow')) failed += 1;
      await client.round(roundOf({ decisions: [abortOf(sequence, keys)] }), 0);
      const left = (await server.redis.keys('*')).sort();
      expect(
        left.filter((key) => !/^lockstep:0:state$/.test(key)),
        answered,
      ).toEqual(['h']);
    }
    expect(failed).toBeGreaterThan(5);
  });
});
