import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { StoredRegion } from '../../shared/protocol/io/events.ts';
import { frameOf, Rig, start } from './core-harness.ts';
import { voterOf } from './stored.ts';

/** A greeted rig's regions answered first then; a lease that an earlier life granted is over so long after that. */
const leasesOverAt = start + 10 + limits.leaseTtlMs + limits.leaseDriftMs;

/** A rig that has committed `a`, with the commit on its way, and in which `b` is undecided. */
function busy() {
  const rig = Rig.greeted();
  rig.arrive(frameOf(['a']));
  rig.executeAll();
  const ticket = rig.arrive(frameOf(['b']));
  const [commit] = rig.flightsTo('far');
  if (commit === undefined) throw new Error('the commit is on its way');
  return { rig, ticket, commit };
}

/** The pairs of `region` that were stored, oldest first. */
function storedPairs(rig: Rig, region: string): readonly StoredRegion['pair'][] {
  return rig.persisted.flatMap((write) =>
    write.kind === 'region' && write.region.region === region ? [write.region.pair] : [],
  );
}

// R16, the coordinator's side: a region that lost writes votes no more.
describe('a region that has lost writes', () => {
  const ways: readonly (readonly [way: string, lose: (given: ReturnType<typeof busy>) => void])[] =
    [
      [
        'says so of a pair',
        ({ rig, commit }) => rig.end(commit, { kind: 'refused', refusal: { kind: 'lost' } }),
      ],
      [
        'holds no state, though it had begun',
        ({ rig, commit }) =>
          rig.end(commit, { kind: 'refused', refusal: { kind: 'generation', has: 0, keys: 0 } }),
      ],
      [
        'finds no trace of a transaction that it is to commit',
        ({ rig, commit }) => rig.execute(commit, { decisions: ['lost'] }),
      ],
      [
        'shows another mark for a round than it acknowledged',
        ({ rig, commit }) => rig.execute(commit, { marks: [[1, 'another']] }),
      ],
    ];

  it.each(ways)('is stored as leaving when it %s, and what is undecided is aborted', (_, lose) => {
    const given = busy();
    lose(given);
    const { rig, ticket } = given;
    const leaving = expect.objectContaining({ cause: 'lost', whole: true, held: false });
    expect(rig.last.persist).toContainEqual({
      kind: 'region',
      region: expect.objectContaining({
        region: 'far',
        membership: { state: 'voter', since: 0, leaving },
      }),
    });
    expect(rig.ask([[3, 2]])).toEqual([{ kind: 'aborted', transaction: [3, 2] }]);
    expect(rig.core.status()).toMatchObject({ undecided: 0, queued: 1 });
    expect(rig.told(ticket)).toBeUndefined();
  });

  it('is asked nothing more, and nobody is asked to prepare anything before it is out', () => {
    const { rig, commit } = busy();
    rig.execute(commit, { decisions: ['lost'] });
    const before = rig.rounds.length;
    const ticket = rig.arrive(frameOf(['c']));
    rig.run(leasesOverAt - rig.now - 1);
    const sends = rig.rounds.slice(before);
    expect(sends.filter(({ region }) => region === 'far')).toEqual([]);
    expect(sends.flatMap(({ round }) => round.prepares)).toEqual([]);
    expect(rig.told(ticket)).toBeUndefined();
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', health: 'lost', circuit: 'open' });
  });

  it('is put out when its lease is over, and what waited is decided by the others', () => {
    const { rig, commit, ticket } = busy();
    rig.execute(commit, { decisions: ['lost'] });
    rig.run(leasesOverAt - rig.now, ['near', 'middle']);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'lost', missedKeys: null });
    rig.run(limits.probeBackoffMinMs, ['near', 'middle']);
    const { attempts, votes } = rig.record(ticket);
    expect(attempts).toBe(2);
    expect(votes.map(({ region, vote }) => [region, vote])).toEqual([
      ['near', 'yes'],
      ['middle', 'yes'],
    ]);
  });

  it('has its vote counted no more, even where it was on its way as a yes', () => {
    const { rig, commit, ticket } = busy();
    rig.execute(commit, { decisions: ['lost'] });
    rig.executeAll();
    expect(rig.told(ticket)).toBeUndefined();
    const commits = rig.persisted.filter(({ kind }) => kind === 'commit');
    expect(commits).toHaveLength(1);
    expect(rig.statusOf('far').health).toBe('lost');
  });

  it('stays lost after a restart: it is asked nothing, and put out without having answered', () => {
    const { rig: before, commit } = busy();
    before.execute(commit, { decisions: ['lost'] });
    const rig = before.restarted();
    rig.tick();
    const ticket = rig.arrive(frameOf(['a']));
    rig.run(limits.commitLingerMs);
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs - 2 * limits.commitLingerMs);
    expect(rig.rounds.filter(({ region }) => region === 'far')).toEqual([]);
    expect(rig.told(ticket)).toBeUndefined();
    rig.run(1_000);
    expect(rig.changes).toContainEqual(
      expect.objectContaining({ region: 'far', event: 'out', cause: 'lost' }),
    );
    expect(rig.record(ticket).votes.map(({ region }) => region)).toEqual(['near', 'middle']);
  });

  it('is found by the mark that storage kept, also after a restart', () => {
    const stored = voterOf('only', { pair: [9, 'kept'] });
    const rig = new Rig({ regions: ['only'], stored: { regions: [stored] } });
    rig.tick();
    rig.advance(limits.commitLingerMs);
    expect(rig.flight('only').round.seen).toEqual([9, 'kept']);
    rig.execute(rig.flight('only'), { marks: [[9, 'another']] });
    expect(rig.core.status().regions[0]?.health).toBe('lost');
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
    const { rig, ticket } = busy();
    for (const send of rig.flightsTo('far')) rig.end(send, { kind: 'refused', refusal });
    expect(rig.core.status().regions[2]).toMatchObject({
      health,
      detail: expect.stringContaining(detail),
    });
    expect(rig.changes).toEqual([]);
    while (rig.flightsTo('far').length === 0) {
      rig.executeAll();
      rig.advance((rig.last.wakeAt ?? rig.now) - rig.now);
    }
    expect(rig.flight('far').round).toMatchObject({ decisions: [], prepares: [] });
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('of generation 0 says nothing of a region that has never answered', () => {
    const regions = [voterOf('only', { begun: false })];
    const rig = new Rig({ regions: ['only'], stored: { regions } });
    rig.tick();
    rig.advance(limits.commitLingerMs);
    const refusal = { kind: 'generation', has: 0, keys: 0 } as const;
    rig.end(rig.flight('only'), { kind: 'refused', refusal });
    expect(rig.statusOf('only')).toMatchObject({ health: 'answering', cause: null });
  });

  it('of a round that left before the region became what it is says nothing', () => {
    const { rig, commit } = busy();
    const late = rig.flightsTo('far').find((send) => send !== commit);
    if (late === undefined) throw new Error('two rounds are on their way');
    rig.execute(commit, { decisions: ['lost'] });
    rig.run(leasesOverAt - rig.now, ['near', 'middle'], [late]);
    expect(rig.statusOf('far').state).toBe('out');
    const { changes } = rig;
    rig.end(late, { kind: 'refused', refusal: { kind: 'generation', has: 12, keys: 0 } });
    expect(rig.changes).toEqual(changes);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'lost' });
  });
});

