import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { Operation } from '../../shared/protocol/frame.ts';
import type { RegionClient } from '../../shared/protocol/round.ts';
import { connectDirectly } from './direct.ts';
import { abortOf, executed, outcomesOf, part, prepareOf, roundOf, script } from './fixtures.ts';
import { servers, startRedisServer, type TestServer } from './servers.ts';

describe.each(servers)('a hostile script in %s', (_, start, text) => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await start();
    client = connectDirectly(server.redis, text);
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

  it('touches no key of Lockstep’s own, by whatever way', async () => {
    const tries = [
      "redis.call('DEL', 'lockstep:0:meta')",
      "redis.call('GET', 'lockstep:1:lock')",
      "redis.call('RENAME', 'k', 'lockstep:0:lease')",
      "redis.call('EVAL', 'return 1', 0)",
      "redis.call('SORT', 'k', 'BY', 'lockstep:*')",
      "redis.call('ZUNIONSTORE', 'lockstep:0:lock', 1, 'k')",
      "redis.call('XREAD', 'STREAMS', 'k', 'lockstep:0:x', 0, 0)",
      "redis.call('BITOP', 'NOT', 'k', 'lockstep:0:meta')",
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

  it('cannot close what is put around it', async () => {
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

  it('refuses what no key can be', async () => {
    expect(await outcome([], script("return redis.pcall('GET', '\\255').err"))).toContain(
      'not valid Unicode',
    );
    expect(
      await outcome([], script("return redis.pcall('GET', string.rep('k', 40000)).err")),
    ).toContain('bytes');
  });

  it('ends no server by raising what has no text', async () => {
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
      'setmetatable(_G, {})',
      'setmetatable(string, {__index = error})',
      'getmetatable(_G).__index = nil',
      'cjson.decode = nil',
      'rawset(_G, "tostring", nil)',
      'redis.call = nil',
      'KEYS[1] = "lockstep:0:meta"',
    ];
    for (const change of changes) {
      await outcome([], script(`pcall(function() ${change} end)`));
      const whole = script(
        "return {string.format('%d', 5), ('x'):upper(), cjson.encode({1}), math.floor(1.5), tostring(1)}",
      );
      expect(await outcome([], whole), change).toBe('[[0,["5","X","[1]",1,"1"]]]');
    }
  });

  it('tells nothing that regions have each of their own', async () => {
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

  it('makes no loop of a text that it compiles', async () => {
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
    client = connectDirectly(server.redis, 'flagged');
  });
  afterAll(() => server.stop());

  const outcome = async (text: string) => {
    sequence += 1;
    const prepares = [prepareOf(sequence, [`k${sequence}`], part(script(text, [`k${sequence}`])))];
    const reply = executed(await client.round(roundOf({ prepares }), 0));
    return outcomesOf(reply.votes[0]);
  };

  it('that calls itself too deeply is told so, and of no line of Lockstep’s own', async () => {
    const deep =
      "local function f(n) redis.call('SET', KEYS[1], n) return 1 + f(n + 1) end return f(1)";
    const told = await outcome(deep);
    expect(told).toMatch(/^\[\[2,0,"ERR stack overflow script: /);
    expect(told).toContain(', on @user_script:1."');
    expect(await server.redis.keys('lockstep:*:shadow:*')).toEqual([]);
  });

  it.each([
    'while true do __lockstep() pcall(function() while true do __lockstep() end end) end',
    'local function f() __lockstep() return f() end return f()',
    'while true do __lockstep() xpcall(function() error(1) end, function() while true do __lockstep() end end) end',
  ])(
    'is ended although it catches what it can: %s',
    async (text) => {
      expect(await outcome(text)).toContain('goes on for too long');
    },
    60_000,
  );

  it.each([
    "while true do redis.pcall('GET', KEYS[1]) end",
    "while true do pcall(redis.call, 'INCR', KEYS[1]) end",
    "while true do local co = coroutine.wrap(function() redis.call('INCR', KEYS[1]) end) pcall(co) end",
  ])(
    'is ended by its calls: %s',
    async (text) => {
      expect(await outcome(`__lockstep() ${text.replace('do ', 'do __lockstep() ')}`)).toContain(
        'calls too many commands',
      );
      expect(await server.redis.keys('lockstep:*:shadow:*')).toEqual([]);
    },
    60_000,
  );

  it.each<readonly [string, number, (count: number) => string, string]>([
    [
      'steps',
      limits.stepsPerScript,
      // Its own beginning is the first.
      (count) => `for step = 2, ${count} do __lockstep() end return 'done'`,
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
      'of so many is not supported',
    ],
    [
      'entries that one call claims',
      limits.claimedEntries,
      (count) =>
        `redis.call('XGROUP', 'CREATE', KEYS[1], 'g', '$', 'MKSTREAM')
        return {'done', redis.call('XAUTOCLAIM', KEYS[1], 'g', 'c', 0, 0, 'COUNT', ${count})}`,
      'of so many is not supported',
    ],
  ])(
    'has as many %s as it may, and not one more',
    async (_name, most, textOf, refusal) => {
      expect(await outcome(textOf(most))).toContain('done');
      expect(await outcome(textOf(most + 1))).toContain(refusal);
    },
    60_000,
  );
});
