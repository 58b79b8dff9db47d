/** Compares regions that stage large collections by elements with regions that copy them. */
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeRound } from '../../functions/region/decoding.ts';
import { encodeRound, keysOf } from '../../functions/region/encoding.ts';
import { roundScripts } from '../../functions/region/lua-bundle.ts';
import { assert } from '../../shared/assert.ts';
import { compileWrite } from '../../shared/commands/compile.ts';
import { type Check, operationAt } from '../../shared/contracts/frame.ts';
import type { Part, Round, RoundReply } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { connectTo } from '../support/redis.ts';
import { replyOfClient } from './direct.ts';
import { abortOf, commitOf, executed, part, roundOf } from './fixtures.ts';
import dumpScript from './oracle/dump.lua';
import { largeCommand, largeValues } from './oracle/large.ts';
import { runCountOf } from './oracle/run-count.ts';
import { largeKeys } from './oracle/sequences.ts';
import { startRedisServer, type TestServer } from './servers.ts';

/** The position of the copy limit in the arguments of a round. */
const boundsAt = 10;

/** A region that copies collections of up to `copied` elements, and stages larger ones by their elements. */
class Region {
  readonly redis: Redis;
  readonly #copied: number;

  constructor(port: number, database: number, copied: number) {
    this.redis = connectTo(port, { db: database });
    this.#copied = copied;
  }

  async round(round: Round): Promise<RoundReply> {
    const form = JSON.parse(encodeRound(round));
    form[boundsAt] = form[boundsAt].map((bound: number) =>
      bound === limits.elementsCopied ? this.#copied : bound,
    );
    const argument = JSON.stringify(form);
    const argv = [roundScripts.elements.text, '3', ...keysOf(0), argument];
    const reply = await this.redis.callBuffer('EVAL', ...argv);
    const result = decodeRound(replyOfClient(reply), round);
    assert(result !== 'longer', 'this text has all parts');
    return executed(result);
  }

  async dump(): Promise<unknown> {
    return this.redis.callBuffer('EVAL', dumpScript, '0').then(String);
  }
}

/** Late enough that nothing expires during the test. */
const now = Date.now();

const check: fc.Arbitrary<Check> = fc.oneof(
  fc.record({ kind: fc.constantFrom('absent' as const, 'exists' as const), key: largeKeys }),
  fc.record({
    kind: fc.constant('type' as const),
    key: largeKeys,
    type: fc.constantFrom('hash' as const, 'zset' as const, 'list' as const),
  }),
  fc.record({ kind: fc.constant('equals' as const), key: largeKeys, value: fc.constant('v') }),
  fc.record({
    kind: fc.constant('field' as const),
    key: largeKeys,
    field: fc.constantFrom('m', 'n', 'e5'),
    value: fc.constantFrom('0', 'v', '10'),
  }),
);

function partOf(
  commands: readonly (readonly string[])[],
  checks: readonly Check[],
  continueOnError: boolean,
): Part {
  const operations = commands.flatMap((words) => {
    const compiled = compileWrite([words], [], { now, seed: () => 7 });
    return compiled.ok ? compiled.operations.map((each) => operationAt(each, now)) : [];
  });
  return { ...part(...operations), checks, continueOnError };
}

interface Transaction {
  readonly parts: readonly Part[];
  readonly commits: boolean;
}

/** Parts of several operations, many of which fail at the end, so that the earlier ones have to be undone. */
const transaction = fc.constantFrom(...largeValues).chain((large) => {
  const failing = fc.constant(['INCR', 'text']);
  const commands = fc
    .tuple(
      fc.array(largeCommand(large), { minLength: 1, maxLength: 4 }),
      fc.option(failing, { freq: 2 }),
    )
    .map(([most, last]) => (last === null ? most : [...most, last]));
  const parts = fc.array(
    fc
      .tuple(commands, fc.array(check, { maxLength: 1 }), fc.boolean())
      .map(([given, checks, continueOnError]) => partOf(given, checks, continueOnError)),
    { minLength: 1, maxLength: 6 },
  );
  const steps = fc.array(fc.record({ parts, commits: fc.constantFrom(true, true, true, false) }), {
    minLength: 1,
    maxLength: 4,
  });
  const setup = fc
    .tuple(fc.constantFrom(-1, 1, 3, 40), fc.constantFrom(1, 60), fc.constantFrom(-1, 4e12, 5e12))
    .map(([first, second, expiry]) => [
      large.make('a', limits.elementsCopied + first),
      large.make('b', limits.elementsCopied + second),
      ['SET', 'text', 'x'],
      ...(expiry === -1 ? [] : [['PEXPIREAT', 'a', String(expiry)]]),
    ]);
  return fc.record({ setup, steps });
});

function keysIn({ parts }: Transaction): readonly string[] {
  const named = parts.flatMap(({ checks, operations }) => [
    ...checks.map(({ key }) => key),
    ...operations.flatMap(({ args, writes, reads }) =>
      [...writes, ...reads].map((at) => args[at] ?? ''),
    ),
  ]);
  return [...new Set(named)];
}

describe('a collection that is staged by its elements', () => {
  let server: TestServer;
  let regions: readonly Region[];
  beforeAll(async () => {
    server = await startRedisServer();
    regions = [0, 1].map(
      (database) => new Region(server.port, database, database === 0 ? limits.elementsCopied : 1e9),
    );
  });
  afterAll(async () => {
    for (const { redis } of regions) redis.disconnect();
    await server.stop();
  });

  const agree = async (of: (region: Region) => Promise<unknown>) => {
    const [found, expected] = await Promise.all(regions.map(of));
    expect(found).toEqual(expected);
  };

  const clean = () =>
    agree(async (region) => {
      await region.redis.flushdb();
    });

  it('votes, is undone, aborted and committed like one that is copied', async () => {
    const property = fc.asyncProperty(transaction, async ({ setup, steps }) => {
      await clean();
      await agree(async ({ redis }) => {
        for (const [name = '', ...rest] of setup) await redis.call(name, ...rest);
      });
      for (const [index, step] of steps.entries()) {
        const keys = keysIn(step);
        const prepare = { transaction: [1, index + 1] as const, keys, now, parts: step.parts };
        await agree(async (region) => (await region.round(roundOf({ prepares: [prepare] }))).votes);
        const decision = (step.commits ? commitOf : abortOf)(index + 1, keys);
        const decisions = [decision];
        await agree(async (region) => (await region.round(roundOf({ decisions }))).decisions);
        await agree((region) => region.dump());
        await agree(({ redis }) => redis.keys('lockstep:0:*:*'));
      }
    });
    await fc.assert(property, runCountOf(500));
  });
});
