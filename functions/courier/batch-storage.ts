/** The stored batches of a courier, and their index in memory. It knows neither endpoints nor the retry policy. */
import { assert } from '../../shared/assert.ts';
import { limits } from '../../shared/limits.ts';
import type { SqlObjectStorage } from '../coordinator/storage/sql.ts';
import { bodyRange, type DeliveryBatch, summaryOf } from './batch.ts';
import { type Delivery, packDeliveries, unpackDeliveries } from './delivery.ts';
import { EventIndex, hashOf, packHashes } from './event-index.ts';
import { LazyHeap } from './lazy-heap.ts';

/**
 * A batch is one row without a secondary index, because each row of a table and of an index is billed. The index
 * is in memory: a summary per batch, and a few bytes per event. Both are read once per life; the columns
 * `states` and `bodies`, which are large, come last, so that this does not read them.
 */
export const batchSchema = `
  CREATE TABLE IF NOT EXISTS batch (
    position INTEGER PRIMARY KEY, added_at INTEGER NOT NULL, count INTEGER NOT NULL, waiting INTEGER NOT NULL,
    failed INTEGER NOT NULL, due_at INTEGER, waiting_since INTEGER, ended_at INTEGER NOT NULL,
    latest_at INTEGER NOT NULL, body_bytes INTEGER NOT NULL, hashes BLOB NOT NULL, states TEXT NOT NULL,
    bodies BLOB NOT NULL
  );
`;

/** Room in a row for everything besides states and bodies. */
const otherBytes = 10_000;

/** Batches whose deliveries stay in memory although nothing of them is unsaved. */
const batchesLoaded = 16;

/** Rows of the index that are read at once. */
const rowsPerRead = 1_000;

type Row = Record<string, string | number | null | ArrayBuffer>;

/** A delivery and its place. */
export interface FoundDelivery {
  readonly batch: DeliveryBatch;
  readonly index: number;
  readonly delivery: Delivery;
}

/**
 * The batches of a courier. Changes of deliveries are announced by {@link BatchStorage.update} and stored by
 * {@link BatchStorage.save}, so that several changes of a batch are one written row.
 */
export class BatchStorage {
  readonly #storage: SqlObjectStorage;
  /** In the order of their positions. */
  #batches: DeliveryBatch[] = [];
  #events = new EventIndex();
  #due = newDueQueue();
  #ended = newEndedQueue();
  #waiting = newWaitingQueue();
  #waitingCount = 0;
  readonly #unsaved = new Set<DeliveryBatch>();
  /** The batches with loaded deliveries, the one that was used the longest ago first. */
  readonly #loaded = new Set<DeliveryBatch>();
  /** The events that are being sent. They survive {@link BatchStorage.begin}. */
  readonly #inProgress = new Set<string>();

  constructor(storage: SqlObjectStorage) {
    this.#storage = storage;
  }

  /** Reads the index, if `exists`, and forgets unsaved changes. */
  begin(exists: boolean): void {
    this.#batches = [];
    this.#events = new EventIndex();
    this.#due = newDueQueue();
    this.#ended = newEndedQueue();
    this.#waiting = newWaitingQueue();
    this.#waitingCount = 0;
    this.#unsaved.clear();
    this.#loaded.clear();
    let isMore = exists;
    while (isMore) isMore = this.#readIndex();
  }

