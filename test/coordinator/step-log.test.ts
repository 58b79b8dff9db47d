import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { StorageWrite } from '../../shared/protocol/io/ready.ts';
import type { StoredRegion } from '../../shared/protocol/io/stored.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, commit, confirm, pruneAll, rowsRead, writeOf } from './stored.ts';

/** The log of steps: its index, its rows, and the state that a new life reads from it. */

const all = { limit: 1_000, prefixes: [], values: true, members: true };

/** A storage with many committed writes, all of them confirmed. */
function filled(count: number) {
  const memory = new MemoryStorage();
  const { storage } = begun(memory);
  for (let sequence = 1; sequence <= count; sequence += 1) {
    commit(storage, sequence, { key: `key:${sequence % 1_000}` });
    if (sequence % 100 === 0) {
      const transactions = Array.from({ length: 100 }, (_, at) => [1, sequence - at] as const);
      storage.write([{ kind: 'confirm', transactions, now: sequence }]);
    }
  }
  return { memory, storage };
}

describe('a log of many steps', () => {
  const steps = 5 * limits.stepsPerIndex;
  const { memory, storage } = filled(steps);

  it('has a row of the index for every thousand steps', () => {
    const [rows] = memory.sql.exec('SELECT count(*) AS n FROM log_index').toArray();
    expect(rows).toEqual({ n: Math.floor((steps * 1.01) / limits.stepsPerIndex) });
  });

  it.each([1, 777, steps / 2, steps])(
    'finds the write %d, in any life, and reads few rows',
    (at) => {
      for (const one of [storage, begun(memory).storage]) {
        const read = rowsRead(memory, () => {
          expect(one.recordOf(`0-${at}`)?.record.sequence).toBe(at);
          expect(one.decisionsOf([[1, at]])).toEqual([
            { transaction: [1, at], keys: [`key:${at % 1_000}`] },
          ]);
          expect(one.changes.page({ ...all, since: at - 1, limit: 1 }, steps)).toMatchObject({
            changes: [{ sequence: at }],
          });
          expect(one.changes.sequenceBefore(at)).toBe(at - 1);
        });
        expect(read).toBeLessThan(60);
      }
    },
  );

  it('finds the last write to a key', () => {
    expect(storage.changes.lastWriteTo('key:7')).toBe(steps - 993);
    expect(storage.changes.lastWriteTo('key:1001')).toBeNull();
  });

  it('finds nothing for ids that it does not have', () => {
    expect(storage.recordOf('0-77777')).toBeNull();
    expect(storage.decisionsOf([[1, steps + 1]])).toEqual([]);
    expect(storage.decisionsOf([[2, 1]])).toEqual([]);
  });

  it('says when a write was confirmed', () => {
    expect(storage.changes.recoverable(149)[0]).toMatchObject({ sequence: 150, confirmedAt: 200 });
  });

  it('is read by a new life only behind the last row of the index', () => {
    const read = rowsRead(memory, () => {
      const { stored } = begun(memory);
      expect(stored).toMatchObject({ sequence: steps, unconfirmed: [] });
    });
    expect(read).toBeLessThan(limits.stepsPerIndex + 100);
  });

  it('drops the rows of the index with the last of their steps', () => {
    const other = filled(2 * limits.stepsPerIndex);
    pruneAll(other.storage, 2 * limits.keptMsMinimum, {
      keptMs: limits.keptMsMinimum,
      keptWrites: 1,
    });
    const rows = other.memory.sql.exec('SELECT count(*) AS n FROM log_index').toArray();
    expect(rows).toEqual([{ n: 0 }]);
    expect(other.storage.recordOf('0-5')).toBeNull();
  });
});

