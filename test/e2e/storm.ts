/** The random writes and reads of storm.test.ts. */
import { setTimeout as delay } from 'node:timers/promises';
import { limits } from '../../shared/limits.ts';
import { Random } from '../simulation/random.ts';
import type { TestStack } from '../support/stack/stack.ts';
import { attempt, bodyOf, type WriteOperation } from './writes.ts';

/**
 * Each write sets its id in `last` of the groups whose keys it changes, so that a read shows its position in the
 * order.
 */
export const groups = ['a', 'b', 'c'] as const;
type Group = (typeof groups)[number];

/** An acknowledged write, with its position in the order of all. */
export interface Done {
  readonly id: string;
  readonly sequence: number;
  readonly ops: readonly WriteOperation[];
  readonly results: readonly unknown[];
}

/** A strong read of a group: the last write that it has seen, and its values. `least` was known when it began. */
export interface StormRead {
  readonly group: Group;
  readonly last: string | null;
  readonly least: number;
  readonly values: readonly unknown[];
  readonly by: string;
}

const count = limits.elementsCopied + 40;
const all = Array.from({ length: count }, (_, index) => index);

/** No region could answer, or the requested region did not (R40). */
function mayFail(status: number): boolean {
  return status === 503 || status === 504;
}

/** Makes every collection of a group a large one, which writes stage by its elements. */
function filling(group: Group): readonly WriteOperation[] {
  return [
    ['HSET', `h:${group}`, ...all.flatMap((index) => [`f${index}`, index])],
    ['SADD', `s:${group}`, ...all.map((index) => `m${index}`)],
    ['ZADD', `z:${group}`, ...all.flatMap((index) => [index, `m${index}`])],
    ['RPUSH', `l:${group}`, ...all.map((index) => `i${index}`)],
  ];
}

/** Moves an item; may run with declared or undeclared keys. */
const moving = `local from, to = ARGV[1], ARGV[2]
local item = redis.call('RPOP', 'l:' .. from)
if item then redis.call('LPUSH', 'l:' .. to, item) end
redis.call('HINCRBY', 'h:' .. from, 'moved', -1)
redis.call('HINCRBY', 'h:' .. to, 'moved', 1)
return {item, redis.call('LLEN', 'l:' .. to)}`;

/** Its keys follow from a value that it reads, and that other writes change meanwhile. */
const chasing = `local at = redis.call('HGET', 'h:' .. ARGV[1], 'at') or '0'
redis.call('SADD', 'chased:' .. at, ARGV[2])
redis.call('HSET', 'h:' .. ARGV[1], 'at', (at + 1) % 40)
return {at, redis.call('SCARD', 'chased:' .. at)}`;

const counting = `local count, cursor, seen = 0, '0', {}
repeat
  local reply = redis.call('SCAN', cursor, 'MATCH', 'chased:*')
  cursor = reply[1]
  for _, key in ipairs(reply[2]) do
    if not seen[key] then count = count + 1 end
    seen[key] = true
  end
until cursor == '0'
redis.call('SET', 'counted:' .. ARGV[1], count)
return count`;

/** Fails half-way, and its caught error does not undo its changes. */
const failing = `redis.call('HSET', KEYS[1], 'caught', ARGV[1])
redis.pcall('LPUSH', KEYS[1], 'x')
redis.call('ZADD', KEYS[2], 5, 'caught')
if ARGV[2] == '1' then return redis.call('LPUSH', KEYS[1], 'x') end
return redis.call('ZPOPMIN', KEYS[2])`;

/** The reads of a group, in a snapshot or in a read-only script. */
export function readsOf(group: Group): readonly WriteOperation[] {
  return [
    ['GET', `last:${group}`],
    ['HLEN', `h:${group}`],
    ['HGET', `h:${group}`, 'f3'],
    ['ZRANGE', `z:${group}`, 0, 1, 'WITHSCORES'],
    ['LRANGE', `l:${group}`, 0, 1],
    ['LLEN', `l:${group}`],
    ['SCARD', `s:${group}`],
  ];
}

