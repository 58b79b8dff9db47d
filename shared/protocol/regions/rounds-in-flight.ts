import type { CopyStep, Decision, LeaseRequest } from '../../contracts/round.ts';
import { keyOf, type TransactionOrder } from '../../ids.ts';
import type { Transaction } from '../transactions/transaction.ts';

/** A round on its way. */
export interface Flight {
  readonly sentAt: number;
  readonly decisions: readonly Decision[];
  readonly transactions: readonly Transaction[];
  readonly probe: boolean;
  readonly epoch: number;
  readonly generation: number;
  readonly lease: LeaseRequest | null;
  readonly copy: CopyStep | null;
  /** It asks the region to vote on a joint transaction: its own round has no votes. */
  readonly isJoint?: boolean;
  /** It was lent, and has not ended in time: its decisions may be sent again. */
  readonly isOverdue?: boolean;
  /** It asked for the locks of older incarnations. */
  readonly asksLocks: boolean;
  /**
   * The transactions that other rounds settled since it left. It may have run before those, so it may list locks of them
   * that are gone by now.
   */
  readonly settledMeanwhile: Set<string>;
}

/** The rounds on their way to one region, by their numbers, oldest first. */
export class RoundsInFlight extends Map<number, Flight> {
  /** When the oldest of them left, ms; null if there is none. */
  get oldestSentAt(): number | null {
    const [oldest] = this.values();
    return oldest?.sentAt ?? null;
  }

  /** When the newest of them left, ms; null if there is none. */
  get newestSentAt(): number | null {
    let newest: number | null = null;
    for (const { sentAt } of this.values()) newest = sentAt;
    return newest;
  }

  /** True if a probe is among them. */
  get hasProbe(): boolean {
    for (const { probe } of this.values()) if (probe) return true;
    return false;
  }

  /** True if one of them has been on its way for `deadlineMs` or longer. */
  isOverdue(now: number, deadlineMs: number): boolean {
    const { oldestSentAt } = this;
    return oldestSentAt !== null && oldestSentAt + deadlineMs <= now;
  }

  /** True if one of them left at `moment` or later. */
  hasLeftSince(moment: number): boolean {
    for (const { sentAt } of this.values()) if (sentAt >= moment) return true;
    return false;
  }

  /** The region has settled `transaction`: those that ask for older locks may still list its locks. */
  noteSettled(transaction: TransactionOrder): void {
    const key = keyOf(transaction);
    for (const { asksLocks, settledMeanwhile } of this.values()) {
      if (asksLocks) settledMeanwhile.add(key);
    }
  }
}
