import type { Redis } from 'ioredis';
import { decodeRound } from '../../functions/region/decoding.ts';
import { encodeRound, keysOf } from '../../functions/region/encoding.ts';
import { digestOf, roundScripts } from '../../functions/region/lua-bundle.ts';
import { compileWrite } from '../../shared/commands/compile.ts';
import { operationAt } from '../../shared/contracts/frame.ts';
import { replyOfClient } from '../region/direct.ts';
import { commitOf, executed, part, prepareOf, roundOf } from '../region/fixtures.ts';
import { startRedisServer } from '../region/servers.ts';
import { type Figure, median } from './measure.ts';

/**
 * A write of one element, prepared and committed, in a large collection against a small one: the time of the region
 * itself, as its server counts it, without any network.
 */

const small = 10;
const large = 1_000_000;
const elementsPerCommand = 1_000;
/** Both sizes take turns, so that a slow moment of the machine affects both. */
const turns = 40;
const writesPerTurn = 25;
/** A prime, so that writes are spread over the collection. */
const stride = 7_919;

type Say = (line: string) => void;

interface Kind {
  readonly name: string;
  /** Adds elements from a number on. */
  readonly fill: (key: string, numbers: readonly number[]) => readonly string[];
  readonly write: (key: string, number: number) => readonly string[];
}

const kinds: readonly Kind[] = [
  {
    name: 'HSET',
    fill: (key, numbers) => ['HSET', key, ...numbers.flatMap((at) => [`field${at}`, `${at}`])],
    write: (key, number) => ['HSET', key, `field${number}`, 'changed'],
  },
  {
    name: 'SADD',
    fill: (key, numbers) => ['SADD', key, ...numbers.map((at) => `member${at}`)],
    write: (key, number) => ['SADD', key, `new${number}`],
  },
  {
    name: 'ZADD',
    fill: (key, numbers) => ['ZADD', key, ...numbers.flatMap((at) => [`${at}`, `member${at}`])],
    write: (key, number) => ['ZADD', key, `${number}.5`, `member${number}`],
  },
  {
    name: 'LPUSH',
    fill: (key, numbers) => ['RPUSH', key, ...numbers.map((at) => `item${at}`)],
    write: (key, number) => ['LPUSH', key, `new${number}`],
  },
];

/** Measures each kind of collection, on a server of its own. */
export async function measureElements(say: Say): Promise<readonly Figure[]> {
  const server = await startRedisServer();
  try {
    const rounds = new Rounds(server.redis);
    await rounds.load();
    const figures: Figure[] = [];
    for (const kind of kinds) {
      say(`${kind.name} of one element in ${large} against ${small} …`);
      figures.push(...(await measureKind(server.redis, rounds, kind)));
    }
    return figures;
  } finally {
    await server.stop();
  }
}

async function measureKind(redis: Redis, rounds: Rounds, kind: Kind): Promise<readonly Figure[]> {
  const few: number[] = [];
  const many: number[] = [];
  await fill(redis, kind, large);
  for (let turn = 0; turn < turns; turn += 1) {
    // The writes make the collection grow.
    await fill(redis, kind, small);
    few.push(await measureTurn(redis, rounds, kind, { size: small, turn }));
    many.push(await measureTurn(redis, rounds, kind, { size: large, turn }));
  }
  await redis.unlink(keyOf(kind, small), keyOf(kind, large));
  const timeOf = (size: number, samples: readonly number[]): Figure => {
    return { name: `  in ${size}`, value: median(samples) / 1_000, unit: 'ms', limit: null };
  };
  return [
    {
      name: `${kind.name} in ${large} elements, of the time in ${small}`,
      value: median(many) / median(few),
      unit: 'ratio',
      limit: 1.5,
    },
    timeOf(small, few),
    timeOf(large, many),
  ];
}

/** The region's time for a write, in microseconds. */
async function measureTurn(
  redis: Redis,
  rounds: Rounds,
  kind: Kind,
  { size, turn }: { readonly size: number; readonly turn: number },
): Promise<number> {
  const key = keyOf(kind, size);
  await redis.config('RESETSTAT');
  for (let write = 0; write < writesPerTurn; write += 1) {
    const number = ((turn * writesPerTurn + write) * stride) % size;
    await rounds.write(key, kind.write(key, number));
  }
  const [, spent] =
    /^cmdstat_evalsha:calls=\d+,usec=(\d+)/m.exec(await redis.info('commandstats')) ?? [];
  return Number(spent) / writesPerTurn;
}

function keyOf({ name }: Kind, size: number): string {
  return `${name}:${size}`;
}

async function fill(redis: Redis, kind: Kind, size: number): Promise<void> {
  const key = keyOf(kind, size);
  await redis.unlink(key);
  for (let first = 0; first < size; first += elementsPerCommand) {
    const count = Math.min(elementsPerCommand, size - first);
    const [name = '', ...rest] = kind.fill(
      key,
      Array.from({ length: count }, (_, at) => first + at),
    );
    await redis.call(name, ...rest);
  }
}

/** Sends rounds to a server, each with one write and with the commit of the one before. */
class Rounds {
  readonly #redis: Redis;
  #digest = '';
  #sequence = 0;
  #last = '';

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async load(): Promise<void> {
    this.#digest = await digestOf(roundScripts.elements.text);
    await this.#redis.script('LOAD', roundScripts.elements.text);
  }

  async write(key: string, words: readonly string[]): Promise<void> {
    const now = Date.now();
    const compiled = compileWrite([words], [], { now, seed: () => 0 });
    if (!compiled.ok) throw new Error(compiled.detail);
    const decisions = this.#sequence === 0 ? [] : [commitOf(this.#sequence, [this.#last])];
    this.#sequence += 1;
    this.#last = key;
    const operations = compiled.operations.map((operation) => operationAt(operation, now));
    const prepares = [prepareOf(this.#sequence, [key], part(...operations))];
    // Settled transactions leave nothing behind.
    const lowWatermark = [1, Math.max(0, this.#sequence - 2)] as const;
    const round = roundOf({ decisions, prepares, lowWatermark });
    const argv = [this.#digest, '3', ...keysOf(0), encodeRound(round)];
    const reply = replyOfClient(await this.#redis.callBuffer('EVALSHA', ...argv));
    const result = decodeRound(reply, round);
    if (result === 'longer') throw new Error('the text has all parts');
    const { votes } = executed(result);
    if (votes[0]?.kind !== 'yes') throw new Error(`the region votes ${votes[0]?.kind}`);
  }
}