// R16: the stored pair has to be in the region's history still after a restart.
describe('the highest acknowledged pair', () => {
  it('is stored in the step of each commit, as it then is', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const marks = new Map(rig.flights.map(({ region, round }) => [region, round.mark]));
    rig.executeAll();
    for (const region of rig.regions) {
      expect(rig.last.persist).toContainEqual({
        kind: 'region',
        region: voterOf(region, { pair: [1, marks.get(region) ?? ''] }),
      });
    }
  });

  it('is stored at least every so many rounds, also where nothing is committed', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a'], { notAfter: rig.now + 60_000 }));
    for (let round = 0; round < 60; round++) {
      for (const send of rig.flightsTo('near')) rig.execute(send);
      for (const send of rig.flightsTo('middle')) {
        const votes = send.round.prepares.map(() => ({ kind: 'refused', reason: 'OOM' }) as const);
        rig.execute(send, { votes });
      }
      rig.executeAll(['far']);
      rig.advance(limits.retryBackoffMaxMs);
    }
    expect(rig.persisted).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
    const counters = storedPairs(rig, 'near').map((pair) => pair?.[0] ?? 0);
    expect(counters.length).toBeGreaterThan(3);
    counters.reduce((before, counter) => {
      expect(counter - before).toBeLessThanOrEqual(limits.pairStoredEveryRounds);
      return counter;
    }, 0);
  });

  it('never goes back, whatever the order in which rounds are answered', () => {
    const rig = Rig.greeted({ regions: ['only'] });
    for (const key of ['a', 'b', 'c']) rig.arrive(frameOf([key]));
    const [first, second, third] = rig.flights;
    if (first === undefined || second === undefined || third === undefined) {
      throw new Error('three rounds are on their way');
    }
    const mark = (round: number) => `m${round}`;
    rig.execute(third, {
      marks: [
        [1, mark(1)],
        [2, mark(2)],
        [3, mark(3)],
      ],
    });
    rig.execute(first, { marks: [[1, mark(1)]] });
    rig.execute(second, {
      marks: [
        [1, mark(1)],
        [2, mark(2)],
      ],
    });
    expect(rig.core.status().regions[0]?.health).toBe('answering');
    expect(storedPairs(rig, 'only').at(-1)).toEqual([3, mark(3)]);
  });
});
