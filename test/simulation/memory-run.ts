import { connectDirectly } from '../region/direct.ts';
import {
  abortOf,
  commitOf,
  del,
  executed,
  part,
  prepareOf,
  roundOf,
  set,
  write,
} from '../region/fixtures.ts';
import { startRedisServer } from '../region/servers.ts';
import { Random } from './random.ts';

const server = await startRedisServer();
const region = connectDirectly(server.redis);

/** Ends the server. */
export function end(): Promise<void> {
  return server.stop();
}

/**
 * One seeded run of a server whose memory runs out between some prepares and others: every prepared transaction is
 * committed, and nothing more is.
 */
export async function run(seed: number): Promise<{ readonly commits: number }> {
  const random = new Random(seed);
  const early = random.between(1, 4);
  await server.redis.flushall();
  const prepare = (sequence: number) => {
    const key = `k${sequence}`;
    const operation = random.chance(0.5) ? set(key, 'x') : write('RPUSH', key, 'x');
    return prepareOf(sequence, [key], part(operation));
  };
  const numbers = Array.from({ length: early }, (_, index) => index + 1);
  executed(await region.round(roundOf({ prepares: numbers.map(prepare) }), 0));
  await server.redis.config('SET', 'maxmemory', '1');
  try {
    const prepares = [prepare(early + 1)];
    const nonce = `full${seed}`;
    const commits = numbers.map((number) => commitOf(number, [`k${number}`]));
    // The abort of a prepare that never came writes before anything that the server could refuse.
    const decisions = seed % 2 === 0 ? commits : [abortOf(early + 9, ['k1']), ...commits];
    const full = executed(await region.round(roundOf({ decisions, prepares, nonce }), 0));
    const refused = full.decisions.filter((said) => said !== 'acknowledged');
    if (refused.length > 0) throw new Error(`commits without memory were ${refused.join(', ')}`);
    if (full.votes[0]?.kind !== 'denied')
      throw new Error(`a full server said ${full.votes[0]?.kind}`);
    // A late copy of a round that was carried out must not leave the pair that this one left (R16).
    if (full.history.at(-1)?.[1] === nonce)
      throw new Error('a round leaves the same for any outcome');
    const freeing = [prepareOf(early + 2, ['k1'], part(del('k1')))];
    const made = executed(await region.round(roundOf({ prepares: freeing }), 0));
    if (made.votes[0]?.kind !== 'yes')
      throw new Error(`a full server said ${made.votes[0]?.kind} to a deletion`);
    return { commits: early };
  } finally {
    await server.redis.config('SET', 'maxmemory', '0');
  }
}
