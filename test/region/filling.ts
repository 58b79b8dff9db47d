/** Random keys of every type, and their content by plain commands. */
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { limits } from '../../shared/limits.ts';

type Command = readonly (string | Buffer)[];

/** Commands that make one key, and a command that changes its value. */
export interface Filling {
  readonly commands: readonly Command[];
  readonly change: Command;
}

const bytes = fc
  .uint8Array({ maxLength: 12 })
  .map((items) => Buffer.from(items))
  .filter((item) => !item.subarray(0, 9).equals(Buffer.from('lockstep:')));
/** Several of these do not fit into one step. */
const large = fc
  .integer({ min: 0, max: 255 })
  .map((byte) => Buffer.alloc(limits.copyBytesPerStep / 4, byte));
const value = fc.oneof({ arbitrary: bytes, weight: 24 }, { arbitrary: large, weight: 1 });
const score = fc
  .oneof(fc.double({ noNaN: true }), fc.constantFrom(0.1, -0, 1e21, 2 ** 53 + 2))
  .map((number) => {
    if (number === Number.POSITIVE_INFINITY) return '+inf';
    return number === Number.NEGATIVE_INFINITY ? '-inf' : String(number);
  });
const far = Date.now() + 3_600_000;
const expiry = fc.option(fc.integer({ min: far, max: far + 1_000_000_000 }), { freq: 2 });

/** Enough items that a server uses its encoding for large collections. */
const many = fc.constantFrom(1, 1, 1, 300);

const row = fc.uniqueArray(value, {
  minLength: 1,
  maxLength: 12,
  selector: (item) => item.toString('latin1'),
});

/** The item, shortened if there are many of them. */
function cut(item: Buffer, times: number): Buffer {
  return times === 1 ? item : item.subarray(0, 40);
}

/** The items repeated `times` times, with a number in front of all but the first. */
function numbered(items: readonly Buffer[], times: number): Buffer[] {
  return Array.from({ length: times }, (_, index) =>
    Buffer.from(index === 0 ? '' : `${index}`),
  ).flatMap((prefix) => items.map((item) => Buffer.concat([prefix, cut(item, times)])));
}

type Make = (key: Buffer) => fc.Arbitrary<Filling>;

const text: Make = (key) =>
  fc.tuple(value, fc.constantFrom(1, 1, 5)).map(([item, times]) => ({
    commands: [['SET', key, Buffer.concat(Array.from({ length: times }, () => item))]],
    change: ['APPEND', key, 'x'],
  }));

const list: Make = (key) =>
  fc.tuple(fc.array(value, { minLength: 1, maxLength: 12 }), many).map(([items, times]) => ({
    commands: [['RPUSH', key, ...numbered(items, times)]],
    change: ['LINSERT', key, 'BEFORE', numbered(items, times)[0] ?? '', 'x'],
  }));

const hash: Make = (key) =>
  fc.tuple(row, value, many).map(([fields, item, times]) => ({
    commands: [
      ['HSET', key, ...numbered(fields, times).flatMap((field) => [field, cut(item, times)])],
    ],
    change: ['HSET', key, cut(fields[0] ?? Buffer.alloc(0), times), Buffer.from('another value')],
  }));

const set: Make = (key) =>
  fc
    .tuple(fc.oneof(row, fc.constant([Buffer.from('1'), Buffer.from('-7')])), many)
    .map(([items, times]) => ({
      commands: [['SADD', key, ...numbered(items, times)]],
      change: ['SADD', key, 'a member that is new'],
    }));

const zset: Make = (key) =>
  fc
    .tuple(row, fc.array(score, { minLength: 12, maxLength: 12 }), many)
    .map(([items, scores, times]) => ({
      commands: [
        [
          'ZADD',
          key,
          ...numbered(items, times).flatMap((item, at) => [scores[at % 12] ?? '0', item]),
        ],
      ],
      change: ['ZADD', key, '12345.5', numbered(items, times)[0] ?? ''],
    }));

const stream: Make = (key) =>
  fc
    .record({
      entries: fc.array(fc.array(value, { minLength: 2, maxLength: 2 }), { maxLength: 12 }),
      groups: fc.uniqueArray(bytes, { maxLength: 3, selector: (item) => item.toString('latin1') }),
      deleted: fc.array(fc.integer({ min: 0, max: 11 }), { maxLength: 4 }),
      read: fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 3, maxLength: 3 }),
      acknowledged: fc.integer({ min: 0, max: 12 }),
      times: many,
      change: fc.integer({ min: 0, max: 5 }),
    })
    .map((given) => streamOf(key, given));

interface StreamParts {
  readonly entries: readonly (readonly Buffer[])[];
  readonly groups: readonly Buffer[];
  readonly deleted: readonly number[];
  readonly read: readonly number[];
  readonly acknowledged: number;
  readonly times: number;
  readonly change: number;
}

