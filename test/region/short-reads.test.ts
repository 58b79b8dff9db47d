/**
 * Snapshots of keys whose values were short are read by a script of their own (read.lua). It answers like snapshot.lua,
 * even if keys and region have changed since.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readScript } from '../../functions/region/lua-bundle.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RoundPair, SnapshotRequest } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  command,
  commitOf,
  executed,
  flush,
  part,
  prepareOf,
  roundOf,
  set,
  snapshotOf,
} from './fixtures.ts';
import { runCountOf } from './oracle/run-count.ts';
import { servers, type TestServer } from './servers.ts';

const names = ['a', 'b', '', ',1:m1,', 'none', 'é'];
const many = Array.from({ length: limits.smallKeysPerRead }, (_, at) => `k${at}`);
const keyOf = fc.constantFrom(...names);
/** Values that resemble parts of the state, and long ones. */
const values = fc.constantFrom(
  '',
  'v',
  ',1:m1,',
  ',7:m7,',
  '1.1|s||',
  'x'.repeat(1_025),
  'y'.repeat(9_000),
);

/** A change between two reads. */
type Change =
  | { readonly kind: 'set'; readonly key: string; readonly value: string }
  | { readonly kind: 'list' | 'expire' | 'delete'; readonly key: string }
  | { readonly kind: 'prepare'; readonly keys: readonly string[]; readonly value: string }
  | { readonly kind: 'flush' | 'decide' | 'lease' | 'end-lease' | 'copy' | 'restart' | 'huge' };

const changes: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('set' as const), key: keyOf, value: values }),
  fc.record({
    kind: fc.constantFrom('list' as const, 'expire' as const, 'delete' as const),
    key: keyOf,
  }),
  fc.record({
    kind: fc.constant('prepare' as const),
    keys: fc.uniqueArray(keyOf, { minLength: 1, maxLength: 3 }),
    value: values,
  }),
  fc.constantFrom<Change>(
    ...(
      ['flush', 'decide', 'decide', 'lease', 'end-lease', 'copy', 'restart', 'huge'] as const
    ).map((kind) => ({ kind })),
  ),
);

const mgetOf = (keys: readonly string[]) => ({
  ...command(['MGET', ...keys]),
  reads: keys.map((_, at) => at + 1),
});

const commands = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: keyOf.map((key) => command(['GET', key])) },
    { weight: 3, arbitrary: fc.array(keyOf, { minLength: 1, maxLength: 4 }).map(mgetOf) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(mgetOf(many), mgetOf(Array.from({ length: 12 }, () => 'a'))),
    },
  ),
  { minLength: 1, maxLength: 3 },
);

const pairs = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(null, 'last' as const) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<RoundPair>([1, 'm1'], [7, 'm7'], [2, 'm1'], [99, 'm1']),
  },
);

const requests = fc.record({
  commands,
  locked: fc.uniqueArray(keyOf, { maxLength: 6 }),
  strong: fc.boolean(),
  leased: fc.constantFrom(false, false, false, true),
  pair: pairs,
  generation: fc.constantFrom(1, 1, 1, 1, 1, 1, 1, 2),
});

describe.each(servers)('a snapshot of short values in %s', (name, start) => {
  let server: TestServer;
  let answered = 0;
  let answeredShortly = 0;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(() => server.stop());

  it('is answered as by the script for all others', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.array(changes, { maxLength: 3 }), requests), {
          minLength: 2,
          maxLength: 8,
        }),
        async (steps) => {
          const { redis } = server;
          await redis.flushall();
          const long = connectDirectly(redis, (text) =>
            text === readScript.text ? "return { 'm' }" : text,
          );
          const short = connectDirectly(redis);
          const region = new Region(long, server);
          await region.begin();
          for (const [changed, asked] of steps) {
            for (const change of changed) await region.change(change);
            const pair = asked.pair === 'last' ? region.last : asked.pair;
            const { strong, leased, generation } = asked;
            const given = { strong, leased, generation, lastAcknowledged: pair };
            const request: SnapshotRequest = snapshotOf(asked.locked, asked.commands, given);
            const expected = await long.snapshot(request, 0);
            // The first read makes the keys known as short, the second one goes by them.
            const found = [await short.snapshot(request, 0), await short.snapshot(request, 0)];
            expect(found).toEqual([expected, expected]);
            const shared = await short.shortSnapshot(request, 0);
            if (shared !== null) expect(shared).toEqual(expected);
            if (short.isShort(asked.commands) && shared?.kind === 'read') answeredShortly += 1;
            if (expected.kind === 'read') answered += 1;
          }
        },
      ),
      runCountOf(name === 'redis-server' ? 250 : 15),
    );
    expect(answered).toBeGreaterThan(0);
    expect(answeredShortly).toBeGreaterThan(0);
  });
});

/** The region that is read, with the transaction that is open in it. */
class Region {
  last: readonly [number, string] | null = null;
  readonly #client: RegionClient;
  readonly #server: TestServer;
  #sequence = 0;
  #open: readonly (readonly [number, readonly string[]])[] = [];
  #epoch = 1;
  #rounds = 0;

  constructor(client: RegionClient, server: TestServer) {
    this.#client = client;
    this.#server = server;
  }

  async begin(): Promise<void> {
    await this.#server.redis.mset(...many.flatMap((key) => [key, 'v']));
    await this.#send({});
  }

  async change(change: Change): Promise<void> {
    const { redis } = this.#server;
    switch (change.kind) {
      case 'set':
        await redis.set(change.key, change.value);
        return;
      case 'list':
        await redis.del(change.key);
        await redis.rpush(change.key, 'item');
        return;
      case 'expire':
        await redis.pexpireat(change.key, 1);
        return;
      case 'delete':
        await redis.del(change.key);
        return;
      case 'prepare':
        return this.#prepare(
          change.keys,
          part(...change.keys.map((key) => set(key, change.value))),
        );
      case 'flush':
        return this.#prepare([everyKey, flushedKey], part(flush));
      case 'decide': {
        const decisions = this.#open.map(([sequence, keys], at) =>
          (at % 2 === 0 ? commitOf : abortOf)(sequence, keys),
        );
        this.#open = [];
        return this.#send({ decisions });
      }
      case 'lease':
        return this.#send({ lease: { reading: Date.now(), ttlMs: 3_600_000 } });
      case 'end-lease':
        await redis.del('lockstep:0:lease');
        return;
      case 'copy':
        this.#open = [];
        this.#epoch += 1;
        return this.#send({
          role: 'copying',
          copy: { kind: 'begin', token: 't', number: this.#epoch, replaces: [] },
        });
      case 'restart':
        this.#epoch += 1;
        return this.#send({});
      case 'huge':
        await redis.set('a', 'z'.repeat(1_000_000));
    }
  }

  #prepare(keys: readonly string[], ...parts: Parameters<typeof prepareOf>[2][]): Promise<void> {
    this.#sequence += 1;
    this.#open = [...this.#open, [this.#sequence, keys]];
    return this.#send({ prepares: [prepareOf(this.#sequence, keys, ...parts)] });
  }

  async #send(given: Parameters<typeof roundOf>[0]): Promise<void> {
    this.#rounds += 1;
    const round = roundOf({ epoch: this.#epoch, nonce: `m${this.#rounds}`, ...given });
    const result = await this.#client.round(round, 0);
    if (result.kind === 'executed') this.last = executed(result).history.at(-1) ?? null;
  }
}
