import type { CopyStep, Decision, LeaseOrder } from '../../contracts/round.ts';
import type { TransactionOrder } from '../../ids.ts';
import type { Transaction } from '../transactions/transaction.ts';

/**
 * How a region answers. `silent` and `foreign` (it holds another coordinator's state) are probed until they answer as
 * they should. `since` is when the first request left that was not answered.
 */
export type Health =
  | { readonly kind: 'answering' }
  | {
      readonly kind: 'silent' | 'foreign';
      readonly reason: string;
      readonly since: number;
      readonly probeAt: number;
    };

/** Errors of a region's server in a row, by which it refused what other servers may carry out. */
export interface Refusals {
  /** Of the last of them, such as OOM. */
  readonly code: string;
  readonly reason: string;
  /** When the first and the last came, ms. */
  readonly since: number;
  readonly last: number;
}

/** What a region holds that does not hold this shard's state: the generation of other state (0: none), and its keys. */
export interface Contents {
  readonly generation: number;
  /** Besides Lockstep's own. */
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
  readonly lease: LeaseOrder | null;
  readonly copy: CopyStep | null;
  /** It asked for the locks of older incarnations. */
  readonly asked: boolean;
  /**
   * The transactions that other rounds settled since it left. It may have run before those, so a lock that it lists
   * for one of them says nothing.
   */
  readonly settledMeanwhile: Set<string>;
}

/** What every round to any region says alike. */
export interface RoundHead {
  readonly shard: number;
  readonly epoch: number;
  readonly incarnation: number;
  /** The last transaction given out, whatever became of it. */
  readonly newest: TransactionOrder;
  /** The oldest undecided transaction, or null. */
  readonly oldestUndecided: TransactionOrder | null;
}
