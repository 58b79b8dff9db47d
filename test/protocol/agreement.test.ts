import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Agreement,
  agreementOf,
  type YesVote,
} from '../../shared/protocol/transactions/agreement.ts';
import { everyKey } from '../../shared/reserved-keys.ts';
import { partOfJson } from '../region/replies.ts';

const done = '[0,{"s":"OK"}]';

/** An agreement without the fields that only follow the order of the votes. */
function unordered(agreement: Agreement) {
  if (agreement.kind !== 'diverged') return agreement;
  return { ...agreement, minority: agreement.minority.toSorted(), detail: null };
}

/** Two keys and two parts: `a` belongs to part 0 alone, `b` to both. */
const keys = ['a', 'b'];
const partsOfKey = (position: number) => (position === 0 ? [0] : [0, 1]);

function vote(region: string, fingerprints: readonly string[], ...parts: string[]): YesVote {
  const outcomes = (parts.length === 0 ? [done, done] : parts).map(partOfJson);
  return { region, outcomes, fingerprints };
}

// R5: the yes votes agree in results and in the bases that mattered.
describe('the agreement', () => {
  it('holds if every region computed the same results on the same bases', () => {
    const votes = ['near', 'far'].map((region) => vote(region, ['absent', '2000'], done, '[0,7]'));
    expect(agreementOf(votes, keys, partsOfKey)).toEqual({
      kind: 'agreed',
      parts: [done, '[0,7]'].map(partOfJson),
    });
  });

  it('holds for a single region', () => {
    const votes = [vote('only', ['', ''])];
    expect(agreementOf(votes, keys, partsOfKey)).toEqual({
      kind: 'agreed',
      parts: [done, done].map(partOfJson),
    });
  });

  it('is postponed past an expiry that some regions saw and others did not', () => {
    const votes = [vote('near', ['2000', '']), vote('far', ['absent', ''])];
    expect(agreementOf(votes, keys, partsOfKey)).toEqual({ kind: 'expiring', retryAt: 2_001 });
  });

  it('is postponed past the latest of several expiries', () => {
    const votes = [vote('near', ['2000', 'absent']), vote('far', ['absent', '3000'])];
    expect(agreementOf(votes, keys, partsOfKey)).toEqual({ kind: 'expiring', retryAt: 3_001 });
  });

  it('is postponed, and not refused, if the expiry kept a region from reading another key', () => {
    const failed = '[1,0,null]';
    const votes = [vote('near', ['2000', 'persistent'], done), vote('far', ['absent', ''], failed)];
    expect(agreementOf(votes, keys, partsOfKey)).toEqual({ kind: 'expiring', retryAt: 2_001 });
  });

  it('is postponed if regions that read all keys have seen others expire', () => {
    const all = ['a', everyKey];
    const near = vote('near', ['', '3000.2.5000'], done, '[0,["a","b"]]');
    const far = vote('far', ['', '3000.1.3000'], done, '[0,["b"]]');
    expect(agreementOf([near, far], all, partsOfKey)).toEqual({ kind: 'expiring', retryAt: 3_001 });
    const last = vote('last', ['', 'absent'], done, '[0,[]]');
    expect(agreementOf([last, near], all, partsOfKey)).toMatchObject({ retryAt: 3_001 });
    const alike = { ...near, region: 'other' };
    expect(agreementOf([near, alike], all, partsOfKey)).toMatchObject({ kind: 'agreed' });
  });

  it('fails if a key is absent in one region although no clock can have passed its expiry', () => {
    const votes = [
      vote('near', ['2000', '']),
      vote('middle', ['2000', '']),
      vote('far', ['absent', '']),
    ];
    expect(agreementOf(votes, keys, partsOfKey, 1_999)).toMatchObject({
      kind: 'diverged',
      parts: [0],
      keys: [0],
      minority: ['far'],
    });
    expect(agreementOf(votes, keys, partsOfKey, 2_000)).toMatchObject({ kind: 'expiring' });
  });

  it.each([
    ['without expiry in one and absent in another', 'persistent', 'absent'],
    ['with one expiry here and another there', '2000', '3000'],
    ['with an expiry here and none there', '2000', 'persistent'],
    ['with an expiry that is no number', 'soon', 'absent'],
  ])('fails for the parts of a key %s', (_, here, there) => {
    const votes = [vote('near', [here, '']), vote('far', [there, ''])];
    const agreement = agreementOf(votes, keys, partsOfKey);
    expect(agreement).toMatchObject({ kind: 'diverged', parts: [0] });
    expect(agreement).toHaveProperty('detail', expect.stringContaining('"a"'));
    expect(agreement).toHaveProperty('detail', expect.stringContaining(`far: ${there}`));
  });

  it('fails for every part on a key that three regions see in three ways', () => {
    const votes = [
      vote('near', ['', 'absent']),
      vote('middle', ['', '2000']),
      vote('far', ['', '3000']),
    ];
    const agreement = agreementOf(votes, keys, partsOfKey);
    expect(agreement).toMatchObject({ kind: 'diverged', parts: [0, 1] });
  });

  it('fails only for the parts with different results, naming the regions', () => {
    const votes = [vote('near', ['', ''], done, '[0,7]'), vote('far', ['', ''], done, '[0,8]')];
    const agreement = agreementOf(votes, keys, partsOfKey);
    expect(agreement).toMatchObject({ kind: 'diverged', parts: [1] });
    expect(agreement).toHaveProperty('detail', expect.stringContaining('near, far'));
  });

  it('fails by the results if a key mattered to one region only because its check passed', () => {
    const votes = [
      vote('near', ['', 'absent'], done, '[0,1]'),
      vote('far', ['', ''], done, '[1,0,null]'),
    ];
    expect(agreementOf(votes, keys, partsOfKey)).toMatchObject({ kind: 'diverged', parts: [1] });
  });

  it('fails if the results are alike but a key mattered to one region only', () => {
    const votes = [vote('near', ['absent', '']), vote('far', ['', ''])];
    expect(agreementOf(votes, keys, partsOfKey)).toMatchObject({ kind: 'diverged', parts: [0] });
  });

  // R39: fewer regions are evicted than stay.
  it('fails if scripts wrote different values with the same results', () => {
    const votes = ['near', 'middle', 'far'].map((region) =>
      vote(region, ['', '', region === 'far' ? 'digest 2' : 'digest 1']),
    );
    expect(agreementOf(votes, keys, partsOfKey)).toMatchObject({
      kind: 'diverged',
      keys: [0, 1],
      minority: ['far'],
    });
    expect(agreementOf(votes.slice(0, 2), keys, partsOfKey).kind).toBe('agreed');
  });

  it('that fails names the regions outside the majority, by their results or by the base that differs', () => {
    const byResults = ['[0,7]', '[0,8]', '[0,7]'].map((part, at) =>
      vote(`r${at}`, ['', ''], part, done),
    );
    const byBases = ['2000', '2000', '3000'].map((base, at) => vote(`r${at}`, [base, '']));
    const named = [byResults, byBases].map((votes) => agreementOf(votes, keys, partsOfKey));
    expect(named).toMatchObject([
      { kind: 'diverged', keys: [0, 1], minority: ['r1'] },
      { kind: 'diverged', keys: [0], minority: ['r2'] },
    ]);
  });

  it.each([
    [['[0,7]', '[0,8]']],
    [['[0,7]', '[0,8]', '[0,9]']],
    [['[0,7]', '[0,7]', '[0,8]', '[0,8]']],
  ])('that fails names no region if no result has more than half of the votes: %j', (results) => {
    const votes = results.map((part, at) => vote(`r${at}`, ['', ''], part, done));
    const agreement = agreementOf(votes, keys, partsOfKey);
    expect(agreement).toMatchObject({ kind: 'diverged', minority: [] });
  });

  it('does not round: integers beyond 2^53 that differ in the last digit differ', () => {
    const votes = [
      vote('near', ['', ''], '[0,9007199254740992]', done),
      vote('far', ['', ''], '[0,9007199254740993]', done),
    ];
    expect(agreementOf(votes, keys, partsOfKey)).toMatchObject({ kind: 'diverged', parts: [0] });
  });

  const print = fc.constantFrom('', 'absent', 'persistent', '2000', '3000');
  const cast = fc.array(fc.tuple(print, print, fc.constantFrom(done, '[0,7]')), {
    minLength: 1,
    maxLength: 5,
  });

  it('does not depend on the order in which the votes are compared', () => {
    fc.assert(
      fc.property(cast, (given) => {
        const votes = given.map(([a, b, part], at) => vote(`r${at}`, [a, b], part, done));
        const forward = agreementOf(votes, keys, partsOfKey);
        const backward = agreementOf(votes.toReversed(), keys, partsOfKey);
        expect(unordered(backward)).toEqual(unordered(forward));
      }),
    );
  });

  it('never accepts votes that differ, and never postpones them for ever', () => {
    fc.assert(
      fc.property(cast, (given) => {
        const votes = given.map(([a, b, part], at) => vote(`r${at}`, [a, b], part, done));
        const agreement = agreementOf(votes, keys, partsOfKey);
        const same = new Set(given.map((one) => one.join(' '))).size === 1;
        expect(agreement.kind === 'agreed').toBe(same);
        if (agreement.kind === 'expiring') expect(agreement.retryAt).toBeGreaterThan(2_000);
        if (agreement.kind === 'diverged') expect(agreement.parts).not.toEqual([]);
      }),
    );
  });
});
