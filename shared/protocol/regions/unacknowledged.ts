import type { Decision } from '../../contracts/round.ts';
import { compareOrder, keyOf, type TransactionOrder } from '../../ids.ts';
import { limits } from '../../limits.ts';

/** A decision that a region has not acknowledged. */
interface Owed {
  readonly decision: Decision;
  /** Of a commit: the sequence of its last write; 0 for an abort. */
  readonly sequence: number;
  readonly since: number;
  readonly bytes: number;
  /** How many rounds in flight carry it. */
  carried: number;
}

/** What one region has to be told and has not acknowledged. Every round says all of it again, as far as it fits. */
export class OwedDecisions {
  readonly #owed = new Map<string, Owed>();

  get count(): number {
    return this.#owed.size;
  }

  /** True where no round in flight says some of it. */
  get isUnsaid(): boolean {
    for (const owed of this.#owed.values()) if (owed.carried === 0) return true;
    return false;
  }

  /** The transaction that is oldest in its order, or null where nothing is owed. */
  get oldest(): TransactionOrder | null {
    let oldest: TransactionOrder | null = null;
    for (const { decision } of this.#owed.values()) {
      const order = decision.transaction;
      if (oldest === null || compareOrder(order, oldest) < 0) oldest = order;
    }
    return oldest;
  }

  get decisions(): readonly Owed[] {
    return [...this.#owed.values()];
  }

  /** For how long the first of it has been owed, ms; null where nothing is. */
  ageMs(now: number): number | null {
    const [first] = this.#owed.values();
    return first === undefined ? null : now - first.since;
  }

  has(transaction: TransactionOrder): boolean {
    return this.#owed.has(keyOf(transaction));
  }

  /** The same by the name of the transaction, as `keyOf` makes it. */
  hasKey(key: string): boolean {
    return this.#owed.has(key);
  }

  /** `sequence` as in Owed. */
  add(decision: Decision, sequence: number, bytes: number, now: number): void {
    const since = now;
    this.#owed.set(keyOf(decision.transaction), { decision, sequence, since, bytes, carried: 0 });
  }

  /** It has been acknowledged; false where it was not owed. */
  remove(transaction: TransactionOrder): boolean {
    return this.#owed.delete(keyOf(transaction));
  }

  /** A round with the decision leaves (1) or has ended (-1). */
  carry(decision: Decision, by: 1 | -1): void {
    const owed = this.#owed.get(keyOf(decision.transaction));
    if (owed !== undefined) owed.carried += by;
  }

  /** What of it fits one round, its bytes, and whether that is all. */
  thatFit() {
    const decisions: Decision[] = [];
    let bytes = 0;
    for (const owed of this.#owed.values()) {
      const fits = bytes + owed.bytes <= limits.roundBytes / 3 || decisions.length === 0;
      if (decisions.length === limits.decisionsPerRound || !fits) {
        return { decisions, bytes, whole: false };
      }
      decisions.push(owed.decision);
      bytes += owed.bytes;
    }
    return { decisions, bytes, whole: true };
  }

  /** Forgets all of it. Returns the keys of the commits among it, each with the last sequence: they are missed. */
  abandon(): readonly (readonly [key: string, sequence: number])[] {
    const missed = new Map<string, number>();
    for (const { decision, sequence } of this.#owed.values()) {
      if (decision.outcome === 'abort') continue;
      for (const key of decision.keys) missed.set(key, Math.max(missed.get(key) ?? 0, sequence));
    }
    this.#owed.clear();
    return [...missed];
  }
}
