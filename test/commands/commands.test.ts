/** Tests the command table, and the operations that its commands compile to in writes and snapshots. */
import { describe, expect, it } from 'vitest';
import { compileReads, compileWrite, isReadOfWrites } from '../../shared/commands/compile.ts';
import { commandTable, findCommand } from '../../shared/commands/table.ts';
import type { Check } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import { channelPrefix, valuesAmong } from '../../shared/reserved-keys.ts';
import { planOf } from '../../shared/upstash/plan.ts';
import {
  context,
  keysAt,
  now,
  operationOf,
  refusalOf,
  samples,
  writable,
} from './command-samples.ts';

describe('the command table', () => {
  it('has one row for each name', () => {
    const names = commandTable.map((row) => row.name);
    expect(names.length).toBe(275);
    expect(new Set(names).size).toBe(names.length);
  });

  it('has a sample for each supported command', () => {
    const supported = commandTable.filter((row) => row.class !== 'refused').map((row) => row.name);
    expect(samples.map((words) => words.split(' ')[0]).sort()).toEqual([...supported].sort());
  });

  it.each(['constructor', '__proto__', 'toString', 'ſet', '', ' SET', 'SET\n', 'FOO', 'BF.ADD'])(
    'knows no command %j',
    (name) => {
      expect(findCommand(name)).toBeNull();
      expect(refusalOf([name, 'key']).problem).toBe('invalid-command');
    },
  );
});

describe('an operation', () => {
  it.each(writable)('has the keys of %s at their positions', (words) => {
    const operation = operationOf(words);
    const named = words.split(' ').filter((word) => /^(from|to)2?$/.test(word));
    const isChannel = (key: string) => key.startsWith(channelPrefix);
    const changed = keysAt(operation, operation.writes);
    const channels = changed.filter(isChannel).map((key) => key.slice(channelPrefix.length));
    const writes = [...valuesAmong(changed), ...channels];
    expect([...writes, ...keysAt(operation, operation.reads)].sort()).toEqual([...named].sort());
    for (const key of writes) expect(key).toMatch(/^to/);
    for (const key of keysAt(operation, operation.reads)) expect(key).toMatch(/^from/);
  });

  it('names the command in upper case', () => {
    expect(operationOf('hSet to f v').args).toEqual(['HSET', 'to', 'f', 'v']);
  });

  it.each([
    ['SMEMBERS from', 'members'],
    ['SUNION from from2', 'members'],
    ['HKEYS from', 'members'],
    ['HVALS from', 'members'],
    ['HGETALL from', 'pairs'],
    ['INCR to', 'exact'],
    ['DECRBY to 2', 'exact'],
    ['HINCRBY to f 1', 'exact-field'],
    ['LRANGE from 0 -1', null],
    ['BITFIELD to GET u8 0', null],
  ])('has the reply of %s ordered as %s', (words, reply) => {
    expect(operationOf(words).reply).toBe(reply);
  });

  it.each([
    ['DEL to to2', 'delete', ['DEL', 'to', 'to2']],
    ['unlink to', 'delete', ['UNLINK', 'to']],
    ['TTL from', 'ttl', ['TTL', 'from']],
    ['PTTL from', 'ttl', ['PTTL', 'from']],
    ['TOUCH from', 'read', ['TOUCH', 'from']],
    ['MSET to v', 'write', ['MSET', 'to', 'v']],
    ['SETNX to v', 'write', ['SETNX', 'to', 'v']],
  ])('makes %s a %s', (words, kind, args) => {
    expect(operationOf(words)).toMatchObject({ kind, args, seed: null });
  });
});

describe('a random command', () => {
  it('becomes a pop with a seed of its own for each draw', () => {
    let last = 0;
    const ops = [
      ['SPOP', 'a'],
      ['SPOP', 'b', '0'],
      ['SPOP', 'c', '3'],
    ];
    const compiled = compileWrite(ops, [], { now, seed: () => (last += 1) });
    if (!compiled.ok) throw new Error(compiled.detail);
    expect(compiled.operations.map(({ kind, args, seed }) => [kind, args, seed])).toEqual([
      ['pop', ['a', ''], 1],
      ['pop', ['b', '0'], 2],
      ['pop', ['c', '3'], 3],
    ]);
  });

  it.each(['SPOP k -1', 'SPOP k x', 'SPOP k 1 2', 'SPOP k 01'])('is refused as %s', (words) => {
    expect(refusalOf(words).problem).toBe('invalid-command');
  });

  it.each([
    'SRANDMEMBER k',
    'HRANDFIELD k',
    'ZRANDMEMBER k',
    'SSCAN k 0',
    'HSCAN k 0',
    'ZSCAN k 0',
  ])('that only reads, %s, is refused in a write and accepted in a snapshot', (words) => {
    expect(refusalOf(words).problem).toBe('unsupported-command');
    expect(refusalOf(words).detail).toContain('/v1/reads');
    expect(compileReads([words.split(' ')]).ok).toBe(true);
  });
});

