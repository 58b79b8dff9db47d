import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { ReadCommand } from '../../shared/contracts/round.ts';
import { connectDirectly, replyOfClient } from '../region/direct.ts';
import { executed, roundOf, snapshotOf } from '../region/fixtures.ts';
import { startRedisServer } from '../region/servers.ts';
import { type Figure, median } from './measure.ts';

/** The cost of a reply for the server's main thread in a region's snapshot, against the command alone. */

const runs = 9;
const documents = 13;
const size = 100_000;
const nulBytes = 5_000_000;
const smallValues = 200;
const elements = 10_000;

const kinds: readonly (readonly [string, Buffer])[] = [
  ['ASCII', Buffer.alloc(size, 'x')],
  ['UTF-8', Buffer.from('漢'.repeat(Math.floor(size / 3)))],
  ['binary', Buffer.alloc(size, 0xfe)],
];

interface Compared {
  readonly name: string;
  readonly commands: readonly (readonly string[])[];
  readonly native: readonly string[];
  readonly times: number;
}

/** Measures each reply in turns of both ways, on a server of its own. */
export async function measureReplies(say: (line: string) => void): Promise<readonly Figure[]> {
  say('Replies …');
  const server = await startRedisServer();
  const { redis } = server;
  try {
    const names = (kind: string) => Array.from({ length: documents }, (_, at) => `${kind}:${at}`);
    for (const [kind, value] of kinds) {
      for (const name of names(kind)) await redis.set(name, value);
    }
    await redis.set('nuls', Buffer.alloc(nulBytes));
    await redis.set('small', 'value');
    const large = kinds.map(([kind]): Compared => {
      const command = ['MGET', ...names(kind)];
      const name = `MGET of ${documents} ${kind} values`;
      return { name, commands: [command], native: command, times: 200 };
    });
    const fields = Array.from({ length: elements }, (_, at) => [`field:${at}`, `value:${at}`]);
    await redis.hset('hash', ...fields.flat());
    await redis.sadd('set', ...fields.flat());
    const wholes = [
      ['HGETALL', 'hash'],
      ['HVALS', 'hash'],
      ['SMEMBERS', 'set'],
    ].map((command): Compared => {
      const name = command.join(` of ${elements} elements or more in a `);
      return { name, commands: [command], native: command, times: 200 };
    });
    const range = ['GETRANGE', 'nuls', '0', String(nulBytes - 1)];
    const bare = ['EVAL', "return redis.call('GET', KEYS[1])", '1', 'small'];
    const small = Array.from({ length: smallValues }, (_, at) => `small:${at}`);
    for (const name of small) await redis.set(name, 'value');
    const loop = 'local t = {} for at, key in ipairs(KEYS) do t[at] = redis.call("GET", key) end';
    const compared: readonly Compared[] = [
      ...large,
      ...wholes,
      { name: 'GETRANGE of NULs', commands: [range], native: range, times: 50 },
      // Includes the checks of a snapshot: the state, the lease and the locks.
      {
        name: 'one small GET, of a bare EVAL',
        commands: [['GET', 'small']],
        native: bare,
        times: 5_000,
      },
      // The cost of a small reply itself.
      {
        name: `${smallValues} small GETs, of a bare EVAL`,
        commands: small.map((name) => ['GET', name]),
        native: ['EVAL', `${loop} return t`, String(smallValues), ...small],
        times: 200,
      },
    ];
    const figures: Figure[] = [];
    for (const one of compared) figures.push(...(await compare(redis, one)));
    return figures;
  } finally {
    await server.stop();
  }
}

async function compare(redis: Redis, one: Compared): Promise<readonly Figure[]> {
  const loaded = new Set<string>();
  // Like a region: by the digests of the texts.
  const client = connectDirectly(redis, (text) => {
    const sha = createHash('sha1').update(text).digest('hex');
    if (!loaded.has(sha)) void redis.script('LOAD', text);
    loaded.add(sha);
    return sha;
  });
  executed(await client.round(roundOf({}), 0));
  const keysOf = ([name, ...words]: readonly string[]) =>
    name === 'MGET' ? words : words.slice(0, 1);
  const keys = one.commands.flatMap(keysOf);
  const commands = one.commands.map((args): ReadCommand => {
    return { args, reads: keysOf(args).map((_, at) => at + 1), reply: null };
  });
  const viaRegion = async () => {
    const result = await client.snapshot(snapshotOf(keys, commands), 0);
    if (result.kind !== 'read') throw new Error(`not read: ${result.kind}`);
  };
  const [name = '', ...rest] = one.native;
  // Decoded as a region's replies are: while a client decodes thousands of items, the server's caches cool, and the
  // next command costs it up to half as much again, whichever way it arrives.
  const natively = async () => replyOfClient(await redis.callBuffer(name, ...rest));
  const ratios: number[] = [];
  await viaRegion();
  for (let run = 0; run < runs; run += 1) {
    const region = await cpuOf(redis, viaRegion, one.times);
    ratios.push(region / (await cpuOf(redis, natively, one.times)));
  }
  const least = Math.min(...ratios);
  const most = Math.max(...ratios);
  return [
    { name: `CPU of ${one.name}, in a region`, value: median(ratios), unit: 'ratio', limit: 1.5 },
    { name: '  least', value: least, unit: 'ratio', limit: null },
    { name: '  most', value: most, unit: 'ratio', limit: null },
  ];
}

/** The CPU time of the server's main thread, s: commandstats would omit the writing of replies. */
async function cpuOf(redis: Redis, work: () => Promise<unknown>, times: number): Promise<number> {
  const before = await cpuSeconds(redis);
  for (let time = 0; time < times; time += 1) await work();
  return (await cpuSeconds(redis)) - before;
}

async function cpuSeconds(redis: Redis): Promise<number> {
  const info = await redis.info('cpu');
  const parts = [...info.matchAll(/^used_cpu_(?:user|sys)_main_thread:([\d.]+)/gm)];
  return parts.reduce((sum, [, seconds]) => sum + Number(seconds), 0);
}
