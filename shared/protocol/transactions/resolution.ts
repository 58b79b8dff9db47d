import type { Resolution } from '../../contracts/coordinator.ts';
import { compareOrder, type TransactionOrder } from '../../ids.ts';
import type { StoredDecision } from '../io/stored.ts';

/**
 * The outcome of a transaction whose lock a reader met (rule R3). No record and not undecided here means aborted,
 * except at or below the horizon, as such a record may have been dropped: a lock that old belongs to a region that went
 * back in time, and its outcome is unknown.
 */
export function resolutionOf(
  transaction: TransactionOrder,
  recorded: readonly StoredDecision[],
  isUndecided: boolean,
  horizon: TransactionOrder,
): Resolution {
  const decision = recorded.find((one) => compareOrder(one.transaction, transaction) === 0);
  if (decision !== undefined) {
    const { keys, otherShares } = decision;
    return {
      kind: 'committed',
      transaction,
      keys,
      ...(otherShares !== undefined && { otherShares }),
    };
  }
  if (isUndecided) return { kind: 'pending', transaction };
  const dropped = compareOrder(transaction, horizon) <= 0;
  return { kind: dropped ? 'forgotten' : 'aborted', transaction };
}
