/** Tests reads that share a snapshot. reads.test.ts tests reads one by one. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { ReadCommand, SnapshotRequest, SnapshotResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { everyKey } from '../../shared/reserved-keys.ts';
import { EdgeUnderTest, statusWith, tokens } from './fakes.ts';

const region = 'us-east-1';
const pending = async (transactions: readonly (readonly [number, number])[]) =>
  transactions.map((transaction) => ({ kind: 'pending' as const, transaction }));

/** An edge whose region answers each snapshot when the test says so, with the keys themselves as values. */
class SharingEdge extends EdgeUnderTest {
  /** Per shared snapshot that was sent, in order: its request, and the function that answers it. */
  readonly sent: {
    readonly request: SnapshotRequest;
    readonly answer: (result?: SnapshotResult | null) => void;
  }[] = [];
  /** The requests of snapshots of their own. */
  readonly alone: SnapshotRequest[] = [];
  /** Ends the turn in which reads are gathered. */
  endTurn: () => void = () => {};

  constructor() {
    super({ resolve: pending });
    this.turn = () => new Promise((resolve) => (this.endTurn = resolve));
    this.snapshot = async (_region, request) => {
      this.alone.push(request);
      return valuesOf(request);
    };
    this.shortSnapshot = (_region, request) =>
      new Promise((resolve) => {
        const answer = (result: SnapshotResult | null = valuesOf(request)) => resolve(result);
        this.sent.push({ request, answer });
      });
  }

  read(...commands: readonly (readonly string[])[]) {
    const body = { reads: commands, region };
    return this.ask('POST', '/v1/reads', { body, token: tokens.read });
  }

  /** Begins a read that is on its way until it is answered, so that the next ones are gathered. */
  async begin() {
    const first = this.read(['GET', 'first']);
    await this.until(() => this.sent.length === 1);
    return first;
  }

  /** Lets the reads that were begun reach the point at which they wait. */
  async until(isReached: () => boolean): Promise<void> {
    while (!isReached()) await new Promise((resolve) => setImmediate(resolve));
  }
}

function valuesOf({ commands }: SnapshotRequest, locks: readonly string[] = []): SnapshotResult {
  const replies = commands.map(({ args: [name, ...keys] }) =>
    name === 'MGET' ? keys.map((key) => `value of ${key}`) : `value of ${keys[0]}`,
  );
  return { kind: 'read', replies, locks: locks.map((key, at) => ({ key, holder: [1, at + 1] })) };
}

