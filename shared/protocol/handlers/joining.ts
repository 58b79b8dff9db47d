import type { LoanAnswer, LoanReply } from '../../contracts/loans.ts';
import { limits } from '../../limits.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import type { Guest, Joint } from '../transactions/joint.ts';
import type { PendingWrites } from '../transactions/pending-writes.ts';
import type { Transaction } from '../transactions/transaction.ts';
import type { Transactions } from '../transactions/transactions.ts';
import type { Attempts } from './attempts.ts';
import type { Conclusions } from './conclusions.ts';
import type { LoanCalls } from './loan-calls.ts';

/** The parts of the coordinator that joining works on. */
export interface JoiningParts {
  readonly config: CoordinatorConfig;
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly pendingWrites: PendingWrites;
  readonly transactions: Transactions;
  readonly attempts: Attempts;
  readonly conclusions: Conclusions;
  readonly loanCalls: LoanCalls;
}

/**
 * Gathers the loans of a joint transaction at its home (rules R56, R57 and R59): at first from all guests at once,
 * without waiting; after one had to refuse, from each shard in turn, in ascending order.
 */
export class Joining {
  readonly #parts: JoiningParts;

  constructor(parts: JoiningParts) {
    this.#parts = parts;
  }

  /** Asks for the next loans of each joint transaction, or begins its vote. Called in each step. */
  advance(): void {
    for (const transaction of this.#parts.transactions.undecided) {
      if (transaction.joint?.phase === 'joining') this.#advance(transaction, transaction.joint);
    }
  }

