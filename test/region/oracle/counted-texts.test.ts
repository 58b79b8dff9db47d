/** Compares scripts whose loops are counted with the original texts on a server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { promised, readLua, uncalled } from '../../../shared/commands/lua-text.ts';
import { Random } from '../../simulation/random.ts';
import { type PlainRedis, startPlainRedis } from '../../support/stack/plain.ts';

let redis: PlainRedis;

beforeAll(async () => {
  redis = await startPlainRedis();
});

afterAll(() => redis?.stop());

/** The error of the server when it loads the text, or an empty text. */
async function compiled(text: string): Promise<string> {
  return redis.client.call('SCRIPT', 'LOAD', text).then(() => '', String);
}

/** Pieces of Lua, many of which are edge cases of the lexer, alone and combined. */
const pieces = [
  ...['do', 'end', 'while x do', 'repeat', 'until x', 'for i = 1, 2 do', 'if x then', 'else'],
  ...['function f(a, b)', 'function(...)', 'local function g()', 'function a.b:c(d)', 'function'],
  ...['local x = 1', 'x = y', 'return', 'f()', '(f)()', '"do"', "'repeat'", '[[ function() ]]'],
  ...[
    '[==[ do ]] ]==]',
    '-- do',
    '--[[ repeat',
    ']]',
    '--[==[ do ]==]',
    '[=',
    '==]',
    '"',
    "'",
    '\\',
  ],
  ...['0x1f', '1e5', '3..2', '1.5e-3', '.5', '...', '..', '.', ':', ';', ',', '(', ')', '{', '}'],
  ...[
    'not x',
    'a[b[1]]',
    '\n',
    '\r\n',
    '\t',
    '"\\"do"',
    '"\\\ndo"',
    '#',
    '~=',
    'é',
    '\u0000',
    'do_x',
  ],
] as const;

/** Complete statements, so that some of the texts compile. */
const whole = [
  ...['while f() do x = 1 break end', 'repeat local y = "do" until y', 'do (f)() end', 'do end'],
  ...['for k, v in pairs({}) do --[[ do ]] end', 'local g = function(...) return ... end'],
  ...['function t.a.b:c(d, e) return d end', 'x = [==[ do ]] ]==] .. 1e5', '-- repeat', ';', '\n'],
  ...['f{ function() end, [1] = function(a) end }', 'if x then return end', 'x.undo = 0x1f'],
] as const;

function randomText(random: Random): string {
  const from = random.pick([pieces, whole]);
  const words = Array.from({ length: random.between(1, 12) }, () => random.pick(from));
  return words.join(random.pick([' ', ' ', '\n', '']));
}

/** Statements that reach `redis` in detectable and undetectable ways. */
const statements = [
  'redis.call("GET", KEYS[1])',
  "redis.pcall('hget', KEYS[1], 'f')",
  'redis.call("SET", KEYS[1], 1)',
  'redis.pcall("DEL", KEYS[1])',
  'redis.call("S" .. "ET", KEYS[1], 1)',
  'redis.call(ARGV[1], KEYS[1], 1)',
  'local r = redis; r.call("SET", KEYS[1], 1)',
  'local c = redis.call; c("SET", KEYS[1], 1)',
  'redis["call"]("SET", KEYS[1], 1)',
  '_G.redis.call("SET", KEYS[1], 1)',
  '_G["re" .. "dis"].call("SET", KEYS[1], 1)',
  'loadstring("redis.call([[SET]], [[k]], 1)")()',
  'redis.call([[SET]], KEYS[1], 1)',
  'redis . call ( "SET" , KEYS[1], 1)',
  'redis.call --[[ x ]] ("SET", KEYS[1], 1)',
  'redis.call("GET" --[[, ]] , KEYS[1])',
  'local t = { redis = 1, call = redis.sha1hex }',
  'local x = "redis.call(\'SET\')"',
  'redis.log(redis.LOG_DEBUG, "x")',
  'for i = 1, 2 do redis.call("EXISTS", KEYS[1]) end',
  'local f = function(c) return c("SET", KEYS[1], 1) end; f(redis.call)',
  'redis.call("\\83ET", KEYS[1], 1)',
  'redis.call("SORT", KEYS[1], "STORE", "k2")',
  'redis.call("GETEX", KEYS[1], "PERSIST")',
  'getfenv().redis.call("SET", KEYS[1], 1)',
] as const;

describe('a text with its loops counted, compared with the original text,', () => {
  it('compiles or fails on a server with the same error', async () => {
    const random = new Random(7);
    let taken = 0;
    for (let round = 0; round < 4_000; round += 1) {
      const text = randomText(random);
      const { counted } = readLua(text);
      const said = await compiled(text);
      if (said === '') taken += 1;
      expect([text, await compiled(counted)]).toEqual([text, said]);
      expect([text, await compiled(uncalled(text))]).toEqual([text, said]);
    }
    expect(taken).toBeGreaterThan(200);
  });
});

describe('a script that is recognized as read-only', () => {
  it('is never refused as a script that writes', async () => {
    const random = new Random(11);
    let shown = 0;
    for (let round = 0; round < 2_000; round += 1) {
      const count = random.between(1, 3);
      const lines = Array.from({ length: count }, () => random.pick(statements));
      const head = random.pick(['', '', '#!lua\n', '#!lua flags=allow-oom\n']);
      const text = head + lines.join(random.pick(['\n', '; ']));
      if (!readLua(text).readsOnly) continue;
      shown += 1;
      const said = await redis.client
        .call('EVAL_RO', promised(text), 1, 'k', 'SET')
        .then(String, String);
      expect([text, said]).not.toEqual([text, expect.stringContaining('ERR Write commands')]);
      expect(said).not.toContain('write flag');
    }
    expect(shown).toBeGreaterThan(100);
  });
});
