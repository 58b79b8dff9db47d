import type { Decision } from '../../contracts/round.ts';
import { compareOrder, keyOf, type TransactionOrder } from '../../ids.ts';
import { limits } from '../../limits.ts';
import { areAll } from '../../reserved-keys.ts';

/** A decision that a region has not acknowledged. */
interface UnacknowledgedDecision {
  readonly decision: Decision;
  /** Of a commit: the sequence of its last write; 0 for an abort. */
  readonly sequence: number;
  readonly since: number;
  readonly bytes: number;
  /** The number of rounds in flight that carry it. */
  carried: number;
}

/** The decisions that one region has not acknowledged. Every round carries all of them again, as far as they fit. */
export class UnacknowledgedDecisions {
  readonly #byTransaction = new Map<string, UnacknowledgedDecision>();

  get count(): number {
    return this.#byTransaction.size;
  }

  /** True if some of them are in no round on its way. */
  get hasUnsent(): boolean {
    for (const { carried } of this.#byTransaction.values()) if (carried === 0) return true;
    return false;
  }

  /** True if one of them is a joint commit on one of `keys`; null: on any. */
  hasJointCommitOn(keys: readonly string[] | null): boolean {
    for (const { decision } of this.#byTransaction.values()) {
      if (decision.outcome !== 'commit' || decision.otherShares === undefined) continue;
      if (keys === null || areAll(keys) || areAll(decision.keys)) return true;
      if (decision.keys.some((key) => keys.includes(key))) return true;
    }
    return false;
  }

  /** The transaction that is oldest in its order, or null if all are acknowledged. */
  get oldest(): TransactionOrder | null {
    let oldest: TransactionOrder | null = null;
    for (const { decision } of this.#byTransaction.values()) {
      const order = decision.transaction;
      if (oldest === null || compareOrder(order, oldest) < 0) oldest = order;
    }
    return oldest;
  }

  /** All of them, in the order in which they were made. */
  get decisions(): readonly UnacknowledgedDecision[] {
    return [...this.#byTransaction.values()];
  }

  /** The time for which the first of them has been unacknowledged, ms; null if there is none. */
  ageMs(now: number): number | null {
    const [first] = this.#byTransaction.values();
    return first === undefined ? null : now - first.since;
  }

  has(transaction: TransactionOrder): boolean {
    return this.#byTransaction.has(keyOf(transaction));
  }

  /** The same by the transaction's key, as `keyOf` makes it. */
  hasKey(key: string): boolean {
    return this.#byTransaction.has(key);
  }

  /** `sequence` is that of a commit's last write; 0 for an abort. */
  add(decision: Decision, sequence: number, bytes: number, now: number): void {
    const since = now;
    this.#byTransaction.set(keyOf(decision.transaction), {
      decision,
      sequence,
      since,
      bytes,
      carried: 0,
    });
  }

  /** It has been acknowledged; false if it was not among them. */
  remove(transaction: TransactionOrder): boolean {
    return this.#byTransaction.delete(keyOf(transaction));
  }

  /** A round with the decision leaves (1) or has ended (-1). */
  carry(decision: Decision, by: 1 | -1): void {
    const known = this.#byTransaction.get(keyOf(decision.transaction));
    if (known !== undefined) known.carried += by;
  }

  /** The decisions that fit one round, their bytes, and whether they are all. */
  fitting() {
    const decisions: Decision[] = [];
    let bytes = 0;
    for (const one of this.#byTransaction.values()) {
      const fits = bytes + one.bytes <= limits.roundBytes / 3 || decisions.length === 0;
      if (decisions.length === limits.decisionsPerRound || !fits) {
        return { decisions, bytes, whole: false };
      }
      decisions.push(one.decision);
      bytes += one.bytes;
    }
    return { decisions, bytes, whole: true };
  }

  /**
   * Forgets all of them. Returns the keys of the commits among them, each with the last sequence: the region misses
   * them.
   */
  abandon(): readonly (readonly [key: string, sequence: number])[] {
    const missed = new Map<string, number>();
    for (const { decision, sequence } of this.#byTransaction.values()) {
      if (decision.outcome === 'abort') continue;
      for (const key of decision.keys) missed.set(key, Math.max(missed.get(key) ?? 0, sequence));
    }
    this.#byTransaction.clear();
    return [...missed];
  }
}
