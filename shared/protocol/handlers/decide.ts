import { assert, unreachable } from '../../assert.ts';
import type { Vote } from '../../contracts/round.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { CoordinatorConfig } from '../io/events.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { WriteRefusal } from '../io/refusal.ts';
import type { ShardState } from '../io/shard-state.ts';
import type { BlockedKeys } from '../membership/diverged-keys.ts';
import type { Members } from '../membership/members.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import { outOfMemory } from '../regions/server-refusals.ts';
import { type PendingWrite, takeBatch } from '../transactions/admission.ts';
import { type Agreement, agreementOf } from '../transactions/agreement.ts';
import { type Decided, recordDecision } from '../transactions/decision.ts';
import type { EventRouter } from '../transactions/event-router.ts';
import type { Confirming, PendingConfirmations } from '../transactions/pending-confirmations.ts';
import { type PendingWrites, tooLate } from '../transactions/pending-writes.ts';
import { isTooLargeToStore, storageFault, storedBytes } from '../transactions/stored-size.ts';
import type { Transaction } from '../transactions/transaction.ts';
import type { Transactions } from '../transactions/transactions.ts';

/** The parts of the coordinator that decisions change. */
export interface TransactionManagerParts {
  readonly config: CoordinatorConfig;
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly pendingWrites: PendingWrites;
  readonly transactions: Transactions;
  readonly pendingConfirmations: PendingConfirmations;
  readonly eventRouter: EventRouter;
  readonly blocked: BlockedKeys;
  readonly state: ShardState;
}

type Diverged = Extract<Agreement, { kind: 'diverged' }>;

/** Turns queued frames into transactions, and their votes into decisions. */
export class TransactionManager {
  readonly #parts: TransactionManagerParts;
  readonly #members: () => Members;
  /** Set if a queued frame may be able to begin that could not before. */
  #batchRequested = false;

  /** `members` is a function because Members needs this one first. */
  constructor(parts: TransactionManagerParts, members: () => Members) {
    this.#parts = parts;
    this.#members = members;
  }

  /** Lets the next `batch` look at the queue: something has changed that may let a frame begin. */
  requestBatch(): void {
    this.#batchRequested = true;
  }

