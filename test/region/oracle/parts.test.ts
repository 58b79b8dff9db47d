/** Compares random parts, some of which fail, on large collections with a plain Redis. */
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compileWrite } from '../../../shared/commands/compile.ts';
import { bytesWithin } from '../../../shared/commands/raw-bytes.ts';
import { parseExact } from '../../../shared/commands/replies.ts';
import { type Operation, operationAt } from '../../../shared/contracts/frame.ts';
import type { RegionClient } from '../../../shared/contracts/region-client.ts';
import { connectTo } from '../../support/redis.ts';
import { readLocks } from '../../support/region-state.ts';
import { connectDirectly } from '../direct.ts';
import {
  abortOf,
  commitOf,
  continuingOnError,
  executed,
  outcomesOf,
  part,
  prepareOf,
  roundOf,
  script,
} from '../fixtures.ts';
import { startRedisServer, type TestServer } from '../servers.ts';
import { largeSequences } from './large.ts';
import { dumpOf, inOrder, normalizeClientReply, normalizeRegionReply } from './redis-oracle.ts';
import { runCountOf } from './run-count.ts';
import type { Step } from './sequences.ts';

/** The way in which a command runs: as it is, by a script, or by a script that fails after it. */
type Way = 'plain' | 'script' | 'failing script';

interface Task {
  readonly words: readonly string[];
  readonly operation: Operation;
}

/** A transaction: its parts, whether each continues on errors, and its decision. */
interface Transaction {
  readonly ways: readonly Way[];
  /** The number of commands per part, in turn. */
  readonly sizes: readonly number[];
  readonly continueOnError: readonly boolean[];
  readonly outcome: 'commit' | 'abort';
}

const anyTransaction: fc.Arbitrary<Transaction> = fc.record({
  ways: fc.array(fc.constantFrom<Way>('plain', 'plain', 'script', 'failing script'), {
    minLength: 1,
    maxLength: 6,
  }),
  sizes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }),
  continueOnError: fc.array(fc.boolean(), { minLength: 1, maxLength: 3 }),
  outcome: fc.constantFrom('commit', 'commit', 'abort'),
});

const calling = 'return redis.call(unpack(ARGV))';
const failing = 'redis.call(unpack(ARGV)) return redis.call("LPUSH")';

let server: TestServer;
let staged: Redis;
let plain: Redis;
let region: RegionClient;
let transactions = 0;

beforeAll(async () => {
  server = await startRedisServer();
  staged = connectTo(server.port, { stringNumbers: true });
  plain = connectTo(server.port, { stringNumbers: true, db: 1 });
  region = connectDirectly(staged);
});

afterAll(async () => {
  staged?.disconnect();
  plain?.disconnect();
  await server?.stop();
});

function keysOf({ args, writes, reads }: Operation): readonly string[] {
  return [...writes, ...reads].map((position) => args[position] ?? '');
}

/** Omits random draws, generated ids and commands that Redis refuses before it runs them; other tests cover these. */
function taskOf(words: readonly string[], way: Way): readonly Task[] {
  if (words[0] === 'SPOP' || (words[0] === 'XADD' && words.includes('*'))) return [];
  const now = Date.now();
  const compiled = compileWrite([words], [], { now, seed: () => 1 });
  const given = compiled.ok ? compiled.operations : [];
  const [operation] = given.map((each) => operationAt(each, now));
  if (operation === undefined) return [];
  if (way === 'plain') return [{ words, operation }];
  const text = way === 'script' ? calling : failing;
  return [{ words, operation: script(text, keysOf(operation), words) }];
}

function partsOf({ commands }: Step, { ways, sizes }: Transaction): readonly (readonly Task[])[] {
  const tasks = commands.flatMap((words, at) => taskOf(words, ways[at % ways.length] ?? 'plain'));
  const parts: Task[][] = [];
  for (let at = 0, turn = 0; at < tasks.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    parts.push(tasks.slice(at, at + size));
    at += size;
  }
  return parts;
}

