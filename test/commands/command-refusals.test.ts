/** Tests the refusals of the compiler, and its limits. The samples of supported commands are in command-samples.ts. */
import { describe, expect, it } from 'vitest';
import { compileReads, compileWrite } from '../../shared/commands/compile.ts';
import { commandTable } from '../../shared/commands/table.ts';
import type { Check } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import { context, refusalOf } from './command-samples.ts';

describe('a refusal', () => {
  it.each([
    ['FOO a', 'invalid-command', "unknown command 'FOO'"],
    ['GET', 'invalid-command', "wrong number of arguments for 'get' command; it takes exactly 1"],
    ['GET a b', 'invalid-command', "wrong number of arguments for 'get' command"],
    ['DEL', 'invalid-command', "wrong number of arguments for 'del' command; it takes at least 1"],
    ['MSET a b c', 'invalid-command', "for 'mset' command; it takes at least 2"],
    ['HSET k f v g', 'invalid-command', "wrong number of arguments for 'hset' command"],
    ['ZRANK k m WITHSCORE', 'invalid-command', "wrong number of arguments for 'zrank' command"],
    ['LMPOP 0 a LEFT', 'invalid-command', "numkeys of 'lmpop'"],
    ['ZUNION 2 a', 'invalid-command', "numkeys of 'zunion'"],
    ['SINTERCARD 999999999 a', 'invalid-command', "numkeys of 'sintercard'"],
    ['ZUNIONSTORE d 1e0 a', 'invalid-command', "numkeys of 'zunionstore'"],
    ['COPY a b DB 1', 'unsupported-command', 'one database'],
    ['copy a b replace db 1', 'unsupported-command', 'one database'],
    ['BLPOP a 0', 'unsupported-command', 'LPOP'],
    ['FCALL f 0', 'unsupported-command', 'as a script with EVAL'],
    ['SCRIPT LOAD x', 'unsupported-command', 'in the Upstash API'],
    ['MULTI', 'unsupported-command', 'transaction already'],
    ['SWAPDB 0 1', 'unsupported-command', 'SWAPDB'],
    ['SCAN 0', 'unsupported-command', '/v1/reads'],
    ['SETBIT k 4294967295 1', 'too-large', 'SETBIT extends the value to 536870912 bytes'],
    ['SETBIT k 128000000 1', 'too-large', 'the limit is 16000000'],
    ['SETRANGE k 16000000 x', 'too-large', 'the limit is 16000000'],
    ['BITFIELD k GET u8 0 SET u8 #16000000 1', 'too-large', 'the limit is 16000000'],
    ['BITFIELD k INCRBY i5 4294967290 1', 'too-large', 'the limit is 16000000'],
    ['XREADGROUP GROUP g c BLOCK soon STREAMS s >', 'invalid-command', 'timeout is not an integer'],
    ['XREAD BLOCK -1 STREAMS s $', 'invalid-command', 'timeout is negative'],
    ['XREAD BLOCK x COUNT y STREAMS s $', 'invalid-command', 'timeout is not an integer'],
    ['XREAD COUNT y BLOCK x STREAMS s $', 'invalid-command', 'value is not an integer'],
    ['XREADGROUP COUNT 1 NOACK STREAMS s s > >', 'invalid-command', 'GROUP'],
    ['XREAD GROUP g c STREAMS s 0', 'invalid-command', 'XREADGROUP'],
    ['XREAD STREAMS a b 0', 'invalid-command', 'Unbalanced'],
    ['XREAD COUNT 1 a 0', 'invalid-command', 'syntax error'],
    ['XPENDING s g - + 5', 'unsupported-command', 'idle times'],
    ['XINFO STREAM s', 'unsupported-command', '/v1/reads'],
    ['MEMORY USAGE k', 'unsupported-command', 'memory usage differs between servers'],
    ['XGROUP HELP', 'unsupported-command', 'HELP'],
    ['XGROUP BURN s g', 'invalid-command', "unknown subcommand 'BURN'"],
    ['XGROUP CREATE s g', 'invalid-command', "arguments for 'xgroup|create' command"],
    ['BITFIELD_RO k GET i64 0', 'unsupported-command', 'exact up to 53 bits'],
    ['SORT k BY w_* STORE d', 'unsupported-command', 'BY with a pattern'],
    ['SORT k GET o_*', 'unsupported-command', 'GET with a pattern'],
    ['SORT k ALPHA', 'unsupported-command', 'locale'],
    ['SORT k STORE lockstep:x', 'reserved-key', 'lockstep:'],
    ['GEORADIUS k 1 1 1 m STORE lockstep:x', 'reserved-key', 'lockstep:'],
    ['XREADGROUP GROUP g c STREAMS a lockstep:x > >', 'reserved-key', 'lockstep:'],
    ['XGROUP CREATE lockstep:x g $', 'reserved-key', 'lockstep:'],
    ['MSETEX 1 k v', 'unsupported-command', 'MSETEX is newer than Redis 7.0'],
    ['HEXPIRE k 1 FIELDS 1 f', 'unsupported-command', 'clock of each region'],
    ['SET lockstep:0:state v', 'reserved-key', 'lockstep:'],
    ['SUNIONSTORE d a lockstep:x', 'reserved-key', 'lockstep:'],
  ])('of %s is %s: %s', (words, problem, detail) => {
    const refusal = refusalOf(words);
    expect(refusal.problem).toBe(problem);
    expect(refusal.detail).toContain(detail);
  });

  it.each(commandTable.filter((row) => row.class === 'refused').map((row) => row.name))(
    'of %s gives the reason',
    (name) => {
      for (const compiled of [compileWrite([[name]], [], context), compileReads([[name]])]) {
        if (compiled.ok) throw new Error(`${name} is taken`);
        expect(compiled.problem).toBe('unsupported-command');
        expect(compiled.detail).toContain(`${name} is not supported: `);
      }
    },
  );

  it.each([
    ['DOCTOR', 'single server'],
    ['BURN', "unknown subcommand 'BURN'"],
    ['USAGE', "wrong number of arguments for 'memory|usage' command"],
  ])('of MEMORY %s gives the reason', (subcommand, detail) => {
    expect(compileReads([['MEMORY', subcommand]])).toHaveProperty(
      'detail',
      expect.stringContaining(detail),
    );
  });

  it('names the operation or check that it is about', () => {
    const ops = [['GET', 'a'], ['GET']];
    expect(compileWrite(ops, [], context)).toMatchObject({
      detail: expect.stringMatching(/^ops\[1\]: /),
    });
    const check: Check = { kind: 'absent', key: 'lockstep:' };
    expect(compileWrite([], [check], context)).toMatchObject({
      problem: 'reserved-key',
      detail: expect.stringMatching(/^checks\[0\]: /),
    });
  });

  it.each([
    [['SET', 'k', '\ud800']],
    [['SET', '\udc00', 'v']],
    [['\ud800']],
    [['HSET', 'k', '\ud83d', 'v']],
  ])('of a lone surrogate reports invalid Unicode', (op) => {
    const refusal = refusalOf(op);
    expect(refusal.problem).toBe('invalid-command');
    expect(refusal.detail).toContain('not valid Unicode text');
    expect(refusal.detail.isWellFormed()).toBe(true);
  });

  it('of an empty write or operation is an invalid command', () => {
    expect(compileWrite([], [], context)).toMatchObject({ ok: false, problem: 'invalid-command' });
    expect(compileWrite([[]], [], context)).toMatchObject({
      ok: false,
      problem: 'invalid-command',
    });
    expect(compileReads([])).toMatchObject({ ok: false, problem: 'invalid-command' });
    expect(compileReads([[]])).toMatchObject({ ok: false, problem: 'invalid-command' });
  });

  it('of a lone surrogate in a check is an invalid command', () => {
    const check: Check = { kind: 'field', key: 'k', field: '\ud800', value: '' };
    expect(compileWrite([], [check], context)).toMatchObject({ problem: 'invalid-command' });
  });
});

