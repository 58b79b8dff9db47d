/** The data of one region's link: its contents, and the rounds on their way to it. */

import type { CopyStep, Decision, LeaseRequest } from '../../contracts/round.ts';
import type { TransactionOrder } from '../../ids.ts';
import type { Transaction } from '../transactions/transaction.ts';

/** The contents of a region without this shard's state: the generation of other state (0: none), and its keys. */
export interface Contents {
  readonly generation: number;
  /** Without Lockstep's own. */
  readonly keys: number;
  /** ms. */
  readonly at: number;
}

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
  /** It asked for the locks of older incarnations. */
  readonly asksLocks: boolean;
  /**
   * The transactions that other rounds settled since it left. It may have run before those, so it may list locks of
   * them that are gone by now.
   */
  readonly settledMeanwhile: Set<string>;
}

/** The fields that are the same in every round to any region. */
export interface RoundHead {
  readonly shard: number;
  readonly epoch: number;
  readonly incarnation: number;
  /** The newest transaction, decided or not. */
  readonly newest: TransactionOrder;
  /** The oldest undecided transaction, or null. */
  readonly oldestUndecided: TransactionOrder | null;
}