  #advance(transaction: Transaction, joint: Joint): void {
    const isComplete = joint.isOrdered
      ? this.#askInOrder(transaction, joint)
      : this.#askAll(transaction, joint);
    if (isComplete) this.#beginVoting(transaction, joint);
  }

  #askAll(transaction: Transaction, joint: Joint): boolean {
    for (const guest of joint.guests) {
      if (guest.state === 'unasked') this.#ask(transaction, joint, guest, null);
    }
    return joint.guests.every(({ state }) => state === 'lent');
  }

  /** True once every shard, up to the highest, has given its keys. */
  #askInOrder(transaction: Transaction, joint: Joint): boolean {
    const own = this.#parts.config.shard;
    for (const guest of joint.guests) {
      if (own < guest.shard && !this.#takeOwn(transaction, joint)) return false;
      if (guest.state === 'unasked') this.#ask(transaction, joint, guest, limits.loanWaitMs);
      if (guest.state !== 'lent') return false;
    }
    return this.#takeOwn(transaction, joint);
  }

  /** The turn of this shard has come. True once it has its own keys. */
  #takeOwn(transaction: Transaction, joint: Joint): boolean {
    if (joint.holdsOwn) return true;
    if (joint.claim !== null) return false;
    const { transactions, pendingWrites, ready } = this.#parts;
    const { ownKeys, priority, parts } = transaction;
    const isFree = !ownKeys.some((key) => transactions.isLocked(key));
    if (isFree && !pendingWrites.queue.waitsFor(ownKeys)) {
      transactions.takeOwn(transaction);
      return true;
    }
    const claim = {
      keys: ownKeys,
      priority,
      arrival: Math.min(...parts.map(({ arrival }) => arrival)),
      until: ready.now + limits.loanWaitMs,
      grant: () => {
        joint.claim = null;
        transactions.takeOwn(transaction);
      },
      expire: () => {
        joint.claim = null;
        this.#giveUp(transaction, joint, 'another write holds its keys');
      },
    };
    joint.claim = claim;
    pendingWrites.queue.addClaim(claim);
    ready.schedule(claim.until);
    this.#parts.attempts.requestBatch();
    return false;
  }

  #ask(transaction: Transaction, joint: Joint, guest: Guest, waitMs: number | null): void {
    const { name } = joint;
    const { voters, priority } = transaction;
    const request = { name, keys: guest.keys, voters, priority, waitMs };
    const call = { kind: 'join', request } as const;
    guest.ask();
    this.#parts.loanCalls.send(guest.shard, call, limits.loanRequestTimeoutMs, (answer) =>
      this.#onAnswer(transaction, joint, guest, answer),
    );
  }

  #onAnswer(transaction: Transaction, joint: Joint, guest: Guest, answer: LoanAnswer | null): void {
    const reply = answer?.kind === 'join' ? answer.reply : null;
    const { transactions, conclusions } = this.#parts;
    if (!transactions.isUndecided(transaction.order)) {
      if (reply?.kind === 'lent') {
        conclusions.abortLoan(joint.name, guest.shard, reply.transaction);
      }
      return;
    }
    if (reply?.kind !== 'lent') {
      // Without an answer it may have lent.
      if (reply !== null) guest.refuse();
      this.#refused(transaction, joint, guest, reply);
      return;
    }
    guest.lend(reply);
    const isWhole = transaction.voters.every((region) => reply.rounds[region] !== undefined);
    if (!isWhole) this.#giveUp(transaction, joint, `shard ${guest.shard} has other voters`);
  }

  #refused(transaction: Transaction, joint: Joint, guest: Guest, reply: Refused | null): void {
    const shard = `shard ${guest.shard}`;
    switch (reply?.kind) {
      case undefined:
        this.#giveUp(transaction, joint, `${shard} did not answer`);
        break;
      case 'held':
        for (const part of transaction.parts) part.isOrdered = true;
        // The first try in order follows at once: it waits if it has to.
        if (joint.isOrdered) this.#giveUp(transaction, joint, `other writes hold keys of ${shard}`);
        else this.#parts.attempts.abort(transaction, this.#parts.ready.now);
        break;
      case 'moved':
        this.#giveUp(transaction, joint, `${shard} does not own its keys any more`);
        break;
      case 'members-differ':
        this.#giveUp(transaction, joint, `${shard} has other voters`);
        break;
      case 'not-now':
        this.#giveUp(transaction, joint, `${shard} cannot join yet: ${reply.reason}`);
        break;
      case 'refused':
        this.#refuse(transaction, reply);
    }
  }

  /** The guest takes no writes on these keys, so the callers are answered. */
  #refuse(
    transaction: Transaction,
    { code, reason }: Extract<LoanReply, { kind: 'refused' }>,
  ): void {
    const { attempts, pendingWrites, ready } = this.#parts;
    const { parts } = transaction;
    attempts.abort(transaction, ready.now);
    if (parts.length > 1) {
      // It may be about some of them alone, so each goes alone from now on.
      for (const part of parts) part.most = 1;
      return;
    }
    for (const part of pendingWrites.queue.take((one) => parts.includes(one))) {
      pendingWrites.giveUp(part, [], reason, code);
    }
  }

  /** The try ends, and another follows after a pause. */
  #giveUp(transaction: Transaction, joint: Joint, reason: string): void {
    const { attempts, ready, config } = this.#parts;
    joint.pauses = true;
    transaction.setFaults([{ region: `shard-${config.shard}`, reason }]);
    attempts.abort(transaction, ready.now + transaction.pauseMs);
  }

  /** Every shard has given its keys: the regions are asked, at the greatest of all clocks (rule R59). */
  #beginVoting(transaction: Transaction, joint: Joint): void {
    const { config, links, ready } = this.#parts;
    const clocks = joint.guests.map(({ loan }) => loan?.now ?? 0);
    const now = Math.max(ready.now, ...clocks);
    if (now > ready.now + limits.clockSkewMs) {
      this.#giveUp(transaction, joint, 'the clock of another shard is far ahead');
      return;
    }
    const patience = Math.max(...transaction.parts.map(({ frame }) => frame.notAfter));
    const deadline = Math.min(ready.now + config.voteDeadlineMs, patience);
    transaction.beginVoting(now, deadline);
    for (const link of links.voters) link.enqueue(transaction);
    ready.schedule(deadline);
  }
}

type Refused = Exclude<LoanReply, { kind: 'lent' }>;
