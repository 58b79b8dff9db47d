import { assert, unreachable } from '../../assert.ts';
import type { JointVote } from '../../contracts/joint.ts';
import type { Vote } from '../../contracts/round.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { ShardState } from '../io/shard-state.ts';
import type { StoredJointCommit } from '../io/stored.ts';
import type { BlockedKeys } from '../membership/blocked-keys.ts';
import type { Members } from '../membership/members.ts';
import type { OwnedSlots } from '../ownership/owned-slots.ts';
import type { Shards } from '../ownership/shards.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import { outOfMemory } from '../regions/server-refusals.ts';
import { type Claim, type PendingWrite, takeBatch } from '../transactions/admission.ts';
import { type Agreement, agreementOf } from '../transactions/agreement.ts';
import { type Decided, recordDecision } from '../transactions/decision.ts';
import type { EventRouter } from '../transactions/event-router.ts';
import type { Confirming, PendingConfirmations } from '../transactions/pending-confirmations.ts';
import type { PendingWrites } from '../transactions/pending-writes.ts';
import { isTooLargeToStore, storedBytes } from '../transactions/stored-size.ts';
import type { Transaction } from '../transactions/transaction.ts';
import type { Transactions } from '../transactions/transactions.ts';
import type { Attempts } from './attempts.ts';
import type { Conclusions } from './conclusions.ts';
import type { Loans } from './loans.ts';

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
  readonly attempts: Attempts;
  readonly members: Members;
  readonly slots: OwnedSlots;
  readonly shards: Shards;
  readonly conclusions: Conclusions;
  readonly loans: Loans;
}

type Diverged = Extract<Agreement, { kind: 'diverged' }>;

/** Turns queued frames into transactions, and their votes into decisions. */
export class TransactionManager {
  readonly #parts: TransactionManagerParts;

  constructor(parts: TransactionManagerParts) {
    this.#parts = parts;
  }

  /** Begins every queued frame that can begin. */
  batch(): void {
    const { links, transactions, pendingWrites, ready, attempts, members } = this.#parts;
    if (!attempts.isBatchRequested || links.obstacles.length > 0) return;
    // With too few voters, or none, nothing may begin; queued frames have been refused by then.
    if (members.isPaused || members.refusal !== null) return;
    attempts.isBatchRequested = false;
    this.#preempt();
    const isLocked = (key: string) => transactions.isLocked(key);
    const { shards } = this.#parts;
    const shardsOf = (keys: readonly string[]) => shards.signatureOf(keys);
    for (;;) {
      const granted: Claim[] = [];
      const groups = takeBatch(pendingWrites.queue, isLocked, ready.now, { shardsOf, granted });
      for (const claim of granted) claim.grant();
      for (const parts of groups) attempts.begin(parts);
      // Frames of other shards may be free, since they could not go together with those that went.
      if (shards.isOnly || (groups.length === 0 && granted.length === 0)) return;
    }
  }

