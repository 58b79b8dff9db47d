import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { DecisionReply } from '../../shared/contracts/round.ts';
import { readState } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  abortOf,
  commitOf,
  del,
  executed,
  flush,
  increment,
  part,
  prepareOf,
  publish,
  roundOf,
  set,
  write,
} from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';
import { stoppingAt } from './stopping.ts';

interface Scene {
  readonly name: string;
  readonly keys: readonly string[];
  readonly operations: readonly Operation[];
  /** The commands of the commit's script that lead to a loss if the script stops at them: the region is then copied. */
  readonly lossAt: readonly number[];
}

const long = 'x'.repeat(10_000);

/** One scene per row of the table of writes in PROTOCOL.md. */
const scenes: readonly Scene[] = [
  { name: 'a plain value', keys: ['k'], operations: [set('k', 'v')], lossAt: [] },
  { name: 'a long value', keys: ['k'], operations: [set('k', long)], lossAt: [] },
  { name: 'a number', keys: ['n'], operations: [increment('n')], lossAt: [] },
  { name: 'a deletion', keys: ['n'], operations: [del('n')], lossAt: [] },
  { name: 'a shadow', keys: ['h'], operations: [write('HSET', 'h', 'f', '2')], lossAt: [3] },
  {
    name: 'two shadows',
    keys: ['h', 's'],
    operations: [write('HSET', 'h', 'f', '2'), write('SADD', 's', 'b')],
    lossAt: [4, 5],
  },
  { name: 'a merge', keys: ['large'], operations: [write('SADD', 'large', 'more')], lossAt: [] },
  {
    name: 'a message',
    keys: ['lockstep:channel:news', 'k'],
    operations: [publish('news', 'text'), set('k', 'v')],
    lossAt: [],
  },
  { name: 'every key', keys: [...flush.args], operations: [flush], lossAt: [4] },
];

describe('a script that stops', () => {
  let server: TestServer;
  let client: RegionClient;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis);
  });
  /** Gives the server the keys of the scenes, and nothing else. */
  async function fill(): Promise<void> {
    await server.redis.flushall();
    await server.redis.set('n', '5');
    await server.redis.hset('h', 'f', '1');
    await server.redis.sadd('s', 'a');
    await server.redis.sadd('large', ...Array.from({ length: 500 }, (_, at) => `m${at}`));
  }
  beforeEach(async () => {
    await fill();
    await send({});
  });
  afterAll(() => server.stop());

  const send = async (given: Parameters<typeof roundOf>[0]) =>
    executed(await client.round(roundOf(given), 0));

  /** Sends a round whose script stops at its command number `at`; false if it has fewer. */
  async function stops(at: number, given: Parameters<typeof roundOf>[0]): Promise<boolean> {
    const stopping = connectDirectly(server.redis, (script) => stoppingAt(at) + script);
    const result = await stopping.round(roundOf(given), 0);
    return result.kind === 'silent';
  }

  async function contents(): Promise<readonly string[]> {
    const { redis } = server;
    const names = (await redis.keys('*')).filter((name) => name !== 'lockstep:0:state').sort();
    return Promise.all(
      names.map(async (name) => `${name} ${(await redis.dump(name))?.length ?? ''}`),
    );
  }

  const prepares = ({ keys, operations }: Scene) => [prepareOf(1, keys, part(...operations))];

  /** The contents after the scene if nothing stops. */
  async function expected(scene: Scene): Promise<readonly string[]> {
    await send({ prepares: prepares(scene) });
    await send({ decisions: [commitOf(1, scene.keys)] });
    return contents();
  }

  it.each(scenes)('as it prepares $name leaves nothing once it is aborted', async (scene) => {
    const before = await contents();
    let at = 1;
    while (await stops(at, { prepares: prepares(scene) })) {
      const reply = await send({ decisions: [abortOf(1, scene.keys)] });
      expect([at, reply.decisions]).toEqual([at, ['acknowledged']]);
      expect([at, await contents()]).toEqual([at, before]);
      await server.redis.del('lockstep:0:state', 'lockstep:0:lock');
      await send({});
      at += 1;
    }
    expect(at).toBeGreaterThan(2);
  });

  it.each(scenes)('as it commits $name is carried on by the same decision', async (scene) => {
    const whole = await expected(scene);
    const decisions = [commitOf(1, scene.keys)];
    const losses: number[] = [];
    for (let at = 1; ; at += 1) {
      await fill();
      await send({ prepares: prepares(scene) });
      const hasStopped = await stops(at, { decisions });
      if (!hasStopped) break;
      const reply: readonly DecisionReply[] = (await send({ decisions })).decisions;
      if (reply[0] === 'lost') {
        losses.push(at);
        continue;
      }
      expect([at, reply]).toEqual([at, ['acknowledged']]);
      expect([at, await contents()]).toEqual([at, whole]);
      expect((await readState(server.redis))?.locks).toEqual(new Map());
    }
    expect(losses).toEqual(scene.lossAt);
  });
});
