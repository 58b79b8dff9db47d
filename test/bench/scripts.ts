import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { connectRegion } from '../../functions/region/client.ts';
import { roundScripts } from '../../functions/region/lua-bundle.ts';
import { startGateway } from '../../local/gateway/gateway.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { Round, RoundPair } from '../../shared/contracts/round.ts';
import { connectDirectly, withoutSetRound } from '../region/direct.ts';
import {
  commitOf,
  countedText,
  executed,
  part,
  prepareOf,
  roundOf,
  script,
  set,
} from '../region/fixtures.ts';
import { startRedisServer } from '../region/servers.ts';
import { type Figure, median } from './measure.ts';

/**
 * The time of scripts on a region's main thread, as its server counts it: Lockstep's own for a plain SET, well-known
 * scripts of users, each against a bare EVALSHA, and scripts of an attacker.
 */

const runs = 7;
const callsPerRun = 100;
/**
 * The longest time for which a pattern that backtracks may hold a region; the others end by their limits of steps and
 * bytes.
 */
const patternMsMaximum = 100;

type Say = (line: string) => void;

interface Kind {
  readonly name: string;
  readonly text: string;
  readonly argv: readonly string[];
}

const kinds: readonly Kind[] = [
  {
    name: 'a limit per fixed window',
    text: `local count = redis.call('INCRBY', KEYS[1], ARGV[2])
if count == tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return { count, ARGV[1] }`,
    argv: ['600000', '1'],
  },
  {
    name: 'the release of a lock',
    text: `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`,
    argv: ['nobody'],
  },
  {
    name: 'a job that moves on',
    text: `redis.call('RPUSH', KEYS[1], ARGV[1])
local job = redis.call('LPOP', KEYS[1])
redis.call('HSET', KEYS[1] .. ':' .. 'job', 'state', 'active', 'name', job)
for index = 1, 20 do local text = string.format('%s:%d', job, index) if #text > 100 then return nil end end
return cjson.encode({ job = job, attempts = 1 })`,
    argv: ['mail'],
  },
];

const patternThatBacktracks = 'a pattern that backtracks';

const attacks: Readonly<Record<string, string>> = {
  [patternThatBacktracks]: "return string.find(string.rep('a', 480), '.-.-.-b')",
  'optional characters without end': `return string.find(string.rep('a', 100000), '${'a?'.repeat(10)}b')`,
  'a text that doubles': `local s = string.rep('a', 1000) ${'s = s .. s '.repeat(18)} return #s`,
  'a repetition of 400 MB': "return #(('x'):rep(400000000))",
  'a reply that doubles': 'local t = {} for i = 1, 22 do t = {t, t} end return t',
  'a loop': 'while true do end',
  'JSON of a table that doubles':
    'local t = {1} for i = 1, 22 do t = {t, t} end return #cjson.encode(t)',
};

/** Plain SETs of Lockstep per run. */
const setsPerRun = 400;

/** Measures all of them, on a server of its own. */
export async function measureScripts(say: Say): Promise<readonly Figure[]> {
  const server = await startRedisServer();
  const token = 'bench';
  const gateway = await startGateway({ redisPort: server.port, token, roundTripMs: 0 });
  try {
    await gateway.ready();
    const client = connectRegion({ id: 'bench', url: gateway.url, token });
    say('a plain SET …');
    const figures: Figure[] = [...(await measureSets(server.redis))];
    await server.redis.flushall();
    const rounds = new Rounds(client, server.redis);
    for (const kind of kinds) {
      say(`${kind.name} …`);
      figures.push(...(await measureKind(rounds, kind)));
    }
    for (const [name, text] of Object.entries(attacks)) {
      say(`${name} …`);
      figures.push(await measureAttack(client, server.redis, name, text));
    }
    return figures;
  } finally {
    await gateway.close();
    await server.stop();
  }
}

/**
 * The time of the scripts of a plain SET, by the server's statistics of commands. They follow each other on a plain
 * connection: after some ms without work they take several times as long, since a processor then begins with cold caches.
 */
async function measureSets(redis: Redis): Promise<readonly Figure[]> {
  const short: number[] = [];
  const long: number[] = [];
  const bare: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    short.push(await setUs(redis, (text) => text));
    long.push(await setUs(redis, withoutSetRound));
    await redis.config('RESETSTAT');
    for (let call = 0; call < 2 * setsPerRun; call += 1) await redis.eval('return 1', 0);
    bare.push(await scriptUs(redis));
  }
  const of = (others: readonly number[]) =>
    median(short.map((us, run) => us / (others[run] ?? Number.NaN)));
  return [
    {
      name: 'a plain SET: its prepare and its commit',
      value: median(short),
      unit: 'µs',
      limit: null,
    },
    { name: '  of the same by round.lua alone', value: of(long), unit: 'ratio', limit: null },
    { name: '  of two bare EVALs', value: of(bare), unit: 'ratio', limit: null },
  ];
}

