import { assert } from '../../assert.ts';
import type { Bytes } from '../../contracts/bytes.ts';
import { outcomeKindOf } from '../../contracts/outcome.ts';
import { formatTransactionId, type ShardId } from '../../ids.ts';
import { withoutChannels } from '../../reserved-keys.ts';
import type { StorageWrite } from '../io/ready.ts';
import type { DecidedWrite } from '../io/stored.ts';
import { commandOf } from './event-router.ts';
import type { Transaction } from './transaction.ts';

/** A decision with the writes that storage gets for it. */
export interface Decided {
  /** Only the members know which regions miss its keys. */
  readonly storage:
    | Omit<Extract<StorageWrite, { kind: 'commit' }>, 'missedBy'>
    | Extract<StorageWrite, { kind: 'reject' }>;
  readonly writes: readonly DecidedWrite[];
  /** The sequence of the last committed write. */
  readonly sequence: number;
}

/**
 * Records the outcome of each part. `parts` are the texts on which all voters agree (PartOutcomeTag in round.ts): the
 * tag 0 makes a part committed and gives it the next sequence, any other tag is a rejection that every voter observed.
 * If no part is left to commit, there is nothing to apply and the decision is to reject.
 */
export function recordDecision(
  transaction: Transaction,
  parts: readonly Bytes[],
  shard: ShardId,
  lastSequence: number,
  now: number,
): Decided {
  const [incarnation, number] = transaction.order;
  const id = formatTransactionId({ shard, incarnation, sequence: number });
  const { votes } = transaction;
  let sequence = lastSequence;
  const writes = transaction.parts.map((write, position): DecidedWrite => {
    const { frame, arrivedAt, attempts, keysKeptMs } = write;
    const part = parts[position];
    assert(part !== undefined, 'a decided part has an outcome');
    const committed = outcomeKindOf(part) === 'done';
    if (committed) sequence += 1;
    const record = {
      id: frame.id,
      outcome: committed ? ('committed' as const) : ('rejected' as const),
      transaction: id,
      sequence: committed ? sequence : null,
      part,
      votes,
      decidedAt: now,
      attempts,
      appliedIn: [],
      ms: now - arrivedAt,
      ...(frame.idempotency !== null && { keptUntil: now + keysKeptMs }),
    };
    const { callback, idempotency } = frame;
    const keys = withoutChannels(frame.keys);
    // As the regions ran them, so they name the moment of an expiry, not a lifetime.
    const commands = transaction.prepare.parts[position]?.operations.map(commandOf) ?? [];
    return { record, keys, callback, idempotency, commands };
  });
  const { order, ownKeys: keys } = transaction;
  const storage: Decided['storage'] =
    sequence > lastSequence
      ? { kind: 'commit', transaction: order, keys, writes, sequence, now: transaction.now }
      : { kind: 'reject', writes, now: transaction.now };
  return { storage, writes, sequence };
}
