/** The coordinator's storage as the number of kept writes grows: the start of a life, its heap, a write, and lookups. */
import process from 'node:process';
import type { CoordinatorStorage } from '../../../functions/coordinator/storage/coordinator-storage.ts';
import type { TransactionOrder } from '../../../shared/ids.ts';
import type { StorageWrite } from '../../../shared/protocol/io/ready.ts';
import { MemoryStorage } from '../../coordinator/sqlite.ts';
import { begun, writeOf } from '../../coordinator/stored.ts';
import { median } from '../measure.ts';
import { randomFrom } from '../zipfian.ts';

/** All writes are kept, despite the default retention. */
const keepAll = { keptMs: Number.MAX_SAFE_INTEGER, keptWrites: 1e9, keptBytes: 10e9 };
/** The time of the first write, ms since 1970; one write per ms follows. */
const firstAt = Date.UTC(2026, 0, 1);
const lives = 3;
const warmWrites = 5_000;
const lookups = 300;
const writesTimed = 2_000;
const pageChanges = 100;

/** The storage with a number of writes kept. */
export interface KeptCost {
  readonly kept: number;
  readonly beginMs: number;
  /** Of a new life. */
  readonly heapBytes: number;
  /** Of the life that made the last of these writes. */
  readonly writerHeapBytes: number;
  readonly writeUs: number;
  readonly rowsPerWrite: number;
  readonly recordUs: number;
  readonly pageUs: number;
  readonly databaseBytes: number;
}

/** Fills a storage step by step, each with one write and the confirmation of the one before, and measures at each size. */
export function measureKeptWrites(
  sizes: readonly number[],
  say: (line: string) => void,
): readonly KeptCost[] {
  // Compiled code is in the heap, too: this compiles it first.
  new KeptWrites(new MemoryStorage()).growTo(warmWrites, () => {});
  const kept = new KeptWrites(new MemoryStorage());
  return sizes.map((size) => {
    say(`  ${size.toLocaleString('en-US')} writes kept …`);
    return kept.growTo(size, say);
  });
}

/** A storage, and the writes that it keeps so far. */
class KeptWrites {
  private readonly memory: MemoryStorage;
  private readonly heapBefore = heapBytes();
  private sequence = 0;

  constructor(memory: MemoryStorage) {
    this.memory = memory;
  }

  growTo(kept: number, say: (line: string) => void): KeptCost {
    const filled = this.fill(kept, say);
    const started = Array.from({ length: lives }, () => this.startLife());
    const { storage } = begun(this.memory, keepAll);
    const random = randomFrom(kept);
    const chosen = (from: number) =>
      Array.from({ length: lookups }, () => from + 1 + Math.floor(random() * (kept - from)));
    // This storage in memory gives all rows of a query at once, and the platform one after the other. So the pages are
    // those of a follower that is nearly up to date.
    const recent = Math.max(0, kept - pageChanges * 2);
    const newest = this.sequence;
    return {
      kept,
      ...filled,
      beginMs: median(started.map(({ beginMs }) => beginMs)),
      heapBytes: median(started.map(({ heap }) => heap)),
      recordUs: median(chosen(0).map((number) => timeRecord(storage, number))),
      pageUs: median(chosen(recent).map((number) => timePage(storage, number, newest))),
      databaseBytes: this.memory.sql.databaseSize,
    };
  }

  /** Writes up to a number of writes, in one life. */
  private fill(kept: number, say: (line: string) => void) {
    const { storage } = begun(this.memory, keepAll);
    const timed: number[] = [];
    const before = { sequence: this.sequence, rows: this.memory.rowsWritten };
    while (this.sequence < kept) {
      this.sequence += 1;
      const steps = stepOf(this.sequence);
      const from = performance.now();
      storage.write(steps);
      if (this.sequence > kept - writesTimed) timed.push((performance.now() - from) * 1_000);
      if (this.sequence % 100_000 === 0) say(`    ${this.sequence.toLocaleString('en-US')}`);
    }
    const heapOfWriter = heapBytes() - this.heapBefore;
    // The life is in use up to here, so that its heap is not collected before it is measured.
    storage.prove();
    const rows = this.memory.rowsWritten - before.rows;
    return {
      writeUs: median(timed),
      rowsPerWrite: rows / (this.sequence - before.sequence),
      writerHeapBytes: heapOfWriter,
    };
  }

  /** The time to begin a life, and its heap, after the one before it is gone. */
  private startLife(): { readonly beginMs: number; readonly heap: number } {
    const from = performance.now();
    const life = begun(this.memory, keepAll);
    const beginMs = performance.now() - from;
    const heap = heapBytes() - this.heapBefore;
    life.storage.prove();
    return { beginMs, heap };
  }
}

/** The id of a write as edges make it: a UUID of version 7, with the time in front. */
function idOf(sequence: number): string {
  const time = (firstAt + sequence).toString(16).padStart(12, '0');
  const tail = sequence.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${tail}`;
}

function stepOf(sequence: number): readonly StorageWrite[] {
  const at = firstAt + sequence;
  const made = writeOf(sequence, at, `key:${sequence % 10_000}`);
  const write = { ...made, record: { ...made.record, id: idOf(sequence) } };
  const transaction: TransactionOrder = [1, sequence];
  const confirmed: readonly StorageWrite[] =
    sequence === 1 ? [] : [{ kind: 'confirm', transactions: [[1, sequence - 1]], now: at }];
  return [
    ...confirmed,
    {
      kind: 'commit',
      transaction,
      keys: write.keys,
      writes: [write],
      sequence,
      now: at,
      missedBy: [],
    },
  ];
}

function timeRecord(storage: CoordinatorStorage, sequence: number): number {
  const from = performance.now();
  const found = storage.recordOf(idOf(sequence));
  const us = (performance.now() - from) * 1_000;
  if (found?.record.sequence !== sequence) throw new Error(`the write ${sequence} is not found`);
  return us;
}

function timePage(storage: CoordinatorStorage, after: number, newest: number): number {
  const query = { since: after - 1, limit: pageChanges, prefixes: [], values: true, members: true };
  const from = performance.now();
  const page = storage.changes.page(query, newest);
  const us = (performance.now() - from) * 1_000;
  if (page.kind !== 'page') throw new Error(`the page after ${after} is ${page.kind}`);
  return us;
}

/** The heap after a collection of garbage. The process needs the option `--expose-gc`. */
function heapBytes(): number {
  const { gc } = globalThis as { readonly gc?: () => void };
  if (gc === undefined) throw new Error('kept writes are measured with --expose-gc');
  gc();
  return process.memoryUsage().heapUsed;
}
