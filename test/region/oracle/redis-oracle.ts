/** Runs commands in a region and in one plain Redis, and compares their replies and their data. */

import type { Redis } from 'ioredis';
import { expect } from 'vitest';
import { compileWrite } from '../../../shared/commands/compile.ts';
import { bytesWithin } from '../../../shared/commands/raw-bytes.ts';
import { parseExact } from '../../../shared/commands/replies.ts';
import { bytesOfText } from '../../../shared/contracts/bytes.ts';
import { operationAt, type ReplySort } from '../../../shared/contracts/frame.ts';
import type { RegionClient } from '../../../shared/contracts/region-client.ts';
import type { Decision, Part } from '../../../shared/contracts/round.ts';
import { connectTo } from '../../support/redis.ts';
import { readLocks } from '../../support/region-state.ts';
import { connectDirectly } from '../direct.ts';
import { commitOf, continuingOnError, executed, outcomesOf, part, roundOf } from '../fixtures.ts';
import { startRedisServer, type TestServer } from '../servers.ts';
import dumpScript from './dump.lua';
import type { Step } from './sequences.ts';

/** A reply in a common form: strings with one character per byte, integers as bigints. */
export type OracleReply =
  | null
  | string
  | bigint
  | readonly OracleReply[]
  | { readonly error: string };

/** Normalizes the reply of a client that returns integers as strings, and strings as bytes. */
export function normalizeClientReply(reply: unknown): OracleReply {
  if (Buffer.isBuffer(reply)) return reply.toString('latin1');
  if (Array.isArray(reply)) return reply.map(normalizeClientReply);
  if (reply instanceof Error) return { error: bytesOfText(reply.message) };
  return reply === null ? null : BigInt(String(reply));
}

/** Normalizes a reply of a region's outcome. */
export function normalizeRegionReply(reply: unknown): OracleReply {
  if (reply === null || typeof reply === 'string') return reply;
  if (typeof reply === 'number' || typeof reply === 'bigint') return BigInt(reply);
  if (Array.isArray(reply)) return reply.map(normalizeRegionReply);
  if (typeof reply === 'object' && 's' in reply) return String(reply.s);
  if (typeof reply === 'object' && 'e' in reply) return { error: String(reply.e) };
  throw new Error(`no reply: ${JSON.stringify(reply)}`);
}

/** A command for both sides: compiled to an operation, or refused with the error of Redis. */
interface Tried {
  readonly words: readonly string[];
  readonly operation: Part['operations'][number] | null;
  readonly error: string | null;
}

/** Compiles a command; null if it is refused by name, because the table lists that difference. */
function tryOut(words: readonly string[], now: number): Tried | null {
  const compiled = compileWrite([words], [], { now, seed: () => 1 });
  if (compiled.ok) {
    const [operation = null] = compiled.operations.map((each) => operationAt(each, now));
    return { words, operation, error: null };
  }
  if (compiled.problem === 'unsupported-command') return null;
  if (compiled.redis === undefined) throw new Error(`${words.join(' ')}: ${compiled.detail}`);
  return { words, operation: null, error: bytesWithin(compiled.redis.error) };
}

/**
 * The command for the plain Redis. It gets the entry id that Lockstep generated, counts without caching the count in
 * the key, and removes the members that Lockstep drew.
 */
function plainly({ words, operation }: Tried, reply: OracleReply): readonly Buffer[] {
  const drawn = operation?.kind === 'pop' ? [reply].flat().map(String) : [];
  const isDrawn = typeof reply === 'string' || Array.isArray(reply);
  if (isDrawn && drawn.length > 0) {
    const key = Buffer.from(bytesWithin(words[1] ?? ''), 'latin1');
    return [Buffer.from('SREM'), key, ...drawn.map((member) => Buffer.from(member, 'latin1'))];
  }
  const isMade = operation?.kind === 'append' && typeof reply === 'string';
  const star = isMade ? words.indexOf('*', 2) : -1;
  const isCount = words[0] === 'PFCOUNT' && operation !== null;
  const spelt = isCount ? operation.args : words;
  const given = isMade && star > 0 ? spelt.with(star, reply) : spelt;
  return given.map((word) => Buffer.from(bytesWithin(word), 'latin1'));
}

/** A reply in the order that it has in both, if servers give it any. */
export function inOrder(reply: OracleReply, order: ReplySort): OracleReply {
  if (!Array.isArray(reply)) return reply;
  const flat = reply.map(String);
  if (order === 'members') return flat.sort();
  if (order !== 'pairs') return reply;
  return flat.flatMap((name, at) => (at % 2 === 0 ? [`${name}\0${flat[at + 1]}`] : [])).sort();
}

/** A region and a plain Redis as its oracle, in two databases of one server. */
export class RegionWithOracle {
  readonly #server: TestServer;
  readonly staged: Redis;
  readonly plain: Redis;
  readonly region: RegionClient;

  constructor(server: TestServer) {
    this.#server = server;
    this.staged = connectTo(server.port, { stringNumbers: true });
    this.plain = connectTo(server.port, { stringNumbers: true, db: 1 });
    this.region = connectDirectly(this.staged);
  }

