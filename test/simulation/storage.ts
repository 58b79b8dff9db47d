import type { WriteRecord } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { BlockedKey, MemberChange } from '../../shared/contracts/members.ts';
import { compareOrder, type TransactionOrder, type WriteId } from '../../shared/ids.ts';
import type { RecordedWrite } from '../../shared/protocol/io/events.ts';
import type { OutboxWriteEvent, StorageWrite } from '../../shared/protocol/io/ready.ts';
import type {
  DecidedWrite,
  Stored,
  StoredDecision,
  StoredJointCommit,
  StoredLoan,
  StoredRegion,
} from '../../shared/protocol/io/stored.ts';
import { valuesAmong } from '../../shared/reserved-keys.ts';
import { initialMap, type Ownership, ownershipIn } from '../../shared/shards/shard-map.ts';

interface StoredCommit extends StoredDecision {
  readonly sequence: number;
  confirmed: boolean;
}

/** The tables of a coordinator's storage, as plain data. */
export class Tables {
  incarnation = 0;
  epoch = 0;
  sequence = 0;
  now = 0;
  isResting = false;
  /** The registry has answered before the run begins. */
  ownership: Ownership | null = ownershipIn(initialMap(1), 0);
  readonly regions = new Map<string, StoredRegion>();
  /** By region: its missed keys, each with its last missed sequence. */
  readonly missed = new Map<string, Map<string, number>>();
  readonly blocked = new Map<string, BlockedKey>();
  /** Every change of members. */
  readonly history: MemberChange[] = [];
  readonly commits = new Map<string, StoredCommit>();
  readonly writes = new Map<WriteId, DecidedWrite>();
  readonly byKey = new Map<string, DecidedWrite>();
  /** Every event that was ever in the outbox. */
  readonly outbox = new Map<string, OutboxWriteEvent>();
  readonly loans = new Map<string, StoredLoan>();
  /** By their orders. They are kept for ever; those that every guest has acknowledged have none left. */
  readonly jointCommits = new Map<string, StoredJointCommit>();
  /** The commits of this shard as a guest, by their orders. */
  readonly loanCommits = new Map<string, Extract<StorageWrite, { kind: 'loan-commit' }>>();

  copy(): Tables {
    const copy = new Tables();
    copy.incarnation = this.incarnation;
    copy.epoch = this.epoch;
    copy.sequence = this.sequence;
    copy.now = this.now;
    copy.isResting = this.isResting;
    copy.ownership = this.ownership;
    for (const [key, value] of this.regions) copy.regions.set(key, value);
    for (const [key, value] of this.missed) copy.missed.set(key, new Map(value));
    for (const [key, value] of this.blocked) copy.blocked.set(key, value);
    copy.history.push(...this.history);
    for (const [key, value] of this.commits) copy.commits.set(key, { ...value });
    for (const [key, value] of this.writes) copy.writes.set(key, value);
    for (const [key, value] of this.byKey) copy.byKey.set(key, value);
    for (const [key, value] of this.outbox) copy.outbox.set(key, value);
    for (const [key, value] of this.loans) copy.loans.set(key, value);
    for (const [key, value] of this.jointCommits) copy.jointCommits.set(key, value);
    for (const [key, value] of this.loanCommits) copy.loanCommits.set(key, value);
    return copy;
  }

  apply(writes: readonly StorageWrite[]): void {
    for (const write of writes) this.#applyOne(write);
  }