const readingScript = `local got = {}
for _, words in ipairs(cjson.decode(ARGV[1])) do got[#got + 1] = redis.call(unpack(words)) end
return got`;

function elementOf(random: Random, group: Group): WriteOperation {
  const member = `m${random.between(0, count + 9)}`;
  const field = `f${random.between(0, count + 9)}`;
  const templates: readonly (() => WriteOperation)[] = [
    () => ['HSET', `h:${group}`, field, random.between(0, 99), 'f3', random.between(0, 99)],
    () => ['HDEL', `h:${group}`, field],
    () => ['HINCRBY', `h:${group}`, 'sum', random.between(-9, 9)],
    () => ['SADD', `s:${group}`, member],
    () => ['SREM', `s:${group}`, member],
    () => ['ZADD', `z:${group}`, random.between(-50, 50), member],
    () => ['ZADD', `z:${group}`, random.between(-50, 50), member],
    () => ['ZPOPMIN', `z:${group}`],
    () => ['ZREMRANGEBYRANK', `z:${group}`, -1, -1],
    () => ['LPUSH', `l:${group}`, member, field],
    () => ['RPUSH', `l:${group}`, member],
    () => ['RPOP', `l:${group}`],
    () => ['LPOP', `l:${group}`, 2],
    () => ['LTRIM', `l:${group}`, 1, -2],
    () => ['LMOVE', `l:${group}`, `l:${group}`, 'LEFT', 'RIGHT'],
    () => ['PEXPIREAT', `h:${group}`, 4_000_000_000_000 + random.between(0, 9)],
    () => ['PERSIST', `h:${group}`],
    () => ['RENAME', `s:${group}`, `s:${group}`],
    () => ['SMEMBERS', `l:${group}`],
  ];
  return random.pick(templates)();
}

/** The groups that a write changes, and its operations. */
function writeOf(random: Random): readonly [readonly Group[], readonly WriteOperation[]] {
  const group = random.pick(groups);
  const other = random.pick(groups);
  const elements = () =>
    Array.from({ length: random.between(1, 4) }, () => elementOf(random, group));
  const declared = [`l:${group}`, `l:${other}`, `h:${group}`, `h:${other}`];
  const ways: readonly (() => readonly [readonly Group[], readonly WriteOperation[]])[] = [
    () => [[group], elements()],
    () => [[group], elements()],
    () => [[group], elements()],
    () => [[group], [...elements(), ['PUBLISH', `channel:${group}`, 'said'], ...elements()]],
    () => [[group, other], [['EVAL', moving, 4, ...declared, group, other]]],
    () => [
      [group, other],
      [...elements(), ['EVAL', moving, 0, group, other]],
    ],
    () => [[group], [['EVAL', chasing, 0, group, random.between(0, 9)], ...elements()]],
    () => [[group], [['EVAL', counting, 0, group]]],
    () => [
      [group],
      [['EVAL', failing, 2, `h:${group}`, `z:${group}`, 'v', random.between(0, 1)], ...elements()],
    ],
    () => [[group], filling(group)],
    () => [groups, [...(random.chance(0.5) ? elements() : []), ['FLUSHALL'], ...filling(group)]],
  ];
  // A flush is rare.
  return random.pick(random.chance(0.1) ? ways : ways.slice(0, -1))();
}

/**
 * Clients that write at random, each write under a key of its own and retried until it is answered; and readers near
 * every region. The test compares the results with one Redis that runs the same writes in the order of the sequences.
 */
export class Storm {
  readonly done: Done[] = [];
  readonly seen: StormRead[] = [];
  /** Answers that no fault explains. */
  readonly strange: unknown[] = [];
  /** The numbers of unanswered attempts, and of writes that failed with an error of their own. */
  readonly counts = { unanswered: 0, failed: 0 };
  readonly #stack: TestStack;
  readonly #known = new Map<Group, number>();
  readonly #tasks: readonly Promise<void>[];
  #isRunning = true;
  #arrivals: (() => void)[] = [];