describe('a new life', () => {
  it('reads the commits that were unconfirmed, also between others that were confirmed', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    for (const sequence of [1, 2, 3, 4, 5]) commit(storage, sequence);
    for (const sequence of [1, 3, 5]) confirm(storage, sequence, 10);
    const { stored } = begun(memory);
    expect(stored.unconfirmed.map(({ sequence }) => sequence)).toEqual([2, 4]);
    expect(storage.recordOf('0-2')?.confirmed).toBe(false);
    expect(storage.recordOf('0-3')?.confirmed).toBe(true);
  });

  const region = (counter: number, begins = true): StorageWrite => {
    const stored: StoredRegion = {
      region: 'near',
      generation: 1,
      former: [],
      begun: begins,
      takes: 0,
      agreed: null,
      pair: counter === 0 ? null : [counter, `n${counter}`],
      membership: { state: 'voter', since: 1, leaving: null },
    };
    return { kind: 'region', region: stored };
  };

  it.each<[string, readonly (readonly StorageWrite[])[], number | null]>([
    ['in its row', [[region(3)]], 3],
    ['in the log', [[region(3)], [region(4)]], 4],
    ['in its row, written after the log', [[region(3)], [region(4)], [region(5, false)]], 5],
    ['in the log, after a row', [[region(3)], [region(5, false)], [region(6, false)]], 6],
    ['gone in the log', [[region(3)], [region(4)], [region(0)]], null],
    [
      'of a region that was forgotten and came back',
      [[region(3)], [region(4)], [{ kind: 'forget', region: 'near' }], [region(1)]],
      1,
    ],
    ['in a step that writes its row twice', [[region(3)], [region(4, false), region(5, false)]], 5],
    [
      'in a step with both',
      [[region(3)], [{ kind: 'rest', isResting: true }, region(4, false)]],
      4,
    ],
  ])('has the newest pair of a region: %s', (_case, steps, counter) => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    for (const step of steps) storage.write(step);
    const [stored] = begun(memory).stored.regions;
    expect(stored?.pair).toEqual(counter === null ? null : [counter, `n${counter}`]);
    expect(begun(memory).stored.regions).toEqual([stored]);
  });

  it('leaves nothing of a step that failed', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    commit(storage, 1);
    memory.fails = (statement) => {
      if (statement.startsWith('INSERT INTO kept_answer')) throw new Error('failed by the test');
    };
    const write = { ...writeOf(2, 2), idempotency: { key: 't::2', digest: 'd' } };
    const { keys } = write;
    const step: StorageWrite = {
      kind: 'commit',
      transaction: [1, 2],
      keys,
      writes: [write],
      sequence: 2,
      now: 2,
      missedBy: [],
    };
    expect(() => storage.write([step])).toThrow('failed by the test');
    memory.fails = () => {};
    // The instance ends itself. If it went on, its next step would leave a gap in the log.
    expect(() => commit(storage, 3)).toThrow('writes nothing more');
    expect(() => storage.prove()).toThrow('writes nothing more');
    expect(() => storage.prune(1)).toThrow('writes nothing more');
    const next = begun(memory);
    expect(next.stored).toMatchObject({ sequence: 1, unconfirmed: [{ sequence: 1 }] });
    expect(next.storage.recordOf('0-2')).toBeNull();
    next.storage.write([step]);
    expect(begun(memory).storage.recordedUnder('t::2', 1)?.record.sequence).toBe(2);
  });
});

describe('a step with more than a row may have', () => {
  it('takes several rows, and is read as it was', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const writes = [1, 2, 3].map((sequence) => {
      const write = writeOf(sequence, 5);
      const part = `[0,"${'\0'.repeat(1_000_000)}"]`;
      return { ...write, record: { ...write.record, transaction: '0.1.9', part } };
    });
    const keys = writes.flatMap((write) => write.keys);
    const transaction = [1, 9] as const;
    storage.write([
      { kind: 'commit', transaction, keys, writes, sequence: 3, now: 5, missedBy: [] },
    ]);
    expect(memory.sql.exec('SELECT count(*) AS n FROM log').toArray()).toEqual([{ n: 2 }]);
    commit(storage, 4);
    const next = begun(memory);
    expect(next.stored.unconfirmed[0]?.writes.map(({ record }) => record)).toEqual(
      writes.map(({ record }) => record),
    );
    for (const { record } of writes) {
      expect(next.storage.recordOf(record.id)?.record).toEqual(record);
    }
    expect(next.storage.changes.page({ ...all, since: 2 }, 4)).toMatchObject({
      changes: [{ sequence: 3 }, { sequence: 4 }],
    });
  });

  it('lists no keys in its index if it has very many, and is found by each all the same', () => {
    const { storage } = begun(new MemoryStorage());
    const keys = Array.from({ length: limits.keysListedPerStep + 1 }, (_, at) => `many:${at}`);
    const write = { ...writeOf(1, 1), keys };
    storage.write([
      {
        ...{ kind: 'commit', transaction: [1, 1], keys, writes: [write], sequence: 1, now: 1 },
        missedBy: [],
      },
    ]);
    commit(storage, 2, { key: 'few' });
    expect(storage.changes.lastWriteTo('many:17')).toBe(1);
    expect(storage.changes.lastWriteTo('few')).toBe(2);
    expect(storage.changes.lastWriteTo('none')).toBeNull();
  });
});
