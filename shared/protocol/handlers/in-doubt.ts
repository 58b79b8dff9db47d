import type { OpenTransaction } from '../../contracts/members.ts';
import { keyOf, type RegionId, type TransactionOrder } from '../../ids.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { Transaction } from '../transactions/transaction.ts';

/** The transactions that are not over: the undecided ones, then those that some voter has not acknowledged. */
export function openTransactionsOf(
  undecided: readonly Transaction[],
  links: readonly RegionLink[],
  nameOf: (order: TransactionOrder) => string,
  now: number,
): readonly OpenTransaction[] {
  const open = undecided.map(
    (transaction): OpenTransaction => ({
      transaction: nameOf(transaction.order),
      state: 'undecided',
      keys: transaction.keys,
      ageMs: now - transaction.now,
      waitsFor: transaction.waitsFor,
    }),
  );
  const decided = new Map<string, OpenTransaction & { readonly waitsFor: RegionId[] }>();
  for (const { region, unacknowledged } of links) {
    for (const { decision, since } of unacknowledged.decisions) {
      const key = keyOf(decision.transaction);
      const known = decided.get(key);
      if (known !== undefined) known.waitsFor.push(region);
      else {
        decided.set(key, {
          transaction: nameOf(decision.transaction),
          state: decision.outcome === 'commit' ? 'committing' : 'aborting',
          keys: decision.keys,
          ageMs: now - since,
          waitsFor: [region],
        });
      }
    }
  }
  return [...open, ...decided.values()];
}