  /** Begins every queued frame that can begin. */
  batch(): void {
    const { links, transactions, pendingWrites, ready } = this.#parts;
    if (!this.#batchRequested || links.obstacles.length > 0) return;
    const members = this.#members();
    // With too few voters, or none, nothing may begin; the queued frames are refused before the step ends.
    if (members.isPaused || members.refusal !== null) return;
    this.#batchRequested = false;
    this.#preempt();
    const isLocked = (key: string) => transactions.isLocked(key);
    for (const parts of takeBatch(pendingWrites.queue, isLocked, ready.now)) this.begin(parts);
  }

  /** Begins a transaction with these parts: all voters are asked to prepare it. */
  begin(parts: readonly PendingWrite[]): void {
    const { config, links, transactions, ready } = this.#parts;
    const { voters } = links;
    const ids = voters.map(({ region }) => region);
    const transaction = transactions.begin(parts, ids, ready.now, config.voteDeadlineMs);
    for (const link of voters) link.enqueue(transaction);
    ready.schedule(transaction.deadline);
  }

  /** Decides if the votes allow it. A transaction that is decided already stays as it is. */
  settle(transaction: Transaction): void {
    const { transactions, ready } = this.#parts;
    if (!transactions.isUndecided(transaction.order)) return;
    switch (transaction.tally) {
      case 'pending':
        return;
      case 'lost': {
        transaction.setFaults(transaction.dissent);
        this.abort(transaction, ready.now + transaction.pauseMs);
        return;
      }
      case 'won':
        this.#agree(transaction);
    }
  }

  /**
   * Notes the news in a vote about the parts themselves. An attempt that is over has its parts queued again, or
   * answered.
   */
  noteVote(transaction: Transaction, region: RegionId, vote: Vote): void {
    if (!this.#parts.transactions.isUndecided(transaction.order)) return;
    if (vote.kind === 'unlisted') transaction.listFoundKeys(vote.parts);
    if (vote.kind === 'lacking') transaction.noteUnknownCommand(region, vote);
    if (vote.kind === 'refused') {
      if (vote.most === undefined) transaction.isStalled = true;
      else transaction.limitParts(vote.most);
      if (vote.isEndless) transaction.isEndless = true;
    }
    if (vote.kind === 'denied' && vote.code === outOfMemory) transaction.noteDenied(vote);
  }

  /** Closes the votes whose deadline has passed. */
  sweep(): void {
    const { transactions, ready, pendingWrites, links } = this.#parts;
    for (const transaction of transactions.undecided) {
      if (transaction.deadline <= ready.now) transaction.closeVoting();
      this.settle(transaction);
      ready.schedule(transaction.deadline);
    }
    pendingWrites.sweep([...links.obstacles, ...this.#members().obstacles]);
    if (pendingWrites.queue.length > 0) this.requestBatch();
  }

  /** Aborts, and queues the parts again in their old places. Nothing is stored: no record means aborted. */
  abort(transaction: Transaction, retryAt: number): void {
    const { pendingWrites, ready } = this.#parts;
    this.#release(transaction, 'abort');
    this.#queueAbort(transaction);
    for (const part of transaction.parts) {
      part.retryAt = retryAt;
      if (transaction.isStalled) part.timeouts += 1;
      if (transaction.isEndless) part.overruns += 1;
      if (part.frame.notAfter <= ready.now) pendingWrites.giveUp(part, part.faults, tooLate);
      else if (!this.#refuse(part, transaction)) pendingWrites.enqueue(part);
    }
  }

  /** Refuses a frame that a region cannot run, or that a script has made too large. */
  #refuse(part: PendingWrite, { isEndless, parts }: Transaction): boolean {
    const { pendingWrites, blocked } = this.#parts;
    if (part.lacking !== null) {
      const { region, command } = part.lacking;
      const detail = `${region} does not know ${command}: its server is older, or lacks a module`;
      pendingWrites.refuse(part, 'unsupported-command', detail);
      return true;
    }
    const faults = part.isDenied ? this.#members().fullRegions : [];
    if (faults.length > 0) {
      pendingWrites.giveUp(part, faults, 'the regions that vote are out of memory', 'full');
      return true;
    }
    if (part.isTooLarge) {
      const detail = `with its replies it takes more than the ${limits.rowBytes} bytes that can be stored`;
      pendingWrites.refuse(part, 'too-large', detail);
      return true;
    }
    if (isEndless && parts.length === 1 && part.overruns > limits.overrunsPerWrite) {
      const detail = `regions take longer than ${limits.voteDeadlineMs} ms to carry it out; send fewer of its commands at once`;
      pendingWrites.refuse(part, 'too-large', detail);
      return true;
    }
    if (part.keyDiscoveryAttempts === 0) return false;
    const { length } = part.frame.keys;
    if (length > limits.keysPerWrite) {
      const detail = `its script touches ${length} keys; the limit is ${limits.keysPerWrite}`;
      pendingWrites.refuse(part, 'too-large', detail);
      return true;
    }
    const { bytes } = part.frame;
    const excess =
      bytes > limits.frameBytes
        ? `it has ${bytes} bytes; the limit is ${limits.frameBytes}`
        : storageFault(part.frame);
    if (excess !== null) {
      pendingWrites.refuse(part, 'too-large', `with the keys that its script touches ${excess}`);
      return true;
    }
    if (part.keyDiscoveryAttempts > limits.searchesPerWrite) {
      const detail = 'its script touches other keys at each attempt; declare them';
      pendingWrites.refuse(part, 'unsupported-command', detail);
      return true;
    }
    const refusal = blocked.refusalOf(part.frame.keys);
    if (refusal === null) return false;
    pendingWrites.giveUp(part, refusal.faults, refusal.reason, refusal.code);
    return true;
  }

  /** Aborts every undecided transaction; the parts are queued again at once. */
  abortAll(): void {
    const { transactions, ready } = this.#parts;
    for (const transaction of transactions.undecided) this.abort(transaction, ready.now);
  }

  /** Gives up every queued frame. */
  refuseAll({ faults, reason, code }: WriteRefusal): void {
    const { pendingWrites } = this.#parts;
    for (const part of pendingWrites.queue.take(() => true))
      pendingWrites.giveUp(part, faults, reason, code);
  }

  /** Aborts undecided transactions whose keys a frame of higher priority waits for. */
  #preempt(): void {
    const { pendingWrites, transactions, ready } = this.#parts;
    for (const { frame, retryAt } of [...pendingWrites.queue.frames]) {
      if (frame.priority === 0) return;
      const holders = transactions.holdersOf(frame.keys);
      const lower = holders.every((holder) => holder.priority < frame.priority);
      if (!lower || retryAt > ready.now) continue;
      for (const holder of holders) this.abort(holder, ready.now);
    }
  }

  /** All voters said yes: their results have to be the same. */
  #agree(transaction: Transaction): void {
    const { yesVotes, keys } = transaction;
    const partsOfKey = (position: number) => transaction.partsOfKey(position);
    const latest = this.#parts.ready.now + limits.clockSkewMs;
    const agreement = agreementOf(yesVotes, keys, partsOfKey, latest);
    switch (agreement.kind) {
      case 'agreed':
        this.#decide(transaction, agreement.parts);
        break;
      case 'expiring':
        this.#awaitExpiry(transaction, agreement.retryAt);
        break;
      case 'diverged':
        this.#diverge(transaction, agreement);
        break;
      default:
        unreachable(agreement);
    }
  }

  /** Each region sees a key expire at a moment of its own: the write is tried again once all of them do. */
  #awaitExpiry(transaction: Transaction, retryAt: number): void {
    const reason = 'saw a key of the write expire that another still held';
    transaction.setFaults(transaction.yesVotes.map(({ region }) => ({ region, reason })));
    this.abort(transaction, retryAt);
  }

  /** The minority is evicted, and the write tried again without it; if there is none, an operator has to decide. */
  #diverge(transaction: Transaction, { minority, keys, detail }: Diverged): void {
    const { ready, links, pendingWrites, blocked } = this.#parts;
    const members = this.#members();
    if (transaction.hasScripts) {
      this.#doubt(transaction, detail);
      return;
    }
    this.abort(transaction, ready.now);
    for (const region of minority) {
      const link = links.find(region);
      const leaving = { cause: 'diverged', detail, whole: true, manualReturn: false } as const;
      if (link !== null) members.suspect(link, leaving);
    }
    if (minority.length > 0) return;
    const named = keys.flatMap((position) => transaction.keys[position] ?? []);
    blocked.add(named, detail);
    for (const { region } of links.voters) members.note(region, 'diverged', 'diverged', detail);
    for (const part of pendingWrites.queue.take(
      ({ frame }) => blocked.refusalOf(frame.keys) !== null,
    )) {
      const refusal = blocked.refusalOf(part.frame.keys);
      const { faults = [], reason = detail, code = 'diverged' } = refusal ?? {};
      pendingWrites.giveUp(part, faults, reason, code);
    }
  }

