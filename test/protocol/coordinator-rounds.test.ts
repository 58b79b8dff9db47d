import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { UnconfirmedDecision } from '../../shared/protocol/io/stored.ts';
import { CoreHarness, frameOf } from './core-harness.ts';
import { voterOf } from './stored.ts';

/** Commits of an earlier instance without a known acknowledgement. */
function unconfirmed(count: number): readonly UnconfirmedDecision[] {
  return Array.from({ length: count }, (_, at) => ({
    transaction: [2, at + 1],
    keys: [`k${at}`],
    sequence: at + 1,
    writes: [],
  }));
}

/** A harness in which the commit of 3.1 has just left for every region. */
function committing(): CoreHarness {
  const harness = CoreHarness.begun();
  harness.arrive(frameOf(['a']));
  harness.executeAll();
  return harness;
}

// R9: decisions first, all of them, then prepares.
describe('a round', () => {
  it('carries every unacknowledged decision beside its prepares, though another carries it too', () => {
    const harness = committing();
    const commit = { transaction: [3, 1], outcome: 'commit', keys: ['a'] };
    expect(harness.deciding('far')).toEqual([commit]);
    harness.arrive(frameOf(['a']));
    const [, second] = harness.flightsTo('far');
    expect(second?.round.decisions).toEqual([commit]);
    expect(second?.round.prepares.map(({ transaction }) => transaction)).toEqual([[3, 2]]);
  });

  it('carries a decision again after a silence, until it is acknowledged', () => {
    const harness = committing();
    for (let silences = 0; silences < 3; silences++) {
      expect(harness.deciding('far').map(({ transaction }) => transaction)).toEqual([[3, 1]]);
      harness.silence(harness.flight('far'));
      while (harness.flightsTo('far').length === 0) {
        harness.executeAll();
        harness.advance((harness.last.wakeAt ?? harness.now) - harness.now);
      }
      harness.execute(harness.flight('far'));
    }
    harness.settle();
    harness.arrive(frameOf(['b']));
    expect(harness.deciding('far')).toEqual([]);
  });

  it('carries no prepare while more decisions are unacknowledged than fit', () => {
    const harness = new CoreHarness({
      stored: { unconfirmed: unconfirmed(limits.decisionsPerRound + 1) },
    });
    harness.arrive(frameOf(['a']));
    const [first] = harness.flightsTo('far');
    expect(first?.round.decisions).toHaveLength(limits.decisionsPerRound);
    expect(harness.preparing('far')).toEqual([]);
    harness.executeAll();
    const round = harness.flightsTo('far').find((send) => send.round.prepares.length > 0)?.round;
    expect(round?.decisions).toHaveLength(1);
  });

  it('carries a prepare with exactly as many decisions as fit', () => {
    const harness = new CoreHarness({
      stored: { unconfirmed: unconfirmed(limits.decisionsPerRound) },
    });
    harness.arrive(frameOf(['a']));
    expect(harness.flight('far').round.decisions).toHaveLength(limits.decisionsPerRound);
    expect(harness.preparing('far')).toEqual([[3, 1]]);
  });

  it('names the highest acknowledged pair, and has a nonce of its own', () => {
    const harness = committing();
    const sends = harness.rounds;
    expect(new Set(sends.map(({ round }) => round.nonce)).size).toBe(sends.length);
    const [prepare, commit] = sends.filter(({ region }) => region === 'far').slice(-2);
    expect(prepare?.round.lastAcknowledged).toBeNull();
    expect(commit?.round.lastAcknowledged).toEqual([1, prepare?.round.nonce]);
  });

  it('says to begin, and asks for older locks, until the region has answered once', () => {
    const harness = new CoreHarness({ stored: { epoch: 0, regions: [] } });
    harness.arrive(frameOf(['a']));
    harness.executeAll();
    expect(harness.flight('far').round).toMatchObject({ begin: true, askOlder: true });
    harness.executeAll();
    expect(harness.flight('far').round).toMatchObject({ begin: false, askOlder: false });
  });

  it('asks for older locks in a new instance, but does not begin if an earlier one did', () => {
    const harness = new CoreHarness({ regions: ['only'] });
    harness.tick();
    harness.advance(limits.commitLingerMs);
    expect(harness.flight('only').round).toMatchObject({ begin: false, askOlder: true });
  });

  it('names epoch and incarnation, and the generation of its region', () => {
    const regions = [voterOf('one', { generation: 9 }), voterOf('other', { generation: 8 })];
    const stored = { generation: 6, epoch: 4, incarnation: 5, regions };
    const harness = new CoreHarness({ regions: ['one', 'other'], stored });
    harness.tick();
    harness.arrive(frameOf(['a']));
    const named = { shard: 0, epoch: 4, incarnation: 5, role: 'voter' };
    expect(harness.flights.length).toBeGreaterThan(1);
    for (const { region, round } of harness.flights) {
      expect(round).toMatchObject({ ...named, generation: region === 'one' ? 9 : 8 });
    }
  });
});

