import type { Conclusion, JointOutcome, LoanReply, LoanRequest } from '../../contracts/loans.ts';
import { compareOrder, formatTransactionName, type TransactionName } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { Ticket } from '../io/events.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { ShardState } from '../io/shard-state.ts';
import type { Stored } from '../io/stored.ts';
import type { BlockedKeys } from '../membership/blocked-keys.ts';
import type { Members } from '../membership/members.ts';
import type { LoanControl } from '../membership/members-parts.ts';
import type { OwnedSlots } from '../ownership/owned-slots.ts';
import type { Shards } from '../ownership/shards.ts';
import type { RoundHead } from '../regions/region-data.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import type { Claim } from '../transactions/admission.ts';
import { Loan } from '../transactions/loan.ts';
import { assertLoanTransition, type LoanState } from '../transactions/loan-states.ts';
import type { PendingConfirmations } from '../transactions/pending-confirmations.ts';
import type { PendingWrites } from '../transactions/pending-writes.ts';
import { Transaction } from '../transactions/transaction.ts';
import type { Holder, Transactions } from '../transactions/transactions.ts';
import type { Attempts } from './attempts.ts';
import { judgeLentRounds } from './lent-rounds.ts';
import type { LoanCalls } from './loan-calls.ts';

/** The parts of the coordinator that loans work on. */
export interface LoansParts {
  readonly config: CoordinatorConfig;
  readonly stored: Stored;
  readonly state: ShardState;
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly pendingWrites: PendingWrites;
  readonly pendingConfirmations: PendingConfirmations;
  readonly transactions: Transactions;
  readonly blocked: BlockedKeys;
  readonly slots: OwnedSlots;
  readonly shards: Shards;
  readonly attempts: Attempts;
  readonly members: Members;
  readonly loanCalls: LoanCalls;
}

/** A request for a loan that has not been answered. */
interface Waiting {
  readonly request: LoanRequest;
  readonly tickets: Ticket[];
  /** Null: it does not wait, and is judged in this step. */
  readonly claim: Claim | null;
  state: LoanState;
}

/**
 * The loans of this shard to joint transactions of others (rules R58, R60 and R61). A loan is stored before it leaves,
 * survives restarts and changes of the epoch, and ends only by the word of its home.
 */
export class Loans {
  readonly #parts: LoansParts;
  readonly #waiting = new Map<string, Waiting>();
  /** Those of this step, whose rounds are made at its end. */
  #made: { readonly loan: Loan; readonly waiting: Waiting }[] = [];

  constructor(parts: LoansParts) {
    this.#parts = parts;
    for (const loan of parts.stored.loans ?? []) {
      // It counts as old: nobody knows when its rounds left (R63). Home is asked at once.
      parts.transactions.lend(new Loan(loan, 0, Number.NEGATIVE_INFINITY, parts.ready.now));
    }
  }

  /** True while a loan is open or asked for. */
  get busy(): boolean {
    return this.#parts.transactions.loanCount > 0 || this.#waiting.size > 0;
  }

