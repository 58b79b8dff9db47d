import { assert, unreachable } from '../assert.ts';
import { keyOf, type RegionId, type TransactionOrder, type WriteId } from '../ids.ts';
import { limits } from '../limits.ts';
import type { CoordinatorStatus, WriteRecord } from '../wire/answers.ts';
import { takeBatch, type Waiting } from './admission.ts';
import { agreementOf } from './agreement.ts';
import { Applications, type Confirming } from './applications.ts';
import { Confirmations } from './confirmations.ts';
import { recordDecision } from './decision.ts';
import type {
  CoordinatorConfig,
  CoordinatorEvent,
  CoordinatorView,
  LiveWrite,
  Ready,
  Stored,
} from './events.ts';
import { FrameBook, tooLate } from './frame-book.ts';
import { Outbox } from './outbox.ts';
import { lostReason, Reception } from './reception.ts';
import type { Flight, RegionLink } from './region-link.ts';
import { RegionLinks } from './region-links.ts';
import { resolutionOf } from './resolution.ts';
import type { RoundReply, RoundResult } from './round.ts';
import { ballotOf, type Transaction } from './transaction.ts';
import { Transactions } from './transactions.ts';

type Event<Kind> = Extract<CoordinatorEvent, { kind: Kind }>;

/**
 * The coordinator of one shard: two-phase commit over all regions. It does no I/O; each event goes in by `step`, and
 * what is to be stored, sent and answered comes out. PROTOCOL.md says why each rule is there.
 */
export class CoordinatorCore implements CoordinatorView {
  readonly #config: CoordinatorConfig;
  readonly #stored: Stored;
  readonly #outbox: Outbox;
  readonly #links: RegionLinks;
  readonly #frames: FrameBook;
  readonly #confirmations: Confirmations;
  readonly #applications: Applications;
  readonly #transactions: Transactions;
  readonly #reception: Reception;
  #sequence: number;
  /** Set where a queued frame may be able to go that could not before. */
  #queueStirred = false;