// R12: everything at or below the low watermark is settled in that region.
describe('the low watermark', () => {
  const floorOf = (harness: CoreHarness, region: string) =>
    harness.flightsTo(region).at(-1)?.round.lowWatermark;

  it('stays at nothing until the region has listed its older locks', () => {
    const harness = new CoreHarness();
    harness.arrive(frameOf(['a']));
    expect(floorOf(harness, 'far')).toEqual([0, 0]);
    harness.execute(harness.flight('far'), { olderTruncated: true });
    harness.arrive(frameOf(['b']));
    expect(floorOf(harness, 'far')).toEqual([0, 0]);
    expect(harness.flightsTo('far').at(-1)?.round.askOlder).toBe(true);
    harness.executeAll(['far']);
    harness.arrive(frameOf(['c']));
    expect(floorOf(harness, 'far')).toEqual([3, 0]);
  });

  it('stays below the oldest undecided transaction', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.executeAll(['far']);
    harness.arrive(frameOf(['b']));
    expect(floorOf(harness, 'far')).toEqual([3, 0]);
  });

  it('stays below the oldest decision that the region has not acknowledged, in that region alone', () => {
    const harness = committing();
    harness.executeAll(['near']);
    harness.arrive(frameOf(['b']));
    harness.executeAll();
    harness.arrive(frameOf(['c']));
    expect(floorOf(harness, 'near')).toEqual([3, 1]);
    harness.settle();
    harness.arrive(frameOf(['d']));
    for (const region of harness.regions) expect(floorOf(harness, region)).toEqual([3, 3]);
  });

  it('stays below a commit of an earlier instance until that is acknowledged', () => {
    const harness = new CoreHarness({ regions: ['only'], stored: { unconfirmed: unconfirmed(2) } });
    harness.tick();
    harness.advance(limits.commitLingerMs);
    harness.execute(harness.flight('only'), { decisions: ['acknowledged', 'refused'] });
    harness.advance(limits.probeBackoffMinMs);
    expect(floorOf(harness, 'only')).toEqual([2, 1]);
  });
});

describe('the locks of an earlier instance', () => {
  const older = [{ transaction: [2, 7] as const, keys: ['a', 'b'] }];

  /** A harness whose only region lists `older` in its first answer. */
  function listing(recorded: boolean, stored = {}): CoreHarness {
    const harness = new CoreHarness({ regions: ['only'], stored });
    harness.tick();
    harness.advance(limits.commitLingerMs);
    harness.execute(harness.flight('only'), { older }, recorded ? [[2, 7]] : []);
    return harness;
  }

  it('are aborted if storage has no record of them', () => {
    const harness = listing(false);
    harness.advance(limits.commitLingerMs);
    const { round } = harness.flight('only');
    expect(round.decisions).toEqual([{ transaction: [2, 7], outcome: 'abort', keys: ['a', 'b'] }]);
    expect(round.lowWatermark).toEqual([2, 6]);
  });

  it('are left to their commit if that is unacknowledged', () => {
    const unconfirmed = older.map((lock) => ({ ...lock, sequence: 7, writes: [] }));
    const harness = new CoreHarness({ regions: ['only'], stored: { unconfirmed } });
    harness.tick();
    harness.advance(limits.commitLingerMs);
    harness.execute(harness.flight('only'), { older, decisions: ['refused'] }, [[2, 7]]);
    expect(harness.core.status().regions[0]?.health).toBe('silent');
    harness.advance(limits.probeBackoffMinMs);
    harness.execute(harness.flight('only'), { older }, [[2, 7]]);
    expect(harness.deciding('only')).toEqual([
      { transaction: [2, 7], outcome: 'commit', keys: ['a', 'b'] },
    ]);
  });

  it('show a loss if their commit is recorded and was applied by every region', () => {
    const harness = listing(true);
    expect(harness.core.status().regions[0]).toMatchObject({
      health: 'lost',
      detail: expect.stringContaining('2.7'),
    });
  });

  it('show no loss in an answer that comes after the acknowledgement, but belongs to an earlier round', () => {
    const keys = Array.from({ length: limits.keysPerWrite }, (_, at) => `${at}`.padEnd(900, 'x'));
    const two = [
      { transaction: [2, 6] as const, keys, sequence: 6, writes: [] },
      { transaction: [2, 7] as const, keys, sequence: 7, writes: [] },
    ];
    const harness = new CoreHarness({ regions: ['only'], stored: { unconfirmed: two } });
    harness.tick();
    harness.advance(limits.commitLingerMs);
    harness.arrive(frameOf(['c']));
    const [first, second] = harness.flights;
    if (first === undefined || second === undefined) throw new Error('two rounds are on their way');
    harness.execute(first, { older: two.slice(1) }, [[2, 7]]);
    const third = harness.flights.find(({ round }) =>
      round.decisions.some(({ transaction }) => transaction[1] === 7),
    );
    if (third === undefined) throw new Error('the other commit is on its way');
    harness.execute(third);
    harness.execute(second, { older: two.slice(1) }, [[2, 7]]);
    expect(harness.core.status().regions[0]?.health).toBe('answering');
  });

  it('are requested again when a prepare meets one', () => {
    const harness = CoreHarness.begun({ regions: ['only'] });
    harness.arrive(frameOf(['a']));
    const holder = [2, 7] as const;
    harness.execute(harness.flight('only'), { votes: [{ kind: 'locked', key: 'a', holder }] });
    expect(harness.flight('only').round).toMatchObject({ askOlder: true, lowWatermark: [0, 0] });
    harness.execute(harness.flight('only'), { older });
    expect(harness.deciding('only')).toEqual([
      { transaction: [2, 7], outcome: 'abort', keys: ['a', 'b'] },
    ]);
  });
});
