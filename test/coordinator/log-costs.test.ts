import { describe, expect, it } from 'vitest';
import type { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
import { limits } from '../../shared/limits.ts';
import type { StoredRegion } from '../../shared/protocol/io/stored.ts';
import { flushedKey } from '../../shared/reserved-keys.ts';
import { LifeUnderTest } from './life.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, commit, rowsRead, writeOf } from './stored.ts';

/** The cost of a look into the log at its worst. */

const all = { limit: 1_000, prefixes: [], values: true, members: true };

const voter: StoredRegion = {
  region: 'near',
  generation: 1,
  former: [],
  begun: true,
  takes: 0,
  agreed: null,
  pair: null,
  membership: { state: 'voter', since: 1, leaving: null },
};

function reject(storage: CoordinatorStorage, number: number, at: number): void {
  const { record, ...write } = writeOf(number, at);
  const rejection = { ...record, outcome: 'rejected' as const, sequence: null, part: '[1,0,null]' };
  storage.write([{ kind: 'reject', writes: [{ ...write, record: rejection }], now: at }]);
}

describe('many rejected writes', () => {
  const memory = new MemoryStorage();
  const { storage } = begun(memory);
  commit(storage, 1, { at: 10 });
  for (let number = 0; number < 3_000; number += 1) reject(storage, 10_000 + number, 20);
  commit(storage, 2, { at: 30 });
  for (let number = 0; number < 3_000; number += 1) reject(storage, 20_000 + number, 40);

  it.each<[string, () => unknown, unknown]>([
    ['the newest change', () => storage.changes.newest()?.sequence, 2],
    ['a page', () => storage.changes.page({ ...all, since: 0 }, 2), { kind: 'page', next: 2 }],
    ['the last page', () => storage.changes.page({ ...all, since: 1 }, 2), { next: 2 }],
    ['the writes to recover', () => storage.changes.recoverable(0), [{}, { sequence: 2 }]],
    ['the change at a moment', () => storage.changes.sequenceBefore(15), 1],
    ['no change since a moment', () => storage.changes.sequenceBefore(35), null],
  ])('are passed over by %s', (_look, look, expected) => {
    const read = rowsRead(memory, () => {
      const found = look();
      if (typeof expected === 'object' && expected !== null) expect(found).toMatchObject(expected);
      else expect(found).toBe(expected);
    });
    expect(read).toBeLessThan(120);
  });
});

describe('a region that is away', () => {
  it('lets no steps pile up that a new life has to read', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    commit(storage, 1, { at: 10 });
    for (let now = 20; now < 3_020; now += 1) {
      const pair = [now, `n${now}`] as const;
      storage.write([
        { kind: 'clock', now },
        { kind: 'region', region: { ...voter, pair } },
      ]);
    }
    const read = rowsRead(memory, () => {
      const { stored } = begun(memory);
      expect(stored).toMatchObject({ now: 3_019, unconfirmed: [{ sequence: 1 }] });
      expect(stored.regions).toEqual([{ ...voter, pair: [3_019, 'n3019'] }]);
    });
    expect(read).toBeLessThan(60);
    expect(memory.sql.exec('SELECT count(*) AS n FROM log').toArray()).toEqual([{ n: 1 }]);
  });
});

describe('a transaction of many writes', () => {
  it('is searched once for the moment of its confirmation', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const writes = Array.from({ length: 90 }, (_, at) => {
      const write = writeOf(at + 1, 5);
      return { ...write, record: { ...write.record, transaction: '0.1.1' } };
    });
    const keys = writes.flatMap((write) => write.keys);
    storage.write([
      { kind: 'commit', transaction: [1, 1], keys, writes, sequence: 90, now: 5, missedBy: [] },
    ]);
    storage.write([{ kind: 'confirm', transactions: [[1, 1]], now: 7 }]);
    const read = rowsRead(memory, () => {
      const moments = storage.changes.recoverable(0).map(({ confirmedAt }) => confirmedAt);
      expect(moments).toEqual(writes.map(() => 7));
    });
    expect(read).toBeLessThan(20);
  });
});

describe('the last writes to several keys', () => {
  it('are looked up with other work in between', async () => {
    const { methods } = new LifeUnderTest(new MemoryStorage());
    const happened: string[] = [];
    const answered = methods.lastWrites(['a', 'b', 'c']).then((found) => {
      expect(found).toEqual([null, null, null]);
      happened.push('answered');
    });
    setTimeout(() => happened.push('other work'));
    await answered;
    expect(happened).toEqual(['other work', 'answered']);
  });
});

describe('steps with too many keys to list', () => {
  it('are read only if they have the key', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    for (let sequence = 1; sequence <= 40; sequence += 1) {
      const names = sequence === 20 ? ['key:lone', '\xff', flushedKey] : [`key:${sequence}`];
      const many = Array.from({ length: limits.keysListedPerStep }, (_, at) => `${sequence}:${at}`);
      const keys = [...many, ...names];
      const write = { ...writeOf(sequence, sequence), keys };
      const given = { keys, writes: [write], sequence, now: sequence, missedBy: [] };
      storage.write([{ kind: 'commit', transaction: [1, sequence], ...given }]);
    }
    const read = rowsRead(memory, () => {
      expect(storage.changes.lastWriteTo('key:lone')).toBe(20);
      expect(storage.changes.lastWriteTo('\xff')).toBe(20);
      expect(storage.changes.lastWriteTo('key:4')).toBe(20);
      expect(storage.changes.lastWriteTo('key:40')).toBe(40);
      expect(storage.changes.lastWriteTo('30:17')).toBe(30);
    });
    expect(read).toBeLessThan(60);
  });
});
