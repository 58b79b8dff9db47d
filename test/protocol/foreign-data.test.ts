import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/events.ts';
import { frameOf, Rig, type RigOptions } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const foreign = { cause: 'foreign', whole: true, held: true } as const;
const returnFar = { kind: 'return', region: 'far', whole: false, force: false } as const;
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A rig of a voter and of `far`, which is out, and about to answer its first probe. */
function probed(stored: RigOptions['stored'] = {}): Rig {
  const regions = [voterOf('near'), outOf('far', foreign)];
  const rig = new Rig({ regions: ['near', 'far'], stored: { regions, ...stored } });
  rig.tick();
  rig.run(limits.probeBackoffMinMs, ['near']);
  return rig;
}

/** The next round to `far`, while all others answer. */
function nextToFar(rig: Rig): SentRound {
  const until = rig.now + limits.outProbeBackoffMaxMs;
  while (rig.flightsTo('far').length === 0 && rig.now < until) rig.run(10, ['near']);
  return rig.flight('far');
}

function begunCopies(rig: Rig): number {
  return rig.rounds.filter(({ round }) => round.copy?.kind === 'begin').length;
}

// R45: what another Lockstep has left is somebody's data too.
describe('a region that holds the state of another Lockstep', () => {
  it('is not replaced by force alone, but only once the number of its keys is sent back', () => {
    const rig = probed();
    rig.count(rig.flight('far'), 40, 12);
    const forced = { ...returnFar, force: true };
    const refusals = [
      rig.order(returnFar),
      rig.order({ ...returnFar, replace: 40 }),
      rig.order(forced),
      rig.order({ ...forced, replace: 39 }),
    ];
    for (const refused of refusals) {
      expect(refused).toMatchObject({
        kind: 'refused',
        keys: { far: 40 },
        detail: expect.stringContaining('{"force": true, "replace": 40}'),
      });
    }
    expect(begunCopies(rig)).toBe(0);
    expect(rig.order({ ...forced, replace: 40 }).kind).toBe('taken');
    rig.count(nextToFar(rig), 40, 12);
    const { round } = rig.flight('far');
    expect(round).toMatchObject({ takes: 40, copy: { kind: 'begin', replaces: [7], agreed: 12 } });
  });

  it('is no longer that if it executes a round: a late copy has begun there, and any order to return is taken', () => {
    for (const order of [returnFar, { ...returnFar, force: true }]) {
      const rig = probed();
      rig.count(rig.flight('far'), 40, 12);
      expect(rig.order(order)).toMatchObject({ kind: 'refused' });
      rig.executeAll(['far']);
      expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
      expect(rig.order(order).kind).toBe('taken');
    }
  });

  it('is asked again at once after a refusal, since that named the number of its last answer', () => {
    const rig = probed();
    rig.count(rig.flight('far'), 40, 12);
    expect(rig.flightsTo('far')).toEqual([]);
    expect(rig.order(returnFar)).toMatchObject({ keys: { far: 40 } });
    rig.count(rig.flight('far'), 41, 12);
    expect(rig.order(returnFar)).toMatchObject({ keys: { far: 41 } });
  });

  it('is held again if it has got more keys since, in the step that would drop them as well', () => {
    for (const isLate of [false, true]) {
      const rig = probed();
      rig.count(rig.flight('far'), 40, 12);
      rig.order({ ...returnFar, force: true, replace: 40 });
      if (isLate) rig.count(nextToFar(rig), 40, 12);
      rig.count(nextToFar(rig), 41, 12);
      expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
      expect(rig.order({ ...returnFar, force: true })).toMatchObject({ keys: { far: 41 } });
    }
  });

  it('is held again if the state has become that of a third one', () => {
    const rig = probed();
    rig.count(rig.flight('far'), 40, 12);
    rig.order({ ...returnFar, force: true, replace: 40 });
    rig.count(nextToFar(rig), 3, 13);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(begunCopies(rig)).toBe(0);
  });

  it('is replaced by the next instance if its coordinator dies after the number was sent back, and once only', () => {
    const before = probed();
    before.count(before.flight('far'), 40, 12);
    before.order({ ...returnFar, force: true, replace: 40 });
    const rig = before.restarted();
    rig.tick();
    rig.count(nextToFar(rig), 40, 12);
    expect(rig.flight('far').round.copy).toMatchObject({ kind: 'begin', agreed: 12 });
    rig.run(2 * limits.outProbeBackoffMaxMs);
    expect(rig.statusOf('far').state).toBe('voter');
    expect(rig.tables.regions.get('far')).toMatchObject({ takes: 0, agreed: null });
  });

  it('is not forced before it has said what it holds', () => {
    const rig = probed();
    expect(rig.order({ ...returnFar, force: true, replace: 40 })).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('has not reported'),
    });
  });

  it('is added without its keys being lost, whatever number came with the addition', () => {
    const rig = Rig.greeted();
    rig.order({ kind: 'add', region: 'new', replace: 1_000 });
    const until = rig.now + limits.outProbeBackoffMaxMs;
    while (rig.flightsTo('new').length === 0 && rig.now < until) rig.run(10, rig.regions);
    rig.count(rig.flight('new'), 40, 12);
    expect(rig.statusOf('new')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    const order = { kind: 'return', region: 'new', whole: true, force: true } as const;
    expect(rig.order(order)).toMatchObject({ kind: 'refused', keys: { new: 40 } });
  });
});

