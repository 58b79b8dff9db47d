/** Stores the output of the core, and reads the state for a new life. */
import { assert, unreachable } from '../../../shared/assert.ts';
import type { Retention } from '../../../shared/config/configuration.ts';
import type { WriteRecord } from '../../../shared/contracts/coordinator.ts';
import type { RoundPair } from '../../../shared/contracts/round.ts';
import {
  keyOf,
  type RegionId,
  type ShardId,
  type TransactionOrder,
  type WriteId,
} from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { RecordedWrite } from '../../../shared/protocol/io/events.ts';
import type { StorageWrite } from '../../../shared/protocol/io/ready.ts';
import { type Room, roomOf } from '../../../shared/protocol/io/room.ts';
import type {
  Stored,
  StoredDecision,
  UnconfirmedDecision,
} from '../../../shared/protocol/io/stored.ts';
import { valuesAmong } from '../../../shared/reserved-keys.ts';
import { outboxEventsOf, outboxRegionEventsOf } from '../../../shared/webhooks/event-text.ts';
import { ChangeLog } from './change-log.ts';
import { convertToLog } from './convert-to-log.ts';
import { KeptAnswers } from './kept-answers.ts';
import { JointCommits, LoanStorage, sharesOf } from './loan-storage.ts';
import { committedWriteOf } from './log-step.ts';
import { stepOf } from './logged-writes.ts';
import { MemberStorage } from './member-storage.ts';
import { Pruner } from './pruner.ts';
import { RequestStorage } from './request-storage.ts';
import { ScriptStorage } from './script-storage.ts';
import { SlotStorage } from './slot-storage.ts';
import type { SqlObjectStorage } from './sql.ts';
import { StepLog } from './step-log.ts';
import {
  convertFromFormat1,
  formatOf,
  isCurrent,
  jointStorageFormat,
  storageFormat,
} from './storage-format.ts';
import { SubscriptionStorage } from './subscription-storage.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`;

type CommitWrite = Extract<StorageWrite, { kind: 'commit' }>;

type MetaName =
  | 'format'
  | 'generation'
  | 'member_epoch'
  | 'incarnation'
  | 'proof'
  | 'horizon_incarnation'
  | 'horizon_number'
  | 'plain_keys_until';

/** The durable state of one coordinator, in the SQLite of its object. The protocol relies on it. */
export class CoordinatorStorage {
  readonly changes: ChangeLog;
  readonly subscriptions: SubscriptionStorage;
  readonly members: MemberStorage;
  readonly requests: RequestStorage;
  readonly scripts: ScriptStorage;
  readonly jointCommits: JointCommits;
  readonly #storage: SqlObjectStorage;
  readonly #retention: Retention;
  readonly #log: StepLog;
  readonly #answers: KeptAnswers;
  readonly #slots: SlotStorage;
  readonly #pruner: Pruner;
  #writesBegun = 0;
  #room: Room;
  /** The steps since the size of the database was measured, and their approximate bytes. */
  #grownSteps = 0;
  #grownBytes = 0;
  #plainKeysUntil = 0;
  #isPruneDue = false;
  #hasFailed = false;
  #now = 0;
  #isResting = false;
  readonly #pairs = new Map<RegionId, RoundPair>();
  /** The commits that some voter has yet to acknowledge, each with the position of its step, in the order of the log. */
  readonly #unconfirmed = new Map<string, number>();
  readonly #loans: LoanStorage;
  /** The storage has the format of one that has taken part in a joint write. */
  #isJoint = false;

  constructor(storage: SqlObjectStorage, retention: Retention, shard: ShardId) {
    this.#storage = storage;
    this.#retention = retention;
    this.#log = new StepLog(storage);
    this.#answers = new KeptAnswers(storage, () => this.#plainKeysUntil);
    this.#slots = new SlotStorage(storage, shard);
    this.#pruner = new Pruner(storage, this, this.#log, this.#answers);
    this.#room = roomOf(0, retention);
    this.changes = new ChangeLog(this.#log, this);
    this.subscriptions = new SubscriptionStorage(storage);
    this.members = new MemberStorage(storage);
    this.requests = new RequestStorage(storage);
    this.scripts = new ScriptStorage(storage);
    this.#loans = new LoanStorage(storage);
    this.jointCommits = new JointCommits(this.#log);
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
    if (isCurrent(format)) {
      // Only reads, so that a full storage can be pruned before anything is written.
      this.#log.begin();
      this.#load();
      for (let slice = 0; this.#room.isFull && slice < limits.prunesAtStart; slice += 1) {
        if (!this.prune(now)) break;
      }
    }
    return this.#storage.transactionSync(() => {
      this.#beginTables(format);
      const unconfirmed = this.#load();
      const generation = this.#meta('generation') ?? now;
      const incarnation = (this.#meta('incarnation') ?? 0) + 1;
      if (!isCurrent(format)) this.#setMeta('format', storageFormat);
      this.#isJoint = format === jointStorageFormat;
      if (format === null) this.#setMeta('generation', generation);
      this.#setMeta('incarnation', incarnation);
      this.#plainKeysUntil = this.#meta('plain_keys_until') ?? 0;
      const regions = this.members.regions(this.#log.head?.pairs ?? {});
      for (const { region, pair } of regions) if (pair !== null) this.#pairs.set(region, pair);
      return {
        generation,
        epoch: this.#meta('member_epoch') ?? 0,
        incarnation,
        sequence: this.#log.sequence,
        now: this.#now,
        unconfirmed,
        regions,
        missed: this.members.missed(),
        blocked: this.members.blocked(),
        subscriptions: this.subscriptions.all(),
        loans: this.#loans.all(),
        jointCommits: this.jointCommits.all(),
        isResting: this.#isResting,
        ownership: this.#slots.read(),
      };
    });
  }

  /** Stores all of `writes` in one transaction. If it throws, none of them may be acted on. */
  write(writes: readonly StorageWrite[]): void {
    if (writes.length === 0) return;
    this.#writesBegun += 1;
    this.#orFail(() =>
      this.#storage.transactionSync(() => {
        this.#noteJoint(writes);
        this.#addToLog(writes);
        for (const write of writes) this.#writeOne(write);
      }),
    );
    if (this.#grownSteps >= limits.roomSteps || this.#grownBytes >= limits.roomBytes) {
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
    return this.#answers.under(key, now);
  }

