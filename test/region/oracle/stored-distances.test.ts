import { afterAll, beforeAll, expect, it } from 'vitest';
import { compileWrite } from '../../../shared/commands/compile.ts';
import { abortOf, executed, part, prepareOf, roundOf } from '../fixtures.ts';
import { startRedisServer } from '../servers.ts';
import { RegionWithOracle } from './redis-oracle.ts';

/**
 * The vote contains the distances that a server stores, since the reply, a count, would hide a last digit that
 * differs.
 */

let oracle: RegionWithOracle;
let sequence = 0;

beforeAll(async () => {
  oracle = new RegionWithOracle(await startRedisServer());
});

afterAll(() => oracle.stop());

async function fingerprintsOf(words: string): Promise<readonly string[]> {
  const compiled = compileWrite([words.split(' ')], [], { now: Date.now(), seed: () => 1 });
  if (!compiled.ok) throw new Error(compiled.detail);
  sequence += 1;
  const decisions = sequence > 1 ? [abortOf(sequence - 1, [...compiled.keys])] : [];
  const prepares = [prepareOf(sequence, [...compiled.keys], part(...compiled.operations))];
  const { votes } = executed(await oracle.region.round(roundOf({ decisions, prepares }), 0));
  const [vote] = votes;
  if (vote?.kind !== 'yes') throw new Error(JSON.stringify(vote));
  return vote.fingerprints;
}

it('change the vote if a place differs, and do not if none does', async () => {
  const words = 'GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 400 km STOREDIST';
  await oracle.staged.geoadd('g', 13.361389, 38.115556, 'P', 15.087269, 37.502669, 'C');
  const first = await fingerprintsOf(words);
  expect(await fingerprintsOf(words)).toEqual(first);
  await oracle.staged.geoadd('g', 13.3615, 38.115556, 'P');
  const moved = await fingerprintsOf(words);
  expect(moved).not.toEqual(first);
  expect(moved.slice(0, 2)).toEqual(first.slice(0, 2));
});
