import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { UnconfirmedDecision } from '../../shared/protocol/io/events.ts';
import { frameOf, Rig } from './core-harness.ts';
import { voterOf } from './stored.ts';

/** Commits of an earlier life that no region is known to have acknowledged. */
function unconfirmed(count: number): readonly UnconfirmedDecision[] {
  return Array.from({ length: count }, (_, at) => ({
    transaction: [2, at + 1],
    keys: [`k${at}`],
    sequence: at + 1,
    writes: [],
  }));
}

/** A rig in which the commit of 3.1 has just left for every region. */
function committing(): Rig {
  const rig = Rig.greeted();
  rig.arrive(frameOf(['a']));
  rig.executeAll();
  return rig;
}

// R9: decisions first, all of them, then prepares.
describe('a round', () => {
  it('carries every unacknowledged decision beside its prepares, though another carries it too', () => {
    const rig = committing();
    const commit = { transaction: [3, 1], outcome: 'commit', keys: ['a'] };
    expect(rig.deciding('far')).toEqual([commit]);
    rig.arrive(frameOf(['a']));
    const [, second] = rig.flightsTo('far');
    expect(second?.round.decisions).toEqual([commit]);
    expect(second?.round.prepares.map(({ transaction }) => transaction)).toEqual([[3, 2]]);
  });

  it('carries a decision again after a silence, until it is acknowledged', () => {
    const rig = committing();
    for (let silences = 0; silences < 3; silences++) {
      expect(rig.deciding('far').map(({ transaction }) => transaction)).toEqual([[3, 1]]);
      rig.silence(rig.flight('far'));
      while (rig.flightsTo('far').length === 0) {
        rig.executeAll();
        rig.advance((rig.last.wakeAt ?? rig.now) - rig.now);
      }
      rig.execute(rig.flight('far'));
    }
    rig.settle();
    rig.arrive(frameOf(['b']));
    expect(rig.deciding('far')).toEqual([]);
  });

  it('carries no prepare while more decisions are owed than fit', () => {
    const rig = new Rig({ stored: { unconfirmed: unconfirmed(limits.decisionsPerRound + 1) } });
    rig.arrive(frameOf(['a']));
    const [first] = rig.flightsTo('far');
    expect(first?.round.decisions).toHaveLength(limits.decisionsPerRound);
    expect(rig.preparing('far')).toEqual([]);
    rig.executeAll();
    const round = rig.flightsTo('far').find((send) => send.round.prepares.length > 0)?.round;
    expect(round?.decisions).toHaveLength(1);
  });

  it('carries a prepare with exactly as many decisions as fit', () => {
    const rig = new Rig({ stored: { unconfirmed: unconfirmed(limits.decisionsPerRound) } });
    rig.arrive(frameOf(['a']));
    expect(rig.flight('far').round.decisions).toHaveLength(limits.decisionsPerRound);
    expect(rig.preparing('far')).toEqual([[3, 1]]);
  });

  it('names the highest acknowledged pair, and has a mark that no other round has', () => {
    const rig = committing();
    const sends = rig.rounds;
    expect(new Set(sends.map(({ round }) => round.mark)).size).toBe(sends.length);
    const [prepare, commit] = sends.filter(({ region }) => region === 'far').slice(-2);
    expect(prepare?.round.seen).toBeNull();
    expect(commit?.round.seen).toEqual([1, prepare?.round.mark]);
  });

  it('says to begin, and asks for older locks, until the region has answered once', () => {
    const rig = new Rig({ stored: { epoch: 0, regions: [] } });
    rig.arrive(frameOf(['a']));
    rig.executeAll();
    expect(rig.flight('far').round).toMatchObject({ begin: true, askOlder: true });
    rig.executeAll();
    expect(rig.flight('far').round).toMatchObject({ begin: false, askOlder: false });
  });

  it('asks for older locks in a new life, but does not begin where an earlier life did', () => {
    const rig = new Rig({ regions: ['only'] });
    rig.tick();
    rig.advance(limits.commitLingerMs);
    expect(rig.flight('only').round).toMatchObject({ begin: false, askOlder: true });
  });

  it('names epoch and incarnation, and the generation of its region', () => {
    const regions = [voterOf('one', { generation: 9 }), voterOf('other', { generation: 8 })];
    const stored = { generation: 6, epoch: 4, incarnation: 5, regions };
    const rig = new Rig({ regions: ['one', 'other'], stored });
    rig.tick();
    rig.arrive(frameOf(['a']));
    const named = { shard: 0, epoch: 4, incarnation: 5, role: 'voter' };
    expect(rig.flights.length).toBeGreaterThan(1);
    for (const { region, round } of rig.flights) {
      expect(round).toMatchObject({ ...named, generation: region === 'one' ? 9 : 8 });
    }
  });
});

