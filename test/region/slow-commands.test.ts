/** Tests the bounds on the time of a round and of a snapshot, with a counting clock. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compileReads } from '../../shared/commands/compile.ts';
import type { Operation } from '../../shared/contracts/frame.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { limits } from '../../shared/limits.ts';
import { changeState, readLocks } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import {
  executed,
  outcomesOf,
  part,
  prepareOf,
  read,
  roundOf,
  script,
  set,
  snapshotOf,
} from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

const lookMs = 100;

/** Each reading of the clock is `lookMs` after the one before, so that nothing depends on the machine. */
function countingClock(text: string): string {
  const clock = 'local function moment()';
  if (!text.includes(clock)) throw new Error('the script has no clock');
  return text.replace(clock, `${clock} do return must('INCRBY', 'looks', ${lookMs}) end`);
}

describe('commands that take long', () => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis, countingClock);
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    await server.redis.flushall();
  });

  const votesOn = async (transactions: readonly (readonly Operation[])[]) => {
    const prepares = transactions.map((operations) => {
      sequence += 1;
      // The second transaction waits for time only, and not for a lock.
      const keys = operations[0]?.kind === 'set' ? [`k${sequence}`] : [`k${sequence}`, 'a', 'b'];
      return { ...prepareOf(sequence, keys), parts: [part(...operations)] };
    });
    return executed(await client.round(roundOf({ prepares }), 0)).votes;
  };
  const next = (ahead = 1) => `k${sequence + ahead}`;
  const union = (key: string): Operation => ({
    kind: 'write',
    args: ['SUNIONSTORE', key, 'a'],
    writes: [1],
    reads: [2],
    reply: null,
    seed: null,
  });
  const readAll = async (...commands: readonly string[]) => {
    const compiled = compileReads(commands.map((words) => words.split(' ')));
    if (!compiled.ok) throw new Error(compiled.detail);
    const result = await client.snapshot(snapshotOf(compiled.keys, compiled.commands), 0);
    return result.kind === 'read' ? result.replies : result;
  };

  it('leave the transactions after them to a later round', async () => {
    const many = Array.from({ length: limits.stagingMs / lookMs + 2 }, () => union(next()));
    const votes = await votesOn([many, [set(next(2), 'v')]]);
    expect(votes).toMatchObject([
      { kind: 'yes' },
      { kind: 'refused', reason: 'had no time left for it in its round' },
    ]);
    expect((await readLocks(server.redis)).has(`k${sequence}`)).toBe(false);
  });

  it('are refused in a transaction that takes longer than its vote may, and leave nothing', async () => {
    const many = Array.from({ length: limits.voteDeadlineMs / lookMs + 2 }, () => union(next()));
    const [vote] = await votesOn([many]);
    expect(vote).toMatchObject({
      kind: 'refused',
      reason: 'takes longer to stage than a vote may',
      isEndless: true,
    });
    expect((await readLocks(server.redis)).has(`k${sequence}`)).toBe(false);
    expect(await server.redis.keys('lockstep:*:*:*')).toEqual([]);
  });

  it('continue in the other parts of their transaction, since no retry would shorten it', async () => {
    sequence += 1;
    const key = `k${sequence}`;
    const many = Array.from({ length: limits.stagingMs / lookMs + 2 }, () => union(key));
    const prepare = {
      ...prepareOf(sequence, [key, 'a']),
      parts: [part(...many), part(union(key))],
    };
    const { votes } = executed(await client.round(roundOf({ prepares: [prepare] }), 0));
    expect(votes).toMatchObject([{ kind: 'yes' }]);
  });

  it('are the only ones for which a round reads the clock', async () => {
    await votesOn([[set(next(), 'v')], [set(next(2), 'v')]]);
    expect(await server.redis.get('looks')).toBeNull();
  });

  it('are skipped after a snapshot has run them for too long', async () => {
    const most = limits.snapshotMs / lookMs;
    await client.round(roundOf({}), 0);
    await server.redis.sadd('a', 'm');
    const commands = Array.from({ length: most + 4 }, () => 'SINTERCARD 2 a a');
    const replies = await readAll(...commands, 'SCARD a');
    const tooLong = { error: 'ERR the snapshot takes too long; ask for less at once' };
    expect(replies).toEqual([
      ...Array.from({ length: most + 1 }, () => 1),
      ...Array.from({ length: 3 }, () => tooLong),
      1,
    ]);
  });

  it('are refused beyond the LCS comparisons of a snapshot, of a write and of its scripts', async () => {
    await client.round(roundOf({}), 0);
    const side = Math.sqrt(limits.lcsSteps / 2);
    await server.redis.setrange('a', Math.ceil(side) - 1, 'x');
    await server.redis.set('b', 'x');
    const long = expect.stringContaining('too long to compare');
    expect(await readAll('LCS a a LEN', 'LCS a a LEN', 'LCS a b LEN')).toEqual([
      Math.ceil(side),
      { error: long },
      1,
    ]);
    const compare = (other: string): Operation => ({
      ...read(['LCS', 'a', other, 'LEN']),
      reads: [1, 2],
    });
    const release = () => changeState(server.redis, { locks: new Map() });
    const [fits] = await votesOn([[compare('a'), compare('b')]]);
    expect(outcomesOf(fits)).toBe(`[[0,${Math.ceil(side)},1]]`);
    await release();
    const [passes] = await votesOn([[compare('a'), compare('a')]]);
    expect(outcomesOf(passes)).toContain('too long to compare');
    await release();
    const text = "redis.call('LCS', 'a', 'a') return redis.call('LCS', 'a', 'a')";
    const [scripted] = await votesOn([[script(text)]]);
    expect(outcomesOf(scripted)).toContain('too long to compare');
  });
});