  /** A home asks for keys. The same question gets the same answer. */
  onRequest(ticket: Ticket, request: LoanRequest): void {
    const { transactions, ready, pendingWrites } = this.#parts;
    const key = formatTransactionName(request.name);
    const known = transactions.loans.find((loan) => loan.key === key);
    if (known !== undefined) {
      this.#reply([ticket], known.answer ?? { kind: 'not-now', reason: 'it has lent before' });
      return;
    }
    this.#askAboutEarlier(request.name);
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) {
      waiting.tickets.push(ticket);
      return;
    }
    const isMuch = this.#waiting.size >= limits.loansOpen;
    const objection = isMuch
      ? ({ kind: 'not-now', reason: 'many wait for its keys' } as const)
      : this.#objectionTo(request);
    if (objection !== null) {
      this.#reply([ticket], objection);
      return;
    }
    const claim = request.waitMs === null ? null : this.#claimOf(key, request, request.waitMs);
    this.#waiting.set(key, { request, tickets: [ticket], claim, state: 'waiting' });
    if (claim === null) return;
    pendingWrites.queue.addClaim(claim);
    ready.schedule(claim.until);
    this.#parts.attempts.requestBatch();
  }

  /** Lends the keys that were asked for in this step without waiting, or refuses it. Called in each step, after its event. */
  lendFree(): void {
    const { transactions, pendingWrites } = this.#parts;
    for (const [key, { request, claim }] of this.#waiting) {
      if (claim !== null) continue;
      const { keys, priority } = request;
      if (priority > 0) this.preempt(keys, priority);
      const isLocked = keys.some((one) => transactions.isLocked(one));
      if (isLocked || pendingWrites.queue.waitsFor(keys)) this.#refuse(key, { kind: 'held' });
      else this.#grant(key);
    }
  }

  /** Ends the undecided transactions of lower priority on these keys, and asks the homes of loans to end theirs (R8). */
  preempt(keys: readonly string[], priority: number): void {
    const { transactions, attempts, ready } = this.#parts;
    const holders = transactions.holdersOf(keys);
    if (!holders.every((holder) => holder.priority < priority)) return;
    for (const holder of holders) {
      if (isTransaction(holder)) attempts.abort(holder, ready.now);
      else if (holder.preempts === null || holder.preempts < priority) {
        holder.preempts = priority;
        holder.askAt = ready.now;
      }
    }
  }

  /** Makes the rounds of the loans of this step, and gives them to their homes. */
  makeRounds(head: RoundHead, entropy: string): void {
    const { links, transactions, ready, config, state } = this.#parts;
    for (const { loan, waiting } of this.#made.splice(0)) {
      const { voters } = links;
      if (!voters.every((link) => link.isHealthy && link.canLend)) {
        // It has not left, so it can be taken back.
        transactions.endLoan(loan, 'abort');
        ready.persist({ kind: 'loan-abort', transaction: loan.order, now: 0 });
        this.#reply(waiting.tickets, {
          kind: 'not-now',
          reason: 'it has many decisions to send to a region',
        });
        continue;
      }
      const rounds = voters.map((link) => {
        const number = links.nextNumber();
        const nonce = `${entropy}${number.toString(36)}`;
        loan.rounds.set(link.region, number);
        return [link.region, link.lendRound(number, head, nonce, ready.now)] as const;
      });
      loan.answer = {
        kind: 'lent',
        transaction: loan.order,
        rounds: Object.fromEntries(rounds),
        now: ready.now,
        sequence: state.sequence,
      };
      ready.schedule(loan.askAt, ready.now + config.roundTimeoutMs);
      this.#reply(waiting.tickets, loan.answer);
    }
  }

  /** Home sends the outcome. The acknowledgement follows a storage write in any case (R60). */
  onConclusion(ticket: Ticket, conclusion: Conclusion): void {
    const { transactions, ready } = this.#parts;
    const key = formatTransactionName(conclusion.name);
    ready.reply({ kind: 'loan', ticket, answer: { kind: 'conclude' } });
    if (this.#waiting.has(key)) {
      this.#refuse(key, { kind: 'not-now', reason: 'home has given it up' });
    }
    const loan = transactions.loans.find((one) => one.key === key);
    if (loan === undefined) return;
    const { transaction, outcome } = conclusion;
    if (transaction === null && outcome.kind === 'commit') return;
    // It may be about another loan to the same try, which is over.
    if (transaction !== null && compareOrder(transaction, loan.order) !== 0) return;
    this.#conclude(loan, outcome, conclusion);
  }

  /** Asks the homes of loans whose conclusion is late, and sends the decisions of late lent rounds again. Called in each step. */
  advance(): void {
    const { links, transactions, ready, config } = this.#parts;
    for (const loan of transactions.loans) {
      if (loan.isAsking) continue;
      if (loan.askAt <= ready.now) this.#ask(loan);
      else ready.schedule(loan.askAt);
    }
    for (const link of links.all) {
      for (const [number, { sentAt, isOverdue }] of link.lent) {
        if (isOverdue === true) continue;
        const givenUpAt = sentAt + config.roundTimeoutMs;
        if (givenUpAt <= ready.now) link.lent.giveUp(number);
        else ready.schedule(givenUpAt);
      }
    }
    const isOld = transactions.loans.some(
      ({ lentAt }) => lentAt + config.roundTimeoutMs <= ready.now,
    );
    for (const link of links.all) link.isLeasePaused = isOld;
  }

  /** Somebody needs the outcome of this loan now. */
  askSoon(loan: Loan): void {
    loan.askAt = Math.min(loan.askAt, this.#parts.ready.now);
  }

  /** A word that came was older than the question: home is asked again after a pause that does not grow. */
  askAgain(loan: Loan): void {
    loan.pauseMs = 0;
    loan.askAt = Math.min(loan.askAt, this.#parts.ready.now + limits.loanBackoffMinMs);
    this.#parts.ready.schedule(loan.askAt);
  }

  #claimOf(key: string, { keys, priority }: LoanRequest, waitMs: number): Claim {
    return {
      keys,
      priority,
      arrival: this.#parts.pendingWrites.takeArrival(),
      until: this.#parts.ready.now + Math.min(waitMs, limits.loanWaitMs),
      grant: () => this.#grant(key),
      expire: () => this.#refuse(key, { kind: 'held' }),
    };
  }

  /** The keys are free. Whether they may be lent is judged now, since all may have changed since they were asked for. */
  #grant(key: string): void {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) return;
    const objection = this.#objectionTo(waiting.request);
    if (objection !== null) {
      this.#refuse(key, objection);
      return;
    }
    this.#leave(key, waiting, 'grant', 'lent');
    const { transactions, ready } = this.#parts;
    const { name, keys, priority } = waiting.request;
    const stored = { transaction: transactions.nextOrder(), name, keys };
    const loan = new Loan(stored, priority, ready.now, ready.now + limits.roundTimeoutMs);
    transactions.lend(loan);
    ready.persist({ kind: 'lend', loan: stored });
    this.#made.push({ loan, waiting });
  }

  #refuse(key: string, reply: LoanReply): void {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) return;
    this.#leave(key, waiting, 'refuse', 'refused');
    if (waiting.claim !== null) this.#parts.pendingWrites.queue.removeClaim(waiting.claim);
    this.#reply(waiting.tickets, reply);
    this.#parts.attempts.requestBatch();
  }

  /** A request waits no longer. */
  #leave(key: string, waiting: Waiting, by: 'grant' | 'refuse', next: LoanState): void {
    assertLoanTransition(by, waiting.state, next);
    waiting.state = next;
    this.#waiting.delete(key);
  }

  #reply(tickets: readonly Ticket[], reply: LoanReply): void {
    for (const ticket of tickets) {
      this.#parts.ready.reply({ kind: 'loan', ticket, answer: { kind: 'join', reply } });
    }
  }

  /** Why these keys cannot be lent at present, or null (rule R58). */
  #objectionTo({ keys, voters }: LoanRequest): LoanReply | null {
    const { slots, shards, blocked, members, links, transactions } = this.#parts;
    if (shards.isOnly) return { kind: 'not-now', reason: 'it takes part in no joint write' };
    if (slots.waitsFor !== null) return { kind: 'not-now', reason: slots.waitsFor };
    if (!slots.own(keys)) return { kind: 'moved' };
    const refusal = blocked.refusalOf(keys) ?? members.refusal;
    if (refusal?.code) {
      return { kind: 'refused', code: refusal.code, reason: refusal.reason };
    }
    if (members.isPaused) return { kind: 'not-now', reason: 'a region returns' };
    const own = links.voters;
    const [obstacle] = links.obstacles;
    if (obstacle !== undefined) {
      return { kind: 'not-now', reason: `${obstacle.region} ${obstacle.reason}` };
    }
    if (!own.every((link) => link.canLend)) {
      for (const link of own) link.requireLocks();
      return { kind: 'not-now', reason: 'it does not know all locks of a region yet' };
    }
    const isSame =
      own.length === voters.length && own.every(({ region }) => voters.includes(region));
    if (!isSame) return { kind: 'members-differ', voters: own.map(({ region }) => region) };
    if (transactions.loanCount >= limits.loansOpen) {
      return { kind: 'not-now', reason: 'it has lent much' };
    }
    return null;
  }

  /** A later life of a home asks: it answers for the loans that earlier ones have left. */
  #askAboutEarlier({ shard, incarnation }: TransactionName): void {
    for (const loan of this.#parts.transactions.loans) {
      if (loan.home === shard && loan.name.incarnation < incarnation) this.askSoon(loan);
    }
  }

  #ask(loan: Loan): void {
    const { loanCalls, ready } = this.#parts;
    const { name, order: transaction, ends, preempts } = loan;
    loan.isAsking = true;
    loan.pauseMs = Math.min(
      Math.max(limits.loanBackoffMinMs, 2 * loan.pauseMs),
      limits.loanBackoffMaxMs,
    );
    const question = { name, transaction, ends, preempts };
    const call = { kind: 'ask', question } as const;
    loanCalls.send(loan.home, call, limits.loanCallTimeoutMs, (answer) => {
      loan.isAsking = false;
      loan.askAt = ready.now + loan.pauseMs;
      if (loan.state !== 'lent' || answer?.kind !== 'ask') return;
      const { word } = answer;
      if (word.kind === 'pending') loan.pendings += 1;
      if (word.kind !== 'concluded') return;
      const nothing = { now: word.now, replies: {}, minority: [], blocked: [] };
      this.#conclude(loan, word.outcome, nothing);
    });
  }

  /** Home has decided. Everything that follows from it is stored by this step. */
  #conclude(
    loan: Loan,
    outcome: JointOutcome,
    { now, replies, minority, blocked }: Omit<Conclusion, 'name' | 'transaction' | 'outcome'>,
  ): void {
    const { transactions, links, ready, attempts, members } = this.#parts;
    const flights = links.all.flatMap((link) => {
      const number = loan.rounds.get(link.region);
      const flight = number === undefined ? null : link.lent.land(number);
      return flight === null ? [] : [{ link, flight }];
    });
    transactions.endLoan(loan, outcome.kind);
    attempts.requestBatch();
    ready.raiseClock(now);
    if (outcome.kind === 'commit') this.#commit(loan, outcome, now);
    else {
      const { order: transaction, keys } = loan;
      ready.persist({ kind: 'loan-abort', transaction, now });
      links.queueDecisionForAll({ transaction, outcome: 'abort', keys }, 0, false);
    }
    judgeLentRounds(this.#parts, flights, replies);
    for (const region of minority) {
      const link = links.find(region);
      const detail = 'it computed other results for a joint write than most regions';
      const leaving = { cause: 'diverged', detail, whole: true, manualReturn: false } as const;
      if (link !== null) members.suspect(link, leaving);
    }
    const own = blocked.filter(({ key }) => loan.keys.includes(key));
    for (const { key, detail } of own) this.#block(key, detail);
  }

  #block(key: string, detail: string): void {
    const { blocked, pendingWrites } = this.#parts;
    blocked.add([key], detail);
    for (const part of pendingWrites.queue.take(({ frame }) => frame.keys.includes(key))) {
      pendingWrites.giveUp(part, [], `the regions have diverged: ${detail}`, 'diverged');
    }
  }

  #commit(
    loan: Loan,
    { shares, sequence: homeSequence }: Extract<JointOutcome, { kind: 'commit' }>,
    now: number,
  ): void {
    const { state, config, members, links, ready, pendingConfirmations } = this.#parts;
    const { order: transaction, keys, name } = loan;
    state.sequence += 1;
    const { sequence } = state;
    const otherShares = shares.filter(({ shard }) => shard !== config.shard);
    loan.otherShares = otherShares;
    const missedBy = members.missedBy(keys, sequence);
    const at = ready.now;
    ready.persist({
      kind: 'loan-commit',
      transaction,
      name,
      keys,
      otherShares,
      sequence,
      homeSequence,
      at,
      now,
      missedBy,
    });
    const decision = { transaction, outcome: 'commit', keys, otherShares } as const;
    links.queueDecisionForAll(decision, sequence, false);
    const voters = links.voters.map(({ region }) => region);
    pendingConfirmations.add(transaction, voters, [], [], true);
  }
}

function isTransaction(holder: Holder): holder is Transaction {
  return holder instanceof Transaction;
}

/** The control over loans that changes of members need (rule R64). */
export class LoanEnds implements LoanControl {
  readonly #transactions: Transactions;
  readonly #ready: ReadyBuilder;

  constructor(transactions: Transactions, ready: ReadyBuilder) {
    this.#transactions = transactions;
    this.#ready = ready;
  }

  get count(): number {
    return this.#transactions.loanCount;
  }

  /** Their homes are asked to abort them if they are undecided. */
  endAll(): void {
    for (const loan of this.#transactions.loans) {
      if (loan.ends) continue;
      loan.ends = true;
      loan.askAt = this.#ready.now;
    }
  }

  isLent(key: string): boolean {
    return this.#transactions.loansOf([key]).length > 0;
  }
}