  /**
   * The script itself may differ from region to region, so no region is evicted for its results: it is tried again, and
   * then refused. If the data differ, plain writes and verify find that.
   */
  #doubt(transaction: Transaction, detail: string): void {
    const { ready, pendingWrites } = this.#parts;
    for (const part of transaction.parts) part.divergentAttempts += 1;
    this.abort(transaction, ready.now + transaction.pauseMs);
    const isDoubtful = ({ frame, divergentAttempts }: PendingWrite) =>
      divergentAttempts > limits.doubtsPerWrite &&
      frame.operations.some(({ kind }) => kind === 'script');
    for (const part of pendingWrites.queue.take(isDoubtful)) {
      const reason = `its script does not do the same in every region: ${detail}`;
      pendingWrites.refuse(part, 'unsupported-command', reason);
    }
  }

  #release(transaction: Transaction, by: 'commit' | 'reject' | 'abort'): void {
    this.#parts.transactions.release(transaction, by);
    this.requestBatch();
  }

  #queueAbort(transaction: Transaction): void {
    const { order, keys, bytes } = transaction;
    const decision = { transaction: order, outcome: 'abort', keys } as const;
    const reached = new Set(transaction.reached);
    for (const link of this.#parts.links.all) {
      if (!reached.has(link.region)) link.withdraw(transaction);
      else this.#parts.links.queueDecision(link, decision, { sequence: 0, bytes, urgent: false });
    }
  }

  /** All voters said yes and agree: the decision is stored, and only then does anything leave. */
  #decide(transaction: Transaction, parts: readonly string[]): void {
    assert(parts.length === transaction.parts.length, 'a yes vote has one outcome a part');
    const { config, state, ready, links, pendingConfirmations, eventRouter } = this.#parts;
    const decided = recordDecision(transaction, parts, config.shard, state.sequence, ready.now);
    if (isTooLargeToStore(decided)) {
      this.#refuseLargest(transaction, decided);
      return;
    }
    this.#release(transaction, decided.storage.kind);
    state.sequence = decided.sequence;
    const { order, keys } = transaction;
    const { storage, sequence } = decided;
    ready.persist(
      storage.kind === 'commit'
        ? { ...storage, missedBy: this.#members().missedBy(keys, sequence) }
        : storage,
    );
    for (const write of decided.writes) {
      ready.queueEvents(eventRouter.decided(write), write.callback);
    }
    const confirming = decided.writes.flatMap(({ record }, position) => {
      const part = transaction.parts[position];
      return part === undefined
        ? []
        : this.#answerCallers(part, { kind: 'decided', record, replayed: false });
    });
    if (storage.kind === 'reject') {
      this.#queueAbort(transaction);
      return;
    }
    const urgent = transaction.parts.some(({ frame }) => frame.ack === 'confirmed');
    links.queueDecisionForAll({ transaction: order, outcome: 'commit', keys }, sequence, urgent);
    const committed = decided.writes.filter(({ record }) => record.outcome === 'committed');
    pendingConfirmations.add(order, transaction.voters, committed, confirming, true);
  }

  /** Refuses the largest part of a decision that cannot be stored, and tries the others again without it. */
  #refuseLargest(transaction: Transaction, { writes }: Decided): void {
    const sizes = writes.map(storedBytes);
    const largest = sizes.indexOf(Math.max(...sizes));
    transaction.parts.forEach((part, position) => {
      part.isTooLarge = position === largest;
    });
    this.abort(transaction, this.#parts.ready.now);
  }

  /** Answers the callers of a decided part; those that wait for the confirmation are returned. */
  #answerCallers(part: PendingWrite, answer: Confirming['answer']): Confirming[] {
    this.#parts.pendingWrites.forget(part);
    const confirming: Confirming[] = [];
    for (const caller of part.callers) {
      const waits = caller.ack === 'confirmed' && answer.record.outcome === 'committed';
      if (waits) confirming.push({ caller, answer });
      else this.#parts.ready.answer(caller.ticket, answer);
    }
    return confirming;
  }
}
