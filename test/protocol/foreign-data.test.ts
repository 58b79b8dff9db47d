import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { CoreHarness, frameOf, type HarnessOptions } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const foreign = { cause: 'foreign', whole: true, held: true } as const;
const returnFar = { kind: 'return', region: 'far', whole: false, force: false } as const;
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** A harness of a voter and of `far`, which is out, and about to answer its first probe. */
function probed(stored: HarnessOptions['stored'] = {}): CoreHarness {
  const regions = [voterOf('near'), outOf('far', foreign)];
  const harness = new CoreHarness({ regions: ['near', 'far'], stored: { regions, ...stored } });
  harness.tick();
  harness.run(limits.probeBackoffMinMs, ['near']);
  return harness;
}

/** The next round to `far`, while all others answer. */
function nextToFar(harness: CoreHarness): SentRound {
  const until = harness.now + limits.outProbeBackoffMaxMs;
  while (harness.flightsTo('far').length === 0 && harness.now < until) harness.run(10, ['near']);
  return harness.flight('far');
}

function begunCopies(harness: CoreHarness): number {
  return harness.rounds.filter(({ round }) => round.copy?.kind === 'begin').length;
}

// R45: data that another Lockstep has left belongs to somebody too.
describe('a region that holds the state of another Lockstep', () => {
  it('is not replaced by force alone, but only once the number of its keys is sent back', () => {
    const harness = probed();
    harness.reportKeys(harness.flight('far'), 40, 12);
    const forced = { ...returnFar, force: true };
    const refusals = [
      harness.command(returnFar),
      harness.command({ ...returnFar, replace: 40 }),
      harness.command(forced),
      harness.command({ ...forced, replace: 39 }),
    ];
    for (const refused of refusals) {
      expect(refused).toMatchObject({
        kind: 'refused',
        keys: { far: 40 },
        detail: expect.stringContaining('{"force": true, "replace": 40}'),
      });
    }
    expect(begunCopies(harness)).toBe(0);
    expect(harness.command({ ...forced, replace: 40 }).kind).toBe('taken');
    harness.reportKeys(nextToFar(harness), 40, 12);
    const { round } = harness.flight('far');
    expect(round).toMatchObject({ takes: 40, copy: { kind: 'begin', replaces: [7], agreed: 12 } });
  });

  it('is no longer foreign after a late copy has begun there: a plain command to return works', () => {
    for (const order of [returnFar, { ...returnFar, force: true }]) {
      const harness = probed();
      harness.reportKeys(harness.flight('far'), 40, 12);
      expect(harness.command(order)).toMatchObject({ kind: 'refused' });
      harness.executeAll(['far']);
      expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
      expect(harness.command(order).kind).toBe('taken');
    }
  });

  it('is asked again at once after a refusal, since that named the number of its last answer', () => {
    const harness = probed();
    harness.reportKeys(harness.flight('far'), 40, 12);
    expect(harness.flightsTo('far')).toEqual([]);
    expect(harness.command(returnFar)).toMatchObject({ keys: { far: 40 } });
    harness.reportKeys(harness.flight('far'), 41, 12);
    expect(harness.command(returnFar)).toMatchObject({ keys: { far: 41 } });
  });

  it('requires its number again if it has got more keys since, in the step that would drop them as well', () => {
    for (const isLate of [false, true]) {
      const harness = probed();
      harness.reportKeys(harness.flight('far'), 40, 12);
      harness.command({ ...returnFar, force: true, replace: 40 });
      if (isLate) harness.reportKeys(nextToFar(harness), 40, 12);
      harness.reportKeys(nextToFar(harness), 41, 12);
      expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
      expect(harness.command({ ...returnFar, force: true })).toMatchObject({ keys: { far: 41 } });
    }
  });

  it('requires its number again if the state has become that of a third one', () => {
    const harness = probed();
    harness.reportKeys(harness.flight('far'), 40, 12);
    harness.command({ ...returnFar, force: true, replace: 40 });
    harness.reportKeys(nextToFar(harness), 3, 13);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(begunCopies(harness)).toBe(0);
  });

  it('is replaced once, by the next instance, if its coordinator dies after the number was sent back', () => {
    const before = probed();
    before.reportKeys(before.flight('far'), 40, 12);
    before.command({ ...returnFar, force: true, replace: 40 });
    const harness = before.restarted();
    harness.tick();
    harness.reportKeys(nextToFar(harness), 40, 12);
    expect(harness.flight('far').round.copy).toMatchObject({ kind: 'begin', agreed: 12 });
    harness.run(2 * limits.outProbeBackoffMaxMs);
    expect(harness.statusOf('far').state).toBe('voter');
    expect(harness.tables.regions.get('far')).toMatchObject({ takes: 0, agreed: null });
  });

  it('is not forced before it has reported the number of its keys', () => {
    const harness = probed();
    expect(harness.command({ ...returnFar, force: true, replace: 40 })).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('has not reported'),
    });
  });

  it('is added without losing its keys, regardless of the number sent with the addition', () => {
    const harness = CoreHarness.begun();
    harness.command({ kind: 'add', region: 'new', replace: 1_000 });
    const until = harness.now + limits.outProbeBackoffMaxMs;
    while (harness.flightsTo('new').length === 0 && harness.now < until)
      harness.run(10, harness.regions);
    harness.reportKeys(harness.flight('new'), 40, 12);
    expect(harness.statusOf('new')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    const order = { kind: 'return', region: 'new', whole: true, force: true } as const;
    expect(harness.command(order)).toMatchObject({ kind: 'refused', keys: { new: 40 } });
  });
});