describe('a limit', () => {
  const times = <Item>(count: number, make: (index: number) => Item): readonly Item[] =>
    Array.from({ length: count }, (_, index) => make(index));
  const setOf = (value: string) => compileWrite([['SET', 'k', value]], [], context);
  const checkOf = (key: string): Check => ({ kind: 'exists', key });
  const cases: readonly [string, number, (count: number) => { readonly ok: boolean }][] = [
    [
      'operations',
      limits.operationsPerWrite,
      (count) =>
        compileWrite(
          times(count, () => ['GET', 'k']),
          [],
          context,
        ),
    ],
    [
      'checks',
      limits.checksPerWrite,
      (count) =>
        compileWrite(
          [],
          times(count, () => checkOf('k')),
          context,
        ),
    ],
    [
      'elements',
      limits.argumentsPerOperation,
      (count) => compileWrite([['DEL', ...times(count - 1, () => 'k')]], [], context),
    ],
    [
      'keys of a write',
      limits.keysPerWrite,
      (count) => compileWrite([['DEL', ...times(count, String)]], [], context),
    ],
    [
      'keys with a check',
      limits.keysPerWrite,
      (count) => compileWrite([['DEL', ...times(count - 1, String)]], [checkOf('x')], context),
    ],
    [
      'keys of a snapshot',
      limits.keysPerSnapshot,
      (count) =>
        compileReads([
          ['MGET', ...times(9, (at) => `x${at}`)],
          ['MGET', ...times(count - 9, String)],
        ]),
    ],
    [
      'random elements',
      limits.drawsPerCall,
      (count) =>
        compileReads([
          ['SRANDMEMBER', 'k', `-${count}`],
          ['HRANDFIELD', 'k', `${count}`],
        ]),
    ],
    ['reads', limits.readsPerSnapshot, (count) => compileReads(times(count, () => ['GET', 'k']))],
    [
      'bytes of a key',
      limits.keyBytes,
      (count) => compileWrite([['GET', 'k'.repeat(count)]], [], context),
    ],
    [
      'bytes of a check’s key',
      limits.keyBytes,
      (count) => compileWrite([], [checkOf('k'.repeat(count))], context),
    ],
    ['bytes of a value', limits.valueBytes, (count) => setOf(`é${'v'.repeat(count - 2)}`)],
    [
      'bytes of a check’s value',
      limits.valueBytes,
      (count) =>
        compileWrite([], [{ kind: 'equals', key: 'k', value: 'v'.repeat(count) }], context),
    ],
  ];

  it.each(cases)('of %s passes at %i and refuses one more', (_, limit, compile) => {
    expect(compile(limit)).toMatchObject({ ok: true });
    expect(compile(limit + 1)).toMatchObject({
      ok: false,
      problem: 'too-large',
      detail: expect.stringContaining(String(limit)),
    });
  });
});