  /** Decides if the votes allow it. A transaction that is decided already stays as it is. */
  decide(transaction: Transaction): void {
    const { transactions, ready } = this.#parts;
    if (!transactions.isUndecided(transaction.order)) return;
    switch (transaction.tally) {
      case 'pending':
        return;
      case 'lost': {
        transaction.setFaults(transaction.dissent);
        this.#parts.attempts.abort(transaction, ready.now + transaction.pauseMs);
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
  noteVote(transaction: Transaction, region: RegionId, vote: Vote | JointVote): void {
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
      this.decide(transaction);
      ready.schedule(transaction.deadline);
    }
    const { members, slots } = this.#parts;
    const obstacles = slots.isKnown ? [...links.obstacles, ...members.obstacles] : [];
    pendingWrites.sweep(obstacles);
    if (pendingWrites.queue.length > 0) this.#parts.attempts.requestBatch();
  }

  /** Aborts undecided transactions whose keys a frame of higher priority waits for. */
  #preempt(): void {
    const { pendingWrites, ready, loans } = this.#parts;
    for (const { keys, priority } of pendingWrites.queue.claims) {
      if (priority > 0) loans.preempt(keys, priority);
    }
    for (const { frame, retryAt } of [...pendingWrites.queue.frames]) {
      if (frame.priority === 0) return;
      if (retryAt <= ready.now) loans.preempt(frame.keys, frame.priority);
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
        this.#storeDecision(transaction, agreement.parts);
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
    this.#parts.attempts.abort(transaction, retryAt);
  }

  /** The minority is evicted, and the write tried again without it; if there is none, an operator has to decide. */
  #diverge(transaction: Transaction, { minority, keys, detail }: Diverged): void {
    const { ready, links, pendingWrites, blocked } = this.#parts;
    const members = this.#parts.members;
    if (transaction.hasScripts) {
      this.#retryDivergentScript(transaction, detail);
      return;
    }
    const differing = keys.flatMap((position) => transaction.keys[position] ?? []);
    if (transaction.joint !== null) transaction.joint.minority = minority;
    const toBlock = minority.length > 0 ? [] : differing.map((key) => ({ key, detail }));
    this.#parts.attempts.abort(transaction, ready.now, toBlock);
    for (const region of minority) {
      const link = links.find(region);
      const leaving = { cause: 'diverged', detail, whole: true, manualReturn: false } as const;
      if (link !== null) members.suspect(link, leaving);
    }
    if (minority.length > 0) return;
    const named = this.#parts.shards.ownAmong(differing);
    if (named.length > 0) blocked.add(named, detail);
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
  #retryDivergentScript(transaction: Transaction, detail: string): void {
    const { ready, pendingWrites } = this.#parts;
    for (const part of transaction.parts) part.divergentAttempts += 1;
    this.#parts.attempts.abort(transaction, ready.now + transaction.pauseMs);
    const isDoubtful = ({ frame, divergentAttempts }: PendingWrite) =>
      divergentAttempts > limits.doubtsPerWrite &&
      frame.operations.some(({ kind }) => kind === 'script');
    for (const part of pendingWrites.queue.take(isDoubtful)) {
      const reason = `its script does not do the same in every region: ${detail}`;
      pendingWrites.refuse(part, 'unsupported-command', reason);
    }
  }

  /** All voters said yes and agree: the decision is stored, and only then does anything leave. */
  #storeDecision(transaction: Transaction, parts: readonly string[]): void {
    assert(parts.length === transaction.parts.length, 'a yes vote has one outcome a part');
    const { config, state, ready, links, pendingConfirmations, eventRouter } = this.#parts;
    const decided = recordDecision(transaction, parts, config.shard, state.sequence, ready.now);
    if (isTooLargeToStore(decided)) {
      this.#refuseLargest(transaction, decided);
      return;
    }
    this.#parts.attempts.release(transaction, decided.storage.kind);
    state.sequence = decided.sequence;
    const { order, ownKeys: keys, joint } = transaction;
    const { storage, sequence } = decided;
    if (joint !== null) ready.raiseClock(transaction.now);
    ready.persist(
      storage.kind === 'commit'
        ? {
            ...storage,
            missedBy: this.#parts.members.missedBy(keys, sequence),
            ...(joint !== null && { joint: this.#jointCommitOf(transaction, sequence) }),
          }
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
      this.#parts.attempts.queueAbort(transaction);
      this.#parts.conclusions.abort(transaction, transaction.now);
      return;
    }
    this.#parts.conclusions.commit(transaction, sequence);
    const urgent = transaction.parts.some(({ frame }) => frame.ack === 'confirmed');
    const alone = { transaction: order, outcome: 'commit', keys } as const;
    const otherShares = joint === null ? [] : transaction.sharesOf(config.shard).slice(1);
    const decision = joint === null ? alone : { ...alone, otherShares };
    links.queueDecisionForAll(decision, sequence, urgent);
    const committed = decided.writes.filter(({ record }) => record.outcome === 'committed');
    pendingConfirmations.add(order, transaction.voters, committed, confirming, true);
  }

  /** The part of a joint commit that is kept until every guest has acknowledged it (rule R62). */
  #jointCommitOf(transaction: Transaction, sequence: number): StoredJointCommit {
    const shares = transaction.sharesOf(this.#parts.config.shard);
    const unacknowledged = (transaction.joint?.guests ?? []).map(({ shard }) => shard);
    const { order, now } = transaction;
    return { transaction: order, shares, sequence, now, unacknowledged };
  }

  /** Refuses the largest part of a decision that cannot be stored, and tries the others again without it. */
  #refuseLargest(transaction: Transaction, { writes }: Decided): void {
    const sizes = writes.map(storedBytes);
    const largest = sizes.indexOf(Math.max(...sizes));
    transaction.parts.forEach((part, position) => {
      part.isTooLarge = position === largest;
    });
    this.#parts.attempts.abort(transaction, this.#parts.ready.now);
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
