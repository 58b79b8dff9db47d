import { assert, unreachable } from '../../assert.ts';
import type { JointVote } from '../../contracts/joint.ts';
import type { Refusal, RoundReply, RoundResult, Vote } from '../../contracts/round.ts';
import { keyOf, type TransactionOrder } from '../../ids.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { CoordinatorEvent } from '../io/events.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { Stored } from '../io/stored.ts';
import type { Members } from '../membership/members.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { bytesOf, type RegionLinks } from '../regions/region-links.ts';
import type { Flight } from '../regions/rounds-in-flight.ts';
import type { PendingConfirmations } from '../transactions/pending-confirmations.ts';
import type { PendingWrites } from '../transactions/pending-writes.ts';
import { ballotOf, jointBallotOf, type Transaction } from '../transactions/transaction.ts';
import type { Transactions } from '../transactions/transactions.ts';
import type { Attempts } from './attempts.ts';
import type { TransactionManager } from './transaction-manager.ts';

/** The parts of the coordinator that the results of rounds change. */
export interface RoundAnswersParts {
  readonly config: CoordinatorConfig;
  readonly stored: Stored;
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly pendingWrites: PendingWrites;
  readonly pendingConfirmations: PendingConfirmations;
  readonly members: Members;
  readonly attempts: Attempts;
  readonly transactions: Transactions;
  readonly transactionManager: TransactionManager;
}

/** Takes in the results of rounds. */
export class RoundAnswers {
  readonly #parts: RoundAnswersParts;

  constructor(parts: RoundAnswersParts) {
    this.#parts = parts;
  }

  /**
   * Takes in the result of a joint round. Home judges the reply to its own round, and keeps those of the guests for them.
   */
  takeJoint({
    region,
    round,
    result,
    recorded,
  }: Extract<CoordinatorEvent, { kind: 'joint-round-completed' }>): void {
    const [transaction] = this.#parts.links.find(region)?.flights.get(round)?.transactions ?? [];
    if (result.kind === 'silent') {
      this.take({ kind: 'round-completed', region, round, result, recorded });
      return;
    }
    const [own, ...others] = result.replies;
    assert(
      own !== undefined,
      'a joint round is answered for each shard; the client has checked that',
    );
    transaction?.joint?.guests.forEach((guest, position) => {
      const reply = others[position];
      if (reply !== undefined) guest.replies.set(region, reply);
    });
    this.take({ kind: 'round-completed', region, round, result: own, recorded }, result.vote);
  }

  /** Takes in the result of a round: updates its region, and counts its votes. `jointVote` is that of a joint round. */
  take(
    { region, round, result, recorded }: Extract<CoordinatorEvent, { kind: 'round-completed' }>,
    jointVote: JointVote | null = null,
  ): void {
    const { links, ready, attempts, transactionManager, pendingWrites, members } = this.#parts;
    const link = links.receiverOf(region, round);
    if (link === null) {
      if (pendingWrites.queue.length > 0) attempts.requestBatch();
      return;
    }
    const flight = link.land(round);
    const isHeard = !link.isQuarantined && isCurrent(link, flight);
    if (isHeard) this.#judge(link, flight, result, recorded, jointVote);
    else if (flight.lease !== null) link.lease.roundEnded(null, ready.now);
    if (flight.copy !== null) {
      // The reply of a region that has lost writes, or has changed its role since the round left, does not count.
      const reply =
        isHeard && !link.isQuarantined && result.kind === 'executed' ? result.reply.copy : null;
      members.rejoin.onStepEnded(flight.copy, reply);
    }
    const reason = result.kind === 'silent' ? result.reason : 'gave no vote';
    for (const transaction of flight.transactions) {
      transaction.count(region, { state: 'missing', reason }, ready.now);
      transactionManager.decide(transaction);
    }
    if (pendingWrites.queue.length > 0) attempts.requestBatch();
  }

