/** Tests how users' scripts are counted, classified and compiled, without running them. test/region runs them. */
import { describe, expect, it } from 'vitest';
import { compileReads, compileWrite } from '../../shared/commands/compile.ts';
import { promised, readLua, uncalled } from '../../shared/commands/lua-text.ts';
import {
  anyScript,
  type ScriptLookup,
  scriptOf,
  unknownScriptError,
} from '../../shared/commands/user-scripts.ts';
import { limits } from '../../shared/limits.ts';
import { planOf } from '../../shared/upstash/plan.ts';
import { context, knownSha, refusalOf } from './command-samples.ts';

const tick = ' __lockstep(1,1);';

describe('a script’s text', () => {
  it.each([
    ['while true do x() end', `while true do${tick} x() end`],
    ['repeat until f()', `repeat${tick} until f()`],
    ['for i = 1, 2 do\n  y()\nend', `for i = 1, 2 do${tick}\n  y()\nend`],
    ['while (x) --[[ do ]] do end', `while (x) --[[ do ]] do${tick} end`],
    ['return 1 -- do repeat function()', 'return 1 -- do repeat function()'],
    ['return 1 --[[ do\nrepeat ]] + 1', 'return 1 --[[ do\nrepeat ]] + 1'],
    ['return undo + do_it + t.redo', 'return undo + do_it + t.redo'],
  ])('is counted at its beginning and at each loop: %j', (text, counted) => {
    expect(readLua(text).counted).toBe(tick + counted);
  });

  it.each([
    [
      'local f = function(a, ...) end',
      64,
      'local f = function(a, ...) __lockstep_v(1,1,96,...); end',
    ],
    [
      'function a.b:c --[[x]] (x)\nend',
      104,
      'function a.b:c --[[x]] (x) __lockstep_f(1,1,80);\nend',
    ],
    ['local t = {1, a = 2}', 136, 'local t = {1, a = 2}'],
    ['t[1] = 2', 40, 't[1] = 2'],
    ['local t = {...}', 96, 'local t = __lockstep_t({...})'],
    ['f{...}', 96, 'f(__lockstep_t({...}))'],
  ])('is counted with its allocations: %j', (text, bytes, counted) => {
    expect(readLua(text).counted).toBe(` __lockstep(1,${bytes});${counted}`);
  });

  it('is counted with its size, and with the arguments that it keeps', () => {
    const long = `f = function(...) local x = ${'1 + '.repeat(100)}1 return ... end`;
    expect(readLua(long).counted).toContain('function(...) __lockstep_v(7,1,3360,...);');
    const wide = `local function f() ${'local a '.repeat(140)} return 1 + f() end`;
    expect(readLua(wide).counted).toContain('__lockstep_f(5,1600,4064);');
    expect(readLua('f = function(...) return arg.n end').counted).toContain('_a(1,1,128,arg);');
    const loop = 'f = function(...) for i = 1, 2 do g(...) end end';
    expect(readLua(loop).counted).toContain('function(...) __lockstep_v(');
    const held = 'local a, b f = function() return a, a, function() b = 1 end end';
    expect(readLua(held).counted).toContain('__lockstep(1,160);');
    expect(readLua(held).counted).toContain('__lockstep_f(1,112,');
  });

  it.each([
    ['return a..b', 'return __lockstep_c(a..b)'],
    ["return 'a'..b..'c'..d", "return __lockstep_c('a'..b..'c'..d)"],
    ['return a..b..c..d', 'return __lockstep_c(a..__lockstep_c(b..c..d))'],
    ['return (a..b)..(c..d)', 'return __lockstep_c((__lockstep_c(a..b))..(c..d))'],
    ['return t.len', 'return __lockstep_g(t.len)'],
    ["return t['len'], t['other'], t.other", "return __lockstep_g(t['len']), t['other'], t.other"],
    ["return t['l\\101n']", "return __lockstep_g(t['l\\101n'])"],
    ['return t[k]', 'return __lockstep_g(t[k])'],
    ['return t[1], t[#t + 1], t[tonumber(k)]', 'return t[1], t[#t + 1], t[tonumber(k)]'],
    ['if t[k] == 1 then end', 'if t[k] == 1 then end'],
    ['return t[k] + 1, t[k] + u', 'return t[k] + 1, __lockstep_g(t[k]) + u'],
    ['local i = 1 i = i + 1 return t[i]', 'local i = 1 i = i + 1 return t[i]'],
    ["local i = 1 i = 'rep' return t[i]", "local i = 1 i = 'rep' return __lockstep_g(t[i])"],
    ['local i = f() return t[i]', 'local i = f() return __lockstep_g(t[i])'],
    ['local function f(i) return t[i] end', null],
    ["return x:find('a')", 'return __lockstep_p(__lockstep_m(x,"find","global \'x\'")(\'a\'))'],
    [
      'local x return (x:len())',
      'local x return (__lockstep_p(__lockstep_m(x,"len","local \'x\'")()))',
    ],
    ['return x:other()', 'return x:other()'],
    ['return a < b, a < 1, a == b', 'return __lockstep_o(a) < b, a < 1, a == b'],
    ['t[k] = 1', 't[__lockstep_k(k)] = 1'],
    ["t['a'], t.b, t[1] = 1, 2, 3", "t['a'], t.b, t[1] = 1, 2, 3"],
    ['t.__mode = k', '__lockstep_w(t).__mode = k'],
    ['return error(a)', 'return __lockstep_p(error(a))'],
    ['local arg = 1 local function f(...) return t[arg] end', null],
    ["return string.rep('x', 2)", "return __lockstep_p(string.rep('x', 2))"],
    ["local string = f return string.rep('x')", null],
    ['string = f return string.len', null],
  ])('wraps operators and the methods of strings: %j', (text, expected) => {
    const { counted } = readLua(text);
    const [, body = ''] = /^ __lockstep\(\d+,\d+\);(.*)$/.exec(counted) ?? [];
    if (expected === null) expect(body).toContain('__lockstep_g(');
    else expect(body).toBe(expected);
  });

  it.each([
    'do "not closed end',
    // Deeper than the limit of Lua itself.
    `${'do '.repeat(250)}${'end '.repeat(250)}`,
    'do --[[ not closed',
    'do [==[ not closed ]=]',
    'function 1() do end',
    'return 3..2',
    'return 1e5x',
    'return f\n(x)',
    `return ${'('.repeat(20_000)}`,
    `return 1${' + 1'.repeat(30_000)}`,
  ])('does not run if it cannot be parsed: %#', (text) => {
    expect(readLua(text).counted).toBe(` __lockstep_x(); ${text}`);
  });

  it('keeps its lines, and its line of flags', () => {
    const text = "#!lua flags=no-writes\nreturn ('x')\n:rep( -- three\n3) .. f{\n...}";
    const { counted } = readLua(text);
    expect(counted.split('\n')).toHaveLength(text.split('\n').length);
    expect(counted).toContain('#!lua flags=no-writes\n __lockstep(');
    expect(readLua('#!lua do').counted).toBe('#!lua do');
  });

  it.each([
    'return 1',
    "return redis.call('GET', KEYS[1])",
    'return redis.pcall("hGetAll" , KEYS[1])',
    "redis.log(redis.LOG_NOTICE, 'x') return redis.sha1hex('')",
    "return redis.call('SCAN', 0)",
    '#!lua name=x flags=allow-stale,no-writes\nreturn f(redis)',
    '#!lua flags=no-writes flags=allow-oom\nreturn f(redis)',
    '#!lua flags=allow-oom\nreturn redis.call("GET", KEYS[1])',
    "return 'redis.call' -- redis.call('SET')",
  ])('is recognized as read-only: %j', (text) => {
    expect(readLua(text).readsOnly).toBe(true);
  });

  it.each([
    "return redis.call('SET', KEYS[1], 1)",
    "return redis.call('G' .. 'ET', KEYS[1])",
    "return redis.call('GET' .. x, KEYS[1])",
    'return redis.call(ARGV[1], KEYS[1])',
    "return redis['call']('SET', KEYS[1], 1)",
    "local r = redis return r.call('SET', KEYS[1], 1)",
    "local call = redis.call return call('SET', KEYS[1], 1)",
    "return _G['redis'].call('SET', KEYS[1], 1)",
    "return loadstring('return redis')().call('SET', KEYS[1], 1)",
    'return redis.call([[SET]], KEYS[1], 1)',
    "return redis.call('\\83ET', KEYS[1], 1)",
    "return redis.call('NOSUCH')",
    '#!lua flags=no-writes',
  ])('is not recognized as read-only: %j', (text) => {
    expect(readLua(text).readsOnly).toBe(false);
  });

  it('can be checked without being run, on its own lines', () => {
    expect(uncalled('x = = 1')).toBe('do return 1 end; x = = 1');
    expect(uncalled('#!lua\nx')).toBe('#!lua flags=no-writes\ndo return 1 end; x');
    expect(uncalled('#!lua')).toBe('#!lua');
  });

  it('declares no writes in its first line, if it has flags', () => {
    expect(promised('return 1')).toBe('return 1');
    expect(promised('#!lua flags=no-writes\nx')).toBe('#!lua flags=no-writes\nx');
    expect(promised('#!lua flags=allow-oom\nx')).toBe('#!lua flags=allow-oom flags=no-writes\nx');
    expect(promised('#!lua')).toBe('#!lua');
  });

  it('of the maximum size is parsed in a single pass', () => {
    for (const text of ["'", '[[', '--[[', '"\\', 'do ', '(', '[=', '1', 'e', '-']) {
      const long = text.repeat(limits.scriptBytes / text.length);
      expect(readLua(long).counted.length).toBeGreaterThanOrEqual(long.length);
    }
  });
});

