/** Sends random hostile scripts to a stack, and expects intact regions. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { Random } from '../simulation/random.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { contentOf, randomCommand, sendForm, type UpstashForm } from './upstash-forms.ts';
import { statuses } from './upstash-hostile.ts';
import { patience } from './writes.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack();
  await sendForm(endpoint(), { method: 'GET', path: '/set/first/1' });
});

afterAll(() => stack?.stop(), 60_000);

const endpoint = () => ({ url: stack.url, token: stack.tokens.write });

/** Malicious and careless Lua. */
const pieces = [
  'redis.call(unpack(ARGV))',
  'redis.pcall(unpack(ARGV))',
  'redis.call("SET", KEYS[1], ARGV[1])',
  'redis.call("RENAME", "first", "lockstep:0:lock")',
  'redis.call("SET", "lockstep:0:state", "99")',
  'redis.call("SET", "lockstep" .. ":0:lease", 1)',
  'redis.call("SORT", "first", "GET", "lockstep:*")',
  'redis.call("EVAL", "return 1", 0)',
  'redis.call("FLUSHALL")',
  'redis.call("CONFIG", "SET", "maxmemory", 1)',
  'redis.call("SET", "k\\0\\255", "v")',
  'for _, k in ipairs(redis.call("KEYS", "*")) do redis.call("APPEND", k, "x") end',
  'META = 1',
  'tx = nil',
  'KEYS = nil',
  'redis = nil',
  'redis.call = nil',
  '_G.tostring = nil',
  'string.rep = nil',
  'getmetatable("").__index = nil',
  'error({})',
  'error(nil)',
  'error({ err = "\\r\\n+OK" })',
  'end end end',
  'do local',
  ']]',
  '--[[',
  'return setmetatable({}, { __index = function() error("x") end })',
  'local t = {} t[1] = t return t',
  'return string.rep("x", 100000)',
  'return function() end',
  'coroutine.wrap(function() redis.call("SET", KEYS[1], 1) error("x") end)()',
  'pcall(function() while true do end end)',
  'return cjson.encode(KEYS)',
  'return redis.sha1hex(ARGV[1])',
  'return ARGV',
  '\u001bLua',
  '#!lua\n',
  '\udc80',
] as const;

function hostileScript(random: Random): readonly unknown[] {
  const lines = Array.from({ length: random.between(0, 4) }, () => random.pick(pieces));
  const text = lines.join(random.pick([' ', '\n', ';', '']));
  const count = random.pick<unknown>([0, 1, 1, 1, 2, -1, 'x', 1e21, null, '01']);
  const key = random.pick(['k1', 'first', 'lockstep:0:state', 'lockstep:', '', 'k\0', 'é']);
  const name = random.pick(['EVAL', 'EVAL', 'EVAL', 'eval_ro', 'EVALSHA', 'EVALSHA_RO', 'SCRIPT']);
  if (name === 'SCRIPT') {
    return [name, random.pick(['LOAD', 'EXISTS', 'FLUSH', 'KILL', '']), ...lines.slice(0, 2)];
  }
  const given = name.startsWith('EVALSHA') ? random.pick(['f'.repeat(40), 'x', '']) : text;
  return [name, given, count, key, ...randomCommand(random)];
}

function hostileForm(random: Random): UpstashForm {
  const path = random.pick(['/', '/pipeline', '/multi-exec']);
  const commands = Array.from({ length: random.between(1, 4) }, () =>
    random.chance(0.7) ? hostileScript(random) : randomCommand(random),
  );
  return { method: 'POST', path, body: JSON.stringify(path === '/' ? commands[0] : commands) };
}

describe('hostile scripts', () => {
  it('get only known statuses, and leave every region with the same data and intact records', async () => {
    for (let seed = 1; seed <= 400; seed += 1) {
      const form = hostileForm(new Random(seed));
      const { status, body } = await sendForm(endpoint(), form);
      expect(statuses, `seed ${seed}: ${form.body} ${JSON.stringify(body)}`).toContain(status);
    }
    await expect.poll(() => stack.locks(), patience).toEqual([]);
    const [content, ...others] = await Promise.all(
      stack.regions.map(({ client }) => contentOf(client)),
    );
    expect(content?.length).toBeGreaterThan(0);
    for (const other of others) expect(other).toEqual(content);
    for (const { client } of stack.regions) {
      for (const key of await client.keys('lockstep:*')) {
        expect(key).toMatch(/^lockstep:0:(?:state|lock|lease)$/);
      }
    }
    expect((await stack.send('GET', '/v1/regions')).status).toBe(200);
    const added = await sendForm(endpoint(), { method: 'GET', path: '/incr/after-all' });
    expect(added.body).toEqual({ result: 1 });
  });

  it.each([
    ['a text past the limit', ['EVAL', 'x'.repeat(limits.scriptBytes + 1), 0]],
    ['a text of loops past the limit', ['EVAL', 'repeat until 1 '.repeat(8_000), 0]],
    ['loading a text past the limit', ['SCRIPT', 'LOAD', 'x'.repeat(limits.scriptBytes + 1)]],
  ])('with %s is refused', async (_name, command) => {
    const form = { method: 'POST', path: '/', body: JSON.stringify(command) };
    const { status, body } = await sendForm(endpoint(), form);
    expect([status, body]).toEqual([400, { error: expect.stringContaining('the limit is') }]);
  });

  it('by the same digest, a thousand at once, are answered one by one', async () => {
    const text = `return #ARGV -- ${'x'.repeat(20_000)}`;
    const load = { method: 'POST', path: '/', body: JSON.stringify(['SCRIPT', 'LOAD', text]) };
    const { body } = await sendForm(endpoint(), load);
    const sha = JSON.parse(JSON.stringify(body)).result;
    for (const name of ['EVALSHA_RO', 'EVALSHA']) {
      const commands = JSON.stringify(Array(1_000).fill([name, sha, 0, 'a']));
      const response = await sendForm(endpoint(), {
        method: 'POST',
        path: '/pipeline',
        body: commands,
      });
      expect(response).toEqual({ status: 200, body: Array(1_000).fill({ result: 1 }) });
    }
  });
});
