import { describe, expect, it } from 'vitest';
import type { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
import { limits } from '../../shared/limits.ts';
import { roomOf } from '../../shared/protocol/io/room.ts';
import type { DecidedWrite } from '../../shared/protocol/io/stored.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, commit, confirm, pruneAll, writeOf } from './stored.ts';

const hour = 60 * 60 * 1_000;
const all = { limit: 1_000, prefixes: [], values: false, members: false };

/** A committed write under a key that is promised until a given time; its record has `bytes` of reply. */
function keyed(storage: CoordinatorStorage, sequence: number, keptUntil: number, bytes = 2): void {
  const write = writeOf(sequence, sequence);
  const record = { ...write.record, keptUntil, part: `[0,{"s":"${'x'.repeat(bytes)}"}]` };
  const decided = { ...write, record, idempotency: { key: `t::${sequence}`, digest: 'd' } };
  store(storage, [decided], sequence);
}

function store(storage: CoordinatorStorage, writes: readonly DecidedWrite[], sequence: number) {
  const keys = writes.flatMap((write) => write.keys);
  storage.write([
    { kind: 'commit', transaction: [1, sequence], keys, writes, sequence, now: 1, missedBy: [] },
    { kind: 'confirm', transactions: [[1, sequence]], now: 1 },
  ]);
}

function rejected(storage: CoordinatorStorage, number: number, decidedAt: number): void {
  const { record, ...write } = writeOf(number, decidedAt);
  const rejection = { ...record, outcome: 'rejected' as const, sequence: null, part: '[1,0,null]' };
  storage.write([{ kind: 'reject', writes: [{ ...write, record: rejection }], now: decidedAt }]);
}

/** An event reports to two endpoints that a write was given up. */
function abort(storage: CoordinatorStorage, number: number, at: number): void {
  const record = { id: `0-${number}`, transaction: null, sequence: null, part: '' };
  const write = { record, keys: [], commands: [], callback: null };
  const event = { id: `e${number}`, type: 'write.aborted' as const, at, write, values: false };
  const events = ['one', 'two'].map((endpoint) => ({ ...event, endpoint, reason: 'expired' }));
  storage.write([{ kind: 'queue-events', events, callback: null }]);
}

const countOf = (memory: MemoryStorage, table: string) =>
  Number(memory.sql.exec(`SELECT count(*) AS n FROM ${table}`).toArray()[0]?.n);

describe('an idempotency key', () => {
  it('outlives the change log, which is bounded by number, until the time that its answer named', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory, { keptWrites: 5 });
    const moment = 10 * hour;
    for (let sequence = 1; sequence <= 500; sequence += 1) keyed(storage, sequence, moment);
    pruneAll(storage, hour);
    expect(countOf(memory, 'log')).toBe(5);
    expect(storage.recordedUnder('t::1', hour)?.record.id).toBe('0-1');
    pruneAll(storage, moment);
    expect(storage.recordedUnder('t::1', moment)?.digest).toBe('d');
    pruneAll(storage, moment + limits.keysGraceMs);
    expect(storage.recordedUnder('t::1', moment)?.digest).toBe('d');
    pruneAll(storage, moment + limits.keysGraceMs + 1);
    expect(storage.recordedUnder('t::1', moment)).toBeNull();
    expect([countOf(memory, 'log'), countOf(memory, 'kept_answer')]).toEqual([5, 0]);
  });

  it('expires at its time, and its record stays while the log has the change', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    keyed(storage, 1, hour);
    rejected(storage, 2, 2);
    pruneAll(storage, 2 * hour);
    expect(storage.recordedUnder('t::1', 2 * hour)).toBeNull();
    expect(storage.recordOf('0-1')?.record.sequence).toBe(1);
    expect(storage.changes.page({ ...all, since: 0 }, 1)).toMatchObject({ next: 1 });
    expect(storage.recordOf('0-2')?.record.outcome).toBe('rejected');
    pruneAll(storage, 2 * limits.decisionsKeptMs);
    // The last step has the present state, and stays.
    expect([countOf(memory, 'log'), countOf(memory, 'kept_answer')]).toEqual([1, 0]);
    expect(storage.recordOf('0-1')).toBeNull();
  });
});

