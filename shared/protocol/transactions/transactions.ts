import { keyOf, type RegionId, type TransactionOrder } from '../../ids.ts';
import { areAll, everyKey } from '../../reserved-keys.ts';
import type { PendingWrite } from './admission.ts';
import { Transaction } from './transaction.ts';

/** The undecided transactions of one instance, and the keys that they hold. A key has one holder at most (rule R7). */
export class Transactions {
  readonly #incarnation: number;
  /** In the order in which they began. */
  readonly #undecided = new Map<string, Transaction>();
  readonly #holders = new Map<string, Transaction>();
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

  /** The undecided transaction that holds each key. */
  get locks(): ReadonlyMap<string, Transaction> {
    return this.#holders;
  }

  /** The time between the beginnings of the last two transactions, ms: how soon the next one is likely to begin. */
  get gapMs(): number {
    return this.#gapMs;
  }

  get oldestUndecided(): TransactionOrder | null {
    const [oldest] = this.#undecided.values();
    return oldest?.order ?? null;
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
    if (key === everyKey) return this.#undecided.size > 0;
    return this.#holders.has(key) || this.#holders.has(everyKey);
  }

  /** The undecided transactions that lock one of these keys, each once. */
  holdersOf(keys: readonly string[]): readonly Transaction[] {
    if (areAll(keys)) return this.undecided;
    return [...new Set([...keys, everyKey].flatMap((key) => this.#holders.get(key) ?? []))];
  }

  /** Gives the parts the next id, and their keys to them. */
  begin(
    parts: readonly PendingWrite[],
    voters: readonly RegionId[],
    now: number,
    voteDeadlineMs: number,
  ): Transaction {
    this.#last += 1;
    this.#gapMs = now - this.#begunAt;
    this.#begunAt = now;
    const patience = Math.max(...parts.map((part) => part.frame.notAfter));
    const deadline = Math.min(now + voteDeadlineMs, patience);
    const transaction = new Transaction(this.newest, parts, voters, now, deadline);
    for (const part of parts) {
      part.attempts += 1;
      part.isDenied = false;
    }
    this.#undecided.set(keyOf(transaction.order), transaction);
    for (const key of transaction.keys) this.#holders.set(key, transaction);
    return transaction;
  }

  /** It is decided: its keys are free. */
  release(transaction: Transaction, by: 'commit' | 'reject' | 'abort'): void {
    transaction.end(by);
    this.#undecided.delete(keyOf(transaction.order));
    for (const key of transaction.keys) this.#holders.delete(key);
  }
}