// R12: everything at or below the floor is settled in that region.
describe('the floor', () => {
  const floorOf = (rig: Rig, region: string) => rig.flightsTo(region).at(-1)?.round.floor;

  it('stays at nothing until the region has listed its older locks', () => {
    const rig = new Rig();
    rig.arrive(frameOf(['a']));
    expect(floorOf(rig, 'far')).toEqual([0, 0]);
    rig.execute(rig.flight('far'), { olderTruncated: true });
    rig.arrive(frameOf(['b']));
    expect(floorOf(rig, 'far')).toEqual([0, 0]);
    expect(rig.flightsTo('far').at(-1)?.round.askOlder).toBe(true);
    rig.executeAll(['far']);
    rig.arrive(frameOf(['c']));
    expect(floorOf(rig, 'far')).toEqual([3, 0]);
  });

  it('stays below the oldest undecided transaction', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.executeAll(['far']);
    rig.arrive(frameOf(['b']));
    expect(floorOf(rig, 'far')).toEqual([3, 0]);
  });

  it('stays below the oldest decision that the region has not acknowledged, in that region alone', () => {
    const rig = committing();
    rig.executeAll(['near']);
    rig.arrive(frameOf(['b']));
    rig.executeAll();
    rig.arrive(frameOf(['c']));
    expect(floorOf(rig, 'near')).toEqual([3, 1]);
    rig.settle();
    rig.arrive(frameOf(['d']));
    for (const region of rig.regions) expect(floorOf(rig, region)).toEqual([3, 3]);
  });

  it('stays below a commit of an earlier life until that is acknowledged', () => {
    const rig = new Rig({ regions: ['only'], stored: { unconfirmed: unconfirmed(2) } });
    rig.tick();
    rig.advance(limits.commitLingerMs);
    rig.execute(rig.flight('only'), { decisions: ['acknowledged', 'refused'] });
    rig.advance(limits.probeBackoffMinMs);
    expect(floorOf(rig, 'only')).toEqual([2, 1]);
  });
});

describe('the locks of an earlier life', () => {
  const older = [{ transaction: [2, 7] as const, keys: ['a', 'b'] }];

  /** A rig whose only region lists `older` in its first answer. */
  function listing(recorded: boolean, stored = {}): Rig {
    const rig = new Rig({ regions: ['only'], stored });
    rig.tick();
    rig.advance(limits.commitLingerMs);
    rig.execute(rig.flight('only'), { older }, recorded ? [[2, 7]] : []);
    return rig;
  }

  it('are aborted where storage has no record of them', () => {
    const rig = listing(false);
    rig.advance(limits.commitLingerMs);
    const { round } = rig.flight('only');
    expect(round.decisions).toEqual([{ transaction: [2, 7], outcome: 'abort', keys: ['a', 'b'] }]);
    expect(round.floor).toEqual([2, 6]);
  });

  it('are left to their commit where that is owed', () => {
    const unconfirmed = older.map((lock) => ({ ...lock, sequence: 7, writes: [] }));
    const rig = new Rig({ regions: ['only'], stored: { unconfirmed } });
    rig.tick();
    rig.advance(limits.commitLingerMs);
    rig.execute(rig.flight('only'), { older, decisions: ['refused'] }, [[2, 7]]);
    expect(rig.core.status().regions[0]?.health).toBe('silent');
    rig.advance(limits.probeBackoffMinMs);
    rig.execute(rig.flight('only'), { older }, [[2, 7]]);
    expect(rig.deciding('only')).toEqual([
      { transaction: [2, 7], outcome: 'commit', keys: ['a', 'b'] },
    ]);
  });

  it('show a loss where their commit is recorded and was applied by every region', () => {
    const rig = listing(true);
    expect(rig.core.status().regions[0]).toMatchObject({
      health: 'lost',
      detail: expect.stringContaining('2.7'),
    });
  });

  it('show no loss in an answer that comes after the acknowledgement, but is of an earlier round', () => {
    const keys = Array.from({ length: limits.keysPerWrite }, (_, at) => `${at}`.padEnd(900, 'x'));
    const two = [
      { transaction: [2, 6] as const, keys, sequence: 6, writes: [] },
      { transaction: [2, 7] as const, keys, sequence: 7, writes: [] },
    ];
    const rig = new Rig({ regions: ['only'], stored: { unconfirmed: two } });
    rig.tick();
    rig.advance(limits.commitLingerMs);
    rig.arrive(frameOf(['c']));
    const [first, second] = rig.flights;
    if (first === undefined || second === undefined) throw new Error('two rounds are on their way');
    rig.execute(first, { older: two.slice(1) }, [[2, 7]]);
    const third = rig.flights.find(({ round }) =>
      round.decisions.some(({ transaction }) => transaction[1] === 7),
    );
    if (third === undefined) throw new Error('the other commit is on its way');
    rig.execute(third);
    rig.execute(second, { older: two.slice(1) }, [[2, 7]]);
    expect(rig.core.status().regions[0]?.health).toBe('answering');
  });

  it('are asked for again when a prepare meets one', () => {
    const rig = Rig.greeted({ regions: ['only'] });
    rig.arrive(frameOf(['a']));
    const holder = [2, 7] as const;
    rig.execute(rig.flight('only'), { votes: [{ kind: 'locked', key: 'a', holder }] });
    expect(rig.flight('only').round).toMatchObject({ askOlder: true, floor: [0, 0] });
    rig.execute(rig.flight('only'), { older });
    expect(rig.deciding('only')).toEqual([
      { transaction: [2, 7], outcome: 'abort', keys: ['a', 'b'] },
    ]);
  });
});
