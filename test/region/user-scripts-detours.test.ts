/** Tests detours around the bounds on scripts, and that legitimate scripts are unchanged. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { countedText, snapshotOf } from './fixtures.ts';
import { ScriptVotes } from './script-votes.ts';
import type { TestServer } from './servers.ts';

const tenMillion = "string.rep('xxxxxxxxxx', 1e6)";
const thousands = 'local l = {} for i = 1, 7000 do l[i] = i end';
const tooLong = /goes on for too long/;
const tooMuch = /too much memory/;
const either = /too (?:long|much)/;
const weak = /loses what nobody else holds/;
const letters = Array.from('abcdefghjklmnopqrsuvwxyzABCDEF').join(',');

/** Detours around the charged operations, each of which would take minutes of the server or gigabytes of it. */
const detours: readonly (readonly [string, string, RegExp])[] = [
  [
    'a count that is no number',
    "string.rep('', math.huge) local n = 0 while true do n = n + 1 end",
    tooMuch,
  ],
  [
    'a place that is no number',
    "return string.find(string.rep('a', 480), '.-.-.-b', 0/0)",
    tooLong,
  ],
  [
    'optional items of a pattern',
    "return string.find(string.rep('a', 1e6), 'a?a?a?a?a?a?a?a?a?a?b')",
    tooLong,
  ],
  [
    'a set of many bytes',
    "return string.find(string.rep('a', 1e6), '[' .. string.rep('b', 4e5) .. ']c')",
    tooLong,
  ],
  ['a place far below the first', 'return table.insert({}, -2000000000, 1)', tooLong],
  [
    'a function that only gave numbers',
    "local _, raw = pairs(math) raw.floor = function() return 'rep' end return ('x')[math.floor()]('x', 4e8)",
    /readonly/,
  ],
  [
    'the table of arguments, taken for a number',
    "local arg = 1 local function f(...) setmetatable(arg, {__add = function(a) return a end}) return ((('').rep + arg)('x', 4e8)) end return #f()",
    tooMuch,
  ],
  [
    'tables of arguments',
    `${thousands} local t = {} local function f(...) t[#t + 1] = arg end local function g(...) for i = 1, 1e5 do f(...) end end g(unpack(l))`,
    tooMuch,
  ],
  [
    'arguments that a loop hands on',
    `${thousands} local function r(n, ...) for i = 1, 1 do return 1 + r(n, ...) end end return r(1, unpack(l))`,
    tooMuch,
  ],
  [
    'texts of errors',
    `local s, t = ${tenMillion}, {} for i = 1, 100 do s = select(2, pcall(function() error(s) end)) t[i] = s end`,
    either,
  ],
  [
    'texts of assertions',
    `local s, t = ${tenMillion}, {} for i = 1, 100 do s = select(2, pcall(function() assert(false, s) end)) t[i] = s end`,
    either,
  ],
  [
    'stacks of coroutines',
    'local t = {} local function r(n) if n == 0 then coroutine.yield() end return 1 + r(n - 1) end for i = 1, 1000 do t[i] = coroutine.create(r) coroutine.resume(t[i], 15000) end',
    tooMuch,
  ],
  [
    'stacks of coroutines with a compiled function',
    "local f = loadstring('local f, n = ... local a, b, c, d, e if n == 0 then coroutine.yield() end return 1 + f(f, n - 1)') local t = {} for i = 1, 1000 do t[i] = coroutine.create(f) coroutine.resume(t[i], f, 10000) end",
    tooMuch,
  ],
  [
    'variables that functions hold',
    `local t = {} for i = 1, 1e6 do local ${letters} = 1 t[i] = function() return ${letters} end end`,
    tooMuch,
  ],
  [
    'a weak table by a field',
    "local m = {} local t = setmetatable({}, m) m.__mode = 'k' return 1",
    weak,
  ],
  [
    'a weak table by a name that is made',
    "local m = {} local t = setmetatable({}, m) local k = '__mo' .. 'de' m[k] = 'k' return 1",
    weak,
  ],
  [
    'a weak table by a name with escapes',
    "local m = {} local t = setmetatable({}, m) m['\\95_mode'] = 'k' return 1",
    weak,
  ],
  [
    'a weak table by rawset',
    "local m = {} local t = setmetatable({}, m) rawset(m, '__mode', 'k') return 1",
    weak,
  ],
  [
    'a weak table by a compiled text',
    'return loadstring("local m = ... m.__mode = \'k\'")({})',
    /nil value/,
  ],
  [
    'names of commands without an end',
    `local s = ${tenMillion} for i = 1, 100 do pcall(redis.acl_check_cmd, s) end`,
    either,
  ],
  ['places to unpack that are none', `${thousands} for i = 1, 1e5 do unpack(l, 0/0) end`, tooMuch],
  [
    'many lists in few bytes',
    "return #cmsgpack.unpack('\\221\\000\\013\\187\\160' .. string.rep('\\144', 900000))",
    either,
  ],
  [
    'numbers of many digits',
    "local s = string.rep(' ', 200000) for i = 1, 1e5 do tonumber(s) end",
    tooLong,
  ],
  [
    'texts that are put into an order',
    "local a, b = string.rep('a', 200000), string.rep('a', 200000) .. 'b' local n = 0 for i = 1, 1e6 do if a < b then n = n + 1 end end",
    tooLong,
  ],
];

