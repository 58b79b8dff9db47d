/** Tests the keyspace notifications of a commit against those of a plain Redis. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compileWrite } from '../../shared/commands/compile.ts';
import { operationAt } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { Part } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { connectTo } from '../support/redis.ts';
import { connectDirectly } from './direct.ts';
import { abortOf, commitOf, executed, part, prepareOf, roundOf, script } from './fixtures.ts';
import { listenerOf } from './implementations.ts';
import { startRedisServer, type TestServer } from './servers.ts';

/** Commands, each as words, in order. */
type Commands = readonly string[];

/** One element more than staging copies. */
const many = Array.from({ length: limits.elementsCopied + 1 }, (_, index) => `e${index}`);
const largeHash = `HSET k ${many.map((name) => `${name} v`).join(' ')}`;
const largeSet = `SADD k ${many.join(' ')}`;
const largeSorted = `ZADD k ${many.map((name, index) => `${index} ${name}`).join(' ')}`;
const largeList = `RPUSH k ${many.join(' ')}`;

const events: readonly {
  readonly name: string;
  readonly before?: Commands;
  readonly commands: Commands;
  /** The events that a region sends at the commit, each as `<key> <event>`. */
  readonly region: Commands;
  /** The events that a plain Redis sends for the same commands. */
  readonly plain: Commands;
}[] = [
  { name: 'SET', commands: ['SET k v'], region: ['k set'], plain: ['k set'] },
  {
    name: 'SET over a value',
    before: ['SET k a'],
    commands: ['SET k v'],
    region: ['k set'],
    plain: ['k set'],
  },
  {
    name: 'SET with an expiry',
    commands: ['SET k v EX 100'],
    region: ['k set', 'k expire'],
    plain: ['k set', 'k expire'],
  },
  {
    name: 'SET twice',
    commands: ['SET k a', 'SET k b'],
    region: ['k set'],
    plain: ['k set', 'k set'],
  },
  { name: 'SET NX', commands: ['SET k v NX'], region: ['k set'], plain: ['k set'] },
  {
    name: 'SET NX of a key that exists',
    before: ['SET k a'],
    commands: ['SET k v NX'],
    region: [],
    plain: [],
  },
  {
    name: 'MSET',
    before: ['SET a 1'],
    commands: ['MSET a 2 b 3'],
    region: ['a rename_to', 'b rename_to'],
    plain: ['a set', 'b set'],
  },
  {
    name: 'INCR',
    before: ['SET k 1'],
    commands: ['INCR k'],
    region: ['k set'],
    plain: ['k incrby'],
  },
  {
    name: 'APPEND',
    before: ['SET k 1'],
    commands: ['APPEND k x'],
    region: ['k set'],
    plain: ['k append'],
  },
  {
    name: 'GETDEL',
    before: ['SET k 1'],
    commands: ['GETDEL k'],
    region: ['k del'],
    plain: ['k del'],
  },
  { name: 'DEL', before: ['SET k 1'], commands: ['DEL k'], region: ['k del'], plain: ['k del'] },
  { name: 'DEL of no key', commands: ['DEL k'], region: [], plain: [] },
  {
    name: 'DEL, and another value',
    before: ['RPUSH k a b'],
    commands: ['DEL k', 'RPUSH k c'],
    region: ['k rename_to'],
    plain: ['k del', 'k rpush'],
  },
  {
    name: 'EXPIRE',
    before: ['SET k 1'],
    commands: ['EXPIRE k 100'],
    region: ['k rename_to'],
    plain: ['k expire'],
  },
  {
    name: 'EXPIRE in the past',
    before: ['SET k 1'],
    commands: ['EXPIREAT k 1'],
    region: ['k del'],
    plain: ['k del'],
  },
  {
    name: 'PERSIST',
    before: ['SET k 1 EX 100'],
    commands: ['PERSIST k'],
    region: ['k rename_to'],
    plain: ['k persist'],
  },
  {
    name: 'RENAME',
    before: ['SET k 1', 'SET j 2'],
    commands: ['RENAME k j'],
    region: ['k del', 'j rename_to'],
    plain: ['k rename_from', 'j rename_to'],
  },
  {
    name: 'HSET',
    before: ['HSET k f 1'],
    commands: ['HSET k g 2'],
    region: ['k rename_to'],
    plain: ['k hset'],
  },
  {
    name: 'HDEL of the last field',
    before: ['HSET k f 1'],
    commands: ['HDEL k f'],
    region: ['k del'],
    plain: ['k hdel', 'k del'],
  },
  {
    name: 'HSET of a large hash',
    before: [largeHash],
    commands: ['HSET k g 2'],
    region: ['k hset'],
    plain: ['k hset'],
  },
  {
    name: 'a large hash that expires',
    before: [largeHash],
    commands: ['HDEL k e0', 'EXPIRE k 100'],
    region: ['k hdel', 'k expire'],
    plain: ['k hdel', 'k expire'],
  },
  {
    name: 'LPUSH',
    before: ['LPUSH k a'],
    commands: ['LPUSH k b'],
    region: ['k rename_to'],
    plain: ['k lpush'],
  },
  {
    name: 'LPUSH to a large list',
    before: [largeList],
    commands: ['LPUSH k b'],
    region: ['k lpush'],
    plain: ['k lpush'],
  },
  {
    name: 'a large list that is emptied, and a new item',
    before: [largeList],
    commands: [`LPOP k ${many.length}`, 'RPUSH k x'],
    region: ['k rename_to'],
    plain: ['k lpop', 'k del', 'k rpush'],
  },
  {
    name: 'a large list, all of its items replaced',
    before: [largeList],
    commands: ['LPOP k 100', 'RPUSH k x', `LPOP k ${many.length - 100}`],
    region: ['k rename_to'],
    plain: ['k lpop', 'k rpush', 'k lpop'],
  },
  {
    name: 'a large set, its members replaced',
    before: [largeSet],
    commands: [`SREM k ${many.join(' ')}`, 'SADD k x'],
    region: ['k rename_to'],
    plain: ['k srem', 'k del', 'k sadd'],
  },
  {
    name: 'RPOP of the last item',
    before: ['LPUSH k a'],
    commands: ['RPOP k'],
    region: ['k del'],
    plain: ['k rpop', 'k del'],
  },
  {
    name: 'SADD',
    before: ['SADD k a'],
    commands: ['SADD k b'],
    region: ['k rename_to'],
    plain: ['k sadd'],
  },
  {
    name: 'SUNIONSTORE over a large set',
    before: [largeSet, 'SADD a x'],
    commands: ['SUNIONSTORE k a'],
    region: ['k rename_to'],
    plain: ['k sunionstore'],
  },
  {
    name: 'ZADD',
    before: ['ZADD k 1 a'],
    commands: ['ZADD k 2 b'],
    region: ['k rename_to'],
    plain: ['k zadd'],
  },
  {
    name: 'ZADD to a large sorted set',
    before: [largeSorted],
    commands: ['ZADD k 2 b'],
    region: ['k zadd'],
    plain: ['k zadd'],
  },
  {
    name: 'XADD',
    before: ['XADD k 1-1 f a'],
    commands: ['XADD k 2-1 f b'],
    region: ['k rename_to'],
    plain: ['k xadd'],
  },
  {
    name: 'FLUSHALL',
    before: ['SET k 1', 'SET j 1'],
    commands: ['FLUSHALL'],
    region: [],
    plain: [],
  },
  { name: 'PUBLISH', commands: ['PUBLISH k v'], region: [], plain: [] },
];