// Whoever is believed keeps all that it holds, and nobody has said how much that is.
describe('a region that was believed and is not any more', () => {
  /** A rig of two regions, of which `far` was believed, and then `near` instead. */
  function rebelieved(): Rig {
    const rig = Rig.greeted({ regions: ['near', 'far'] });
    rig.arrive(frameOf(['a'], lasting));
    rig.count(rig.flight('far'), 30);
    rig.order({ kind: 'believe', region: 'far' });
    expect(rig.flight('far').round.takes).toBe(Number.MAX_SAFE_INTEGER);
    rig.silence(rig.flight('far'));
    rig.order({ kind: 'believe', region: 'near' });
    rig.run(limits.copyPauseMs, ['near']);
    return rig;
  }

  it('loses none of them to a copy from the one that was force-recovered instead, before their number is sent back', () => {
    const rig = rebelieved();
    for (let turn = 0; turn < 4; turn += 1) {
      const send = nextToFar(rig);
      expect(send.round.takes).toBe(0);
      rig.count(send, 30);
      if (rig.statusOf('far').held) break;
    }
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(rig.order(returnFar)).toMatchObject({ kind: 'refused', keys: { far: 30 } });
    expect(rig.order({ ...returnFar, replace: 30 }).kind).toBe('taken');
  });

  it('nor to another Lockstep whose state it held', () => {
    const rig = probed();
    rig.count(rig.flight('far'), 40, 12);
    rig.order({ kind: 'believe', region: 'far' });
    expect(rig.flight('far').round).toMatchObject({ copy: { kind: 'begin', agreed: 12 } });
    rig.silence(rig.flight('far'));
    rig.order({ kind: 'believe', region: 'near' });
    expect(rig.tables.regions.get('far')).toMatchObject({ takes: 0, agreed: null });
  });
});

// Between the order and its first vote no region votes: what it holds is all that is left.
describe('a region that is believed and does not vote yet', () => {
  function believed(): Rig {
    const rig = Rig.greeted({ regions: ['near', 'far'] });
    rig.order({ kind: 'believe', region: 'far' });
    return rig;
  }

  it.each([
    { kind: 'remove', region: 'far' },
    { kind: 'put-out', region: 'far', reason: '' },
  ] as const)(
    'is not lost by the order to $kind it, as it will be the last that votes',
    (order) => {
      const rig = believed();
      expect(rig.statusOf('far').state).toBe('copying');
      expect(rig.order(order).kind).toBe('refused');
      rig.run(limits.leaseTtlMs + limits.leaseDriftMs + limits.copyPauseMs, ['far']);
      expect(rig.statusOf('far').state).toBe('voter');
      expect(rig.order({ kind: 'remove', region: 'near' }).kind).toBe('taken');
      expect(rig.order(order).kind).toBe('refused');
    },
  );

  it('is not forgotten by the next instance if it is not configured any more, before it has been copied', () => {
    const rig = believed().restarted({ regions: ['near'] });
    rig.tick();
    rig.run(2 * limits.outProbeBackoffMaxMs, ['near', 'far']);
    expect(rig.core.status().regions.map(({ region, state }) => `${region} ${state}`)).toEqual([
      'near voter',
      'far voter',
    ]);
    const next = rig.restarted({ regions: ['near'] });
    next.tick();
    next.run(2 * limits.outProbeBackoffMaxMs);
    expect(next.core.status().regions.map(({ region }) => region)).toEqual(['near']);
  });
});
