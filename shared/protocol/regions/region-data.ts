/** Data of the regions' links: the contents of a region before it has this shard's state, and the head of rounds. */

import type { TransactionOrder } from '../../ids.ts';

/** The contents of a region without this shard's state: the generation of other state (0: none), and its keys. */
export interface Contents {
  readonly generation: number;
  /** Without Lockstep's own. */
  readonly keys: number;
  /** ms. */
  readonly at: number;
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