  constructor(stack: TestStack, seed: number, clients: number) {
    this.#stack = stack;
    this.#tasks = [
      ...Array.from({ length: clients }, (_, client) =>
        this.#write(new Random(seed * 100 + client), client),
      ),
      ...stack.regions.map(({ id }, index) => this.#read(new Random(seed * 100 + 90 + index), id)),
    ];
  }

  /** Resolves when `wanted` more writes have been answered. */
  async more(wanted: number): Promise<void> {
    const target = this.done.length + wanted;
    while (this.done.length < target) {
      await new Promise<void>((resolve) => this.#arrivals.push(resolve));
    }
  }

  /** Begins nothing more; resolves when all begun writes and reads have been answered. */
  async finish(): Promise<void> {
    this.#isRunning = false;
    await Promise.all(this.#tasks);
  }

  async #write(random: Random, client: number): Promise<void> {
    for (let number = 1; this.#isRunning; number += 1) {
      const [touched, ops] = writeOf(random);
      const id = `${client}.${number}`;
      const named = touched.map((group): WriteOperation => ['SET', `last:${group}`, id]);
      await this.#untilAnswered(id, [...ops, ...named], touched);
      await delay(10);
    }
  }

  async #untilAnswered(id: string, ops: readonly WriteOperation[], touched: readonly Group[]) {
    for (;;) {
      const answer = await attempt(this.#stack, ops, { key: id });
      const { results = [], sequence = 0, type } = answer === null ? {} : bodyOf(answer);
      if (answer?.status === 200) {
        this.done.push({ id, sequence, ops, results });
        for (const group of touched) this.#know(group, sequence);
        for (const arrived of this.#arrivals.splice(0)) arrived();
        return;
      }
      if (answer !== null && type === '/problems/command-failed') {
        this.counts.failed += 1;
        return;
      }
      if (answer !== null && answer.status !== 503)
        this.strange.push([ops, answer.status, answer.body]);
      this.counts.unanswered += 1;
      await delay(20);
    }
  }

  #know(group: Group, sequence: number): void {
    this.#known.set(group, Math.max(this.#known.get(group) ?? 0, sequence));
  }

  async #read(random: Random, region: string): Promise<void> {
    while (this.#isRunning) {
      const group = random.pick(groups);
      const least = this.#known.get(group) ?? 0;
      const isPinned = random.chance(0.5);
      const values = await (random.chance(0.5)
        ? this.#snapshot(group, isPinned ? { region } : {})
        : this.#byScript(group));
      if (values !== null) {
        const last = values[0] === null ? null : String(values[0]);
        this.seen.push({ group, last, least, values, by: region });
      }
      await delay(10);
    }
  }

  async #snapshot(group: Group, place: object): Promise<readonly unknown[] | null> {
    const query = { reads: readsOf(group), consistency: 'strong', ...place };
    const answer = await this.#stack.send('POST', '/v1/reads', query).catch(() => null);
    if (answer === null) return null;
    if (answer.status === 200) return bodyOf(answer).results ?? [];
    if (!mayFail(answer.status)) this.strange.push([query, answer.status, answer.body]);
    return null;
  }

  async #byScript(group: Group): Promise<readonly unknown[] | null> {
    const command = ['EVAL_RO', readingScript, 0, JSON.stringify(readsOf(group))];
    const answer = await this.#stack.send('POST', '/', command).catch(() => null);
    if (answer === null) return null;
    const { body, status } = answer;
    if (status === 200 && typeof body === 'object' && body !== null && 'result' in body) {
      return Array.isArray(body.result) ? body.result : [];
    }
    if (!mayFail(status)) this.strange.push([command, status, body]);
    return null;
  }
}
