/**
 * The state machine of a shard: events go in, and the work of its shell comes out. Its parts are in the folders beside
 * it.
 */

import { assert, unreachable } from '../assert.ts';
import type { CoordinatorStatus, WriteRecord } from '../contracts/coordinator.ts';
import type { InDoubt } from '../contracts/members.ts';
import { formatTransactionId, keyOf, type RegionId, type WriteId } from '../ids.ts';
import { AdminCommands } from './handlers/admin-commands.ts';
import { Attempts } from './handlers/attempts.ts';
import { Conclusions } from './handlers/conclusions.ts';
import { CoordinatorReads } from './handlers/coordinator-reads.ts';
import { openTransactionsOf } from './handlers/in-doubt.ts';
import { Joining } from './handlers/joining.ts';
import { LoanCalls } from './handlers/loan-calls.ts';
import { LoanQuestions } from './handlers/loan-questions.ts';
import { LoanEnds, Loans } from './handlers/loans.ts';
import { RoundAnswers } from './handlers/round-answers.ts';
import { TransactionManager } from './handlers/transaction-manager.ts';
import { WriteIntake } from './handlers/write-intake.ts';
import type { CoordinatorInternals } from './invariants/must.ts';
import { Clock } from './io/clock.ts';
import type { CoordinatorConfig } from './io/config.ts';
import type { CoordinatorEvent } from './io/events.ts';
import type { Ready } from './io/ready.ts';
import { ReadyBuilder } from './io/ready-builder.ts';
import type { ShardState } from './io/shard-state.ts';
import type { Stored } from './io/stored.ts';
import type { CoordinatorView, LiveWrite } from './io/view.ts';
import { BlockedKeys } from './membership/blocked-keys.ts';
import { Members } from './membership/members.ts';
import { OwnedSlots } from './ownership/owned-slots.ts';
import { Shards } from './ownership/shards.ts';
import { RegionLinks } from './regions/region-links.ts';
import { statusOf } from './regions/region-status.ts';
import { Rest } from './regions/rest.ts';
import { nextTurn } from './regions/schedule.ts';
import { EventRouter } from './transactions/event-router.ts';
import { PendingConfirmations } from './transactions/pending-confirmations.ts';
import { PendingWrites } from './transactions/pending-writes.ts';
import { resolutionOf } from './transactions/resolution.ts';
import type { Transaction } from './transactions/transaction.ts';
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
  readonly #pendingWrites: PendingWrites;
  readonly #eventRouter: EventRouter;
  readonly #pendingConfirmations: PendingConfirmations;
  readonly #transactions: Transactions;
  readonly #blocked: BlockedKeys;
  readonly #attempts: Attempts;
  readonly #transactionManager: TransactionManager;
  readonly #members: Members;
  readonly #roundAnswers: RoundAnswers;
  readonly #intake: WriteIntake;
  readonly #reads: CoordinatorReads;
  readonly #adminCommands: AdminCommands;
  readonly #rest: Rest;
  readonly #slots: OwnedSlots;
  readonly #loans: Loans;
  readonly #loanCalls: LoanCalls;
  readonly #conclusions: Conclusions;
  readonly #joining: Joining;
  readonly #questions: LoanQuestions;
  /** For its invariants alone. */
  readonly internals: CoordinatorInternals;

  constructor(config: CoordinatorConfig, stored: Stored, now: number) {
    this.#config = config;
    this.#stored = stored;
    this.#state = { epoch: stored.epoch, sequence: stored.sequence };
    const state = this.#state;
    this.#clock = new Clock(now, stored.now);
    const ready = new ReadyBuilder(this.#clock);
    const loanCalls = new LoanCalls(ready);
    const transactions = new Transactions(stored.incarnation);
    const conclusions = new Conclusions({ config, stored, ready, transactions, loanCalls });
    const links = new RegionLinks(config, stored, ready);
    const eventRouter = new EventRouter(stored.subscriptions);
    const slots = new OwnedSlots(config.shard, stored.ownership, ready);
    const shards = new Shards(config.shard, slots, config.jointMap ?? null);
    const base = {
      config,
      stored,
      state,
      ready,
      links,
      eventRouter,
      slots,
      pendingWrites: new PendingWrites(ready, eventRouter, slots, shards),
      pendingConfirmations: new PendingConfirmations(ready, eventRouter),
      transactions,
      shards,
      loanCalls,
      conclusions,
      blocked: new BlockedKeys(stored.blocked, ready),
    };
    const attempts = new Attempts(base);
    const members = new Members({ ...base, attempts, loans: new LoanEnds(transactions, ready) });
    const parts = { ...base, attempts, members };
    const loans = new Loans(parts);
    const transactionManager = new TransactionManager({ ...parts, loans });
    const reads = new CoordinatorReads({ ...parts, loans });
    const rest = new Rest(stored.isResting, ready);
    this.#ready = ready;
    this.#links = links;
    this.#eventRouter = eventRouter;
    this.#pendingWrites = base.pendingWrites;
    this.#transactions = base.transactions;
    this.#pendingConfirmations = base.pendingConfirmations;
    this.#blocked = base.blocked;
    this.#attempts = attempts;
    this.#members = members;
    this.#transactionManager = transactionManager;
    this.#roundAnswers = new RoundAnswers({ ...parts, transactionManager });
    this.#intake = new WriteIntake(parts);
    this.#adminCommands = new AdminCommands(parts);
    this.#reads = reads;
    this.#rest = rest;
    this.#slots = slots;
    this.#loans = loans;
    this.#loanCalls = loanCalls;
    this.#conclusions = conclusions;
    this.#joining = new Joining(parts);
    this.#questions = new LoanQuestions({ ready, transactions, loans });
    this.internals = { ...base, members, reads, rest, loans };
    this.#takeUpUnconfirmed();
  }

  /**
   * Takes in one event at `now` (ms), and passes over the state in a fixed order: the event's own effect, overdue work,
   * changes of members, new transactions, requests to send, and records to store. Of these, a shard that does not know
   * its slots only ends overdue work. `entropy` is fresh randomness, short and without spaces, for the nonces of
   * rounds.
   */
  step(event: CoordinatorEvent, now: number, entropy: string): Ready {
    assert(this.#ready.ended === null, 'an instance that has ended takes no events');
    const { epoch } = this.#state;
    this.#ready.begin(now);
    if (this.#mayBegin) this.#members.begin();
    this.#noteWork(event);
    this.#handle(event);
    this.#sweep();
    this.#slots.advance();
    if (this.#mayBegin) this.#advance(entropy, epoch);
    else this.#reads.sweep();
    this.#links.persist();
    return this.#ready.build();
  }

  /** True once the shard may ask its regions. One that has never had members needs none while it owns no slot. */
  get #mayBegin(): boolean {
    return this.#slots.isKnown && (this.#state.epoch > 0 || !this.#slots.areNone);
  }

  #advance(entropy: string, epoch: number): void {
    this.#members.advance();
    this.#loans.lendFree();
    // Comes last of the changes, since each of them may free frames.
    this.#transactionManager.batch();
    this.#joining.advance();
    this.#loans.advance();
    this.#conclusions.advance();
    this.#questions.advance();
    this.#send(entropy);
    this.#noteRest(epoch);
  }

  /**
   * True while something is undecided, unacknowledged or still to be sent: the instance has to be woken after a crash.
   */
  get busy(): boolean {
    if (this.#members.founding.isComparing) return true;
    if (this.#loans.busy || this.#conclusions.hasCommits || this.#questions.busy) return true;
    return this.#pendingWrites.pendingCount > 0 || this.#links.busy || this.#reads.busy;
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

  /** The state of a write that storage does not have. */
  write(id: WriteId): LiveWrite {
    return this.#pendingWrites.stateOf(id);
  }

  /** True for a frame that is on its way under the same key, or that came again and is known here. */
  isUnderway({ id, idempotency, again }: Parameters<CoordinatorView['isUnderway']>[0]): boolean {
    const known = again && this.#pendingWrites.stateOf(id).kind !== 'unknown';
    return (
      known || (idempotency !== null && this.#pendingWrites.withKey(idempotency.key) !== undefined)
    );
  }

  /** The regions that have applied a recorded write; null if it is not being applied any more, or never was. */
  appliedIn(record: WriteRecord): readonly RegionId[] | null {
    return this.#pendingConfirmations.appliedIn(record);
  }

  /** The state of the shard and its regions. */
  status(): CoordinatorStatus {
    const { now } = this.#ready;
    return {
      shard: this.#config.shard,
      incarnation: this.#stored.incarnation,
      epoch: this.#state.epoch,
      sequence: this.#state.sequence,
      slots: this.#slots.status,
      minVoters: this.#config.minVoters,
      held: this.#members.rejoin.admissionPaused,
      founding: this.#members.founding.status,
      blockedKeys: this.#blocked.count,
      queued: this.#pendingWrites.queue.length,
      undecided: this.#transactions.count,
      regions: this.#links.all.map((link) =>
        statusOf(link, this.#members.rejoin.progressOf(link), now),
      ),
    };
  }

  /** The undecided transactions, the unacknowledged decisions, and the blocked keys. */
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

  /** Silent regions are probed soon if clients or operators ask for something, or still wait. */
  #noteWork(event: CoordinatorEvent): void {
    const isAwaited = this.#pendingWrites.pendingCount > 0 || this.#reads.busy;
    if (isAwaited || isWork(event)) this.#links.noteWork();
  }

  #handle(event: CoordinatorEvent): void {
    switch (event.kind) {
      case 'write-received':
        this.#onWrite(event);
        break;
      case 'writes-received':
        this.#onWrites(event);
        break;
      case 'round-completed':
        this.#links.beginLeases();
        this.#roundAnswers.take(event);
        break;
      case 'joint-round-completed':
        this.#links.beginLeases();
        this.#roundAnswers.takeJoint(event);
        break;
      case 'loan-called':
        this.#onLoanCall(event);
        break;
      case 'loan-answered':
        this.#loanCalls.onAnswer(event.number, event.answer);
        break;
      case 'snapshot-completed':
        this.#reads.onSnapshot(event);
        break;
      case 'resolution-requested':
        this.#onResolutionRequested(event);
        break;
      case 'read-requested':
        this.#reads.receive(event);
        break;
      case 'comparison-completed':
        this.#members.founding.onComparison(event.number, event.result);
        break;
      case 'lease-requested':
        for (const { region, forMs } of event.wishes) {
          this.#links.find(region)?.lease.noteReaders(this.#ready.now, forMs);
        }
        break;
      case 'registry-answered':
        this.#onRegistryAnswer(event);
        break;
      case 'admin-command':
        this.#onAdminCommand(event);
        break;
      case 'subscriptions-changed':
        this.#eventRouter.replace(event.subscriptions);
        break;
      case 'tick':
        break;
      default:
        unreachable(event);
    }
  }

  #onRegistryAnswer({ answer }: Event<'registry-answered'>): void {
    if (!this.#slots.take(answer)) return;
    if (this.#mayBegin) this.#members.begin();
    this.#pendingWrites.onSlotsKnown();
    this.#reads.onSlotsKnown();
    this.#attempts.requestBatch();
  }

  #onAdminCommand({ ticket, command }: Event<'admin-command'>): void {
    const detail = this.#slots.waitsFor ?? 'the shard owns no keys';
    const answer = this.#mayBegin
      ? this.#adminCommands.take(command)
      : ({ kind: 'refused', detail } as const);
    this.#ready.reply({ kind: 'admin-command', ticket, answer });
  }

  #send(entropy: string): void {
    if (this.#ready.ended !== null) return;
    const { newest, oldestUndecided, gapMs } = this.#transactions;
    const { shard, connections } = this.#config;
    const { incarnation } = this.#stored;
    const head = { shard, epoch: this.#state.epoch, incarnation, newest, oldestUndecided };
    this.#loans.makeRounds(head, entropy);
    const { founding } = this.#members;
    if (founding.refusal !== null) this.#reads.refuseAll(founding.refusal);
    this.#reads.sweep();
    for (const link of this.#links.all) link.noteCopyStep(this.#ready.now);
    for (;;) {
      const free = connections - this.#links.flightCount - this.#reads.flightCount;
      const waits = founding.isOpen || this.#links.isBeginning;
      const readSince = waits ? null : this.#reads.waitingSince;
      const turn = nextTurn(this.#links.all, readSince, free, this.#ready.now, gapMs);
      if (turn === null) break;
      if (turn.kind === 'snapshot') this.#reads.sendNext(shard);
      else this.#links.sendRound(turn.link, head, entropy, turn.copies);
    }
    this.#links.planAhead();
  }

  #noteRest(epochBefore: number): void {
    const hasMembers = !this.#members.founding.isOpen;
    const isCalm = hasMembers && !this.busy && this.#links.areCalm;
    const hasChanged = this.#state.epoch !== epochBefore;
    const { lends } = this.#ready;
    this.#rest.note({ isCalm, stirs: hasChanged || this.#ready.sendsPrepares || lends });
  }

  #takeUpUnconfirmed(): void {
    const voters = this.#links.voters.map(({ region }) => region);
    for (const { transaction, keys, otherShares, writes, sequence } of this.#stored.unconfirmed) {
      const decision = { transaction, outcome: 'commit', keys } as const;
      const joint = otherShares === undefined ? decision : { ...decision, otherShares };
      this.#links.queueDecisionForAll(joint, sequence, false);
      this.#pendingConfirmations.add(transaction, voters, writes, [], false);
    }
  }

  #onWrite(event: Event<'write-received'>): void {
    const write = this.#intake.receive(event);
    if (write !== null) this.#attempts.begin([write]);
    else if (event.frame.priority > 0) this.#attempts.requestBatch();
  }

  /** All are queued before any begins, so that those which share keys become parts of one transaction. */
  #onWrites({ arrivals, inOrder }: Event<'writes-received'>): void {
    const together = inOrder ? this.#pendingWrites.nextArrival : null;
    for (const arrival of arrivals) {
      const write = this.#intake.receive(arrival, together);
      if (write !== null) this.#pendingWrites.enqueue(write);
    }
    this.#attempts.requestBatch();
  }

  /** Another coordinator calls: a home that asks for keys or sends an outcome, or a guest that asks for one. */
  #onLoanCall({ ticket, from, call, recorded }: Event<'loan-called'>): void {
    switch (call.kind) {
      case 'join':
        this.#loans.onRequest(ticket, call.request);
        break;
      case 'conclude':
        this.#loans.onConclusion(ticket, call.conclusion);
        break;
      case 'ask': {
        const abort = (transaction: Transaction) =>
          this.#attempts.abort(transaction, this.#ready.now);
        const word = this.#conclusions.wordOn(from, call.question, recorded, abort);
        this.#ready.reply({ kind: 'loan', ticket, answer: { kind: 'ask', word } });
        break;
      }
      default:
        unreachable(call);
    }
  }

  #onResolutionRequested(event: Event<'resolution-requested'>): void {
    const { ticket, transactions, recorded, horizon } = event;
    const later = transactions.find(([incarnation]) => incarnation > this.#stored.incarnation);
    if (later !== undefined) {
      this.#ready.ended ??= `asked about transaction ${keyOf(later)} of a later incarnation`;
      return;
    }
    if (this.#questions.take(event)) return;
    const resolutions = transactions.map((transaction) =>
      resolutionOf(transaction, recorded, this.#transactions.isUndecided(transaction), horizon),
    );
    this.#ready.reply({ kind: 'resolutions', ticket, resolutions });
  }

  /** Ends the time of everything that is overdue, once a scheduled moment has come, and schedules the next one. */
  #sweep(): void {
    if (!this.#ready.due) return;
    this.#ready.clearSchedule();
    this.#links.sweep();
    this.#transactionManager.sweep();
    this.#pendingConfirmations.sweep();
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
    case 'loan-called':
      return true;
    case 'round-completed':
    case 'joint-round-completed':
    case 'loan-answered':
    case 'comparison-completed':
    case 'snapshot-completed':
    case 'subscriptions-changed':
    case 'registry-answered':
    case 'tick':
      return false;
    default:
      return unreachable(kind);
  }
}