  /** The record of a write, and whether every region has acknowledged its decision. */
  recordOf(id: WriteId): { readonly record: WriteRecord; readonly confirmed: boolean } | null {
    for (const { decisions, rejected } of this.#log.stepsWithWrite(id)) {
      for (const { transaction, writes } of decisions) {
        const write = writes.find(({ record }) => record.id === id);
        if (write === undefined) continue;
        return { record: write.record, confirmed: !this.isUnconfirmed(transaction) };
      }
      const record = rejected.find((one) => one.id === id);
      if (record !== undefined) return { record, confirmed: false };
    }
    return null;
  }

  /** The reason why a write was given up, if an event has reported it as aborted; else null. */
  abandoned(id: WriteId): string | null {
    for (const { abandoned } of this.#log.stepsWithWrite(id)) {
      const found = abandoned.find((one) => one.id === id);
      if (found !== undefined) return found.reason;
    }
    return null;
  }

  /** The decisions about those of `transactions` that are recorded as committed. */
  decisionsOf(transactions: readonly TransactionOrder[]): readonly StoredDecision[] {
    return transactions.flatMap((transaction) => this.#decisionOf(transaction) ?? []);
  }

  /** True while some voter has yet to acknowledge a commit. */
  isUnconfirmed(transaction: TransactionOrder): boolean {
    return this.#unconfirmed.has(keyOf(transaction));
  }

  /** The position of the first step with a commit that is unconfirmed or lacks the acknowledgement of a guest, or that of the next step. */
  get open(): number {
    const [first = this.#log.next] = this.#unconfirmed.values();
    return Math.min(first, this.jointCommits.first ?? first);
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
    this.#orFail(() => this.#setMeta('proof', ((this.#meta('proof') ?? 0) + 1) % 1_000_000));
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
    return this.#orFail(() => {
      const more = this.#pruner.slice(now, { keptMs, keptWrites, isPressed });
      if (!more) {
        this.subscriptions.prune();
        this.members.prune();
      }
      this.#lookAtRoom();
      this.#isPruneDue = false;
      return more;
    });
  }

  /**
   * Changes the storage. If that fails, memory may have more than the storage, so this instance must write nothing more:
   * another step would leave a gap in the log, and no life could begin on it.
   */
  #orFail<Result>(work: () => Result): Result {
    assert(!this.#hasFailed, 'an instance whose storage has failed writes nothing more');
    try {
      return work();
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
  }

  #lookAtRoom(): void {
    this.#grownSteps = 0;
    this.#grownBytes = 0;
    this.#room = roomOf(this.#storage.sql.databaseSize, this.#retention);
  }