describe('the room of a storage', () => {
  const bounds = { keptBytes: 1_000, keysKeptMs: 24 * hour };

  it('shrinks the log first, then the promises to an hour, then drops keys, then refuses writes', () => {
    const rooms = [0, 699, 700, 749, 750, 850, 949, 950, 999, 1_000, 5_000].map((bytes) => {
      const { isFull, isPressed, keysKeptMs } = roomOf(bytes, bounds);
      return [bytes, isPressed, Math.round((keysKeptMs / hour) * 10) / 10, isFull];
    });
    expect(rooms).toEqual([
      [0, false, 24, false],
      [699, false, 24, false],
      [700, true, 24, false],
      [749, true, 24, false],
      [750, true, 24, false],
      [850, true, 12.5, false],
      [949, true, 1.1, false],
      [950, true, 0, false],
      [999, true, 0, false],
      [1_000, true, 0, true],
      [5_000, true, 0, true],
    ]);
  });

  it('promises no key for less than an hour', () => {
    for (let bytes = 0; bytes <= 1_000; bytes += 1) {
      const { keysKeptMs } = roomOf(bytes, bounds);
      expect(keysKeptMs === 0 || keysKeptMs >= hour).toBe(true);
    }
  });
});

describe('pruning', () => {
  it('takes steps of a few rows, regardless of the stored amount, and then finds nothing more', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const count = 10 * limits.rowsPerPrune;
    for (let sequence = 1; sequence <= count; sequence += 1) {
      commit(storage, sequence, { at: sequence });
      confirm(storage, sequence, sequence);
    }
    const kept = { keptMs: 0, keptWrites: count / 2 };
    const sizes: number[] = [];
    for (let more = true; more; ) {
      const before = memory.rowsWritten;
      more = storage.prune(count / 2, kept);
      sizes.push(memory.rowsWritten - before);
    }
    // The steps of a slice, their row of the index, and the horizon.
    expect(Math.max(...sizes)).toBeLessThanOrEqual(limits.rowsPerPrune + 3);
    expect(sizes.length).toBeGreaterThan(5);
    // A new instance finds nothing to drop: it reads, and writes nothing.
    const next = begun(memory).storage;
    const before = memory.rowsWritten;
    expect(next.prune(count / 2, kept)).toBe(false);
    expect(memory.rowsWritten).toBe(before);
  });

  it('leaves the horizon at the newest of the decisions that it dropped', () => {
    const { storage } = begun(new MemoryStorage());
    for (const sequence of [1, 2, 3]) {
      commit(storage, sequence, { at: sequence });
      confirm(storage, sequence, 3);
    }
    pruneAll(storage, 10, { keptMs: 0, keptWrites: 1 });
    expect(storage.horizon).toEqual([1, 3]);
    expect(storage.decisionsOf([[1, 3]])).toEqual([]);
  });

  it('keeps the record of a write, and the note that one was given up, for a minute, however many others follow', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory, { keptWrites: 1 });
    const now = 10 * hour;
    abort(storage, 1, now);
    rejected(storage, 2, now);
    store(storage, [writeOf(3, now)], 3);
    for (let sequence = 4; sequence <= 50; sequence += 1) {
      store(storage, [writeOf(sequence, now)], sequence);
    }
    pruneAll(storage, now + limits.keptMsMinimum - 1);
    expect(storage.abandoned('0-1')).toBe('expired');
    expect(storage.recordOf('0-2')?.record.outcome).toBe('rejected');
    expect(storage.recordOf('0-3')?.record.sequence).toBe(3);
    pruneAll(storage, now + limits.keptMsMinimum);
    expect(countOf(memory, 'log')).toBe(1);
    expect(storage.abandoned('0-1')).toBeNull();
  });

  it('drops a step of several rows whole', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const first = limits.rowsPerPrune - 1;
    for (let sequence = 1; sequence < first; sequence += 1) {
      store(storage, [writeOf(sequence, 1)], sequence);
    }
    const many = [0, 1, 2, 3].map((part) => {
      const write = writeOf(first + part, 1);
      const record = { ...write.record, transaction: `0.1.${first + 3}` };
      return { ...write, record: { ...record, part: `[0,{"s":"${'x'.repeat(900_000)}"}]` } };
    });
    store(storage, many, first + 3);
    expect(countOf(memory, 'log')).toBe(first + 1);
    expect(storage.changes.page({ ...all, since: 0, values: true }, first + 3)).toMatchObject({
      next: first + 3,
    });
    store(storage, [writeOf(first + 4, 1)], first + 4);
    // The first slice ends within the rows of the step, and drops it whole.
    expect(storage.prune(2, { keptMs: 0, keptWrites: 1 })).toBe(true);
    expect(storage.decisionsOf([[1, first + 3]])).toEqual([]);
    expect(countOf(memory, 'log')).toBe(1);
    expect(begun(memory).stored).toMatchObject({ sequence: first + 4 });
  });

  it('never drops the last step, which has the present state', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    store(storage, [writeOf(1, 1)], 1);
    pruneAll(storage, 10 * limits.decisionsKeptMs, { keptMs: 0, keptWrites: 1 });
    expect(begun(memory).stored).toMatchObject({ sequence: 1, now: 1, unconfirmed: [] });
  });
});

