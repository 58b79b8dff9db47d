import { assert, unreachable } from '../assert.ts';
import type { CoordinatorStatus, WriteRecord } from '../contracts/coordinator.ts';
import type { InDoubt } from '../contracts/members.ts';
import { formatTransactionId, keyOf, type RegionId, type WriteId } from '../ids.ts';
import { CoordinatorReads } from './handlers/coordinator-reads.ts';
import { TransactionManager } from './handlers/decide.ts';
import { openTransactionsOf } from './handlers/in-doubt.ts';
import { Orders } from './handlers/operator-orders.ts';
import { WriteIntake } from './handlers/receive.ts';
import { RoundAnswers } from './handlers/round-answers.ts';
import type { CoordinatorInternals } from './invariants/must.ts';
import { Clock } from './io/clock.ts';
import type {
  CoordinatorConfig,
  CoordinatorEvent,
  CoordinatorView,
  LiveWrite,
  Ready,
  Stored,
} from './io/events.ts';
import { ReadyBuilder } from './io/ready-builder.ts';
import type { ShardState } from './io/shard-state.ts';
import { BlockedKeys } from './membership/diverged-keys.ts';
import { Members } from './membership/members.ts';
import { RegionLinks } from './regions/region-links.ts';
import { statusOf } from './regions/region-status.ts';
import { Rest } from './regions/rest.ts';
import { nextTurn } from './regions/schedule.ts';
import { Confirmations } from './transactions/owed-events.ts';
import { PendingConfirmations } from './transactions/pending-confirmations.ts';
import { PendingWrites } from './transactions/pending-writes.ts';
import { resolutionOf } from './transactions/resolution.ts';
import { Transactions } from './transactions/transactions.ts';

type Event<Kind> = Extract<CoordinatorEvent, { kind: Kind }>;

/**
 * The coordinator of one shard: two-phase commit over its voters, and the regions' way out of the vote and back. It
 * does no I/O; each event goes in by `step`, and the writes to store, the requests to send and the replies come out.
 * PROTOCOL.md says why each rule is there.
 */
export class CoordinatorCore implements CoordinatorView {
  readonly #config: CoordinatorConfig;
  readonly #stored: Stored;
  readonly #state: ShardState;
  readonly #clock: Clock;
  readonly #ready: ReadyBuilder;
  readonly #links: RegionLinks;
  readonly #frames: PendingWrites;
  readonly #confirmations: Confirmations;
  readonly #applications: PendingConfirmations;
  readonly #transactions: Transactions;
  readonly #blocked: BlockedKeys;
  readonly #deciding: TransactionManager;
  readonly #members: Members;
  readonly #answers: RoundAnswers;
  readonly #reception: WriteIntake;
  readonly #lookups: CoordinatorReads;
  readonly #orders: Orders;
  readonly #rest: Rest;
  /** For its invariants alone. */
  readonly internals: CoordinatorInternals;