/** The time of the scripts of one plain SET, whose texts may be changed. */
async function setUs(redis: Redis, change: (text: string) => string): Promise<number> {
  await redis.flushall();
  const digests = new Map<string, string>();
  for (const { text } of Object.values(roundScripts)) {
    digests.set(text, String(await redis.script('LOAD', change(text))));
  }
  const client = connectDirectly(redis, (text) => digests.get(text) ?? text);
  const rounds = new Rounds(client, redis);
  await rounds.set(setsPerRun / 4);
  await redis.config('RESETSTAT');
  await rounds.set(setsPerRun);
  return scriptUs(redis);
}

/** The time of all scripts since the statistics were reset, µs per plain SET. */
async function scriptUs(redis: Redis): Promise<number> {
  const stats = await redis.info('commandstats');
  const whole = /^cmdstat_eval(?:sha)?:calls=\d+,usec=(\d+)/gm;
  const us = [...stats.matchAll(whole)].reduce((sum, [, usec]) => sum + Number(usec), 0);
  return us / setsPerRun;
}

async function measureKind(rounds: Rounds, kind: Kind): Promise<readonly Figure[]> {
  const ratios: number[] = [];
  const staged: number[] = [];
  await rounds.staged(kind);
  for (let run = 0; run < runs; run += 1) {
    const bareMs = await rounds.bare(kind);
    const stagedMs = await rounds.staged(kind);
    ratios.push(stagedMs / bareMs);
    staged.push(stagedMs / callsPerRun);
  }
  const spread = Math.max(...ratios) - Math.min(...ratios);
  return [
    { name: `${kind.name}, of a bare EVALSHA`, value: median(ratios), unit: 'ratio', limit: null },
    { name: '  spread of seven runs', value: spread, unit: 'ratio', limit: null },
    { name: '  per write', value: median(staged), unit: 'ms', limit: null },
  ];
}

async function measureAttack(
  client: RegionClient,
  redis: Redis,
  name: string,
  text: string,
): Promise<Figure> {
  const sha = createHash('sha1').update(text).digest('hex');
  const commands = [{ args: ['EVAL_RO', sha, countedText(text), '0'], reads: [], reply: null }];
  const samples: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const before = await mainThreadMs(redis);
    const request = {
      shard: 0,
      generation: 1,
      strong: false,
      leased: false,
      lastAcknowledged: null,
    };
    await client.snapshot({ ...request, settle: [], keys: [], commands }, 30_000);
    samples.push((await mainThreadMs(redis)) - before);
  }
  const limit = name === patternThatBacktracks ? patternMsMaximum : null;
  return { name, value: median(samples), unit: 'ms', limit };
}

/** Runs a script a number of times, each way, and returns the time of the main thread in ms. */
class Rounds {
  private readonly client: RegionClient;
  private readonly redis: Redis;
  private sequence = 0;
  private pair: RoundPair | null = null;
  /** The keys of the previous transaction. */
  private keys: readonly string[] = [];

  constructor(client: RegionClient, redis: Redis) {
    this.client = client;
    this.redis = redis;
  }

  /** Prepares and commits this number of plain SETs, one after the other. */
  async set(count: number): Promise<void> {
    for (let write = 0; write < count; write += 1) {
      this.sequence += 1;
      const keys = [`set:${this.sequence}`];
      const prepares = [
        prepareOf(this.sequence, keys, part(set(`set:${this.sequence}`, 'x'.repeat(32)))),
      ];
      await this.next({ prepares });
      await this.next({ decisions: [commitOf(this.sequence, keys)] });
    }
  }

  /** A round of the set's, which names the last pair and the low watermark as a coordinator does. */
  private async next(given: Partial<Round>): Promise<void> {
    const round = roundOf({
      ...given,
      lastAcknowledged: this.pair,
      lowWatermark: [1, this.sequence - 1],
    });
    const { history } = executed(await this.client.round(round, 30_000));
    this.pair = history.at(-1) ?? null;
  }

  async bare({ text, argv }: Kind): Promise<number> {
    const sha = String(await this.redis.script('LOAD', text));
    await this.redis.del('bare', 'bare:job');
    const before = await mainThreadMs(this.redis);
    for (let call = 0; call < callsPerRun; call += 1) {
      await this.redis.evalsha(sha, 2, 'bare', 'bare:job', ...argv);
    }
    return (await mainThreadMs(this.redis)) - before;
  }

  /** Each round commits the transaction that the previous one prepared. */
  async staged({ name, text, argv }: Kind): Promise<number> {
    const keys = [name, `${name}:job`];
    const before = await mainThreadMs(this.redis);
    for (let call = 0; call < callsPerRun; call += 1) {
      this.sequence += 1;
      const decisions = this.keys.length > 0 ? [commitOf(this.sequence - 1, this.keys)] : [];
      const prepares = [prepareOf(this.sequence, keys, part(script(text, keys, argv)))];
      this.keys = keys;
      const { votes } = executed(await this.client.round(roundOf({ decisions, prepares }), 30_000));
      if (votes[0]?.kind !== 'yes') throw new Error(`not staged: ${JSON.stringify(votes)}`);
    }
    return (await mainThreadMs(this.redis)) - before;
  }
}

async function mainThreadMs(redis: Redis): Promise<number> {
  const info = await redis.info('cpu');
  const of = (kind: string) =>
    Number(new RegExp(`used_cpu_${kind}_main_thread:([\\d.]+)`).exec(info)?.[1]);
  return (of('user') + of('sys')) * 1_000;
}