// A force-recovered region keeps all its data, and nobody has said how much that is.
describe('a region that was force-recovered and is superseded', () => {
  /** A harness of two regions: first `far` was force-recovered, and then `near` instead. */
  function rebelieved(): CoreHarness {
    const harness = CoreHarness.begun({ regions: ['near', 'far'] });
    harness.arrive(frameOf(['a'], lasting));
    harness.reportKeys(harness.flight('far'), 30);
    harness.command({ kind: 'believe', region: 'far' });
    expect(harness.flight('far').round.takes).toBe(Number.MAX_SAFE_INTEGER);
    harness.silence(harness.flight('far'));
    harness.command({ kind: 'believe', region: 'near' });
    harness.run(limits.copyPauseMs, ['near']);
    return harness;
  }

  it('loses no key to a copy from the one that was force-recovered instead, before their number is sent back', () => {
    const harness = rebelieved();
    for (let turn = 0; turn < 4; turn += 1) {
      const send = nextToFar(harness);
      expect(send.round.takes).toBe(0);
      harness.reportKeys(send, 30);
      if (harness.statusOf('far').held) break;
    }
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(harness.command(returnFar)).toMatchObject({ kind: 'refused', keys: { far: 30 } });
    expect(harness.command({ ...returnFar, replace: 30 }).kind).toBe('taken');
  });

  it('loses no key to another Lockstep whose state it held', () => {
    const harness = probed();
    harness.reportKeys(harness.flight('far'), 40, 12);
    harness.command({ kind: 'believe', region: 'far' });
    expect(harness.flight('far').round).toMatchObject({ copy: { kind: 'begin', agreed: 12 } });
    harness.silence(harness.flight('far'));
    harness.command({ kind: 'believe', region: 'near' });
    expect(harness.tables.regions.get('far')).toMatchObject({ takes: 0, agreed: null });
  });
});

// Between the force-recovery and its first vote no region votes: its data is all that is left.
describe('a region that is force-recovered and does not vote yet', () => {
  function forceRecovered(): CoreHarness {
    const harness = CoreHarness.begun({ regions: ['near', 'far'] });
    harness.command({ kind: 'believe', region: 'far' });
    return harness;
  }

  it.each([
    { kind: 'remove', region: 'far' },
    { kind: 'put-out', region: 'far', reason: '' },
  ] as const)(
    'is not lost by the order to $kind it, as it will be the last that votes',
    (order) => {
      const harness = forceRecovered();
      expect(harness.statusOf('far').state).toBe('copying');
      expect(harness.command(order).kind).toBe('refused');
      harness.run(limits.leaseTtlMs + limits.leaseDriftMs + limits.copyPauseMs, ['far']);
      expect(harness.statusOf('far').state).toBe('voter');
      expect(harness.command({ kind: 'remove', region: 'near' }).kind).toBe('taken');
      expect(harness.command(order).kind).toBe('refused');
    },
  );

  it('is not forgotten by the next instance before it has been copied, even if it has left the configuration', () => {
    const harness = forceRecovered().restarted({ regions: ['near'] });
    harness.tick();
    harness.run(2 * limits.outProbeBackoffMaxMs, ['near', 'far']);
    expect(harness.core.status().regions.map(({ region, state }) => `${region} ${state}`)).toEqual([
      'near voter',
      'far voter',
    ]);
    const next = harness.restarted({ regions: ['near'] });
    next.tick();
    next.run(2 * limits.outProbeBackoffMaxMs);
    expect(next.core.status().regions.map(({ region }) => region)).toEqual(['near']);
  });
});