  #readIndex(): boolean {
    const last = this.#batches.at(-1)?.position ?? 0;
    const rows = this.#storage.sql
      .exec<Row>(
        `SELECT position, added_at, count, waiting, failed, due_at, waiting_since, ended_at, latest_at, body_bytes,
         hashes FROM batch WHERE position > ? ORDER BY position LIMIT ?`,
        ...[last, rowsPerRead],
      )
      .toArray();
    for (const row of rows) {
      const batch = batchOf(row);
      this.#batches.push(batch);
      this.#waitingCount += batch.waiting;
      this.#enqueue(batch);
      if (row.hashes instanceof ArrayBuffer) this.#events.addAll(row.hashes, batch.position);
    }
    return rows.length === rowsPerRead;
  }

  /** The number of waiting deliveries. */
  get waitingCount(): number {
    return this.#waitingCount;
  }

  /** In the order of their positions. */
  get batches(): readonly DeliveryBatch[] {
    return this.#batches;
  }

  /** The position of the newest delivery; 0 if there is none. */
  get newest(): number {
    const last = this.#batches.at(-1);
    return last === undefined ? 0 : last.position + last.count - 1;
  }

  /** The batch with the delivery that is due first, without those in progress; null if there is none. */
  firstDue(): DeliveryBatch | null {
    return this.#due.first();
  }

  /** The oldest batch with waiting deliveries, or null. */
  firstWaiting(): DeliveryBatch | null {
    return this.#waiting.first();
  }

  /** The batch that has been over the longest, or null. */
  firstEnded(): DeliveryBatch | null {
    return this.#ended.first();
  }

  find(event: string): FoundDelivery | null {
    for (const position of this.#events.find(event)) {
      const batch = this.#batches[this.indexBelow(position + 1)];
      assert(batch?.position === position, 'the index names batches that exist');
      const deliveries = this.load(batch);
      const index = deliveries.findIndex((one) => one.event === event);
      const delivery = deliveries[index];
      if (delivery !== undefined) return { batch, index, delivery };
    }
    return null;
  }

  /** The index of the last batch that begins below a position; -1 if there is none. */
  indexBelow(position: number): number {
    let [low, high] = [0, this.#batches.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#batches[middle]?.position ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The deliveries of a batch. After a change of them, {@link BatchStorage.update} must be called. */
  load(batch: DeliveryBatch): Delivery[] {
    // Moves it to the end.
    this.#loaded.delete(batch);
    this.#loaded.add(batch);
    if (batch.deliveries === null) {
      const [row] = this.#storage.sql
        .exec<Row>('SELECT states FROM batch WHERE position = ?', batch.position)
        .toArray();
      batch.deliveries = unpackDeliveries(String(row?.states));
      this.#unloadSome(batch);
    }
    return batch.deliveries;
  }

  /** Unloads saved batches, those first that were used the longest ago, and not `kept`. */
  #unloadSome(kept: DeliveryBatch | null = null): void {
    for (const batch of this.#loaded) {
      if (this.#loaded.size <= batchesLoaded) return;
      if (batch.unsaved !== 'nothing' || batch === kept) continue;
      batch.deliveries = null;
      this.#loaded.delete(batch);
    }
  }

  /** The body of the delivery at an index of a batch. */
  bodyOf(batch: DeliveryBatch, index: number): string {
    const { start, bytes } = bodyRange(this.load(batch), index);
    if (batch.bodies !== null) {
      return new TextDecoder().decode(batch.bodies.subarray(start, start + bytes));
    }
    const [row] = this.#storage.sql
      .exec<Row>(
        'SELECT substr(bodies, ?, ?) AS body FROM batch WHERE position = ?',
        ...[start + 1, bytes, batch.position],
      )
      .toArray();
    return row?.body instanceof ArrayBuffer ? new TextDecoder().decode(row.body) : '';
  }

  /** Adds deliveries as a batch of their own, or to the end of `tail`, which must be the newest one. */
  append(
    tail: DeliveryBatch | null,
    deliveries: readonly Delivery[],
    bodies: readonly Uint8Array[],
    now: number,
  ): void {
    const batch = tail ?? this.#begun(now);
    assert(batch === this.#batches.at(-1), 'deliveries are added at the end');
    const known = this.load(batch);
    batch.bodies = joined([this.#bodiesOf(batch), ...bodies]);
    batch.bodyBytes = batch.bodies.length;
    known.push(...deliveries);
    for (const { event } of deliveries) this.#events.add(hashOf(event), batch.position);
    this.update(batch, 'bodies');
  }

  #begun(now: number): DeliveryBatch {
    const before = this.#batches.at(-1);
    // Only the newest batch grows.
    if (before !== undefined && before.unsaved === 'nothing') before.bodies = null;
    const batch: DeliveryBatch = {
      ...{ position: this.newest + 1, addedAt: now, bodyBytes: 0, ...summaryOf([], new Set()) },
      ...{ deliveries: [], bodies: new Uint8Array(), unsaved: 'everything', isDeleted: false },
    };
    this.#batches.push(batch);
    return batch;
  }

  #bodiesOf(batch: DeliveryBatch): Uint8Array {
    if (batch.bodies !== null) return batch.bodies;
    const [row] = this.#storage.sql
      .exec<Row>('SELECT bodies FROM batch WHERE position = ?', batch.position)
      .toArray();
    assert(row?.bodies instanceof ArrayBuffer, 'bodies are stored as bytes');
    return new Uint8Array(row.bodies);
  }

  /** Notes that deliveries of a batch have changed, which {@link BatchStorage.save} stores. */
  update(batch: DeliveryBatch, changed: 'states' | 'bodies' = 'states'): void {
    if (batch.unsaved === 'nothing' || batch.unsaved === 'states') batch.unsaved = changed;
    this.#unsaved.add(batch);
    this.refresh(batch);
  }

  /** Begins to send a delivery, which is not due until {@link BatchStorage.endProgress}. */
  beginProgress({ batch, delivery }: FoundDelivery): void {
    this.#inProgress.add(delivery.event);
    this.refresh(batch);
  }

  /** Ends the attempt to send an event, which may have been deleted meanwhile. */
  endProgress(event: string): FoundDelivery | null {
    this.#inProgress.delete(event);
    const found = this.find(event);
    if (found !== null) this.refresh(found.batch);
    return found;
  }

  isInProgress(event: string): boolean {
    return this.#inProgress.has(event);
  }

  /** Computes the summary of a batch again. */
  refresh(batch: DeliveryBatch): void {
    const waitedBefore = batch.waiting;
    Object.assign(batch, summaryOf(this.load(batch), this.#inProgress));
    this.#waitingCount += batch.waiting - waitedBefore;
    this.#enqueue(batch);
  }

  #enqueue(batch: DeliveryBatch): void {
    for (const queue of [this.#due, this.#ended, this.#waiting]) {
      queue.push(batch, this.#batches.length);
    }
  }

  /** True if a change has not been stored. */
  get hasUnsaved(): boolean {
    return this.#unsaved.size > 0;
  }

  /** Stores all changes, one row per changed batch. The caller provides the transaction. */
  save(): void {
    for (const batch of this.#unsaved) this.#saveOne(batch);
    this.#unsaved.clear();
    this.#unloadSome();
  }

  #saveOne(batch: DeliveryBatch): void {
    const deliveries = this.load(batch);
    const { waiting, failed, dueAt, waitingSince, endedAt } = summaryOf(deliveries, new Set());
    const states = packDeliveries(deliveries, limits.rowBytes - otherBytes - batch.bodyBytes);
    const { position, unsaved } = batch;
    const counts = [waiting, failed, dueAt, waitingSince, endedAt];
    const { sql } = this.#storage;
    if (unsaved === 'states') {
      sql.exec(
        `UPDATE batch SET waiting = ?, failed = ?, due_at = ?, waiting_since = ?, ended_at = ?, states = ?
         WHERE position = ?`,
        ...[...counts, states, position],
      );
    } else {
      const { count, latestAt, bodyBytes, addedAt } = batch;
      const hashes = packHashes(deliveries.map(({ event }) => event));
      const bodies = exactly(this.#bodiesOf(batch));
      const rest = [...counts, count, latestAt, bodyBytes, hashes, states, bodies];
      if (unsaved === 'bodies') {
        sql.exec(
          `UPDATE batch SET waiting = ?, failed = ?, due_at = ?, waiting_since = ?, ended_at = ?, count = ?,
           latest_at = ?, body_bytes = ?, hashes = ?, states = ?, bodies = ? WHERE position = ?`,
          ...[...rest, position],
        );
      } else {
        sql.exec(
          `INSERT INTO batch (waiting, failed, due_at, waiting_since, ended_at, count, latest_at, body_bytes, hashes,
           states, bodies, position, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
          ...[...rest, position, addedAt],
        );
      }
    }
    batch.unsaved = 'nothing';
    if (batch !== this.#batches.at(-1) || batch.bodyBytes > limits.courierTailBytes) {
      batch.bodies = null;
    }
  }

  /** Deletes batches. The caller provides the transaction. */
  delete(batches: readonly DeliveryBatch[]): void {
    if (batches.length === 0) return;
    // The index of a batch is deleted by its stored hashes.
    this.save();
    for (const batch of batches) {
      const [row] = this.#storage.sql
        .exec<Row>('DELETE FROM batch WHERE position = ? RETURNING hashes', batch.position)
        .toArray();
      if (row?.hashes instanceof ArrayBuffer) this.#events.deleteAll(row.hashes, batch.position);
      batch.isDeleted = true;
      this.#waitingCount -= batch.waiting;
      this.#loaded.delete(batch);
      this.#unsaved.delete(batch);
    }
    this.#batches = this.#batches.filter(({ isDeleted }) => !isDeleted);
  }
}

function newDueQueue(): LazyHeap<DeliveryBatch> {
  return new LazyHeap(({ dueAt, isDeleted }) => (isDeleted ? null : dueAt), isOlder);
}

function newEndedQueue(): LazyHeap<DeliveryBatch> {
  const keyOf = ({ waiting, endedAt, isDeleted }: DeliveryBatch) =>
    isDeleted || waiting > 0 ? null : endedAt;
  return new LazyHeap(keyOf, isOlder);
}

function newWaitingQueue(): LazyHeap<DeliveryBatch> {
  const keyOf = ({ waiting, position, isDeleted }: DeliveryBatch) =>
    isDeleted || waiting === 0 ? null : position;
  return new LazyHeap(keyOf, isOlder);
}

function isOlder(a: DeliveryBatch, b: DeliveryBatch): boolean {
  return a.position < b.position;
}

function batchOf(row: Row): DeliveryBatch {
  return {
    position: Number(row.position),
    addedAt: Number(row.added_at),
    count: Number(row.count),
    waiting: Number(row.waiting),
    failed: Number(row.failed),
    dueAt: numberOrNull(row.due_at),
    waitingSince: numberOrNull(row.waiting_since),
    endedAt: Number(row.ended_at),
    latestAt: Number(row.latest_at),
    bodyBytes: Number(row.body_bytes),
    deliveries: null,
    bodies: null,
    unsaved: 'nothing',
    isDeleted: false,
  };
}

function numberOrNull(value: Row[string] | undefined): number | null {
  return typeof value === 'number' ? value : null;
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The bytes as a buffer of their own length. */
function exactly(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
