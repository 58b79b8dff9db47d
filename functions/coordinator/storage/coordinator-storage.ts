/** Stores the output of the core, and reads the state for a new life. */
import { assert, unreachable } from '../../../shared/assert.ts';
import type { Retention } from '../../../shared/config/configuration.ts';
import type { WriteRecord } from '../../../shared/contracts/coordinator.ts';
import { plainKeyOf } from '../../../shared/http/idempotency.ts';
import type { TransactionOrder, WriteId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { RecordedWrite } from '../../../shared/protocol/io/events.ts';
import type { OutboxWriteEvent, StorageWrite } from '../../../shared/protocol/io/ready.ts';
import { type Room, roomOf } from '../../../shared/protocol/io/room.ts';
import type {
  DecidedWrite,
  Stored,
  StoredDecision,
  UnconfirmedDecision,
} from '../../../shared/protocol/io/stored.ts';
import { valuesAmong } from '../../../shared/reserved-keys.ts';
import { outboxEventsOf, outboxRegionEventsOf } from '../../../shared/webhooks/event-text.ts';
import { ChangeLog, keysOf, type RecordRow, recordIn } from './change-log.ts';
import { MemberStorage } from './member-storage.ts';
import { packBytes, packTexts } from './packed.ts';
import { Pruner } from './pruner.ts';
import { RequestStorage } from './request-storage.ts';
import { ScriptStorage } from './script-storage.ts';
import type { SqlObjectStorage } from './sql.ts';
import { formatOf, storageFormat, upgrade } from './storage-format.ts';
import { SubscriptionStorage } from './subscription-storage.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS decision (
    incarnation INTEGER NOT NULL, number INTEGER NOT NULL, keys TEXT NOT NULL, sequence INTEGER NOT NULL,
    confirmed_at INTEGER, PRIMARY KEY (incarnation, number)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS unconfirmed ON decision (sequence) WHERE confirmed_at IS NULL;
  CREATE TABLE IF NOT EXISTS write (
    id TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, number INTEGER NOT NULL, decided_at INTEGER NOT NULL,
    record TEXT NOT NULL, part BLOB, idempotency_key TEXT, digest TEXT, kept_until INTEGER, rejected INTEGER
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX IF NOT EXISTS idempotency ON write (idempotency_key) WHERE idempotency_key IS NOT NULL;
  CREATE INDEX IF NOT EXISTS keyed ON write (kept_until) WHERE idempotency_key IS NOT NULL;
  CREATE INDEX IF NOT EXISTS rejected ON write (decided_at) WHERE rejected = 1 AND idempotency_key IS NULL;
`;

type MetaName =
  | 'format'
  | 'generation'
  | 'member_epoch'
  | 'incarnation'
  | 'sequence'
  | 'now'
  | 'proof'
  | 'resting'
  | 'horizon_incarnation'
  | 'horizon_number'
  | 'plain_keys_until';

type WriteOf<Kind> = Extract<StorageWrite, { kind: Kind }>;

/** The durable state of one coordinator, in the SQLite of its object. The protocol relies on it. */
export class CoordinatorStorage {
  readonly changes: ChangeLog;
  readonly subscriptions: SubscriptionStorage;
  readonly members: MemberStorage;
  readonly requests: RequestStorage;
  readonly scripts: ScriptStorage;
  readonly #storage: SqlObjectStorage;
  readonly #retention: Retention;
  readonly #pruner: Pruner;
  #writesBegun = 0;
  #room: Room;
  /** The writes since the size of the database was measured, and their approximate bytes. */
  #grownWrites = 0;
  #grownBytes = 0;
  #plainKeysUntil = 0;
  #isPruneDue = false;

  constructor(storage: SqlObjectStorage, retention: Retention) {
    this.#storage = storage;
    this.#retention = retention;
    this.#pruner = new Pruner(storage, this);
    this.#room = roomOf(0, retention);
    this.changes = new ChangeLog(storage);
    this.subscriptions = new SubscriptionStorage(storage);
    this.members = new MemberStorage(storage);
    this.requests = new RequestStorage(storage);
    this.scripts = new ScriptStorage(storage);
  }

  /**
   * Begins a new life: raises the incarnation and reads the state of the last one. The output gate delays every round
   * until the raised incarnation is durable. On the very first start the clock becomes the generation, so that a region
   * with the state of another coordinator is recognized. A full storage is pruned first, so that there is room to
   * write. Throws {@link UnknownStorageFormat} before it writes anything.
   */
  begin(now: number): Stored {
    const { sql } = this.#storage;
    const format = formatOf(sql);
    this.#lookAtRoom();
    if (format === storageFormat) {
      for (let slice = 0; this.#room.isFull && slice < limits.prunesAtStart; slice += 1) {
        if (!this.prune(now)) break;
      }
    }
    return this.#storage.transactionSync(() => {
      upgrade(sql, format);
      sql.exec(schema);
      this.changes.begin();
      this.subscriptions.begin();
      this.members.begin();
      this.requests.begin();
      this.scripts.begin();
      const generation = this.#meta('generation') ?? now;
      const incarnation = (this.#meta('incarnation') ?? 0) + 1;
      if (format !== storageFormat) this.#setMeta('format', storageFormat);
      if (format === null) this.#setMeta('generation', generation);
      this.#setMeta('incarnation', incarnation);
      this.#plainKeysUntil = this.#meta('plain_keys_until') ?? 0;
      return {
        generation,
        epoch: this.#meta('member_epoch') ?? 0,
        incarnation,
        sequence: this.#meta('sequence') ?? 0,
        now: this.#meta('now') ?? 0,
        unconfirmed: this.#unconfirmed(),
        regions: this.members.regions(),
        missed: this.members.missed(),
        blocked: this.members.blocked(),
        subscriptions: this.subscriptions.all(),
        isResting: this.#meta('resting') === 1,
      };
    });
  }

  /** Stores all of `writes` in one transaction. If it throws, none of them may be acted on. */
  write(writes: readonly StorageWrite[]): void {
    if (writes.length === 0) return;
    this.#writesBegun += 1;
    this.#storage.transactionSync(() => {
      for (const write of writes) this.#writeOne(write);
    });
    if (this.#grownWrites >= limits.roomWrites || this.#grownBytes >= limits.roomBytes) {
      this.#lookAtRoom();
      this.#isPruneDue = true;
    }
  }

  /** True if enough was written since the last pruning that there may be something to drop. */
  get isPruneDue(): boolean {
    return this.#isPruneDue;
  }

  /** The room for further writes, by the last measurement. */
  get room(): Room {
    return this.#room;
  }

  /** The write recorded under an idempotency key, or null. `now` is the clock, ms since the epoch. */
  recordedUnder(key: string, now: number): RecordedWrite | null {
    const recorded = this.#recordedUnder(key);
    if (recorded !== null || now > this.#plainKeysUntil) return recorded;
    return this.#recordedUnder(plainKeyOf(key));
  }

  #recordedUnder(key: string): RecordedWrite | null {
    const [row] = this.#storage.sql
      .exec<RecordRow & { digest: string }>(
        'SELECT record, part, digest FROM write WHERE idempotency_key = ?',
        key,
      )
      .toArray();
    return row === undefined ? null : { record: recordIn(row), digest: row.digest };
  }

  /** The record of a write, and whether every region has acknowledged its decision. */
  recordOf(id: WriteId): { readonly record: WriteRecord; readonly confirmed: boolean } | null {
    const [row] = this.#storage.sql
      .exec<RecordRow & { confirmed_at: number | null }>(
        `SELECT record, part, confirmed_at FROM write LEFT JOIN decision USING (incarnation, number) WHERE id = ?`,
        id,
      )
      .toArray();
    if (row === undefined || abandonedIn(row.record) !== null) return null;
    return { record: recordIn(row), confirmed: row.confirmed_at !== null };
  }

  /** The reason why a write was given up, if an event has reported it as aborted; else null. */
  abandoned(id: WriteId): string | null {
    const [row] = this.#storage.sql
      .exec<{ record: string }>('SELECT record FROM write WHERE id = ?', id)
      .toArray();
    return row === undefined ? null : abandonedIn(row.record);
  }

  /** The decisions about those of `transactions` that are recorded as committed. */
  decisionsOf(transactions: readonly TransactionOrder[]): readonly StoredDecision[] {
    return transactions.flatMap((transaction) => {
      const [row] = this.#storage.sql
        .exec<{ keys: ArrayBuffer | string }>(
          'SELECT keys FROM decision WHERE incarnation = ? AND number = ?',
          ...transaction,
        )
        .toArray();
      return row === undefined ? [] : [{ transaction, keys: keysOf(row) }];
    });
  }

  /** Decisions about transactions up to and including this one may have been dropped. */
  get horizon(): TransactionOrder {
    return [this.#meta('horizon_incarnation') ?? 0, this.#meta('horizon_number') ?? 0];
  }

  set horizon([incarnation, number]: TransactionOrder) {
    this.#setMeta('horizon_incarnation', incarnation);
    this.#setMeta('horizon_number', number);
  }

  /** The number of writes that this instance has begun; each that succeeds proves that it owns its storage. */
  get writesBegun(): number {
    return this.#writesBegun;
  }

  /** A write whose success proves that this instance still owns its storage. */
  prove(): void {
    this.#writesBegun += 1;
    this.#setMeta('proof', ((this.#meta('proof') ?? 0) + 1) % 1_000_000);
  }

  /**
   * Drops one slice of the entries that are past their retention, or that have to go because room is short. True if
   * there may be more to drop. Throws the errors of the storage.
   */
  prune(
    now: number,
    retention: Pick<Retention, 'keptMs' | 'keptWrites'> = this.#retention,
  ): boolean {
    this.#writesBegun += 1;
    const { keptMs, keptWrites } = retention;
    const { isPressed } = this.#room;
    const more = this.#pruner.slice(now, { keptMs, keptWrites, isPressed });
    if (!more) {
      this.subscriptions.prune();
      this.members.prune();
    }
    this.#lookAtRoom();
    this.#isPruneDue = false;
    return more;
  }

  #lookAtRoom(): void {
    this.#grownWrites = 0;
    this.#grownBytes = 0;
    this.#room = roomOf(this.#storage.sql.databaseSize, this.#retention);
  }

  #writeOne(write: StorageWrite): void {
    switch (write.kind) {
      case 'commit':
        this.#writeCommit(write);
        break;
      case 'reject':
        for (const decided of write.writes) this.#record(decided);
        this.#raiseMeta('now', write.now);
        break;
      case 'confirm':
        for (const transaction of write.transactions) {
          this.#storage.sql.exec(
            'UPDATE decision SET confirmed_at = ? WHERE incarnation = ? AND number = ?',
            write.now,
            ...transaction,
          );
        }
        break;
      case 'queue-events':
        this.subscriptions.queueEvents(outboxEventsOf(write.events));
        this.subscriptions.keepTarget(write.callback);
        for (const event of write.events) {
          if (event.type === 'write.aborted') this.#recordAbandoned(event);
        }
        break;
      case 'queue-region-events':
        this.subscriptions.queueEvents(outboxRegionEventsOf(write.events));
        break;
      case 'region':
        this.members.keepRegion(write.region);
        break;
      case 'forget':
        this.members.forget(write.region);
        break;
      case 'members':
        this.#writeMembers(write);
        break;
      case 'missed':
        this.members.miss(write.missed);
        break;
      case 'copied':
        this.members.copied(write.region, write.keys);
        break;
      case 'block':
        this.members.block(write.keys);
        break;
      case 'unblock':
        this.members.unblock(write.keys);
        break;
      case 'rest':
        this.#setMeta('resting', write.isResting ? 1 : 0);
        break;
      case 'clock':
        this.#raiseMeta('now', write.now);
        break;
      case 'prove':
        this.prove();
        break;
      default:
        unreachable(write);
    }
  }

  #writeCommit({ transaction, keys, writes, sequence, now, missedBy }: WriteOf<'commit'>): void {
    this.#storage.sql.exec(
      'INSERT INTO decision (incarnation, number, keys, sequence) VALUES (?, ?, ?, ?)',
      ...transaction,
      packTexts(keys),
      sequence,
    );
    for (const decided of writes) {
      this.#record(decided);
      if (decided.record.outcome === 'committed') {
        this.#grownBytes += this.changes.append(decided, transaction);
      }
    }
    for (const region of missedBy) {
      this.members.miss({ region, keys: valuesAmong(keys).map((key) => [key, sequence]) });
    }
    this.#raiseMeta('sequence', sequence);
    this.#raiseMeta('now', now);
  }

  #writeMembers({ epoch, changes }: WriteOf<'members'>): void {
    this.#setMeta('member_epoch', epoch);
    for (const change of changes) {
      this.members.remember(change);
      this.changes.appendMember(change);
      this.#raiseMeta('sequence', change.sequence);
    }
  }

  #record({ record, idempotency }: DecidedWrite): void {
    const [, incarnation, number] = record.transaction.split('.').map(Number);
    assert(incarnation !== undefined && number !== undefined, 'a record names its transaction');
    const text = JSON.stringify({ ...record, part: '' });
    this.#grownWrites += 1;
    this.#grownBytes += text.length + record.part.length;
    const isRejected = record.outcome === 'rejected';
    this.#storage.sql.exec(
      `INSERT INTO write (id, incarnation, number, decided_at, record, part, idempotency_key, digest, kept_until, rejected)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      record.id,
      incarnation,
      number,
      record.decidedAt,
      text,
      packBytes(record.part),
      idempotency?.key ?? null,
      idempotency?.digest ?? null,
      idempotency === null ? null : (record.keptUntil ?? record.decidedAt),
      isRejected ? 1 : null,
    );
  }

  /** An event reports the write as aborted, so it must not be committed later if its sender sends it again. */
  #recordAbandoned({ write: { record }, at, reason = '' }: OutboxWriteEvent): void {
    this.#storage.sql.exec(
      `INSERT OR IGNORE INTO write (id, incarnation, number, decided_at, record, rejected)
       VALUES (?, 0, 0, ?, ?, 1)`,
      record.id,
      at,
      JSON.stringify({ abandoned: reason }),
    );
  }

  #unconfirmed(): readonly UnconfirmedDecision[] {
    return this.#storage.sql
      .exec<{
        incarnation: number;
        number: number;
        keys: ArrayBuffer | string;
        sequence: number;
      }>(
        'SELECT incarnation, number, keys, sequence FROM decision WHERE confirmed_at IS NULL ORDER BY sequence',
      )
      .toArray()
      .map(({ incarnation, number, keys, sequence }) => ({
        transaction: [incarnation, number],
        keys: keysOf({ keys }),
        sequence,
        writes: this.changes.writesOf([incarnation, number]),
      }));
  }

  #meta(name: MetaName): number | null {
    const [row] = this.#storage.sql
      .exec<{ value: number }>('SELECT value FROM meta WHERE name = ?', name)
      .toArray();
    return row?.value ?? null;
  }

  /** Raises a value; a lower one is ignored, because the writes of one transaction come in any order. */
  #raiseMeta(name: MetaName, value: number): void {
    this.#storage.sql.exec(
      `INSERT INTO meta (name, value) VALUES (?, ?)
       ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)`,
      name,
      value,
    );
  }

  #setMeta(name: MetaName, value: number): void {
    this.#storage.sql.exec('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)', name, value);
  }
}

/** The reason in the record of a write that was given up; null in the record of a decided one. */
function abandonedIn(text: string): string | null {
  const record: { readonly abandoned?: string } = JSON.parse(text);
  return record.abandoned ?? null;
}
