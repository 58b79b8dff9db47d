import { assert } from '../../assert.ts';
import { compareOrder, keyOf, type RegionId, type TransactionOrder } from '../../ids.ts';
import { areAll, everyKey } from '../../reserved-keys.ts';
import type { PendingWrite } from './admission.ts';
import type { Loan } from './loan.ts';
import { type JointOrigin, originOfOne, Transaction } from './transaction.ts';

/** The holder of a key: an undecided transaction, or a loan to one of another shard. */
export type Holder = Transaction | Loan;

/**
 * The undecided transactions of one instance, the open loans of the shard, and the keys that they hold. A key has one
 * holder at most (rule R7).
 */
export class Transactions {
  readonly #incarnation: number;
  /** In the order in which they began. */
  readonly #undecided = new Map<string, Transaction>();
  readonly #holders = new Map<string, Holder>();
  /** By their orders, oldest first. */
  readonly #loans = new Map<string, Loan>();
  #last = 0;
  /** When the last transaction began, and how long after the one before, ms. */
  #begunAt = Number.NEGATIVE_INFINITY;
  #gapMs = Number.POSITIVE_INFINITY;

  constructor(incarnation: number) {
    this.#incarnation = incarnation;
  }

  /** In the order in which they began. */
  get undecided(): readonly Transaction[] {
    return [...this.#undecided.values()];
  }

  get count(): number {
    return this.#undecided.size;
  }

  /** The last transaction that began, decided or not. */
  get newest(): TransactionOrder {
    return [this.#incarnation, this.#last];
  }

  /** The open loans, oldest first. */
  get loans(): readonly Loan[] {
    return [...this.#loans.values()];
  }

  get loanCount(): number {
    return this.#loans.size;
  }

  /** The holder of each key. */
  get locks(): ReadonlyMap<string, Holder> {
    return this.#holders;
  }

  /** The time between the beginnings of the last two transactions, ms: how soon the next one is likely to begin. */
  get gapMs(): number {
    return this.#gapMs;
  }

  /** The oldest order that is undecided here: of a transaction, or of a loan, which may be of an older instance. */
  get oldestUndecided(): TransactionOrder | null {
    const [oldest] = this.#undecided.values();
    const [loan] = this.#loans.values();
    if (oldest === undefined || loan === undefined) return oldest?.order ?? loan?.order ?? null;
    return compareOrder(loan.order, oldest.order) < 0 ? loan.order : oldest.order;
  }

  /** The open loan of that order, or null. */
  findLoan(order: TransactionOrder): Loan | null {
    return this.#loans.get(keyOf(order)) ?? null;
  }

  /** The open loans that hold one of these keys. */
  loansOf(keys: readonly string[]): readonly Loan[] {
    if (this.#loans.size === 0) return [];
    if (areAll(keys)) return this.loans;
    const holders = [...keys, everyKey].flatMap((key) => this.#holders.get(key) ?? []);
    return this.loans.filter((loan) => holders.includes(loan));
  }

  /** True while the transaction is undecided in this instance. */
  isUndecided(order: TransactionOrder): boolean {
    return this.#undecided.has(keyOf(order));
  }

  /** The undecided transaction of that order, or null. */
  find(order: TransactionOrder): Transaction | null {
    return this.#undecided.get(keyOf(order)) ?? null;
  }

  /** True if an undecided transaction locks the key; `everyKey` is locked by any of them. */
  isLocked(key: string): boolean {
    if (key === everyKey && this.#loans.size > 0) return true;
    if (key === everyKey) return this.#undecided.size > 0;
    return this.#holders.has(key) || this.#holders.has(everyKey);
  }

  /** The holders of these keys, each once. */
  holdersOf(keys: readonly string[]): readonly Holder[] {
    if (areAll(keys)) return [...this.undecided, ...this.#loans.values()];
    return [...new Set([...keys, everyKey].flatMap((key) => this.#holders.get(key) ?? []))];
  }

  /** Gives the parts the next id, and their keys to them. */
  begin(
    parts: readonly PendingWrite[],
    voters: readonly RegionId[],
    now: number,
    voteDeadlineMs: number,
    originOf: (order: TransactionOrder) => JointOrigin = () => originOfOne(parts),
  ): Transaction {
    this.#last += 1;
    this.#gapMs = now - this.#begunAt;
    this.#begunAt = now;
    const patience = Math.max(...parts.map((part) => part.frame.notAfter));
    const deadline = Math.min(now + voteDeadlineMs, patience);
    const origin = originOf(this.newest);
    const transaction = new Transaction(this.newest, parts, voters, now, deadline, origin);
    for (const part of parts) {
      part.attempts += 1;
      part.isDenied = false;
    }
    this.#undecided.set(keyOf(transaction.order), transaction);
    if (origin.joint?.holdsOwn !== false) this.#hold(transaction);
    return transaction;
  }

  /** The turn of this shard in an ordered try has come, and its keys are free. */
  takeOwn(transaction: Transaction): void {
    assert(transaction.joint?.holdsOwn === false, 'keys are taken once');
    transaction.joint.holdsOwn = true;
    this.#hold(transaction);
  }

  /** The order of a new loan. */
  nextOrder(): TransactionOrder {
    this.#last += 1;
    return this.newest;
  }

  /** The keys of a loan belong to it. */
  lend(loan: Loan): void {
    assert(loan.state === 'lent', 'an open loan is lent');
    this.#loans.set(keyOf(loan.order), loan);
    for (const key of loan.keys) {
      assert(!this.#holders.has(key), 'a key has one holder (R7)');
      this.#holders.set(key, loan);
    }
  }

  /** Home has decided: the keys of the loan are free. */
  endLoan(loan: Loan, by: 'commit' | 'abort'): void {
    loan.end(by);
    this.#loans.delete(keyOf(loan.order));
    for (const key of loan.keys) this.#holders.delete(key);
  }

  /** It is decided: its keys are free. */
  release(transaction: Transaction, by: 'commit' | 'reject' | 'abort'): void {
    transaction.end(by);
    this.#undecided.delete(keyOf(transaction.order));
    if (transaction.joint?.holdsOwn === false) return;
    for (const key of transaction.ownKeys) this.#holders.delete(key);
  }

  #hold(transaction: Transaction): void {
    for (const key of transaction.ownKeys) this.#holders.set(key, transaction);
  }
}
