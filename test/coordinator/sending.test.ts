import { describe, expect, it } from 'vitest';
import { PendingCalls } from '../../functions/coordinator/pending-calls.ts';
import { type RecordedDecisions, sendToRegion } from '../../functions/coordinator/send.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RoundResult, SnapshotResult } from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import type { CoordinatorEvent } from '../../shared/protocol/io/events.ts';
import type { CoordinatorReply, SentRound, SentSnapshot } from '../../shared/protocol/io/ready.ts';

const snapshot: SentSnapshot = {
  kind: 'snapshot',
  region: 'beta',
  number: 4,
  request: {
    shard: 0,
    generation: 1,
    strong: true,
    leased: false,
    lastAcknowledged: null,
    settle: [],
    keys: ['a'],
    commands: [],
  },
  timeoutMs: 10,
};

const round: SentRound = {
  kind: 'round',
  region: 'beta',
  number: 5,
  round: {
    shard: 0,
    generation: 1,
    role: 'voter',
    epoch: 1,
    incarnation: 2,
    begin: false,
    takes: 0,
    askOlder: true,
    lowWatermark: [0, 0],
    lastAcknowledged: null,
    nonce: 'm',
    decisions: [],
    prepares: [],
    lease: null,
    copy: null,
  },
  timeoutMs: 10,
};

const unasked = { kind: 'silent', reason: 'nobody asks for it here' } as const;

/** A region whose answers come when the test says so, and the decisions that its coordinator has stored. */
class SendingHarness implements RecordedDecisions {
  readonly horizon: TransactionOrder = [1, 0];
  readonly decided: TransactionOrder[] = [];
  readonly rounded = Promise.withResolvers<RoundResult>();
  readonly snapped = Promise.withResolvers<SnapshotResult>();
  readonly client: RegionClient = {
    round: () => this.rounded.promise,
    joint: async () => unasked,
    jointSnapshot: async () => unasked,
    snapshot: () => this.snapped.promise,
    inspect: async () => unasked,
    run: async () => unasked,
  };
  readonly events: CoordinatorEvent[] = [];

  decisionsOf(transactions: readonly TransactionOrder[]) {
    return this.decided
      .filter((one) => transactions.some(([, number]) => number === one[1]))
      .map((transaction) => ({ transaction, keys: ['a'] }));
  }

  send(send: SentRound | SentSnapshot, client: RegionClient | null = this.client) {
    return sendToRegion(send, client, this, (event) => this.events.push(event));
  }
}

describe('a snapshot', () => {
  it('ends with the stored decisions of the locks that it met, as of its answer', async () => {
    const harness = new SendingHarness();
    const sent = harness.send(snapshot);
    harness.decided.push([2, 7]);
    const locks = [
      { key: 'a', holder: [2, 7] },
      { key: 'b', holder: [2, 8] },
    ] as const;
    const result: SnapshotResult = { kind: 'read', replies: [], locks };
    harness.snapped.resolve(result);
    await sent;
    const recorded = [{ transaction: [2, 7], keys: ['a'] }];
    const end = {
      kind: 'snapshot-completed',
      region: 'beta',
      number: 4,
      result,
      recorded,
      horizon: [1, 0],
    };
    expect(harness.events).toEqual([end]);
  });

  it('is handled in the turn that reads the storage, so that nothing is decided in between', async () => {
    const harness = new SendingHarness();
    const turns: string[] = [];
    const decisions: RecordedDecisions = {
      horizon: [0, 0],
      decisionsOf: () => {
        turns.push('asked');
        queueMicrotask(() => turns.push('decided'));
        return [];
      },
    };
    const sent = sendToRegion(snapshot, harness.client, decisions, () => turns.push('taken'));
    harness.snapped.resolve({ kind: 'silent', reason: '' });
    await sent;
    await Promise.resolve();
    expect(turns).toEqual(['asked', 'taken', 'decided']);
  });

  it('is silent if the region has no address, and not before its turn is over', async () => {
    const harness = new SendingHarness();
    const sent = harness.send(snapshot, null);
    expect(harness.events).toEqual([]);
    await sent;
    expect(harness.events).toMatchObject([
      { kind: 'snapshot-completed', result: { kind: 'silent' } },
    ]);
  });
});

describe('a round', () => {
  it('ends with the older locks that have a stored commit', async () => {
    const harness = new SendingHarness();
    harness.decided.push([1, 3]);
    const sent = harness.send(round);
    const older = [
      { transaction: [1, 3], keys: ['a'] },
      { transaction: [1, 4], keys: ['b'] },
    ] as const;
    harness.rounded.resolve({
      kind: 'executed',
      reply: {
        decisions: [],
        votes: [],
        history: [],
        older,
        olderTruncated: false,
        clock: null,
        copy: null,
        isFull: null,
      },
    });
    await sent;
    expect(harness.events).toMatchObject([
      { kind: 'round-completed', region: 'beta', round: 5, recorded: [[1, 3]] },
    ]);
  });

  it('is silent if the region has no address', async () => {
    const harness = new SendingHarness();
    await harness.send(round, null);
    expect(harness.events).toMatchObject([{ kind: 'round-completed', result: { kind: 'silent' } }]);
  });
});

describe('a caller', () => {
  it('gets the answer of its own ticket, while others wait for other kinds of answers', async () => {
    const callers = new PendingCalls();
    const tickets: number[] = [];
    const take = (ticket: number) => tickets.push(ticket);
    const read = callers.read.expect(take);
    const order = callers.adminCommand.expect(take);
    const [first = 0, second = 0] = tickets;
    expect(second).not.toBe(first);
    const detail = 'it is out';
    const replies: readonly CoordinatorReply[] = [
      { kind: 'admin-command', ticket: second, answer: { kind: 'taken', detail } },
      { kind: 'read', ticket: first, answer: { kind: 'unavailable', faults: [] } },
      { kind: 'write', ticket: 99, answer: { kind: 'busy', retryAfterMs: 1 } },
    ];
    for (const reply of replies) callers.give(reply);
    expect(await order).toEqual({ kind: 'taken', detail });
    expect(await read).toEqual({ kind: 'unavailable', faults: [] });
  });

  it('gets an error if its call could not be made', async () => {
    const callers = new PendingCalls();
    const asked = callers.write.expect(() => {
      throw new Error('another instance has taken over');
    });
    await expect(asked).rejects.toThrow('another instance');
  });
});