  #judge(
    link: RegionLink,
    flight: Flight,
    result: RoundResult,
    recorded: readonly TransactionOrder[],
    jointVote: JointVote | null,
  ): void {
    const { links, members, ready } = this.#parts;
    const clock = result.kind === 'executed' ? result.reply.clock : null;
    if (flight.lease !== null) link.lease.roundEnded(clock, ready.now);
    switch (result.kind) {
      case 'silent':
        links.fail(link, result.reason, flight.sentAt);
        if (result.code !== undefined) link.refusals.add(result.code, result.reason, ready.now);
        break;
      case 'refused':
        this.#refused(link, flight, result.refusal);
        break;
      case 'executed': {
        if (members.founding.isOpen) {
          link.contents = { generation: flight.generation, keys: 0, at: ready.now };
          members.founding.onContents(link);
          break;
        }
        const loss = link.update(result.reply, flight, ready.now);
        if (loss !== null) members.noteLoss(link, loss);
        else this.#executed(link, flight, result.reply, recorded, jointVote);
        members.onContact(link, loss === null);
        break;
      }
      default:
        unreachable(result);
    }
  }

  #refused(link: RegionLink, flight: Flight, refusal: Refusal): void {
    const { links, members } = this.#parts;
    if (members.founding.isOpen) {
      this.#counted(link, flight, refusal);
      return;
    }
    const finding = links.refused(link, refusal, flight.sentAt);
    if (finding?.kind === 'lost') members.noteLoss(link, finding.reason);
    if (finding?.kind === 'foreign') members.noteForeign(link, finding.reason);
    else members.onContact(link, false);
  }

  /** Before a shard has members, a region refuses every round, and reports its contents. */
  #counted(link: RegionLink, flight: Flight, refusal: Refusal): void {
    const { members, ready } = this.#parts;
    const { now } = ready;
    // A region with the round's generation was this shard's before its coordinator lost its storage.
    const found = refusal.kind === 'generation' ? refusal : { has: flight.generation, keys: 0 };
    link.contents = { generation: found.has, keys: found.keys, at: now };
    members.founding.onContents(link);
  }

  #executed(
    link: RegionLink,
    flight: Flight,
    reply: RoundReply,
    recorded: readonly TransactionOrder[],
    jointVote: JointVote | null,
  ): void {
    const { links, members, pendingConfirmations, ready } = this.#parts;
    flight.decisions.forEach(({ transaction }, position) => {
      const said = reply.decisions[position];
      if (said === 'acknowledged') {
        link.acknowledged(transaction);
        pendingConfirmations.acknowledge(transaction, link.region);
      } else if (said === 'lost') {
        members.noteLoss(link, `it no longer holds transaction ${keyOf(transaction)}`);
      } else {
        const reason =
          said === 'unreadable'
            ? 'it holds a lock of a later release of Lockstep, which this one cannot apply: deploy that release'
            : 'its server refused to apply a decision';
        links.fail(link, reason, flight.sentAt);
        link.refusals.add('ERR', reason, ready.now);
      }
    });
    this.#settleOlder(link, flight, reply, recorded);
    flight.transactions.forEach((transaction, position) => {
      const vote = reply.votes[position];
      if (vote !== undefined) this.#countVote(link, flight, transaction, vote);
      else if (jointVote !== null) this.#countJointVote(link, flight, transaction, jointVote);
    });
  }

  /**
   * Counts a vote on a joint transaction. An objection of this shard's own state is news about this instance; an objection
   * of another shard ends the try alone (rule R59).
   */
  #countJointVote(
    link: RegionLink,
    flight: Flight,
    transaction: Transaction,
    vote: JointVote,
  ): void {
    if (vote.kind !== 'objected') {
      this.#countVote(link, flight, transaction, vote);
      return;
    }
    const { by, shard } = vote;
    if (shard === this.#parts.config.shard && by.kind !== 'round' && by.kind !== 'decision') {
      this.#countVote(link, flight, transaction, by);
    } else transaction.count(link.region, jointBallotOf(vote), this.#parts.ready.now);
  }

  #countVote(link: RegionLink, flight: Flight, transaction: Transaction, vote: Vote): void {
    const { members, ready, transactionManager } = this.#parts;
    // A round that was under way when the epoch rose is refused by a region that knows the new epoch: no news.
    const isNews =
      vote.kind === 'fenced' && (vote.by !== 'epoch' || flight.epoch === members.epoch);
    if (isNews) ready.ended ??= `${link.region} has seen a later ${vote.by}`;
    if (vote.kind === 'locked' && vote.holder[0] < this.#parts.stored.incarnation) {
      link.listLocksAgain();
    }
    if (vote.kind === 'denied') link.refusals.add(vote.code, vote.reason, ready.now);
    transactionManager.noteVote(transaction, link.region, vote);
    transaction.count(link.region, ballotOf(vote), ready.now);
  }

  /** Locks of older incarnations: without a record their transactions are aborted (rule R3). */
  #settleOlder(
    link: RegionLink,
    flight: Flight,
    reply: RoundReply,
    recorded: readonly TransactionOrder[],
  ): void {
    const committed = new Set(recorded.map(keyOf));
    for (const { transaction, keys } of reply.older) {
      const key = keyOf(transaction);
      if (link.unacknowledged.has(transaction) || flight.settledMeanwhile.has(key)) continue;
      // Only home ends a loan.
      if (this.#parts.transactions.findLoan(transaction) !== null) continue;
      if (committed.has(key)) {
        const loss = `it locks transaction ${key} again, which it had applied`;
        this.#parts.members.noteLoss(link, loss);
      } else {
        const decision = { transaction, outcome: 'abort', keys } as const;
        const bytes = bytesOf(decision);
        this.#parts.links.queueDecision(link, decision, { sequence: 0, bytes, urgent: false });
      }
    }
  }
}

/** A round that left before the region took its present role says nothing about it. */
function isCurrent(link: RegionLink, flight: Flight): boolean {
  return flight.sentAt >= link.membership.since && flight.generation === link.generation;
}