  async stop(): Promise<void> {
    this.staged.disconnect();
    this.plain.disconnect();
    await this.#server.stop();
  }

  /** Sends these decisions to the region. */
  async decide(decisions: readonly Decision[]): Promise<void> {
    const reply = executed(await this.region.round(roundOf({ decisions }), 0));
    expect(reply.decisions).toEqual(decisions.map(() => 'acknowledged'));
  }

  /** Compares all data of both sides, if nothing is staged. */
  async compare(): Promise<void> {
    const [found, expected] = await Promise.all([this.staged, this.plain].map(dumpOf));
    expect(found).toEqual(expected);
    const left = await this.staged.keys('lockstep:*:*:*');
    expect(left, 'shadows and backups').toEqual([]);
    expect(await readLocks(this.staged), 'locks').toEqual(new Map());
  }
}

/** Runs each step on both sides, and expects the same replies. */
export class RedisOracle extends RegionWithOracle {
  #transactions = 0;
  #keys: readonly string[] = [];

  static async start(): Promise<RedisOracle> {
    return new RedisOracle(await startRedisServer());
  }

  /** Runs the steps on empty databases, and compares the resulting data. */
  async agree(steps: readonly Step[]): Promise<void> {
    await Promise.all([this.staged.flushdb(), this.plain.flushdb()]);
    this.#transactions = 0;
    for (const step of steps) await this.run(step);
    await this.end();
  }

  /** Runs one step in a round that also commits the step before. Returns the reply to each command. */
  async run({ together, commands }: Step): Promise<readonly OracleReply[]> {
    const now = Date.now();
    const tried = commands.flatMap((words) => tryOut(words, now) ?? []);
    const replies = await this.#stage(tried, together, now);
    const compared: OracleReply[] = [];
    for (const [index, each] of tried.entries()) {
      const reply = each.error === null ? (replies.shift() ?? null) : { error: each.error };
      compared.push(reply);
      const [name, ...rest] = plainly(each, reply);
      const answer = await this.plain
        .callBuffer(name?.toString('latin1') ?? '', ...rest)
        .catch((error: unknown) => error);
      const words = JSON.stringify(each.words);
      const expected = inOrder(normalizeClientReply(answer), each.operation?.reply ?? null);
      const found =
        name?.toString() === 'SREM' && each.words[0] === 'SPOP'
          ? BigInt([reply].flat().length)
          : reply;
      expect(inOrder(found, each.operation?.reply ?? null), `reply ${index} to ${words}`).toEqual(
        expected,
      );
    }
    return compared;
  }

  async #stage(tried: readonly Tried[], together: boolean, now: number): Promise<OracleReply[]> {
    const operations = tried.flatMap(({ operation }) => operation ?? []);
    const parts = together
      ? [continuingOnError(part(...operations))]
      : operations.map((one) => part(one));
    if (operations.length === 0) return [];
    const keys = [
      ...new Set(
        operations.flatMap(({ args, writes, reads }) =>
          [...writes, ...reads].map((position) => args[position] ?? ''),
        ),
      ),
    ];
    const decisions = this.#decisions();
    this.#transactions += 1;
    this.#keys = keys;
    const transaction = [1, this.#transactions] as const;
    const prepares = [{ transaction, keys, now, parts }];
    const reply = executed(await this.region.round(roundOf({ decisions, prepares }), 0));
    expect(reply.decisions).toEqual(decisions.map(() => 'acknowledged'));
    const outcomes = parseExact(outcomesOf(reply.votes[0]));
    if (!Array.isArray(outcomes)) throw new Error('outcomes are an array');
    return outcomes.flatMap(([tag, first, second]: readonly unknown[], index) => {
      if (together) return index === 0 ? normalizeOutcomes(outcomes[0]) : [];
      return [tag === 2 ? { error: String(second) } : normalizeRegionReply(first)];
    });
  }

  #decisions(): readonly Decision[] {
    return this.#transactions === 0 ? [] : [commitOf(this.#transactions, this.#keys)];
  }

  /** Commits the last step, and compares all data. */
  async end(): Promise<void> {
    await this.decide(this.#decisions());
    await this.compare();
  }
}

function normalizeOutcomes(outcome: unknown): OracleReply[] {
  if (!Array.isArray(outcome) || outcome[0] !== 0) throw new Error(`undone: ${String(outcome)}`);
  return outcome.slice(1).map(normalizeRegionReply);
}

/**
 * All data of a Redis without Lockstep’s own keys. Expiries that lie within a day are relative ones, and differ by
 * the time between the two runs.
 */
export async function dumpOf(redis: Redis): Promise<OracleReply> {
  const keys = normalizeClientReply(await redis.callBuffer('EVAL', dumpScript, '0'));
  if (!Array.isArray(keys)) throw new Error('a dump is an array');
  const soon = BigInt(Date.now() + 86_400_000);
  return keys.map(([name, type, expiry, value]) => {
    return [name, type, expiry > 0n && expiry < soon ? 'soon' : expiry, value];
  });
}
