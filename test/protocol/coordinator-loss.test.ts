import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { StoredRegion } from '../../shared/protocol/io/stored.ts';
import { CoreHarness, frameOf, start } from './core-harness.ts';
import { voterOf } from './stored.ts';

/** The end of a lease of an earlier instance, for a harness that has begun: its regions first answered then. */
const leasesOverAt = start + 10 + limits.leaseTtlMs + limits.leaseDriftMs;

/** A harness that has committed `a`, with the commit on its way, and in which `b` is undecided. */
function busy() {
  const harness = CoreHarness.begun();
  harness.arrive(frameOf(['a']));
  harness.executeAll();
  const ticket = harness.arrive(frameOf(['b']));
  const [commit] = harness.flightsTo('far');
  if (commit === undefined) throw new Error('the commit is on its way');
  return { harness, ticket, commit };
}

/** The pairs of `region` that were stored, oldest first. */
function storedPairs(harness: CoreHarness, region: string): readonly StoredRegion['pair'][] {
  return harness.persisted.flatMap((write) =>
    write.kind === 'region' && write.region.region === region ? [write.region.pair] : [],
  );
}

// R16, the coordinator's side: a region that lost writes votes no more.
describe('a region that has lost writes', () => {
  const ways: readonly (readonly [way: string, lose: (given: ReturnType<typeof busy>) => void])[] =
    [
      [
        'says so of a pair',
        ({ harness, commit }) =>
          harness.end(commit, { kind: 'refused', refusal: { kind: 'lost' } }),
      ],
      [
        'holds no state, though it had begun',
        ({ harness, commit }) =>
          harness.end(commit, {
            kind: 'refused',
            refusal: { kind: 'generation', has: 0, keys: 0 },
          }),
      ],
      [
        'finds no trace of a transaction that it is to commit',
        ({ harness, commit }) => harness.execute(commit, { decisions: ['lost'] }),
      ],
      [
        'shows another nonce for a round than it acknowledged',
        ({ harness, commit }) => harness.execute(commit, { history: [[1, 'another']] }),
      ],
    ];

  it.each(ways)(
    'is stored as leaving when it %s, and undecided transactions are aborted',
    (_, lose) => {
      const given = busy();
      lose(given);
      const { harness, ticket } = given;
      const leaving = expect.objectContaining({ cause: 'lost', whole: true, manualReturn: false });
      expect(harness.last.persist).toContainEqual({
        kind: 'region',
        region: expect.objectContaining({
          region: 'far',
          membership: { state: 'voter', since: 0, leaving },
        }),
      });
      expect(harness.resolve([[3, 2]])).toEqual([{ kind: 'aborted', transaction: [3, 2] }]);
      expect(harness.core.status()).toMatchObject({ undecided: 0, queued: 1 });
      expect(harness.answerTo(ticket)).toBeUndefined();
    },
  );

  it('is sent no more rounds, and no region prepares anything before it is evicted', () => {
    const { harness, commit } = busy();
    harness.execute(commit, { decisions: ['lost'] });
    const before = harness.rounds.length;
    const ticket = harness.arrive(frameOf(['c']));
    harness.run(leasesOverAt - harness.now - 1);
    const sends = harness.rounds.slice(before);
    expect(sends.filter(({ region }) => region === 'far')).toEqual([]);
    expect(sends.flatMap(({ round }) => round.prepares)).toEqual([]);
    expect(harness.answerTo(ticket)).toBeUndefined();
    expect(harness.statusOf('far')).toMatchObject({
      state: 'voter',
      health: 'lost',
      circuit: 'open',
    });
  });

  it('is evicted when its lease is over, and the others decide the waiting writes', () => {
    const { harness, commit, ticket } = busy();
    harness.execute(commit, { decisions: ['lost'] });
    harness.run(leasesOverAt - harness.now, ['near', 'middle']);
    expect(harness.statusOf('far')).toMatchObject({
      state: 'out',
      cause: 'lost',
      missedKeys: null,
    });
    harness.run(limits.probeBackoffMinMs, ['near', 'middle']);
    const { attempts, votes } = harness.record(ticket);
    expect(attempts).toBe(2);
    expect(votes.map(({ region, vote }) => [region, vote])).toEqual([
      ['near', 'yes'],
      ['middle', 'yes'],
    ]);
  });

  it('has its vote ignored, even if it was on its way as a yes', () => {
    const { harness, commit, ticket } = busy();
    harness.execute(commit, { decisions: ['lost'] });
    harness.executeAll();
    expect(harness.answerTo(ticket)).toBeUndefined();
    const commits = harness.persisted.filter(({ kind }) => kind === 'commit');
    expect(commits).toHaveLength(1);
    expect(harness.statusOf('far').health).toBe('lost');
  });

  it('stays lost after a restart: it is sent nothing, and is evicted without having answered', () => {
    const { harness: before, commit } = busy();
    before.execute(commit, { decisions: ['lost'] });
    const harness = before.restarted();
    harness.tick();
    const ticket = harness.arrive(frameOf(['a']));
    harness.run(limits.commitLingerMs);
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs - 2 * limits.commitLingerMs);
    expect(harness.rounds.filter(({ region }) => region === 'far')).toEqual([]);
    expect(harness.answerTo(ticket)).toBeUndefined();
    harness.run(1_000);
    expect(harness.changes).toContainEqual(
      expect.objectContaining({ region: 'far', event: 'out', cause: 'lost' }),
    );
    expect(harness.record(ticket).votes.map(({ region }) => region)).toEqual(['near', 'middle']);
  });

  it('is found by its stored acknowledged pair, also after a restart', () => {
    const stored = voterOf('only', { pair: [9, 'kept'] });
    const harness = new CoreHarness({ regions: ['only'], stored: { regions: [stored] } });
    harness.tick();
    harness.advance(limits.commitLingerMs);
    expect(harness.flight('only').round.lastAcknowledged).toEqual([9, 'kept']);
    harness.execute(harness.flight('only'), { history: [[9, 'another']] });
    expect(harness.core.status().regions[0]?.health).toBe('lost');
  });
});

