import type { Operation } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import { agreementOf } from '../../shared/protocol/transactions/agreement.ts';
import {
  executed,
  increment,
  part,
  prepareOf,
  read,
  roundOf,
  set,
  write,
} from '../region/fixtures.ts';
import { RegionModel } from '../region/model.ts';
import { jsonOfOutcomes } from '../region/replies.ts';
import { Random } from './random.ts';

const keys = ['a', 'b', 'n'];

/**
 * One seeded run in which somebody may have changed one region around Lockstep. If the votes are accepted as an
 * agreement, every region gave the same answer, and the touched keys exist and expire alike afterwards. (A value on
 * which no answer depended may still differ: only a comparison of whole regions finds that.)
 */
export function run(seed: number): { readonly agreed: number; readonly refused: number } {
  const random = new Random(seed);
  const names = ['near', 'middle', 'far'].slice(0, random.between(2, 3));
  const now = 1_000_000;
  const regions = names.map((region) => ({ region, model: new RegionModel(() => now) }));
  for (const { model } of regions) {
    model.run('SET', 'a', 'one', 'PXAT', String(now + 50_000));
    model.run('SET', 'b', '5');
    model.run('SET', 'n', '7');
  }
  if (random.chance(0.7)) changeOutside(random, random.pick(regions).model, now);
  const operations = Array.from({ length: random.between(1, 3) }, () => operationOf(random));
  const prepare = { ...prepareOf(1, keys, part(...operations)), now };
  const votes = regions.map(({ region, model }) => {
    const [vote] = executed(model.round(roundOf({ prepares: [prepare] }))).votes;
    if (vote?.kind !== 'yes') throw new Error(`${region} said ${vote?.kind}`);
    return { region, outcomes: vote.outcomes, fingerprints: vote.fingerprints };
  });
  const { kind } = agreementOf(votes, keys, () => [0], now + limits.clockSkewMs);
  // No clock is so far ahead that a key could have expired.
  if (kind === 'expiring') throw new Error('a key that is missing is taken for one that expires');
  if (kind !== 'agreed') return { agreed: 0, refused: 1 };
  const decision = { transaction: [1, 1], outcome: 'commit', keys } as const;
  const results = regions.map(({ model }, index) => {
    model.round(roundOf({ decisions: [decision] }));
    const outcomes = jsonOfOutcomes(votes[index]?.outcomes ?? []);
    const stands = outcomes.startsWith('[[0');
    const touched = stands ? touchedBy(operations) : [];
    return [outcomes, ...touched.map((key) => model.state().data.get(key)?.expiry ?? 'absent')];
  });
  const distinct = new Set(results.map((result) => JSON.stringify(result)));
  if (distinct.size > 1) throw new Error(`regions agreed on ${[...distinct].join(' and ')}`);
  return { agreed: 1, refused: 0 };
}

/** Somebody changes a region around Lockstep. */
function changeOutside(random: Random, model: RegionModel, now: number): void {
  const key = random.pick(keys);
  const change = random.pick([
    ['SET', key, '9'],
    ['SET', key, '9'],
    ['DEL', key],
    ['SET', key, 'one', 'PXAT', String(now + 60_000)],
    ['SET', key, '7', 'PXAT', String(now + 60_000)],
  ]);
  model.run(...change);
}

function operationOf(random: Random): Operation {
  const key = random.pick(keys);
  return random.pick([set(key, 'x'), increment(key), write('PERSIST', key), read(['GET', key])]);
}

function touchedBy(operations: readonly Operation[]): readonly string[] {
  return keys.filter((key) => operations.some(({ args }) => args.includes(key)));
}
