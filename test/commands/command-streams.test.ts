/** Tests how commands of streams compile, and the keys of commands that store. */
import { describe, expect, it } from 'vitest';
import { compileWrite } from '../../shared/commands/compile.ts';
import { limits } from '../../shared/limits.ts';
import { now, operationOf } from './command-samples.ts';

describe('an operation on a stream', () => {
  it.each([
    ['XADD s * f v', 'append', `XADD s ${now}-* f v`],
    ['XADD s 5-* f v', 'write', 'XADD s 5-* f v'],
    [
      'xadd s nomkstream maxlen ~ 9 limit 3 * f v',
      'append',
      `XADD s NOMKSTREAM MAXLEN = 9 LIMIT 3 ${now}-* f v`,
    ],
    ['XADD s MINID 3-0 7 f *', 'write', 'XADD s MINID = 3-0 7 f *'],
    ['XADD s MAXLEN ~ 9 5 * *', 'write', 'XADD s MAXLEN = 9 5 * *'],
    ['XTRIM s MAXLEN ~ 9', 'write', 'XTRIM s MAXLEN = 9'],
    ['XTRIM s MAXLEN ~ 9 limit 3', 'trim', 'XTRIM s MAXLEN = 9 LIMIT 3'],
    ['XADD s MINID ~ 9 limit 3 7-1 f v', 'trim', 'XADD s MINID = 9 LIMIT 3 7-1 f v'],
    ['XREAD BLOCK 5 COUNT 2 STREAMS s $', 'read', 'XREAD COUNT 2 STREAMS s $'],
    [
      'XREADGROUP BLOCK 0 GROUP g c COUNT 3 STREAMS s >',
      'deliver',
      'XREADGROUP GROUP g c COUNT 3 STREAMS s >',
    ],
    ['XAUTOCLAIM s g c 5 0 COUNT 99999999', 'claim', 'XAUTOCLAIM s g c 5 0 COUNT 10000'],
    ['XTRIM s minid ~ 9 LIMIT 0', 'write', 'XTRIM s MINID = 9'],
    [
      'XREADGROUP COUNT 2 NOACK GROUP g c STREAMS a b > 0',
      'deliver',
      'XREADGROUP GROUP g c COUNT 2 NOACK STREAMS a b > 0',
    ],
    ['XCLAIM s g c 5 1-1 2', 'claim', `XCLAIM s g c 5 1-1 2 TIME ${now}`],
    [
      'XCLAIM s g c 5 1 justid IDLE 7 LASTID 3',
      'claim',
      `XCLAIM s g c 5 1 TIME ${now - 7} JUSTID LASTID 3`,
    ],
    ['XCLAIM s g c 5 1 TIME 99', 'claim', 'XCLAIM s g c 5 1 TIME 99'],
    [`XCLAIM s g c 5 1 TIME ${now + 1}`, 'claim', `XCLAIM s g c 5 1 TIME ${now}`],
    ['XCLAIM s g c 5 1 IDLE -1', 'claim', `XCLAIM s g c 5 1 TIME ${now}`],
    ['XAUTOCLAIM s g c 5 0', 'claim', 'XAUTOCLAIM s g c 5 0 COUNT 100'],
    ['XAUTOCLAIM s g c 5 0 justid count 7', 'claim', 'XAUTOCLAIM s g c 5 0 COUNT 7 JUSTID'],
    ['xgroup create s g $ mkstream', 'write', 'XGROUP CREATE s g $ mkstream'],
  ])('compiles %s as %s: %s', (words, kind, args) => {
    expect(operationOf(words)).toMatchObject({ kind, args: args.split(' ') });
  });

  it('refuses an entry that is too large to be delivered', () => {
    const pair = (bytes: number) => ['XADD', 's', 'MAXLEN', '9', '*', 'f', 'v'.repeat(bytes)];
    const item = 12;
    const most = limits.valueBytes;
    const rest = limits.takenBytes - most - 4 * item - 2;
    const context = { now, seed: () => 1 };
    const add = (bytes: number) =>
      compileWrite([[...pair(most), 'g', 'w'.repeat(bytes)]], [], context);
    expect(add(rest)).toMatchObject({ ok: true });
    expect(add(rest + 1)).toMatchObject({
      problem: 'too-large',
      detail: expect.stringContaining(`the limit is ${limits.takenBytes}`),
    });
  });

  it('has the keys of XREADGROUP at their positions after its words are reordered', () => {
    expect(operationOf('XREADGROUP COUNT 2 GROUP g c STREAMS a b > >').writes).toEqual([7, 8]);
    expect(operationOf('XREAD count 2 STREAMS streams b $ $').reads).toEqual([4, 5]);
  });

  it.each([
    'XADD s MAXLEN = 5 LIMIT 3 * f v',
    'XADD s LIMIT 3 * f v',
    'XADD s MAXLEN ~ 5 LIMIT -1 * f v',
    'XTRIM s MAXLEN 5 MINID 3',
    'XTRIM s FROM 5',
    'XCLAIM s g c soon 1-1',
    'XCLAIM s g c 0 1-1 WHEN 5',
    'XAUTOCLAIM s g c 0 0 COUNT 0',
  ])('is sent unchanged if Redis refuses it: %s', (words) => {
    expect(operationOf(words)).toMatchObject({ kind: 'write', args: words.split(' ') });
  });
});

describe('an operation that stores', () => {
  it.each([
    ['SORT a BY nosort GET STORE STORE b', [7], [1]],
    ['SORT a STORE b STORE c', [5], [1]],
    ['SORT a', [], [1]],
    ['GEORADIUS a 1 2 3 m STORE b', [7], [1]],
    ['GEORADIUSBYMEMBER a m 3 m STORE b COUNT 1', [6], [1]],
    ['GEORADIUS a 1 2 3 m STORE b STOREDIST c', [9], [1]],
    ['GEOSEARCHSTORE d a FROMLONLAT 1 2 BYRADIUS 3 m STOREDIST', [1], [2]],
    ['PFCOUNT a', [], [1, 2]],
  ])('finds its keys in %s', (words, writes, reads) => {
    expect(operationOf(words)).toMatchObject({ writes, reads });
  });
});