describe('EVAL in a write', () => {
  const operationOf = (...op: readonly string[]) => {
    const compiled = compileWrite([op], [], context);
    if (!compiled.ok) throw new Error(compiled.detail);
    return compiled;
  };

  it('is an operation with its digest, its counted text, its keys, its arguments and a seed', () => {
    expect(operationOf('eval', 'do end', '2', 'a', 'b', 'a', 'x')).toMatchObject({
      operations: [
        {
          kind: 'script',
          args: [knownSha, `${tick}do end`, 'a', 'b', 'a', 'x'],
          writes: [2, 3],
          reads: [],
          seed: 42,
        },
      ],
      keys: ['a', 'b'],
    });
  });

  it('by its digest is the same, in any case of letters', () => {
    const [byDigest] = operationOf('EVALSHA', knownSha.toUpperCase(), '1', 'k').operations;
    expect(byDigest).toMatchObject({ kind: 'script', args: [knownSha, `${tick}return`, 'k'] });
  });

  it('may have no key, and arguments that look like keys of Lockstep', () => {
    expect(operationOf('EVAL', 'return 1', '0', 'lockstep:x').keys).toEqual([]);
  });

  it('is read-only only if its text shows it', () => {
    expect(operationOf('EVAL_RO', 'return 1', '1', 'k').operations[0]?.kind).toBe('script');
    expect(refusalOf(['EVAL_RO', 'return f(redis)', '0'])).toMatchObject({
      problem: 'unsupported-command',
      detail: expect.stringContaining('use EVAL'),
    });
  });

  it('is not read-only if its first line does not declare it', () => {
    const error = 'ERR Can not execute a script with write flag using *_ro command.';
    const { redis } = refusalOf(['EVAL_RO', '#!lua\nreturn 1', '0']);
    expect(redis).toEqual({ error, whenQueued: false });
  });

  it.each([
    ['EVAL x y', 'ERR value is not an integer or out of range'],
    ['EVAL x 99999999999999999999', 'ERR value is not an integer or out of range'],
    ['EVAL x 1', "ERR Number of keys can't be greater than number of args"],
    ['EVAL x 2 a', "ERR Number of keys can't be greater than number of args"],
    ['EVAL x -1', "ERR Number of keys can't be negative"],
    ['EVALSHA x 3', unknownScriptError],
    [`EVALSHA ${'a'.repeat(40)} 0`, unknownScriptError],
    [`EVALSHA ${'a'.repeat(40)} 1`, "ERR Number of keys can't be greater than number of args"],
    [`EVALSHA ${knownSha}0 0`, unknownScriptError],
  ])('%s is refused with the error of Redis', (words, error) => {
    expect(refusalOf(words).redis).toEqual({ error, whenQueued: false });
    const alone = { ...context, continueOnError: true };
    expect(compileWrite([words.split(' ')], [], alone)).toMatchObject({
      operations: [{ kind: 'fail', args: [error] }],
      keys: [],
    });
  });

  it.each([
    ['a key of Lockstep', ['EVAL', 'x', '1', 'lockstep:x'], 'reserved-key'],
    ['a compiled text', ['EVAL', '\x1bLua', '0'], 'unsupported-command'],
    ['the counter', ['EVAL', 'local __lockstep = 1', '0'], 'unsupported-command'],
    ['much text', ['EVAL', 'x'.repeat(limits.scriptBytes + 1), '0'], 'too-large'],
    ['many loops', ['EVAL', 'repeat until x '.repeat(limits.scriptBytes / 20), '0'], 'too-large'],
  ])('with %s is refused', (_name, op, problem) => {
    expect(refusalOf(op).problem).toBe(problem);
  });

  it('with too much text in one write is refused', () => {
    const text = ' '.repeat(limits.scriptBytes - tick.length);
    const ops = (count: number) => Array.from({ length: count }, () => ['EVAL', text, '0']);
    const most = limits.scriptBytesPerWrite / limits.scriptBytes;
    expect(compileWrite(ops(most), [], context).ok).toBe(true);
    expect(compileWrite(ops(most + 1), [], context)).toMatchObject({ problem: 'too-large' });
  });
});