describe('a storage that is full', () => {
  /** Filled until the database takes no more, with a few rows of `bytes`. */
  function filled(keptUntil: number | null) {
    const memory = new MemoryStorage();
    const bounds = { keptBytes: limits.keptBytesMinimum };
    const { storage } = begun(memory, bounds);
    memory.limit(limits.keptBytesMinimum);
    let sequence = 0;
    expect(() => {
      for (;;) {
        sequence += 1;
        if (keptUntil !== null) keyed(storage, sequence, keptUntil, 100_000);
        else {
          const write = writeOf(sequence, 1);
          const record = { ...write.record, part: `[0,{"s":"${'x'.repeat(100_000)}"}]` };
          store(storage, [{ ...write, record }], sequence);
        }
      }
    }).toThrow(/full/);
    return { memory, bounds, last: sequence - 1 };
  }

  it('is emptied of its log by the next instance, before that writes anything', () => {
    const { memory, bounds, last } = filled(null);
    const { storage, stored } = begun(memory, bounds);
    expect(stored.incarnation).toBe(2);
    expect(stored.sequence).toBe(last);
    expect(storage.room.isFull).toBe(false);
    store(storage, [writeOf(last + 1, 1)], last + 1);
  });

  it('keeps its promises: an instance begins, refuses new writes, and answers promised keys', () => {
    const { memory, bounds, last } = filled(100 * hour);
    const { storage, stored } = begun(memory, bounds);
    expect(stored.incarnation).toBe(2);
    expect(storage.room.keysKeptMs).toBe(0);
    storage.prove();
    for (let sequence = 1; sequence <= last; sequence += 1) {
      expect(storage.recordedUnder(`t::${sequence}`, hour)).not.toBeNull();
    }
    pruneAll(storage, 101 * hour);
    expect(storage.room).toMatchObject({ isFull: false, isPressed: false });
  });

  it('drops nothing that is younger than a minute, or that a region has yet to apply', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const now = limits.keptMsMinimum + 10;
    for (const [sequence, at] of [
      [1, 5],
      [2, 6],
      [3, now],
    ] as const) {
      commit(storage, sequence, { at });
    }
    for (const sequence of [1, 3]) confirm(storage, sequence, now);
    memory.sql.databaseSize = limits.keptBytesDefault;
    pruneAll(storage, now);
    pruneAll(storage, now);
    expect(storage.changes.page({ ...all, since: 0 }, 3)).toEqual({ kind: 'expired', oldest: 2 });
    confirm(storage, 2, now);
    pruneAll(storage, now);
    expect(storage.changes.page({ ...all, since: 1 }, 3)).toEqual({ kind: 'expired', oldest: 3 });
  });
});