describe('a compiled write', () => {
  it('lists each key once, in order of first appearance', () => {
    const ops = [
      ['ZUNIONSTORE', 'd', '2', 'b', 'a'],
      ['SET', 'a', 'v'],
      ['COPY', 'd', 'c'],
    ];
    const checks: readonly Check[] = [
      { kind: 'absent', key: 'e' },
      { kind: 'exists', key: 'b' },
    ];
    expect(compileWrite(ops, checks, context)).toMatchObject({ keys: ['d', 'b', 'a', 'c', 'e'] });
  });

  it('counts its bytes in UTF-8, checks included', () => {
    const checks: readonly Check[] = [{ kind: 'field', key: 'é', field: 'f', value: '🔑' }];
    expect(compileWrite([['APPEND', 'k', 'ü']], checks, context)).toMatchObject({ bytes: 9 + 7 });
  });

  it('may consist of checks alone', () => {
    expect(compileWrite([], [{ kind: 'absent', key: '' }], context)).toMatchObject({
      ok: true,
      operations: [],
      keys: [''],
    });
  });
});

describe('a snapshot', () => {
  it('keeps a region’s own order', () => {
    expect(
      compileReads([
        ['hgetall', 'h'],
        ['Mget', 'a', 'h'],
      ]),
    ).toEqual({
      ok: true,
      commands: [
        { args: ['HGETALL', 'h'], reads: [1], reply: null },
        { args: ['MGET', 'a', 'h'], reads: [1, 2], reply: null },
      ],
      keys: ['h', 'a'],
    });
  });

  it.each([
    ['sort l ALPHA', 'SORT_RO l ALPHA'],
    ['SORT l BY nosort GET STORE', 'SORT_RO l BY nosort GET STORE'],
    ['GEORADIUS g 1 2 3 m WITHDIST', 'GEORADIUS_RO g 1 2 3 m WITHDIST'],
    ['GEORADIUSBYMEMBER g m 3 m', 'GEORADIUSBYMEMBER_RO g m 3 m'],
  ])('accepts %s, which stores nothing, as %s', (words, sent) => {
    const args = sent.split(' ');
    const mayRead = { scope: 'read', scripts: false } as const;
    expect(planOf(words.split(' '), now, mayRead)).toMatchObject({ kind: 'read', keys: [args[1]] });
    expect(compileReads([words.split(' ')])).toEqual({
      ok: true,
      commands: [{ args, reads: [1], reply: null }],
      keys: [args[1]],
    });
  });

  it('may also be part of a write exactly if the compiler of writes accepts it', () => {
    const many = [
      'EXISTS',
      ...Array.from({ length: limits.keysPerWrite + 1 }, (_, index) => `k${index}`),
    ];
    const reads = [...samples.map((words) => words.split(' ')), many].flatMap((words) => {
      const compiled = compileReads([words], context.scripts);
      return compiled.ok ? [{ words, keys: compiled.keys }] : [];
    });
    expect(reads.length).toBeGreaterThan(80);
    const accepted = reads.filter(({ words, keys }) =>
      isReadOfWrites(words, keys, now, context.scripts),
    );
    expect(accepted).toEqual(reads.filter(({ words }) => compileWrite([words], [], context).ok));
    expect(accepted.map(({ words }) => words[0])).not.toContain('SCAN');
  });

  it.each([
    ['SORT', "for 'sort' command"],
    ['GEORADIUS g 1', "for 'georadius' command"],
  ])('refuses %s by its given name', (words, detail) => {
    expect(compileReads([words.split(' ')])).toHaveProperty(
      'detail',
      expect.stringContaining(detail),
    );
  });

  it.each([
    'SORT l STORE d',
    'GEORADIUS g 1 2 3 m STORE d',
    'GEORADIUSBYMEMBER g m 3 m STOREDIST d',
    'SET k v',
    'GETDEL k',
    'GETEX k',
    'BITFIELD k GET u8 0',
    'SPOP k',
    'EXPIRE k x',
  ])('refuses %s, which writes', (words) => {
    const compiled = compileReads([words.split(' ')]);
    expect(compiled).toMatchObject({ ok: false, problem: 'invalid-command' });
    expect(compiled).toHaveProperty('detail', expect.stringContaining('POST /v1/writes'));
  });
});