  constructor(config: CoordinatorConfig, stored: Stored, now: number) {
    this.#config = config;
    this.#stored = stored;
    this.#state = { epoch: stored.epoch, sequence: stored.sequence };
    const state = this.#state;
    this.#clock = new Clock(now, stored.now);
    const ready = new ReadyBuilder(this.#clock);
    const links = new RegionLinks(config, stored, ready);
    const confirmations = new Confirmations(stored.subscriptions);
    const frames = new PendingWrites(ready, confirmations);
    const transactions = new Transactions(stored.incarnation);
    const applications = new PendingConfirmations(ready, confirmations);
    const blocked = new BlockedKeys(stored.blocked, ready);
    const parts = { config, ready, links, applications, confirmations, state };
    const deciding = new TransactionManager(
      { ...parts, frames, transactions, blocked },
      () => this.#members,
    );
    const host = {
      abortAll: () => deciding.abortAll(),
      refuseAll: (refusal: Parameters<TransactionManager['refuseAll']>[0]) =>
        deciding.refuseAll(refusal),
      requestBatch: () => deciding.requestBatch(),
      get undecided() {
        return transactions.count;
      },
    };
    const members = new Members({ ...parts, stored, blocked, host });
    this.#rest = new Rest(stored.isResting, ready);
    this.#ready = ready;
    this.#links = links;
    this.#confirmations = confirmations;
    this.#frames = frames;
    this.#transactions = transactions;
    this.#applications = applications;
    this.#blocked = blocked;
    this.#deciding = deciding;
    this.#members = members;
    this.#answers = new RoundAnswers({ ...parts, stored, frames, members, deciding });
    this.#reception = new WriteIntake({ ...parts, frames, transactions, members, blocked });
    this.#lookups = new CoordinatorReads(ready, links, transactions, config.roundTimeoutMs);
    const abort = (transaction: Parameters<TransactionManager['abort']>[0]) =>
      deciding.abort(transaction, ready.now);
    this.#orders = new Orders({ links, members, blocked, transactions, state, abort });
    this.internals = {
      ...parts,
      stored,
      frames,
      transactions,
      blocked,
      members,
      reads: this.#lookups,
      rest: this.#rest,
    };
    this.#takeUpUnconfirmed();
  }

  /**
   * Takes in one event at `now` (ms). `entropy` is fresh randomness, short and without spaces, for the nonces of
   * rounds.
   */
  step(event: CoordinatorEvent, now: number, entropy: string): Ready {
    assert(this.#ready.ended === null, 'an instance that has ended takes no events');
    this.#ready.begin(now);
    const { epoch } = this.#state;
    this.#members.begin();
    const isAwaited = this.#frames.pendingCount > 0 || this.#lookups.busy;
    if (isAwaited || isWork(event)) this.#links.work();
    this.#take(event);
    if (this.#ready.due) this.#sweep();
    this.#deciding.batch();
    this.#members.advance();
    // A change of members may free frames; they need not wait for the next event.
    this.#deciding.batch();
    if (this.#ready.ended === null) this.#send(entropy);
    this.#noteRest(epoch);
    this.#links.persist();
    return this.#ready.build();
  }

  /**
   * True while something is undecided, unacknowledged or still to be sent: the instance has to be woken after a crash.
   */
  get busy(): boolean {
    if (this.#members.founding.isComparing) return true;
    return this.#frames.pendingCount > 0 || this.#links.busy || this.#lookups.busy;
  }

  /** True while a region is out that is probed from time to time. */
  get awaitsReturn(): boolean {
    return this.#links.awaitsReturn;
  }

  /**
   * The reading of this coordinator's clock when the machine's reads `given`, ms. Moments that a caller names are
   * judged by it, and moments that follow from a length of time are counted on it.
   */
  clockAt(given: number): number {
    return this.#clock.read(given);
  }

  write(id: WriteId): LiveWrite {
    return this.#frames.live(id);
  }

  isUnderway({ id, idempotency, again }: Parameters<CoordinatorView['isUnderway']>[0]): boolean {
    const known = again && this.#frames.live(id).kind !== 'unknown';
    return known || (idempotency !== null && this.#frames.under(idempotency.key) !== undefined);
  }

  appliedIn(record: WriteRecord): readonly RegionId[] | null {
    return this.#applications.appliedIn(record);
  }

  status(): CoordinatorStatus {
    const { now } = this.#ready;
    return {
      shard: this.#config.shard,
      incarnation: this.#stored.incarnation,
      epoch: this.#state.epoch,
      sequence: this.#state.sequence,
      minVoters: this.#config.minVoters,
      held: this.#members.returns.held,
      founding: this.#members.founding.status,
      blockedKeys: this.#blocked.count,
      queued: this.#frames.queue.length,
      undecided: this.#transactions.count,
      regions: this.#links.all.map((link) =>
        statusOf(link, this.#members.returns.progressOf(link), now),
      ),
    };
  }

  inDoubt(): InDoubt {
    const { shard } = this.#config;
    const transactions = openTransactionsOf(
      this.#transactions.undecided,
      this.#links.all,
      ([incarnation, sequence]) => formatTransactionId({ shard, incarnation, sequence }),
      this.#ready.now,
    );
    return { transactions, blocked: this.#blocked.all };
  }

  #take(event: CoordinatorEvent): void {
    switch (event.kind) {
      case 'write-received':
        this.#onArrived(event);
        break;
      case 'writes-received':
        this.#onArrivedTogether(event);
        break;
      case 'round-completed':
        this.#links.beginLeases();
        this.#answers.take(event);
        break;
      case 'snapshot-completed':
        this.#lookups.looked(event);
        break;
      case 'resolution-requested':
        this.#onAsked(event);
        break;
      case 'read-requested':
        this.#lookups.read(event);
        break;
      case 'compared':
        this.#members.founding.compared(event.number, event.result);
        break;
      case 'lease-requested':
        for (const { region, forMs } of event.wishes) {
          this.#links.find(region)?.lease.want(this.#ready.now, forMs);
        }
        break;
      case 'admin-command': {
        const { ticket, order } = event;
        this.#ready.reply({ kind: 'order', ticket, answer: this.#orders.take(order) });
        break;
      }
      case 'subscriptions-changed':
        this.#confirmations.replace(event.subscriptions);
        break;
      case 'tick':
        break;
      default:
        unreachable(event);
    }
  }

  #send(entropy: string): void {
    const { newest, oldestUndecided } = this.#transactions;
    const { shard, connections } = this.#config;
    const { incarnation } = this.#stored;
    const head = { shard, epoch: this.#state.epoch, incarnation, newest, oldestUndecided };
    const { founding } = this.#members;
    if (founding.refusal !== null) this.#lookups.refuseAll(founding.refusal);
    this.#lookups.sweep();
    for (const link of this.#links.all) link.noteCopyStep(this.#ready.now);
    for (;;) {
      const free = connections - this.#links.flightCount - this.#lookups.flightCount;
      const waits = founding.isOpen || this.#links.isBeginning;
      const readSince = waits ? null : this.#lookups.waitingSince;
      const turn = nextTurn(this.#links.all, readSince, free, this.#ready.now);
      if (turn === null) break;
      if (turn.kind === 'snapshot') this.#lookups.sendNext(shard);
      else this.#links.sendRound(turn.link, head, entropy, turn.copies);
    }
    this.#links.planLeases();
  }

  #noteRest(epochBefore: number): void {
    const hasMembers = !this.#members.founding.isOpen;
    const isCalm = hasMembers && !this.busy && this.#links.areCalm;
    const hasChanged = this.#state.epoch !== epochBefore;
    this.#rest.note({ isCalm, stirs: hasChanged || this.#ready.sendsPrepares });
  }

  #takeUpUnconfirmed(): void {
    const voters = this.#links.voters.map(({ region }) => region);
    for (const { transaction, keys, writes, sequence } of this.#stored.unconfirmed) {
      this.#links.oweAll({ transaction, outcome: 'commit', keys }, sequence, false);
      this.#applications.add(transaction, voters, writes, [], false);
    }
  }

  #onArrived(event: Event<'write-received'>): void {
    const waiting = this.#reception.receive(event);
    if (waiting !== null) this.#deciding.begin([waiting]);
    else if (event.frame.priority > 0) this.#deciding.requestBatch();
  }

  /** All are queued before any begins, so that those which share keys become parts of one transaction. */
  #onArrivedTogether({ arrivals }: Event<'writes-received'>): void {
    const together = this.#frames.nextArrival;
    for (const arrival of arrivals) {
      const waiting = this.#reception.receive(arrival, together);
      if (waiting !== null) this.#frames.enqueue(waiting);
    }
    this.#deciding.requestBatch();
  }

  #onAsked({ ticket, transactions, recorded, horizon }: Event<'resolution-requested'>): void {
    const later = transactions.find(([incarnation]) => incarnation > this.#stored.incarnation);
    if (later !== undefined) {
      this.#ready.ended ??= `asked about transaction ${keyOf(later)} of a later incarnation`;
      return;
    }
    const resolutions = transactions.map((transaction) =>
      resolutionOf(transaction, recorded, this.#transactions.isUndecided(transaction), horizon),
    );
    this.#ready.reply({ kind: 'resolutions', ticket, resolutions });
  }

  #sweep(): void {
    this.#ready.clearSchedule();
    this.#links.sweep();
    this.#deciding.sweep();
    this.#applications.sweep();
  }
}

/** True for events from clients and operators; all others are the coordinator's own. */
function isWork({ kind }: CoordinatorEvent): boolean {
  switch (kind) {
    case 'write-received':
    case 'writes-received':
    case 'resolution-requested':
    case 'read-requested':
    case 'lease-requested':
    case 'admin-command':
      return true;
    case 'round-completed':
    case 'compared':
    case 'snapshot-completed':
    case 'subscriptions-changed':
    case 'tick':
      return false;
    default:
      return unreachable(kind);
  }
}
