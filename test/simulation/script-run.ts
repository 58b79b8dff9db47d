import type { Vote } from '../../shared/contracts/round.ts';
import { connectDirectly } from '../region/direct.ts';
import { commitOf, executed, part, roundOf, script } from '../region/fixtures.ts';
import { jsonOfOutcomes } from '../region/replies.ts';
import { startRedisServer } from '../region/servers.ts';
import { Random } from './random.ts';

const servers = await Promise.all([startRedisServer(), startRedisServer()]);
const regions = servers.map(({ redis }) => connectDirectly(redis));

/** Ends the servers. */
export async function end(): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()));
}

const keys = ['k', 'n', 's'];

/** Scripts that would distinguish one region from another, or leave something behind, if they could. */
const texts = [
  "return redis.call('TIME')",
  'return {math.random(1000000000), math.random(1000000000)}',
  "return redis.call('SRANDMEMBER', 's', 5)",
  "return {redis.call('SPOP', 's', 3), redis.call('SCARD', 's')}",
  'return {tostring({}), tostring(tostring)}',
  "return redis.call('SMEMBERS', 's')",
  "return redis.call('SSCAN', 's', 0)",
  "redis.call('SET', 'k', tostring({})) return 'done'",
  "redis.call('SET', 'k', '1', 'PX', 5) redis.call('INCR', 'k') return redis.call('GET', 'k')",
  "redis.call('INCR', 'n') redis.call('SREM', 's', 'm1') error('undone')",
  "redis.call('SET', 'k', '1') return redis.call('APPEND', 'n', '1')",
  "return redis.pcall('CONFIG', 'GET', 'port')",
];

/**
 * One seeded run of a script in two regions that hold the same data, built up in other orders: both give the same
 * answer, show no effect of it before its commit, and hold the same after it; one that fails has changed nothing.
 */
export async function run(seed: number): Promise<{ readonly scripts: number }> {
  const random = new Random(seed);
  const text = random.pick(texts);
  const members = Array.from({ length: 40 }, (_, index) => `m${index}`);
  await Promise.all(
    servers.map(async ({ redis }, index) => {
      await redis.flushall();
      await redis.sadd('s', ...(index === 0 ? members : members.toReversed()));
      await redis.set('n', '1');
    }),
  );
  const before = await held();
  // One region gets it later than its own clock allows.
  const prepare = {
    transaction: [1, 1] as const,
    keys,
    now: Date.now() - 20,
    parts: [part(script(text, keys))],
  };
  const votes: (Vote | undefined)[] = [];
  for (const region of regions) {
    const reply = executed(await region.round(roundOf({ prepares: [prepare] }), 0));
    votes.push(reply.votes[0]);
  }
  const [one, other] = votes.map((vote) => JSON.stringify(vote));
  if (one !== other) throw new Error(`${text}: one region said ${one}, another ${other}`);
  const [vote] = votes;
  if (vote?.kind !== 'yes') throw new Error(`${text}: the regions said ${one}`);
  if (text.includes('SET') && vote.fingerprints.length === keys.length) {
    throw new Error(`${text}: no fingerprint covers its write`);
  }
  if (text.includes('PX') && jsonOfOutcomes(vote.outcomes) !== '[[0,"2"]]') {
    throw new Error(`${text}: it answered ${vote.outcomes}`);
  }
  if ((await held()) !== before) throw new Error(`${text}: it shows before its commit`);
  for (const region of regions) await region.round(roundOf({ decisions: [commitOf(1, keys)] }), 0);
  const after = await held();
  const [first, second] = JSON.parse(after);
  if (JSON.stringify(first) !== JSON.stringify(second))
    throw new Error(`${text}: they hold ${after}`);
  if (text.includes('error(') && after !== before)
    throw new Error(`${text}: it failed and changed`);
  return { scripts: 1 };
}

/** The data that both regions show, as one text. */
async function held(): Promise<string> {
  const shown = servers.map(async ({ redis }) => [
    (await redis.keys('*')).filter((key) => !key.startsWith('lockstep:')).sort(),
    await redis.mget('k', 'n'),
    (await redis.smembers('s')).sort(),
  ]);
  return JSON.stringify(await Promise.all(shown));
}