describe('a refusal that shows no loss', () => {
  it.each([
    [
      'of a foreign generation',
      { kind: 'generation', has: 12, keys: 0 },
      'foreign',
      'generation 12',
    ],
    ['of a pair older than the history', { kind: 'history' }, 'silent', 'history'],
  ] as const)('%s closes the gate, is probed, and passes', (_, refusal, health, detail) => {
    const { harness, ticket } = busy();
    for (const send of harness.flightsTo('far')) harness.end(send, { kind: 'refused', refusal });
    expect(harness.core.status().regions[2]).toMatchObject({
      health,
      detail: expect.stringContaining(detail),
    });
    expect(harness.changes).toEqual([]);
    while (harness.flightsTo('far').length === 0) {
      harness.executeAll();
      harness.advance((harness.last.wakeAt ?? harness.now) - harness.now);
    }
    expect(harness.flight('far').round).toMatchObject({ decisions: [], prepares: [] });
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('with generation 0 is ignored if the region has never answered', () => {
    const regions = [voterOf('only', { begun: false })];
    const harness = new CoreHarness({ regions: ['only'], stored: { regions } });
    harness.tick();
    harness.advance(limits.commitLingerMs);
    const refusal = { kind: 'generation', has: 0, keys: 0 } as const;
    harness.end(harness.flight('only'), { kind: 'refused', refusal });
    expect(harness.statusOf('only')).toMatchObject({ health: 'answering', cause: null });
  });

  it('is ignored if its round left before the region was evicted', () => {
    const { harness, commit } = busy();
    const late = harness.flightsTo('far').find((send) => send !== commit);
    if (late === undefined) throw new Error('two rounds are on their way');
    harness.execute(commit, { decisions: ['lost'] });
    harness.run(leasesOverAt - harness.now, ['near', 'middle'], [late]);
    expect(harness.statusOf('far').state).toBe('out');
    const { changes } = harness;
    harness.end(late, { kind: 'refused', refusal: { kind: 'generation', has: 12, keys: 0 } });
    expect(harness.changes).toEqual(changes);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'lost' });
  });
});

// R16: the stored pair has to be in the region's history still after a restart.
describe('the highest acknowledged pair', () => {
  it('is stored in the step of each commit, with its value then', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const marks = new Map(harness.flights.map(({ region, round }) => [region, round.nonce]));
    harness.executeAll();
    for (const region of harness.regions) {
      expect(harness.last.persist).toContainEqual({
        kind: 'region',
        region: voterOf(region, { pair: [1, marks.get(region) ?? ''] }),
      });
    }
  });

  it('is stored after a bounded number of rounds, also if nothing is committed', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a'], { notAfter: harness.now + 60_000 }));
    for (let round = 0; round < 60; round++) {
      for (const send of harness.flightsTo('near')) harness.execute(send);
      for (const send of harness.flightsTo('middle')) {
        const votes = send.round.prepares.map(() => ({ kind: 'refused', reason: 'OOM' }) as const);
        harness.execute(send, { votes });
      }
      harness.executeAll(['far']);
      harness.advance(limits.retryBackoffMaxMs);
    }
    expect(harness.persisted).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
    const counters = storedPairs(harness, 'near').map((pair) => pair?.[0] ?? 0);
    expect(counters.length).toBeGreaterThan(3);
    counters.reduce((before, counter) => {
      expect(counter - before).toBeLessThanOrEqual(limits.pairStoredEveryRounds);
      return counter;
    }, 0);
  });

  it('never goes back, regardless of the order in which rounds are answered', () => {
    const harness = CoreHarness.begun({ regions: ['only'] });
    for (const key of ['a', 'b', 'c']) {
      harness.arrive(frameOf([key]));
      harness.advance(10);
    }
    const [first, second, third] = harness.flights;
    if (first === undefined || second === undefined || third === undefined) {
      throw new Error('three rounds are on their way');
    }
    const mark = (round: number) => `m${round}`;
    harness.execute(third, {
      history: [
        [1, mark(1)],
        [2, mark(2)],
        [3, mark(3)],
      ],
    });
    harness.execute(first, { history: [[1, mark(1)]] });
    harness.execute(second, {
      history: [
        [1, mark(1)],
        [2, mark(2)],
      ],
    });
    expect(harness.core.status().regions[0]?.health).toBe('answering');
    expect(storedPairs(harness, 'only').at(-1)).toEqual([3, mark(3)]);
  });
});