describe('a way around the bounds of a script', () => {
  let votes: ScriptVotes;
  beforeAll(async () => {
    votes = await ScriptVotes.start();
  });
  afterAll(() => votes.stop());

  const outcome = (words: string) => votes.outcomeOf(words);

  it.each(detours)('is closed: %s', async (_name, words, refusal) => {
    expect(await outcome(words)).toMatch(refusal);
  });

  it('has the longest allowed pattern, and not one byte longer', async () => {
    const find = (count: number) =>
      `return string.find('a', string.rep('a', ${count - 2}) .. 'b*') or 'none'`;
    expect(await outcome(find(limits.scriptPatternBytes))).toBe('[[0,"none"]]');
    expect(await outcome(find(limits.scriptPatternBytes + 1))).toContain('pattern is too long');
  });

  // These are the largest numbers of values that Lua passes on; Lockstep's own calls must not need more.
  it.each([7_990, 7_997, 7_998, 7_999, 8_000])(
    'is answered: %d values for a command',
    async (count) => {
      const words = (first: string) =>
        `local t = {${first}, KEYS[1] or 'k'} for i = 3, ${count} do t[i] = 'v' end return redis.call(unpack(t))`;
      const answered = await outcome(words("'RPUSH'"));
      expect(answered).toMatch(new RegExp(`^\\[\\[0,${count - 2}\\]\\]$|too many|stack overflow`));
      const handed = `local t = {} for i = 1, ${count} do t[i] = 'v' end return redis.call('RPUSH', KEYS[1], unpack(t))`;
      expect(await outcome(handed)).toMatch(
        new RegExp(`^\\[\\[0,${count}\\]\\]$|too many|stack overflow`),
      );
      const args = ['EVAL_RO', 'sha', countedText(words("'EXISTS'")), '0'];
      const result = await votes.client.snapshot(
        snapshotOf([], [{ args, reads: [], reply: null }]),
        0,
      );
      expect(JSON.stringify(result)).toMatch(/"kind":"read".*(?:0|too many|stack overflow)/);
      expect(await votes.server.redis.keys('lockstep:0:*:*')).toEqual([]);
    },
  );

  it('uses no more of the server’s memory than the limit of its texts and tables', async () => {
    const before = await luaMemory(votes.server);
    for (const [, words] of detours) await outcome(words);
    expect((await luaMemory(votes.server)) - before).toBeLessThan(5 * limits.memoryPerScript);
  });

  it('leaves legitimate scripts unchanged', async () => {
    const errors = `
      local texts = {}
      for _, each in ipairs({
        function() error('a') end, function() error('b', 2) end, function() error('c', 0) end,
        function() return error('d') end, function() error(5) end, function() assert(false, 'e') end,
        function() assert(nil) end, function() return assert(1 == 2, 'f') end, function() tonumber('1', 99) end,
      }) do texts[#texts + 1] = tostring(select(2, pcall(each))) end
      return texts`;
    expect(await outcome(errors)).toBe(
      '[[0,["user_script:4: a","b","c","user_script:5: d","user_script:5: 5","user_script:5: e","user_script:6: assertion failed!","user_script:6: f","user_script:6: bad argument #2 to \'tonumber\' (base out of range)"]]]',
    );
    expect(
      await outcome(
        "local function f(...) return arg.n .. arg[2] end local function g(...) return select('#', ...) end return {f(1, 'b'), g(1, 2, 3), g(unpack({1, 2}))}",
      ),
    ).toBe('[[0,["2b",3,2]]]');
    expect(
      await outcome(
        "local m = setmetatable({}, {__lt = function() return true end}) return {tostring(m < m), tostring('a' < 'b'), tostring(2 < 1), tostring(not ('b' >= 'a'))}",
      ),
    ).toBe('[[0,["true","true","false","false"]]]');
    expect(
      await outcome(
        "local t = {'b'} table.insert(t, 1, 'a') table.insert(t, 0, 'z') return {t[0], tostring(t[1]), t[2], t[3]}",
      ),
    ).toBe('[[0,["z","nil","a","b"]]]');
    expect(
      await outcome(
        'local names = {} for name in pairs(math) do names[#names + 1] = name end return #names',
      ),
    ).toMatch(/^\[\[0,(?:2|3)\d\]\]$/);
  });
});

async function luaMemory(server: TestServer): Promise<number> {
  const text = await server.redis.info('memory');
  return Number(/used_memory_lua:(\d+)/.exec(text)?.[1]);
}
