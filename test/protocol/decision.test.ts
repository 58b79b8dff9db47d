import { describe, expect, it } from 'vitest';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { recordDecision } from '../../shared/protocol/transactions/decision.ts';
import { Transaction } from '../../shared/protocol/transactions/transaction.ts';
import { partOfJson } from '../region/replies.ts';
import { frameOf } from './core-harness.ts';
import { waitingOf } from './pending-writes.ts';

const done = partOfJson('[0,{"s":"OK"}]');
const failed = partOfJson('[1,0,null]');
const erred = partOfJson('[2,0,"WRONGTYPE"]');

/** An undecided transaction 3.8, begun at 1050, whose frames arrived at 1000. */
function transactionOf(...frames: readonly WriteFrame[]): Transaction {
  const parts = frames.map((frame, position) =>
    waitingOf(frame, position, { attempts: position + 1, arrivedAt: 1_000, keysKeptMs: 60_000 }),
  );
  return new Transaction([3, 8], parts, ['near', 'far'], 1_050, 2_000);
}

describe('a decision', () => {
  it('gives each committed part the next sequence, in order and without gaps', () => {
    const transaction = transactionOf(frameOf(['a']), frameOf(['a']), frameOf(['a']));
    const { writes, sequence, storage } = recordDecision(
      transaction,
      [done, failed, done],
      0,
      41,
      1_200,
    );
    expect(writes.map(({ record }) => record.sequence)).toEqual([42, null, 43]);
    expect(sequence).toBe(43);
    expect(storage).toMatchObject({ kind: 'commit', sequence: 43 });
  });

  it('stores with a commit all its parts, its keys, and the clock of the transaction', () => {
    const idempotency = { key: 'once', digest: 'this' };
    const frames = [frameOf(['a'], { idempotency }), frameOf(['b', 'a'])];
    const { storage, writes } = recordDecision(
      transactionOf(...frames),
      [done, erred],
      0,
      0,
      1_200,
    );
    expect(storage).toEqual({
      kind: 'commit',
      transaction: [3, 8],
      keys: ['a', 'b'],
      writes,
      sequence: 1,
      now: 1_050,
    });
    expect(writes.map((write) => write.idempotency)).toEqual([idempotency, null]);
    expect(writes.map(({ record }) => record.outcome)).toEqual(['committed', 'rejected']);
  });

  // R6: if every part was rejected there is nothing to apply, but the answers are kept.
  it('is a rejection if no part is left to commit', () => {
    const { storage, sequence, writes } = recordDecision(
      transactionOf(frameOf(['a']), frameOf(['a'])),
      [failed, erred],
      0,
      41,
      1_200,
    );
    expect(storage).toEqual({ kind: 'reject', writes, now: 1_050 });
    expect(sequence).toBe(41);
  });

  it('reports per write the votes of its regions, its attempts, and its duration', () => {
    const transaction = transactionOf(frameOf(['a']), frameOf(['a']));
    transaction.sent('far', 1_060);
    transaction.count('far', { state: 'yes', outcomes: [], fingerprints: [] }, 1_160);
    const { writes } = recordDecision(
      transaction,
      [done, partOfJson('[0,9007199254740993]')],
      2,
      0,
      1_200,
    );
    expect(writes[1]?.record).toMatchObject({
      transaction: '2.3.8',
      part: partOfJson('[0,9007199254740993]'),
      decidedAt: 1_200,
      attempts: 2,
      ms: 200,
      appliedIn: [],
    });
    expect(writes[1]?.record.votes).toContainEqual({
      region: 'far',
      vote: 'yes',
      ms: 100,
      reason: null,
    });
  });
});