/** Runs the commands that stood in the plain Redis, and compares its replies with those of the region. */
async function follow(tasks: readonly Task[], replies: readonly unknown[]): Promise<void> {
  for (const [at, { words, operation }] of tasks.entries()) {
    const found = normalizeRegionReply(replies[at]);
    const isScript = operation.kind === 'script';
    if (isScript && typeof found === 'object' && found !== null && 'error' in found) continue;
    const [name = '', ...rest] = words.map((word) => Buffer.from(bytesWithin(word), 'latin1'));
    const answer = await plain
      .callBuffer(name.toString(), ...rest)
      .catch((error: unknown) => error);
    // A script sees integers as Lua's numbers, and unordered replies in one order.
    if (isScript) continue;
    const order = operation.reply;
    expect(inOrder(found, order), JSON.stringify(words)).toEqual(
      inOrder(normalizeClientReply(answer), order),
    );
  }
}

async function run(step: Step, transaction: Transaction): Promise<void> {
  const parts = partsOf(step, transaction);
  const keys = [
    ...new Set(
      parts.flat().flatMap(({ operation, words }) => {
        if (operation.kind !== 'script') return keysOf(operation);
        const compiled = compileWrite([words], [], { now: Date.now(), seed: () => 1 });
        return compiled.ok ? compiled.keys : [];
      }),
    ),
  ];
  if (parts.length === 0 || keys.length === 0) return;
  transactions += 1;
  const { continueOnError } = transaction;
  const given = parts.map((tasks, at) => {
    const one = part(...tasks.map(({ operation }) => operation));
    return continueOnError[at % continueOnError.length] ? continuingOnError(one) : one;
  });
  const prepares = [prepareOf(transactions, keys, ...given)];
  const { votes } = executed(await region.round(roundOf({ prepares }), 0));
  const outcomes = parseExact(outcomesOf(votes[0]));
  if (!Array.isArray(outcomes)) throw new Error('outcomes are an array');
  const decision = (transaction.outcome === 'commit' ? commitOf : abortOf)(transactions, keys);
  // The second commit finds the transaction settled.
  for (const _ of [1, 2]) {
    const reply = executed(await region.round(roundOf({ decisions: [decision] }), 0));
    expect(reply.decisions).toEqual(['acknowledged']);
  }
  if (transaction.outcome === 'abort') return;
  for (const [at, [tag, ...replies]] of outcomes.entries()) {
    if (tag === 0) await follow(parts[at] ?? [], replies);
  }
}

async function agree(steps: readonly (readonly [Step, Transaction])[]): Promise<void> {
  await Promise.all([staged.flushdb(), plain.flushdb()]);
  transactions = 0;
  for (const [at, [step, transaction]] of steps.entries()) {
    const first: Transaction = {
      ways: ['plain'],
      sizes: [9],
      continueOnError: [true],
      outcome: 'commit',
    };
    await run(step, at === 0 ? first : transaction);
    const [found, expected] = await Promise.all([staged, plain].map(dumpOf));
    expect(found, JSON.stringify([step.commands, transaction])).toEqual(expected);
    expect(await staged.keys('lockstep:*:*:*')).toEqual([]);
    expect(await readLocks(staged)).toEqual(new Map());
  }
}

const scenarios = largeSequences.chain((steps) =>
  fc.array(anyTransaction, { minLength: steps.length, maxLength: steps.length }).map((decided) =>
    steps.flatMap((step, at) => {
      const transaction = decided[at];
      return transaction === undefined ? [] : [[step, transaction] as const];
    }),
  ),
);

describe('parts that succeed, fail and are scripts, combined on large collections,', () => {
  it('leave in one Redis the data of those that stood, and none if they are aborted', async () => {
    await fc.assert(fc.asyncProperty(scenarios, agree), runCountOf(200));
  });
});