  /** Adds the part of `writes` that belongs in the log as one step, if there is any, with the state after it. */
  #addToLog(writes: readonly StorageWrite[]): void {
    const step = stepOf(writes);
    for (const write of writes) {
      if (write.kind === 'forget') this.#pairs.delete(write.region);
      if (write.kind === 'rest') this.#isResting = write.isResting;
      if (write.kind !== 'region') continue;
      const { region, pair } = write.region;
      if (pair === null) this.#pairs.delete(region);
      else this.#pairs.set(region, pair);
    }
    if (!step.isNotEmpty && !writes.some(({ kind }) => ofHead.has(kind))) return;
    this.#now = Math.max(this.#now, step.now);
    const position = this.#log.next;
    for (const { transaction } of step.decisions) {
      this.#unconfirmed.set(keyOf(transaction), position);
    }
    this.jointCommits.note(writes, position);
    for (const { transaction } of step.confirmed) this.#unconfirmed.delete(keyOf(transaction));
    const pairs = Object.fromEntries(this.#pairs);
    const { open } = this;
    const { guests } = this.jointCommits;
    const small = { now: this.#now, open, isResting: this.#isResting, pairs };
    const head = guests === null ? small : { ...small, guests };
    if (!step.isNotEmpty) {
      this.#log.keepHead(head);
      return;
    }
    const { at, sequence } = step;
    this.#grownBytes += this.#log.append({ ...step, head }, at, sequence);
    this.#grownSteps += 1;
  }

  /** A release that does not know joint writes must not read this storage any more. */
  #noteJoint(writes: readonly StorageWrite[]): void {
    const takesPart = (write: StorageWrite) =>
      write.kind === 'lend' || (write.kind === 'commit' && write.joint !== undefined);
    if (this.#isJoint || !writes.some(takesPart)) return;
    this.#setMeta('format', jointStorageFormat);
    this.#isJoint = true;
  }

  /** Stores the parts of a write that have tables of their own. */
  #writeOne(write: StorageWrite): void {
    switch (write.kind) {
      case 'commit':
        for (const decided of write.writes) this.#grownBytes += this.#answers.keep(decided);
        this.#noteMissed(write);
        break;
      case 'reject':
        for (const decided of write.writes) this.#grownBytes += this.#answers.keep(decided);
        break;
      case 'queue-events':
        this.subscriptions.queueEvents(outboxEventsOf(write.events));
        this.subscriptions.keepTarget(write.callback);
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
        this.#setMeta('member_epoch', write.epoch);
        for (const change of write.changes) this.members.remember(change);
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
      case 'own':
        this.#slots.keep(write.ownership);
        break;
      case 'prove':
        this.prove();
        break;
      case 'lend':
        this.#loans.add(write.loan);
        break;
      case 'loan-commit':
        this.#loans.end(write.transaction);
        this.#noteMissed(write);
        break;
      case 'loan-abort':
        this.#loans.end(write.transaction);
        break;
      case 'guest-acknowledged':
      case 'confirm':
      case 'rest':
      case 'clock':
        break;
      default:
        unreachable(write);
    }
  }

  /** The regions that are out miss the keys of a commit. */
  #noteMissed({
    keys,
    missedBy,
    sequence,
  }: Pick<CommitWrite, 'keys' | 'missedBy' | 'sequence'>): void {
    const missed = valuesAmong(keys).map((key) => [key, sequence] as const);
    for (const region of missedBy) this.members.miss({ region, keys: missed });
  }

  /** Creates the tables, and converts those of an older release. */
  #beginTables(format: number | null): void {
    const { sql } = this.#storage;
    convertFromFormat1(sql, format);
    sql.exec(schema);
    this.subscriptions.begin();
    this.members.begin();
    this.requests.begin();
    this.scripts.begin();
    this.#answers.begin();
    this.#slots.begin();
    if (isCurrent(format)) return;
    this.#log.begin();
    if (format === null) return;
    convertToLog({ sql, log: this.#log, answers: this.#answers, outbox: this.subscriptions });
  }

  /** Reads the state that the log has, and returns the unconfirmed commits, in the order of their sequence. */
  #load(): readonly UnconfirmedDecision[] {
    const { head, next } = this.#log;
    this.#now = head?.now ?? 0;
    this.#isResting = head?.isResting ?? false;
    return this.#readUnconfirmed(head?.open ?? next);
  }

  #decisionOf(transaction: TransactionOrder): StoredDecision | null {
    const key = keyOf(transaction);
    for (const { decisions } of this.#log.stepsWithCommit(transaction)) {
      const found = decisions.find((one) => keyOf(one.transaction) === key);
      if (found !== undefined) return { transaction, keys: found.keys, ...sharesOf(found) };
    }
    return null;
  }

  /** Reads the unconfirmed commits, none of which is before `open`, with their writes. */
  #readUnconfirmed(open: number): readonly UnconfirmedDecision[] {
    const decisions = new Map<string, UnconfirmedDecision>();
    for (const step of this.#log.stepsFrom(open)) {
      for (const decision of step.decisions) {
        const { transaction, keys, sequence, writes } = decision;
        this.jointCommits.load(transaction, step.position);
        const committed = writes.filter(({ record }) => record.sequence !== null);
        decisions.set(keyOf(transaction), {
          transaction,
          keys,
          ...sharesOf(decision),
          sequence,
          writes: committed.map(committedWriteOf),
        });
        this.#unconfirmed.set(keyOf(transaction), step.position);
      }
      for (const { transaction } of step.confirmed) {
        decisions.delete(keyOf(transaction));
        this.#unconfirmed.delete(keyOf(transaction));
      }
    }
    return [...decisions.values()].toSorted((a, b) => a.sequence - b.sequence);
  }

  #meta(name: MetaName): number | null {
    const [row] = this.#storage.sql
      .exec<{ value: number }>('SELECT value FROM meta WHERE name = ?', name)
      .toArray();
    return row?.value ?? null;
  }

  #setMeta(name: MetaName, value: number): void {
    this.#storage.sql.exec('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)', name, value);
  }
}

/** The writes that change the small state of a coordinator. */
const ofHead: ReadonlySet<StorageWrite['kind']> = new Set([
  'clock',
  'rest',
  'region',
  'forget',
  'guest-acknowledged',
  'loan-abort',
]);
