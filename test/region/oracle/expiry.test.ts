/** Compares random transactions with short expiries in a region with a plain Redis. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compileWrite } from '../../../shared/commands/compile.ts';
import { parseExact } from '../../../shared/commands/replies.ts';
import { operationAt } from '../../../shared/contracts/frame.ts';
import type { Part } from '../../../shared/contracts/round.ts';
import {
  abortOf,
  commitOf,
  continuingOnError,
  executed,
  outcomesOf,
  part,
  roundOf,
  script,
} from '../fixtures.ts';
import { startRedisServer } from '../servers.ts';
import dumpScript from './dump.lua';
import { oracleLaterMs, translated } from './expiry-oracle.ts';
import {
  type ExpiringPart,
  type ExpiringStep,
  expiringSequences,
  spelledAt,
} from './expiry-sequences.ts';
import {
  normalizeClientReply,
  normalizeRegionReply,
  type OracleReply,
  RegionWithOracle,
} from './redis-oracle.ts';
import { runCountOf } from './run-count.ts';

const keys = ['a', 'b', 'c'];
const hour = 3_600_000;

/** Calls each command in turn, and returns all replies. */
const calling = `local replies = {}
for index, words in ipairs(cjson.decode(ARGV[1])) do replies[index] = redis.pcall(unpack(words)) end
return replies`;

let oracle: RegionWithOracle;

beforeAll(async () => {
  oracle = new RegionWithOracle(await startRedisServer());
});

afterAll(() => oracle.stop());

/**
 * The difference of a region's clock from the times of the transactions: all expiries of a sequence lie before it, so
 * that they pass before each commit, or after it; or first before and then after.
 */
const leads = fc.constantFrom<(at: number) => number>(
  () => hour,
  () => -hour,
  (at) => (at < 2 ? -hour : hour),
);

function partOf({ form, commands }: ExpiringPart, arrivedAt: number, now: number): Part {
  const spelled = commands.map((words) => spelledAt(words, now));
  if (form === 'script') return part(script(calling, keys, [JSON.stringify(spelled)]));
  const compiled = compileWrite(spelled, [], {
    now: arrivedAt,
    seed: () => 1,
    continueOnError: true,
  });
  if (!compiled.ok) throw new Error(compiled.detail);
  const given = part(...compiled.operations.map((operation) => operationAt(operation, now)));
  return form === 'multi' ? continuingOnError(given) : given;
}

/** The region's replies to each command of each part. */
function repliesOf(outcomes: unknown, parts: readonly ExpiringPart[]): readonly OracleReply[][] {
  if (!Array.isArray(outcomes)) throw new Error('outcomes are an array');
  return parts.map(({ form }, at) => {
    const [tag, ...replies] = outcomes[at];
    if (tag === 2) return [{ error: String(replies[1]) }];
    const ordered = replies.map(normalizeRegionReply);
    const [first] = ordered;
    return form === 'script' && Array.isArray(first) ? [...first] : ordered;
  });
}

/** Runs the commands in one MULTI of the plain Redis, and returns the replies that each would have had at `now`. */
async function ask(parts: readonly ExpiringPart[], now: number): Promise<readonly OracleReply[][]> {
  const asked = parts.map(({ commands }) =>
    commands.map((words) => translated(spelledAt(words, now), now)),
  );
  const multi = oracle.plain.multi();
  for (const { words } of asked.flat()) {
    const [name = '', ...rest] = words;
    multi.callBuffer(name, ...rest);
  }
  const replies = (await multi.exec()) ?? [];
  let next = 0;
  return asked.map((commands) =>
    commands.map(({ replyOf }) => {
      const [error, reply] = replies[next] ?? [];
      next += 1;
      return error ? normalizeClientReply(error) : replyOf(reply);
    }),
  );
}

/** The error of a script has its own message. */
const blurred = (perPart: readonly OracleReply[][]) =>
  perPart.map((replies) =>
    replies.map((reply) =>
      typeof reply === 'object' && reply !== null && 'error' in reply ? 'an error' : reply,
    ),
  );

/**
 * Keys with type, expiry and value, without those that have expired at `moment`. Subtracts `laterMs` from each
 * expiry.
 */
async function dumpAt(redis: RegionWithOracle['plain'], laterMs: number, moment: number) {
  const dump = normalizeClientReply(await redis.callBuffer('EVAL', dumpScript, '0'));
  if (!Array.isArray(dump)) throw new Error('a dump is an array');
  return dump.flatMap(([name, type, expiry, value]) => {
    const at = expiry < 0n ? -1 : Number(expiry) - laterMs;
    return at !== -1 && at <= moment ? [] : [[name, type, at, value]];
  });
}

/** Deletes the keys from the oracle that have expired at `moment`. */
async function expireUntil(moment: number): Promise<void> {
  for (const key of await oracle.plain.keys('*')) {
    const expiry = Number(await oracle.plain.pexpiretime(key));
    if (expiry >= 0 && expiry - oracleLaterMs <= moment) await oracle.plain.del(key);
  }
}

async function agree(steps: readonly ExpiringStep[], lead: (at: number) => number) {
  await Promise.all([oracle.staged.flushdb(), oracle.plain.flushdb()]);
  const clock = Date.now();
  let elapsed = 0;
  for (const [at, { afterMs, waitedMs, parts, isCommitted }] of steps.entries()) {
    elapsed += afterMs;
    const now = clock + lead(at) + elapsed;
    await expireUntil(Math.max(now, clock));
    const transaction = [1, at + 1] as const;
    const given = parts.map((one) => partOf(one, now - waitedMs, now));
    const prepares = [{ transaction, keys, now, parts: given }];
    const { votes } = executed(await oracle.region.round(roundOf({ prepares }), 0));
    const decision = (isCommitted ? commitOf : abortOf)(at + 1, keys);
    await oracle.decide([decision]);
    await oracle.decide([decision]);
    if (isCommitted) {
      const found = repliesOf(parseExact(outcomesOf(votes[0])), parts);
      expect(blurred(found), JSON.stringify(parts)).toEqual(blurred(await ask(parts, now)));
      await expireUntil(clock);
    }
    const left = await dumpAt(oracle.staged, 0, now);
    expect(left, JSON.stringify(parts)).toEqual(await dumpAt(oracle.plain, oracleLaterMs, now));
    expect(await oracle.staged.keys('lockstep:*:*:*')).toEqual([]);
  }
}

describe('random sequences that set short expiries', () => {
  it('have the same replies as in a Redis whose clock stops during each transaction, and leave the same data', async () => {
    const property = fc.asyncProperty(expiringSequences, leads, agree);
    await fc.assert(property, runCountOf(500));
  });
});