function streamOf(key: Buffer, given: StreamParts): Filling {
  const { groups, times, read } = given;
  const small = given.entries.map((pair) => pair.map((item) => cut(item, times)));
  const entries = Array.from({ length: times }, () => small).flat();
  const idOf = (at: number) => `${9_007_199_254_740_993n + BigInt(at)}-${at % 3}`;
  const commands: Command[] = [
    ['XGROUP', 'CREATE', key, 'always there', '0', 'MKSTREAM'],
    ...groups.map((group) => ['XGROUP', 'CREATE', key, group, '0']),
    ...entries.map((pair, at) => ['XADD', key, idOf(at), ...pair]),
    ...groups.flatMap((group, at) => [
      [
        'XREADGROUP',
        'GROUP',
        group,
        `consumer ${at}`,
        'COUNT',
        String((read[at] ?? 0) * times + 1),
        'STREAMS',
        key,
        '>',
      ],
      ['XREADGROUP', 'GROUP', group, Buffer.from([at, 255]), 'COUNT', '2', 'STREAMS', key, '>'],
      ['XCLAIM', key, group, 'another', '0', idOf(at), 'RETRYCOUNT', String(at + 7), 'JUSTID'],
    ]),
    ...given.deleted.map((at) => ['XDEL', key, idOf(at)]),
    ...groups.slice(0, 1).map((group) => ['XACK', key, group, idOf(given.acknowledged)]),
  ];
  const changes: readonly Command[] = [
    ['XADD', key, '99999999999999999-0', 'a', 'b'],
    ['XGROUP', 'SETID', key, 'always there', '5-5'],
    ['XGROUP', 'CREATE', key, 'a new group', '0'],
    ['XGROUP', 'CREATECONSUMER', key, 'always there', 'a new one'],
    ['XSETID', key, '99999999999999999-0'],
    ['XGROUP', 'DESTROY', key, 'always there'],
  ];
  return { commands, change: changes[given.change] ?? [] };
}

/** One key of any type, with or without an expiry. */
export const filling: fc.Arbitrary<Filling & { readonly key: Buffer }> = fc
  .tuple(bytes, fc.constantFrom(text, list, hash, set, zset, stream), expiry)
  .chain(([key, make, at]) =>
    make(key).map(({ commands, change }) => ({
      key,
      commands: at === null ? commands : [...commands, ['PEXPIREAT', key, String(at)]],
      change,
    })),
  );

/** Runs a command and ignores its reply; some commands of a filling fail. */
export async function perform(redis: Redis, [name = '', ...args]: Command): Promise<void> {
  await redis.callBuffer(String(name), ...args).catch((error: unknown) => {
    if (!String(error).includes('ReplyError')) throw error;
  });
}

/** The type, the expiry and the value of a key by plain commands, as one text. */
export async function contentsOf(redis: Redis, key: Buffer): Promise<string> {
  const type = await redis.type(key);
  const expiry = await redis.call('PEXPIRETIME', key);
  return JSON.stringify([type, expiry, await partsOf(redis, type, key)]);
}

async function partsOf(redis: Redis, type: string, key: Buffer): Promise<unknown> {
  const ask = async (name: string, ...args: readonly (string | Buffer)[]) =>
    shown(await redis.callBuffer(name, ...args));
  switch (type) {
    case 'string':
      return ask('GET', key);
    case 'list':
      return ask('LRANGE', key, '0', '-1');
    case 'hash':
      return pairs(await ask('HGETALL', key));
    case 'set':
      return [...rowOf(await ask('SMEMBERS', key))].sort();
    case 'zset':
      return pairs(await ask('ZRANGE', key, '0', '-1', 'WITHSCORES'), Number);
    case 'stream':
      return streamParts(ask, key);
    default:
      return type;
  }
}

type Ask = (name: string, ...args: readonly (string | Buffer)[]) => Promise<unknown>;

async function streamParts(ask: Ask, key: Buffer): Promise<unknown> {
  const info = rowOf(await ask('XINFO', 'STREAM', key));
  const groups = rowOf(await ask('XINFO', 'GROUPS', key)).map(rowOf);
  const states = await Promise.all(
    groups.map(async (group) => {
      const name = Buffer.from(String(group[1]), 'latin1');
      const pending = rowOf(await ask('XPENDING', key, name, '-', '+', '10000')).map(rowOf);
      const consumers = rowOf(await ask('XINFO', 'CONSUMERS', key, name)).map(rowOf);
      return [
        group.slice(0, 8),
        pending.map(([id, consumer, , count]) => [id, consumer, count]),
        sorted(consumers.map((consumer) => consumer.slice(0, 4))),
      ];
    }),
  );
  const last = info[info.indexOf('last-generated-id') + 1];
  return [await ask('XRANGE', key, '-', '+'), last, sorted(states)];
}

function sorted(items: readonly unknown[]): readonly string[] {
  return items.map((item) => JSON.stringify(item)).sort();
}

function rowOf(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : [];
}

function pairs(flat: unknown, read: (value: unknown) => unknown = (value) => value): string[] {
  const items = rowOf(flat);
  return items
    .flatMap((item, at) => (at % 2 === 0 ? [[item, String(read(items[at + 1]))]] : []))
    .map((pair) => JSON.stringify(pair))
    .sort();
}

/** Strings with one character per byte. */
function shown(reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString('latin1');
  return Array.isArray(reply) ? reply.map(shown) : reply;
}
