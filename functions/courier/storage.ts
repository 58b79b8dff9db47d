/** The SQLite storage of one courier: the changes by its calls and attempts. */
import type {
  DeliveryDetail,
  DeliveryPage,
  DeliveryQuery,
  DeliveryRecord,
  OutboxEvent,
  ReplayQuery,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import type { AttemptOutcome, Judgement } from '../../shared/webhooks/retry-policy.ts';
import type { SqlObjectStorage } from '../coordinator/storage/sql.ts';
import { hasTable, writtenFormat } from '../platform/storage-form.ts';
import { countIn, type DeliveryBatch } from './batch.ts';
import { BatchStorage, batchSchema, type FoundDelivery } from './batch-storage.ts';
import { convertDeliveries, hasOldDeliveries, StorageBeingConverted } from './conversion.ts';
import {
  type Delivery,
  detailOf,
  giveUp,
  newDelivery,
  recordAttempt,
  recordOf,
  startOver,
} from './delivery.ts';
import { type Endpoint, EndpointStorage, endpointSchema, type Target } from './endpoint-storage.ts';

/**
 * The format of a courier's storage. Release 0.1 wrote format 1, without a number; it and format 2 had a row per
 * delivery. A change that the previous release would misread raises the number, and a life begins by converting the old
 * format.
 */
export const courierFormat = 3;

const metaSchema =
  'CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;';

/** A delivery that is due for an attempt. */
export interface DueDelivery {
  readonly event: string;
  readonly body: string;
  readonly step: number;
}

/** The number of deliveries that are deleted at once if there is too little room: more than one handover adds. */
const roomDeliveries = 10 * limits.eventsPerHandover;

/**
 * The durable state of one courier: its endpoint, the waiting deliveries, and the log. All methods are synchronous; the
 * runtime's output gate holds back responses and requests until earlier writes are durable.
 *
 * All changes are stored when a method returns, except those of `settle` and `addUnsaved`: {@link CourierStorage.save}
 * stores these together, so that a batch of attempts is one written row. After an error of the storage, everything that it did not
 * store is forgotten.
 */
export class CourierStorage {
  readonly #storage: SqlObjectStorage;
  readonly #endpoint: EndpointStorage;
  readonly #batches: BatchStorage;
  /** The time for which ended deliveries are kept, in ms. */
  readonly #keptMs: number;
  /** False until the tables exist. */
  #exists = false;
  /** The attempts whose outcomes are not stored. */
  #unsavedAttempts = 0;
  #losses = 0;

  constructor(storage: SqlObjectStorage, keptMs: number = limits.deliveriesKeptMs) {
    this.#storage = storage;
    this.#keptMs = keptMs;
    this.#endpoint = new EndpointStorage(storage.sql);
    this.#batches = new BatchStorage(storage);
    this.begin();
  }

  /**
   * Reads the stored state, or starts without one. Throws {@link UnknownStorageFormat} before anything is written, and
   * {@link StorageBeingConverted} if another call has to continue.
   */
  begin(): void {
    const { sql } = this.#storage;
    // An object without storage costs nothing, so a request for an unknown endpoint must not create tables.
    this.#exists = hasTable(sql, 'meta') || hasTable(sql, 'endpoint');
    if (this.#exists) this.#create(writtenFormat(sql, 'courier', courierFormat));
    this.#unsavedAttempts = 0;
    this.#batches.begin(this.#exists);
    this.#endpoint.begin(this.#exists);
  }

  /** Creates the tables in the current format. `format` is the format of the stored ones, or null if there are none. */
  #create(format: number | null): void {
    const { sql } = this.#storage;
    const isConverted = this.#storage.transactionSync(() => {
      sql.exec(`${metaSchema}${endpointSchema}${batchSchema}`);
      // Skipped in every life after the first, because written rows are billed.
      if (format !== courierFormat) {
        sql.exec("INSERT OR REPLACE INTO meta (name, value) VALUES ('format', ?)", courierFormat);
      }
      if (!hasOldDeliveries(this.#storage)) return true;
      this.#batches.begin(true);
      return convertDeliveries(this.#storage, this.#batches);
    });
    if (!isConverted) throw new StorageBeingConverted('older deliveries are being converted');
    this.#exists = true;
  }

  /** Null until a target is set. */
  get endpoint(): Endpoint | null {
    return this.#endpoint.present;
  }

  /** Sets or changes the target. Another URL starts without failures or rest. A new secret replaces the old at once. */
  setTarget(target: Target): void {
    if (this.#endpoint.has(target)) return;
    if (!this.#exists) this.#create(null);
    this.#endpoint.setTarget(target);
  }

  /** Makes the current secret the previous one, in force until `previousUntil`. */
  rotate(secret: string, previousUntil: number): void {
    this.#endpoint.rotate(secret, previousUntil);
  }

  /** Disables the endpoint. `isReported` is false if the coordinator has yet to learn of it. */
  disable(reason: string, now: number, isReported: boolean): void {
    this.#endpoint.disable(reason, now, isReported);
  }

  noteReported(): void {
    this.#endpoint.noteReported();
  }

  /** Enables the endpoint, and forgets failures and rests. Waiting deliveries are due now, in order of arrival. */
  enable(now: number): void {
    this.#endpoint.enable();
    // A second call writes nothing, because written rows are billed.
    const isLater = ({ state, dueAt, step }: Delivery) =>
      state === 'waiting' && ((dueAt ?? 0) > now || step > 0);
    this.#transaction(() => {
      for (const batch of this.#batches.batches.filter(({ waiting }) => waiting > 0)) {
        this.#changeAll(batch, isLater, (delivery) => startOver(delivery, now));
      }
    });
  }

  /** Adds events that are new. Beyond the limit, the oldest waiting deliveries fail. */
  add(events: readonly OutboxEvent[], now: number): void {
    this.#transaction(() => {
      this.#append(events, now);
      this.#saveNow();
      this.#makeRoom(now);
      this.#giveUpOldest(this.#batches.waitingCount - limits.eventsPerEndpoint, now);
    });
  }

  /** Adds events that are new, in memory and for {@link CourierStorage.save}. Nothing else may be waiting. */
  addUnsaved(events: readonly OutboxEvent[], now: number): void {
    this.#append(events, now);
  }

  /** Adds events that are new: to the newest batch if they fit, and else as batches of their own. */
  #append(events: readonly OutboxEvent[], now: number): void {
    const seen = new Set<string>();
    const isNew = ({ id }: OutboxEvent) => {
      if (seen.has(id) || this.#batches.find(id) !== null) return false;
      seen.add(id);
      return true;
    };
    const parts = partsOf(events.filter(isNew), now);
    const [first] = parts;
    if (first === undefined) return;
    const tail = parts.length === 1 ? this.#tailFor(first, now) : null;
    for (const { deliveries, bodies } of parts) {
      this.#batches.append(tail, deliveries, bodies, now);
    }
  }

  /**
   * The newest batch if more events may join it: small handovers share a row, so that few rows are deleted later. It is
   * young, because a batch is kept until its last delivery has ended and is old enough.
   */
  #tailFor({ deliveries, bytes }: Part, now: number): DeliveryBatch | null {
    const newest = this.#batches.batches.at(-1);
    if (newest === undefined || now - newest.addedAt > this.#keptMs / 7) return null;
    const fits =
      newest.count + deliveries.length <= limits.eventsPerHandover &&
      newest.bodyBytes + bytes <= limits.courierTailBytes;
    return fits ? newest : null;
  }

  /**
   * Takes up to `count` deliveries that are due, by due time and then by arrival. They are in progress until their
   * attempts are settled, and not taken again.
   */
  take(now: number, count: number): readonly DueDelivery[] {
    const taken: DueDelivery[] = [];
    while (taken.length < count) {
      const batch = this.#batches.firstDue();
      if (batch === null || (batch.dueAt ?? 0) > now) break;
      const found = this.#firstDueOf(batch);
      // The stored due time may be one of a delivery that was in progress when the index was read.
      if (found === null) {
        this.#batches.refresh(batch);
        continue;
      }
      const { event, step } = found.delivery;
      const body = this.#batches.bodyOf(batch, found.index);
      this.#batches.beginProgress(found);
      taken.push({ event, body, step });
    }
    return taken;
  }

  #firstDueOf(batch: DeliveryBatch): FoundDelivery | null {
    const deliveries = this.#batches.load(batch);
    const index = deliveries.findIndex(
      ({ event, state, dueAt }) =>
        state === 'waiting' && dueAt === batch.dueAt && !this.#batches.isInProgress(event),
    );
    const delivery = deliveries[index];
    return delivery === undefined ? null : { batch, index, delivery };
  }

  /** The time at which the next delivery is due that is not in progress; null if none waits. */
  get nextDueAt(): number | null {
    return this.#batches.firstDue()?.dueAt ?? null;
  }

  get isEmpty(): boolean {
    return this.#batches.batches.length === 0;
  }

  /** The time at which {@link CourierStorage.prune} can next delete deliveries, in ms; null if none has ended. */
  get nextPruneAt(): number | null {
    const batch = this.#batches.firstEnded();
    return batch === null ? null : batch.endedAt + this.#keptMs;
  }

  /** The number of errors of the storage so far, each of which has dropped all unsaved changes. */
  get losses(): number {
    return this.#losses;
  }

  /** True if {@link CourierStorage.save} would store anything. */
  get hasUnsaved(): boolean {
    return this.#batches.hasUnsaved;
  }

  /** The number of attempts whose outcomes {@link CourierStorage.save} would store. */
  get unsavedAttempts(): number {
    return this.#unsavedAttempts;
  }

  /**
   * Records the outcome of an attempt and its consequences, in memory and for {@link CourierStorage.save}; the
   * consequences for the endpoint are stored at once. Ignores a delivery that has been deleted meanwhile.
   */
  settle(event: string, outcome: AttemptOutcome, judgement: Judgement, now: number): void {
    const found = this.#batches.endProgress(event);
    if (found !== null && recordAttempt(found.delivery, outcome, judgement, now)) {
      this.#batches.update(found.batch);
      this.#unsavedAttempts += 1;
    }
    this.#endpoint.noteAttempt(judgement.failingSince, judgement.restUntil);
  }

  /** Stores the outcomes of attempts. */
  save(): void {
    if (this.#batches.hasUnsaved) this.#transaction(() => this.#saveNow());
  }

  #saveNow(): void {
    this.#batches.save();
    this.#unsavedAttempts = 0;
  }

  /**
   * Queues deliveries again, from the start of the schedule. Returns their number, at most
   * `limits.deliveriesPerReplay`.
   */
  replay(what: ReplayQuery, now: number): number {
    return this.#transaction(() =>
      'event' in what ? this.#replayOne(what.event, now) : this.#replaySince(what, now),
    );
  }

  #replayOne(event: string, now: number): number {
    const found = this.#batches.find(event);
    if (found === null || !isReplayable(found.delivery)) return 0;
    startOver(found.delivery, now);
    this.#batches.update(found.batch);
    this.#saveNow();
    return 1;
  }

  #replaySince(
    { since, delivered }: { readonly since: number; readonly delivered: boolean },
    now: number,
  ): number {
    const isMeant = (delivery: Delivery) =>
      (delivered || delivery.state === 'failed') && delivery.at >= since && isReplayable(delivery);
    let count = 0;
    for (const batch of this.#batches.batches) {
      if (count >= limits.deliveriesPerReplay) break;
      const ended = delivered ? batch.count - batch.waiting : batch.failed;
      if (ended === 0 || batch.latestAt < since) continue;
      const left = limits.deliveriesPerReplay - count;
      count += this.#changeAll(batch, isMeant, (delivery) => startOver(delivery, now), left);
    }
    return count;
  }

  /** Changes and stores up to `most` deliveries of a batch, the oldest ones. Returns their number. */
  #changeAll(
    batch: DeliveryBatch,
    isMeant: (delivery: Delivery) => boolean,
    change: (delivery: Delivery) => void,
    most = Number.POSITIVE_INFINITY,
  ): number {
    const meant = this.#batches.load(batch).filter(isMeant).slice(0, most);
    if (meant.length === 0) return 0;
    for (const delivery of meant) change(delivery);
    this.#batches.update(batch);
    // One after the other, because unsaved batches stay in memory.
    this.#saveNow();
    return meant.length;
  }

  /** A page of the log, newest first. */
  page({ state, before, limit }: DeliveryQuery): DeliveryPage {
    const below = before ?? Number.MAX_SAFE_INTEGER;
    const rows: { readonly position: number; readonly record: DeliveryRecord }[] = [];
    // One more than is shown, to see if there is a next page.
    for (let at = this.#batches.indexBelow(below); at >= 0 && rows.length <= limit; at -= 1) {
      const batch = this.#batches.batches[at];
      if (batch === undefined || countIn(batch, state) === 0) continue;
      const found = this.#batches
        .load(batch)
        .map((delivery, index) => ({ position: batch.position + index, delivery }))
        .filter(({ position }) => position < below)
        .filter(({ delivery }) => state === null || delivery.state === state)
        .map(({ position, delivery }) => ({ position, record: recordOf(delivery) }));
      rows.push(...found.reverse());
    }
    const shown = rows.slice(0, limit);
    const last = shown.at(-1);
    const isEnd = rows.length <= limit || last === undefined;
    return {
      deliveries: shown.map(({ record }) => record),
      before: isEnd ? null : last.position,
    };
  }

  /** One delivery with its body and attempts, or null. */
  detail(event: string): DeliveryDetail | null {
    const found = this.#batches.find(event);
    if (found === null) return null;
    return detailOf(found.delivery, this.#batches.bodyOf(found.batch, found.index));
  }

  /**
   * Deletes batches whose deliveries ended before `now` by the time for which they are kept, or that too many newer
   * ones follow, and fails deliveries that have waited that long at a disabled endpoint. A call changes a bounded
   * number of deliveries; true if more are left.
   */
  prune(now: number): boolean {
    const before = now - this.#keptMs;
    return this.#transaction(() => {
      const old = this.#deleteEnded((batch) => batch.endedAt <= before);
      const excess = this.#deleteExcess();
      const isFull = Math.max(old, excess) >= roomDeliveries;
      // At an enabled endpoint, the schedule ends long before.
      if ((this.endpoint?.disabledAt ?? null) === null) return isFull;
      return this.#failWaiting(before, now) >= roomDeliveries || isFull;
    });
  }

  /** Deletes the batches that ended first, up to {@link roomDeliveries}. Returns the number of deliveries. */
  #deleteEnded(isMeant: (batch: DeliveryBatch) => boolean): number {
    let count = 0;
    while (count < roomDeliveries) {
      const batch = this.#batches.firstEnded();
      if (batch === null || !isMeant(batch)) break;
      count += batch.count;
      this.#batches.delete([batch]);
    }
    return count;
  }

  #deleteExcess(): number {
    const bound = this.#batches.newest - limits.eventsPerEndpoint;
    const excess: DeliveryBatch[] = [];
    let count = 0;
    for (const batch of this.#batches.batches) {
      if (batch.position + batch.count - 1 > bound || count >= roomDeliveries) break;
      if (batch.waiting > 0) continue;
      count += batch.count;
      excess.push(batch);
    }
    this.#batches.delete(excess);
    return count;
  }

  /** Fails deliveries that have waited since `before` or longer. */
  #failWaiting(before: number, now: number): number {
    const isMeant = ({ state, since }: Delivery) => state === 'waiting' && since <= before;
    let count = 0;
    for (const batch of this.#batches.batches) {
      if (count >= roomDeliveries) break;
      if (batch.waitingSince === null || batch.waitingSince > before) continue;
      count += this.#changeAll(batch, isMeant, (delivery) =>
        giveUp(delivery, 'The delivery waited too long.', now),
      );
    }
    return count;
  }

  /** Keeps the storage far below the platform's limit, beyond which nothing could be added. */
  #makeRoom(now: number): void {
    const { sql } = this.#storage;
    if (sql.databaseSize <= limits.courierLogBytes) return;
    const deleted = this.#deleteEnded(() => true);
    if (deleted === 0 && sql.databaseSize > limits.courierBytes) {
      this.#giveUpOldest(roomDeliveries, now);
    }
  }

  #giveUpOldest(count: number, now: number): void {
    let left = count;
    while (left > 0) {
      const batch = this.#batches.firstWaiting();
      if (batch === null) return;
      left -= this.#changeAll(
        batch,
        ({ state }) => state === 'waiting',
        (delivery) => giveUp(delivery, 'Too many newer events were waiting.', now),
        left,
      );
    }
  }

  /** Runs `work` in a transaction. After an error, begins again with the stored state. */
  #transaction<Result>(work: () => Result): Result {
    try {
      return this.#storage.transactionSync(work);
    } catch (error) {
      this.#losses += 1;
      this.begin();
      throw error;
    }
  }
}

/** New deliveries that share a row. */
interface Part {
  readonly deliveries: Delivery[];
  readonly bodies: Uint8Array[];
  bytes: number;
}

/** New events in parts that fit into a row each. */
function partsOf(events: readonly OutboxEvent[], now: number): readonly Part[] {
  const parts: Part[] = [];
  for (const event of events) {
    const body = new TextEncoder().encode(event.body);
    let part = parts.at(-1);
    const isFull =
      part === undefined ||
      part.deliveries.length >= limits.eventsPerHandover ||
      part.bytes + body.length > limits.courierRowBytes;
    if (part === undefined || isFull) {
      part = { deliveries: [], bodies: [], bytes: 0 };
      parts.push(part);
    }
    part.deliveries.push(newDelivery(event, body.length, now));
    part.bodies.push(body);
    part.bytes += body.length;
  }
  return parts;
}

/** Release 0.1 dropped the bodies of delivered events. */
function isReplayable({ state, bodyBytes }: Delivery): boolean {
  return state !== 'waiting' && bodyBytes > 0;
}