describe('EVAL_RO in a snapshot', () => {
  it('is one command with its digest, its counted text and the number of its keys', () => {
    expect(
      compileReads([['evalsha_ro', knownSha, '1', 'k', 'v']], {
        ...context.scripts,
        find: (sha) => scriptOf('do end', sha),
      }),
    ).toMatchObject({
      commands: [{ args: ['EVAL_RO', knownSha, `${tick}do end`, '1', 'k', 'v'], reads: [4] }],
      keys: ['k'],
    });
  });

  it('is supported by EVAL_RO only: EVAL is a write', () => {
    expect(compileReads([['EVAL', 'return 1', '0']])).toMatchObject({ ok: false });
    expect(compileReads([['EVALSHA_RO', knownSha, '0']])).toMatchObject({
      redis: { error: unknownScriptError },
    });
  });
});

describe('the plan of an EVAL', () => {
  it.each(['EVAL', 'EVAL_RO'])('by %s has the script, whose text is analyzed once', (name) => {
    const analyzed: string[] = [];
    const lookup: ScriptLookup = {
      ...anyScript,
      evaluated(text) {
        analyzed.push(text);
        return scriptOf(text, knownSha);
      },
    };
    const caller = { scope: 'write', scripts: true } as const;
    const plan = planOf([name, 'return 1', '0'], context.now, caller, lookup);
    expect(plan).toMatchObject({ kind: 'script', script: { sha: knownSha, text: 'return 1' } });
    expect(analyzed).toEqual(['return 1']);
  });

  it('has no script if the command names a digest', () => {
    const caller = { scope: 'write', scripts: true } as const;
    const plan = planOf(['EVALSHA', knownSha, '0'], context.now, caller);
    expect(plan).toMatchObject({ kind: 'script', script: null });
  });
});