/** Changes two keys. */
const twoKeys = `redis.call('INCR', KEYS[1])
return redis.call('SET', KEYS[2], 'x')`;

describe('keyspace notifications', () => {
  let server: TestServer;
  let region: RegionClient;
  let plain: Redis;
  let listener: Awaited<ReturnType<typeof listenerOf>>;

  beforeAll(async () => {
    server = await startRedisServer();
    region = connectDirectly(server.redis);
    plain = connectTo(server.port, { db: 1 });
    await server.redis.config('SET', 'notify-keyspace-events', 'KEA');
    listener = await listenerOf(server.redis);
  });

  afterAll(async () => {
    listener?.stop();
    plain?.disconnect();
    await server?.stop();
  });

  /** The events since the last call, without those of Lockstep's own keys; both kinds have to name the same events. */
  async function heard(): Promise<readonly string[]> {
    const published = (await listener.published()).filter((text) => text.startsWith('__key'));
    const perKey = published.flatMap((text) => {
      const found = /^__keyspace@\d+__:(.*) (\w+)$/.exec(text);
      return found === null ? [] : [`${found[1]} ${found[2]}`];
    });
    const perEvent = published.flatMap((text) => {
      const found = /^__keyevent@\d+__:(\w+) (.*)$/.exec(text);
      return found === null ? [] : [`${found[2]} ${found[1]}`];
    });
    expect(perEvent).toEqual(perKey);
    return perKey.filter((text) => !text.startsWith('lockstep:'));
  }

  async function begin(before: Commands): Promise<void> {
    await Promise.all([server.redis.flushdb(), plain.flushdb()]);
    for (const words of before) await Promise.all([call(server.redis, words), call(plain, words)]);
    await heard();
  }

  /** Sends the part in two transactions, and aborts the first. Returns the events of the commit. */
  async function carryOut(given: Part): Promise<readonly string[]> {
    const keys = keysOf(given);
    const send = async (round: Parameters<typeof roundOf>[0]) =>
      executed(await region.round(roundOf(round), 0));
    await send({ prepares: [prepareOf(1, keys, given)] });
    expect(await heard(), 'of a prepare').toEqual([]);
    await send({ decisions: [abortOf(1, keys)] });
    expect(await heard(), 'of an abort').toEqual([]);
    await send({ prepares: [prepareOf(2, keys, given)] });
    expect(await heard(), 'of a prepare').toEqual([]);
    const { decisions } = await send({ decisions: [commitOf(2, keys)] });
    expect(decisions).toEqual(['acknowledged']);
    const sent = await heard();
    await send({ decisions: [commitOf(2, keys)] });
    expect(await heard(), 'of a repeated commit').toEqual([]);
    for (const text of sent) {
      const [key = '', event] = text.split(' ');
      if (event === 'del') expect(await server.redis.exists(key), `${key}, deleted`).toBe(0);
    }
    return sent;
  }

  it.each(events)('of $name report the changes of the commit, and nothing else', async (given) => {
    await begin(given.before ?? []);
    const sent = await carryOut(partOf(given.commands));
    expect(sent.toSorted()).toEqual(given.region.toSorted());
    for (const words of given.commands) await call(plain, words);
    expect(await heard()).toEqual(given.plain);
  });

  it('of a script come at the commit, those of a value before those of a copy', async () => {
    await begin(['SET k 1']);
    const sent = await carryOut(part(script(twoKeys, ['k', 'j'])));
    expect(sent).toEqual(['j set', 'k rename_to']);
    await plain.eval(twoKeys, 2, 'k', 'j');
    expect(await heard()).toEqual(['k incrby', 'j set']);
  });

  it.each([
    ['', () => {}],
    [
      ', even if it stopped half-way before,',
      () => server.redis.pexpireat('lockstep:0:shadow:1.1:k', 1),
    ],
  ])(
    'of a commit after the expiry that it sets%s report the key as deleted',
    async (_name, stop) => {
      await begin(['SET k 1']);
      const now = Date.now() - 1000;
      const keys = ['k'];
      const given = partOf(['PEXPIRE k 500'], now);
      const prepares = [{ ...prepareOf(1, keys, given), now }];
      executed(await region.round(roundOf({ prepares }), 0));
      expect(await heard()).toEqual([]);
      await stop();
      const { decisions } = executed(
        await region.round(roundOf({ decisions: [commitOf(1, keys)] }), 0),
      );
      expect(decisions).toEqual(['acknowledged']);
      expect(await heard()).toEqual(['k del']);
      expect(await server.redis.exists('k')).toBe(0);
    },
  );
});

/** The commands as one part, at the time `now` in ms. */
function partOf(commands: Commands, now = Date.now()): Part {
  const ops = commands.map((words) => words.split(' '));
  const compiled = compileWrite(ops, [], { now, seed: () => 1, continueOnError: false });
  if (!compiled.ok) throw new Error(compiled.detail);
  return part(...compiled.operations.map((operation) => operationAt(operation, now)));
}

function keysOf({ operations }: Part): readonly string[] {
  const places = operations.flatMap(({ args, writes, reads }) =>
    [...writes, ...reads].map((position) => args[position] ?? ''),
  );
  return [...new Set(places)];
}

function call(redis: Redis, words: string): Promise<unknown> {
  const [name = '', ...rest] = words.split(' ');
  return redis.call(name, ...rest);
}