describe('reads that meet in an isolate', () => {
  let edge: SharingEdge;
  /** The number of reads that reached their region's client. */
  let arrived: number;

  beforeEach(() => {
    edge = new SharingEdge();
    arrived = 0;
    edge.isShort = (commands: readonly ReadCommand[]) => {
      arrived += 1;
      return commands.every(({ args: [, key = ''] }) => !key.startsWith('long'));
    };
  });

  /** Begins reads of the given keys behind one that is on its way, and returns them once all wait. */
  async function gathered(...keys: readonly string[]) {
    void edge.begin();
    await edge.until(() => edge.sent.length === 1);
    const reads = keys.map((key) => edge.read(['GET', key]));
    await edge.until(() => arrived === keys.length + 1);
    return reads;
  }

  const results = async (reads: readonly ReturnType<SharingEdge['read']>[]) =>
    (await Promise.all(reads)).map(({ json }) => json.results);

  it('share one snapshot, and each gets its own values', async () => {
    const [a, b, again] = await gathered('a', 'b', 'a');
    const both = edge.read(['MGET', 'b', 'c'], ['GET', 'a']);
    await edge.until(() => arrived === 5);
    edge.endTurn();
    await edge.until(() => edge.sent.length === 2);
    expect(edge.sent[1]?.request).toMatchObject({
      strong: true,
      leased: true,
      settle: [],
      keys: ['a', 'b', 'c'],
      commands: [
        ['GET', 'a'],
        ['GET', 'b'],
        ['MGET', 'b', 'c'],
      ].map((args) => ({ args })),
    });
    edge.sent[1]?.answer();
    expect(await results([a, b, again, both].flatMap((read) => read ?? []))).toEqual([
      ['value of a'],
      ['value of b'],
      ['value of a'],
      [['value of b', 'value of c'], 'value of a'],
    ]);
    expect(edge.alone).toEqual([]);
  });

  it('never join a snapshot that was sent, since it may be older than they are', async () => {
    const reads = await gathered('a');
    edge.endTurn();
    await edge.until(() => edge.sent.length === 2);
    const late = edge.read(['GET', 'a']);
    await edge.until(() => arrived === 3);
    edge.sent[1]?.answer();
    expect(await results(reads)).toEqual([['value of a']]);
    edge.endTurn();
    await edge.until(() => edge.sent.length === 3);
    edge.sent[2]?.answer();
    expect(await results([late])).toEqual([['value of a']]);
  });

  it('are sent at once if no other read is on its way', async () => {
    const alone = edge.read(['GET', 'a']);
    await edge.until(() => edge.sent.length === 1);
    edge.sent[0]?.answer();
    expect(await results([alone])).toEqual([['value of a']]);
  });

  it('resolve only the locks on their own keys, and do not wait for the others', async () => {
    const { promise: resolving, resolve } = Promise.withResolvers<void>();
    const asked: unknown[] = [];
    edge.coordinator.resolve = async (transactions) => {
      asked.push(transactions);
      await resolving;
      return pending(transactions);
    };
    const [locked, free] = await gathered('locked', 'free');
    edge.endTurn();
    await edge.until(() => edge.sent.length === 2);
    const { request, answer } = edge.sent[1] ?? {};
    if (request === undefined) throw new Error('a snapshot was sent');
    answer?.(valuesOf(request, ['locked']));
    expect((await free)?.json.results).toEqual(['value of free']);
    await edge.until(() => asked.length === 1);
    expect(asked).toEqual([[[1, 1]]]);
    resolve();
    expect((await locked)?.json.results).toEqual(['value of locked']);
  });

  it('each meet the lock on every key', async () => {
    let asked = 0;
    edge.coordinator.resolve = async (transactions) => {
      asked += 1;
      return pending(transactions);
    };
    const reads = await gathered('a', 'b');
    edge.endTurn();
    await edge.until(() => edge.sent.length === 2);
    const { request, answer } = edge.sent[1] ?? {};
    if (request === undefined) throw new Error('a snapshot was sent');
    answer?.(valuesOf(request, [everyKey]));
    await Promise.all(reads);
    expect(asked).toBe(2);
  });

  it('go on alone if the shared script cannot read their keys', async () => {
    const reads = await gathered('a', 'b');
    edge.endTurn();
    await edge.until(() => edge.sent.length === 2);
    edge.sent[1]?.answer(null);
    expect(await results(reads)).toEqual([['value of a'], ['value of b']]);
    expect(edge.alone.map(({ keys }) => keys)).toEqual([['a'], ['b']]);
  });

  it('do not include one whose values may be long', async () => {
    const [long] = await gathered('long');
    expect((await long)?.json.results).toEqual(['value of long']);
    expect(edge.alone.map(({ keys }) => keys)).toEqual([['long']]);
    expect(edge.sent).toHaveLength(1);
  });

  it('share a snapshot up to its bound of keys; the next read begins another one', async () => {
    void edge.begin();
    await edge.until(() => edge.sent.length === 1);
    const keys = (count: number, name: string) =>
      Array.from({ length: count }, (_, at) => `${name}${at}`);
    const full = edge.read(['MGET', ...keys(limits.smallKeysPerRead, 'k')]);
    await edge.until(() => arrived === 2);
    const endFirst = edge.endTurn;
    const next = edge.read(['GET', 'next']);
    await edge.until(() => arrived === 3);
    endFirst();
    edge.endTurn();
    await edge.until(() => edge.sent.length === 3);
    expect(edge.sent.slice(1).map(({ request }) => request.keys.length)).toEqual([
      limits.smallKeysPerRead,
      1,
    ]);
    for (const { answer } of edge.sent) answer();
    await Promise.all([full, next]);
  });

  it('share no snapshot of another generation of the region', async () => {
    const [old] = await gathered('a');
    edge.coordinator.describe = async () => statusWith({ [region]: { generation: 8 } });
    edge.now += limits.directoryStaleMs;
    const fresh = edge.read(['GET', 'b']);
    await edge.until(() => edge.sent.length === 2);
    expect(edge.sent[1]?.request).toMatchObject({ generation: 8, keys: ['b'] });
    edge.endTurn();
    await edge.until(() => edge.sent.length === 3);
    expect(edge.sent[2]?.request).toMatchObject({ generation: 7, keys: ['a'] });
    for (const { answer } of edge.sent) answer();
    await Promise.all([old, fresh]);
  });

  it('treat a snapshot whose end is lost as one without an answer, and go to the coordinator', async () => {
    edge.coordinator.read = async (request) => {
      expect(request).toMatchObject({ keys: ['a'], unanswered: 1 });
      return { kind: 'unavailable', faults: [] };
    };
    const [read] = await gathered('a');
    edge.endTurn();
    await edge.until(() => edge.sent.length === 2);
    edge.endWaits();
    expect((await read)?.json).toMatchObject({
      type: '/problems/region-unavailable',
      regions: [{ region, reason: 'no answer in time' }],
    });
  });
});
