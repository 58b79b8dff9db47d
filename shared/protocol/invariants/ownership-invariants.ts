import { keyOf } from '../../ids.ts';
import type { Ready } from '../io/ready.ts';
import { type CoordinatorInternals, must } from './must.ts';

/** Claims about the slots that the shard owns. */
export function checkOwnership({ sends, comparison }: Ready, core: CoordinatorInternals): void {
  const { slots, shards, transactions, pendingWrites } = core;
  if (!slots.isKnown) {
    const isSilent = sends.length === 0 && comparison === null;
    must(isSilent, 'no region is asked before the shard knows its slots (R49)');
    must(transactions.count === 0, 'nothing begins before the shard knows its slots (R49)');
    return;
  }
  for (const { order, ownKeys } of transactions.undecided) {
    must(slots.own(ownKeys), 'a transaction locks keys of the shard alone (R48)', keyOf(order));
  }
  for (const { frame } of pendingWrites.queue.frames) {
    const isHere = shards.movedFor(frame.keys) === null;
    must(isHere, 'no frame waits for keys of another shard (R50)', frame.id);
  }
}