  constructor(config: CoordinatorConfig, stored: Stored, now: number) {
    this.#config = config;
    this.#stored = stored;
    this.#sequence = stored.sequence;
    this.#outbox = new Outbox(Math.max(now, stored.now));
    this.#links = new RegionLinks(config, stored, this.#outbox);
    this.#confirmations = new Confirmations(stored.subscriptions);
    this.#frames = new FrameBook(this.#outbox, this.#confirmations);
    this.#transactions = new Transactions(stored.incarnation, config.regions);
    this.#applications = new Applications(config.regions, this.#outbox, this.#confirmations);
    this.#reception = new Reception(
      this.#outbox,
      this.#links,
      this.#frames,
      this.#transactions,
      this.#applications,
    );
    for (const { transaction, keys, writes } of stored.unconfirmed) {
      this.#links.oweAll({ transaction, outcome: 'commit', keys }, false);
      this.#applications.add(transaction, writes, [], false);
    }
  }

  /** Takes in one event at `now` (ms). `entropy` is fresh randomness, short and without spaces, for marks of rounds. */
  step(event: CoordinatorEvent, now: number, entropy: string): Ready {
    assert(this.#outbox.ended === null, 'an instance that has ended takes no events');
    this.#outbox.begin(now);
    switch (event.kind) {
      case 'arrived':
        this.#onArrived(event);
        break;
      case 'answered':
        this.#onAnswered(event);
        break;
      case 'asked':
        this.#onAsked(event);
        break;
      case 'subscribed':
        this.#confirmations.replace(event.subscriptions);
        break;
      case 'ticked':
        break;
      default:
        unreachable(event);
    }
    if (this.#outbox.due) this.#sweep();
    this.#batch();
    if (this.#outbox.ended === null) this.#sendRounds(entropy);
    this.#links.persist();
    return this.#outbox.ready();
  }

  #sendRounds(entropy: string): void {
    const { generation, epoch, incarnation } = this.#stored;
    const { newest, oldestUndecided } = this.#transactions;
    const { shard } = this.#config;
    const head = { shard, generation, epoch, incarnation, newest, oldestUndecided };
    this.#links.sendRounds(head, entropy);
  }

  /** True while something is undecided, unacknowledged or unsaid: the instance has to be woken after a crash. */
  get busy(): boolean {
    return this.#frames.pendingCount > 0 || this.#links.busy;
  }

  write(id: WriteId): LiveWrite {
    return this.#frames.live(id);
  }

  appliedIn(record: WriteRecord): readonly RegionId[] | null {
    return this.#applications.appliedIn(record);
  }

  status(): CoordinatorStatus {
    return {
      shard: this.#config.shard,
      incarnation: this.#stored.incarnation,
      epoch: this.#stored.epoch,
      generation: this.#stored.generation,
      sequence: this.#sequence,
      queued: this.#frames.queue.length,
      undecided: this.#transactions.count,
      regions: this.#links.statuses,
    };
  }

  #onArrived(event: Event<'arrived'>): void {
    const waiting = this.#reception.receive(event);
    if (waiting !== null) this.#begin([waiting]);
    else if (event.frame.priority > 0) this.#queueStirred = true;
  }

  // Transactions begin and end.

  #batch(): void {
    if (!this.#queueStirred || this.#links.obstacles.length > 0) return;
    this.#queueStirred = false;
    this.#preempt();
    const held = (key: string) => this.#transactions.isHeld(key);
    for (const parts of takeBatch(this.#frames.queue, held, this.#outbox.now)) this.#begin(parts);
  }

  /** Aborts undecided transactions whose keys a frame of higher priority waits for. */
  #preempt(): void {
    for (const { frame, retryAt } of [...this.#frames.queue.frames]) {
      if (frame.priority === 0) return;
      const holders = this.#transactions.holdersOf(frame.keys);
      const lower = holders.every((holder) => holder.priority < frame.priority);
      if (!lower || retryAt > this.#outbox.now) continue;
      for (const holder of holders) this.#abort(holder, this.#outbox.now);
    }
  }

  #begin(parts: readonly Waiting[]): void {
    const { voteDeadlineMs } = this.#config;
    const transaction = this.#transactions.begin(parts, this.#outbox.now, voteDeadlineMs);
    for (const link of this.#links.all) link.enqueue(transaction);
    this.#outbox.schedule(transaction.deadline);
  }

  /** Decides where the votes allow it. A transaction that is decided already is left alone. */
  #settle(transaction: Transaction): void {
    if (!this.#transactions.isUndecided(transaction.order)) return;
    switch (transaction.tally) {
      case 'pending':
        return;
      case 'lost': {
        transaction.blame(transaction.dissent);
        this.#abort(transaction, this.#outbox.now + transaction.pauseMs);
        return;
      }
      case 'won':
        this.#agree(transaction);
    }
  }

  /** All voters said yes: what they said has to be the same. */
  #agree(transaction: Transaction): void {
    const ownExpiry = transaction.ownExpiry(this.#outbox.now + limits.clockSkewMs);
    if (ownExpiry !== null) {
      this.#awaitExpiry(transaction, ownExpiry + 1);
      return;
    }
    const { yesVotes, keys } = transaction;
    const agreement = agreementOf(yesVotes, keys, (position) => transaction.partsOfKey(position));
    switch (agreement.kind) {
      case 'agreed':
        this.#decide(transaction, agreement.parts);
        break;
      case 'expiring':
        this.#awaitExpiry(transaction, agreement.retryAt);
        break;
      case 'diverged':
        this.#refuseDiverged(transaction, agreement.parts, agreement.detail);
        break;
      default:
        unreachable(agreement);
    }
  }

  /** Regions see a key expire at moments of their own: the write is tried again once all of them do. */
  #awaitExpiry(transaction: Transaction, retryAt: number): void {
    const reason = 'saw a key of the write expire that another still held';
    transaction.blame(transaction.yesVotes.map(({ region }) => ({ region, reason })));
    this.#abort(transaction, retryAt);
  }

  #refuseDiverged(transaction: Transaction, parts: readonly number[], detail: string): void {
    this.#abort(transaction, this.#outbox.now);
    const wrong = new Set(parts.map((position) => transaction.parts[position]));
    const faults = this.#config.regions.map((region) => ({ region, reason: detail }));
    for (const part of this.#frames.queue.take((waiting) => wrong.has(waiting))) {
      this.#frames.giveUp(part, faults, `the regions have diverged: ${detail}`);
    }
  }

  #release(transaction: Transaction): void {
    this.#transactions.release(transaction);
    this.#queueStirred = true;
  }

  /** Aborts, and queues the parts again in their old places. Nothing is stored: no record means aborted. */
  #abort(transaction: Transaction, retryAt: number): void {
    this.#release(transaction);
    this.#oweAbort(transaction);
    for (const part of transaction.parts) {
      part.retryAt = retryAt;
      if (part.frame.notAfter <= this.#outbox.now) this.#frames.giveUp(part, part.faults, tooLate);
      else this.#frames.enqueue(part);
    }
  }

  #oweAbort(transaction: Transaction): void {
    const { order, keys, bytes } = transaction;
    const reached = new Set(transaction.reached);
    for (const link of this.#links.all) {
      if (!reached.has(link.region)) link.withdraw(transaction);
      else this.#links.owe(link, { transaction: order, outcome: 'abort', keys }, bytes, false);
    }
  }

  /** All voters said yes and agree: the decision is stored, and only then does anything leave. */
  #decide(transaction: Transaction, parts: readonly string[]): void {
    assert(parts.length === transaction.parts.length, 'a yes vote has one outcome a part');
    const { shard } = this.#config;
    const decided = recordDecision(transaction, parts, shard, this.#sequence, this.#outbox.now);
    this.#release(transaction);
    this.#sequence = decided.sequence;
    this.#outbox.persist(decided.storage);
    for (const write of decided.writes) {
      this.#outbox.owe(this.#confirmations.decided(write), write.callback);
    }
    const confirming = decided.writes.flatMap(({ record }, position) => {
      const part = transaction.parts[position];
      return part === undefined
        ? []
        : this.#tell(part, { kind: 'decided', record, replayed: false });
    });
    if (decided.storage.kind === 'reject') {
      this.#oweAbort(transaction);
      return;
    }
    const { order, keys } = transaction;
    const urgent = transaction.parts.some(({ frame }) => frame.ack === 'confirmed');
    this.#links.oweAll({ transaction: order, outcome: 'commit', keys }, urgent);
    const committed = decided.writes.filter(({ record }) => record.outcome === 'committed');
    this.#applications.add(order, committed, confirming, true);
  }

  /** Answers the callers of a decided part; those that wait for the confirmation are returned. */
  #tell(part: Waiting, answer: Confirming['answer']): Confirming[] {
    this.#frames.forget(part);
    const confirming: Confirming[] = [];
    for (const caller of part.callers) {
      const waits = caller.ack === 'confirmed' && answer.record.outcome === 'committed';
      if (waits) confirming.push({ caller, answer });
      else this.#outbox.answer(caller.ticket, answer);
    }
    return confirming;
  }

  #onAnswered({ region, round, result, recorded }: Event<'answered'>): void {
    const link = this.#links.of(region);
    const flight = link.land(round);
    if (link.health.kind !== 'lost') this.#take(link, flight, result, recorded);
    const reason = result.kind === 'silent' ? result.reason : 'gave no vote';
    for (const transaction of flight.transactions) {
      transaction.count(region, { state: 'missing', reason }, this.#outbox.now);
      this.#settle(transaction);
    }
    if (this.#frames.queue.length > 0) this.#queueStirred = true;
  }

  #take(
    link: RegionLink,
    flight: Flight,
    result: RoundResult,
    recorded: readonly TransactionOrder[],
  ): void {
    switch (result.kind) {
      case 'silent':
        this.#links.fail(link, result.reason);
        break;
      case 'refused': {
        const loss = this.#links.refused(link, result.refusal);
        if (loss !== null) this.#lose(link, loss);
        break;
      }
      case 'executed': {
        const loss = link.learn(result.reply, flight, this.#outbox.now);
        if (loss === null) this.#onExecuted(link, flight, result.reply, recorded);
        else this.#lose(link, loss);
        break;
      }
      default:
        unreachable(result);
    }
  }

  #onExecuted(
    link: RegionLink,
    flight: Flight,
    reply: RoundReply,
    recorded: readonly TransactionOrder[],
  ): void {
    flight.decisions.forEach(({ transaction }, position) => {
      const said = reply.decisions[position];
      if (said === 'acknowledged') {
        link.acknowledged(transaction);
        this.#applications.acknowledge(transaction, link.region);
      } else if (said === 'lost')
        this.#lose(link, `it no longer holds transaction ${keyOf(transaction)}`);
      else this.#links.fail(link, 'its server refused to apply a decision (out of memory?)');
    });
    const committed = new Set(recorded.map(keyOf));
    for (const { transaction, keys } of reply.older) {
      const key = keyOf(transaction);
      if (link.owes(transaction) || flight.settledMeanwhile.has(key)) continue;
      if (committed.has(key)) {
        this.#lose(link, `it locks transaction ${key} again, which it had applied`);
      } else this.#links.owe(link, { transaction, outcome: 'abort', keys }, 0, false);
    }
    flight.transactions.forEach((transaction, position) => {
      const vote = reply.votes[position];
      if (vote === undefined) return;
      if (vote.kind === 'fenced')
        this.#outbox.ended ??= `${link.region} has seen a later ${vote.by}`;
      if (vote.kind === 'locked' && vote.holder[0] < this.#stored.incarnation) link.greetAgain();
      transaction.count(link.region, ballotOf(vote), this.#outbox.now);
    });
  }

  /** The region has lost what it acknowledged: it votes no more, and that is stored. */
  #lose(link: RegionLink, reason: string): void {
    if (link.health.kind === 'lost') return;
    link.health = { kind: 'lost', reason };
    this.#outbox.persist({ kind: 'region', region: link.stored });
    for (const transaction of this.#transactions.undecided) {
      this.#abort(transaction, this.#outbox.now);
    }
    const faults = [{ region: link.region, reason }];
    for (const part of this.#frames.queue.take(() => true)) {
      this.#frames.giveUp(part, faults, lostReason);
    }
  }

  #onAsked({ ticket, transactions, recorded, horizon }: Event<'asked'>): void {
    const later = transactions.find(([incarnation]) => incarnation > this.#stored.incarnation);
    if (later !== undefined) {
      this.#outbox.ended ??= `asked about transaction ${keyOf(later)} of a later incarnation`;
      return;
    }
    const resolutions = transactions.map((transaction) =>
      resolutionOf(transaction, recorded, this.#transactions.isUndecided(transaction), horizon),
    );
    this.#outbox.reply({ kind: 'resolutions', ticket, resolutions });
  }

  #sweep(): void {
    this.#outbox.clearSchedule();
    this.#links.sweep();
    for (const transaction of this.#transactions.undecided) {
      if (transaction.deadline <= this.#outbox.now) transaction.closeVoting();
      this.#settle(transaction);
      this.#outbox.schedule(transaction.deadline);
    }
    this.#frames.sweep(this.#links.obstacles);
    this.#applications.sweep();
    if (this.#frames.queue.length > 0) this.#queueStirred = true;
  }
}