  stored(generation: number): Stored {
    const unconfirmed = [...this.commits.values()]
      .filter((commit) => !commit.confirmed)
      .map((commit) => ({ ...commit, writes: this.#writesOf(commit) }));
    return {
      generation,
      epoch: this.epoch,
      incarnation: this.incarnation,
      sequence: this.sequence,
      now: this.now,
      unconfirmed: unconfirmed.sort((a, b) => a.sequence - b.sequence),
      regions: [...this.regions.values()],
      missed: [...this.missed].map(([region, keys]) => ({ region, keys: [...keys] })),
      blocked: [...this.blocked.values()],
      subscriptions: [],
      loans: [...this.loans.values()].sort((a, b) => compareOrder(a.transaction, b.transaction)),
      jointCommits: [...this.jointCommits.values()].filter(
        ({ unacknowledged }) => unacknowledged.length > 0,
      ),
      isResting: this.isResting,
      ownership: this.ownership,
    };
  }

  get isCopying(): boolean {
    return [...this.regions.values()].some(({ membership }) => membership.state === 'copying');
  }

  /** The record under the key of a frame, or under its own id if it came again. */
  recordedOf({ idempotency, id }: WriteFrame, again: boolean): RecordedWrite | null {
    const keyed = idempotency === null ? undefined : this.byKey.get(idempotency.key);
    if (keyed !== undefined) {
      return { record: keyed.record, digest: keyed.idempotency?.digest ?? null };
    }
    const own = again ? this.writes.get(id) : undefined;
    return own === undefined ? null : { record: own.record, digest: null };
  }

  decisionsOf(transactions: readonly TransactionOrder[]): readonly StoredDecision[] {
    return transactions.flatMap((transaction) => this.commits.get(transaction.join('.')) ?? []);
  }

  /** Every committed write, in the order of its sequence. */
  get committed(): readonly WriteRecord[] {
    return [...this.writes.values()]
      .map(({ record }) => record)
      .filter((record) => record.outcome === 'committed')
      .sort((a, b) => (a.sequence ?? 0) - (b.sequence ?? 0));
  }

  #applyOne(write: StorageWrite): void {
    switch (write.kind) {
      case 'commit':
        this.#keep(write.writes);
        this.sequence = write.sequence;
        this.now = Math.max(this.now, write.now);
        for (const region of write.missedBy) {
          this.#miss(
            region,
            valuesAmong(write.keys).map((key) => [key, write.sequence]),
          );
        }
        this.commits.set(write.transaction.join('.'), {
          transaction: write.transaction,
          keys: write.keys,
          ...(write.joint !== undefined && { otherShares: write.joint.shares.slice(1) }),
          sequence: write.sequence,
          confirmed: false,
        });
        if (write.joint !== undefined) {
          this.jointCommits.set(write.transaction.join('.'), write.joint);
        }
        break;
      case 'lend':
        this.loans.set(write.loan.transaction.join('.'), write.loan);
        break;
      case 'loan-commit':
        this.#endLoan(write.transaction);
        this.sequence = write.sequence;
        this.now = Math.max(this.now, write.now);
        for (const region of write.missedBy) {
          const missed = valuesAmong(write.keys).map((key) => [key, write.sequence] as const);
          this.#miss(region, missed);
        }
        this.commits.set(write.transaction.join('.'), { ...write, confirmed: false });
        this.loanCommits.set(write.transaction.join('.'), write);
        break;
      case 'loan-abort':
        this.#endLoan(write.transaction);
        this.now = Math.max(this.now, write.now);
        break;
      case 'guest-acknowledged': {
        const key = write.transaction.join('.');
        const commit = this.jointCommits.get(key);
        if (commit === undefined) throw new Error('a commit is stored before it is acknowledged');
        const unacknowledged = commit.unacknowledged.filter((shard) => shard !== write.guest);
        this.jointCommits.set(key, { ...commit, unacknowledged });
        break;
      }
      case 'reject':
        this.#keep(write.writes);
        this.now = Math.max(this.now, write.now);
        break;
      case 'confirm':
        for (const transaction of write.transactions) {
          const commit = this.commits.get(transaction.join('.'));
          if (commit === undefined) throw new Error('a commit is stored before it is confirmed');
          commit.confirmed = true;
        }
        break;
      case 'region':
        this.regions.set(write.region.region, write.region);
        break;
      case 'forget':
        this.regions.delete(write.region);
        this.missed.delete(write.region);
        break;
      case 'members':
        this.epoch = write.epoch;
        this.history.push(...write.changes);
        this.sequence = write.changes.at(-1)?.sequence ?? this.sequence;
        break;
      case 'missed':
        this.#miss(write.missed.region, write.missed.keys);
        break;
      case 'copied':
        if (write.keys === null) this.missed.delete(write.region);
        for (const key of write.keys ?? []) this.missed.get(write.region)?.delete(key);
        break;
      case 'block':
        for (const one of write.keys) this.blocked.set(one.key, one);
        break;
      case 'unblock':
        for (const key of write.keys) this.blocked.delete(key);
        break;
      case 'queue-region-events':
        break;
      case 'queue-events':
        for (const event of write.events) {
          if (this.outbox.has(event.id)) throw new Error(`the event ${event.id} is queued twice`);
          this.outbox.set(event.id, event);
        }
        break;
      case 'own':
        this.ownership = write.ownership;
        break;
      case 'rest':
        this.isResting = write.isResting;
        break;
      case 'clock':
        this.now = Math.max(this.now, write.now);
        break;
      case 'prove':
        break;
    }
  }

  #endLoan(transaction: TransactionOrder): void {
    if (!this.loans.delete(transaction.join('.'))) throw new Error('a loan ends once');
  }

  #miss(region: string, keys: readonly (readonly [key: string, sequence: number])[]): void {
    const marks = this.missed.get(region) ?? new Map<string, number>();
    for (const [key, sequence] of keys) marks.set(key, sequence);
    this.missed.set(region, marks);
  }

  #writesOf({ transaction }: StoredCommit): readonly DecidedWrite[] {
    const id = `0.${transaction.join('.')}`;
    return [...this.writes.values()].filter(
      ({ record }) => record.transaction === id && record.outcome === 'committed',
    );
  }

  #keep(writes: readonly DecidedWrite[]): void {
    for (const decided of writes) {
      if (this.writes.has(decided.record.id)) throw new Error('a write is decided once');
      this.writes.set(decided.record.id, decided);
      if (decided.idempotency === null) continue;
      if (this.byKey.has(decided.idempotency.key)) throw new Error('a key is answered once');
      this.byKey.set(decided.idempotency.key, decided);
    }
  }
}

/**
 * The storage of one object, with one owner: an instance that is no longer the owner learns of it only when it
 * writes. A write is durable after a while; an instance that dies before has not written it.
 */
export class SimulatedStorage {
  readonly durable = new Tables();
  owner: object | null = null;

  /** A new instance takes over: it gets its own view, with the incarnation raised durably. */
  takeOver(owner: object): Tables {
    this.owner = owner;
    this.durable.incarnation += 1;
    return this.durable.copy();
  }

  /** The time at which a write becomes durable; false if the writer has been fenced off. */
  commit(owner: object, writes: readonly StorageWrite[]): boolean {
    if (this.owner !== owner) return false;
    this.durable.apply(writes);
    return true;
  }
}

/** The horizon of a storage that drops nothing. */
export const noHorizon: TransactionOrder = [0, 0];
