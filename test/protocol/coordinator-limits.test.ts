import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig, start } from './core-harness.ts';

describe('the admission', () => {
  it('takes as many frames as the queue may have, and says busy to one more', () => {
    const rig = Rig.greeted();
    const frames = Array.from({ length: limits.framesQueued }, () => frameOf(['a']));
    for (const frame of frames) rig.arrive(frame, { async: true });
    const ticket = rig.arrive(frameOf(['b']));
    expect(rig.told(ticket)).toEqual({ kind: 'busy', retryAfterMs: 1_000 });
    rig.executeAll();
    rig.arrive(frameOf(['b']));
    expect(rig.preparing('near')).toContainEqual([3, 3]);
  });

  it('takes as many bytes as the queue may have, and says busy to one more', () => {
    const rig = Rig.greeted();
    // It is undecided, and in memory as well as those that wait.
    const held = frameOf(['a']);
    rig.arrive(held);
    rig.arrive(frameOf(['a'], { bytes: limits.queuedBytes - 100 - held.bytes }));
    expect(rig.told(rig.arrive(frameOf(['a'], { bytes: 101 })))?.kind).toBe('busy');
    expect(rig.told(rig.arrive(frameOf(['a'], { bytes: 100 })))).toBeUndefined();
  });

  it('still answers a repeated request when the queue is full', () => {
    const rig = Rig.greeted();
    const idempotency = { key: 'once', digest: 'this' };
    rig.arrive(frameOf(['a'], { idempotency, bytes: limits.queuedBytes }));
    rig.arrive(frameOf(['a'], { bytes: limits.queuedBytes }));
    expect(rig.told(rig.arrive(frameOf(['a'])))?.kind).toBe('busy');
    const ticket = rig.arrive(frameOf(['a'], { idempotency }), { async: true });
    expect(rig.told(ticket)?.kind).toBe('accepted');
  });

  // R19: no attempt starts after a frame's notAfter.
  it('refuses a frame whose notAfter has passed when it arrives, and tries nothing', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { notAfter: rig.now }));
    expect(rig.told(ticket)).toMatchObject({ kind: 'too-late' });
    expect(rig.flights).toEqual([]);
    expect(rig.core.status()).toMatchObject({ queued: 0, undecided: 0 });
  });
});

// R18: the clock never goes back.
describe('the clock', () => {
  const nowOf = (rig: Rig) => rig.flights.at(-1)?.round.prepares.at(-1)?.now;

  it('does not go back with the machine that it is read from, and goes on at half speed until that catches up', () => {
    const rig = Rig.greeted({ regions: ['only'] });
    const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
    const arrive = () => {
      rig.executeAll();
      rig.arrive(frameOf(['a'], lasting));
    };
    arrive();
    const before = nowOf(rig) ?? 0;
    rig.now -= 5_000;
    arrive();
    expect(nowOf(rig)).toBe(before);
    rig.now += 1_000;
    arrive();
    expect(nowOf(rig)).toBe(before + 500);
    rig.now += 9_000;
    arrive();
    expect(nowOf(rig)).toBe(before + 5_000);
  });

  it('that was far ahead in an earlier life refuses no write for it, and passes its deadlines', () => {
    const hour = 3_600_000;
    const rig = new Rig({ stored: { now: start + hour } });
    const clock = () => rig.core.clockAt(rig.now);
    const ticket = rig.arrive(frameOf(['a'], { notAfter: clock() + 5_000 }));
    rig.run(100);
    expect(rig.record(ticket).outcome).toBe('committed');
    const silent = rig.arrive(frameOf(['b'], { notAfter: clock() + 1_000 }));
    rig.run(2_100, []);
    expect(rig.told(silent)).toMatchObject({ kind: 'unavailable' });
    rig.run(2 * hour);
    expect(clock()).toBe(rig.now);
  });

  it('by which a write was too late is stored before that is said, so that no later life decides it', () => {
    const rig = Rig.greeted();
    const frame = frameOf(['a'], { notAfter: rig.now + 50 });
    const ticket = rig.arrive(frame);
    rig.run(2_500, ['near']);
    expect(rig.told(ticket)).toMatchObject({ kind: 'unavailable' });
    const behind = rig.restarted({ now: frame.notAfter - 40 });
    behind.tick();
    const again = behind.arrive(frame);
    expect(behind.told(again)).toMatchObject({ kind: 'too-late' });
  });

  it('is stored as well where a frame came too late, and where nobody waits for the answer', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a'], { notAfter: rig.now }));
    expect(rig.last.persist).toEqual([{ kind: 'clock', now: rig.now }]);
    const id = frameOf(['b'], { notAfter: rig.now + 20 });
    rig.arrive(id, { async: true });
    rig.run(3_000, []);
    expect(rig.core.write(id.id)).toMatchObject({ kind: 'unavailable' });
    expect(rig.tables.now).toBeGreaterThanOrEqual(id.notAfter);
  });

  it('does not start before the last reading that an earlier life has used', () => {
    const rig = new Rig({ regions: ['only'], stored: { now: start + 300 } });
    rig.arrive(frameOf(['a']));
    expect(nowOf(rig)).toBe(start + 300);
  });

  it('is stored as the transaction had it, with each decision', () => {
    const rig = Rig.greeted({ regions: ['only'] });
    rig.arrive(frameOf(['a']));
    const used = nowOf(rig);
    rig.now += 40;
    rig.executeAll();
    expect(rig.last.persist).toContainEqual(expect.objectContaining({ kind: 'commit', now: used }));
  });
});

// R20: at most so many rounds wait for an answer; the rig throws where there are more.
describe('the connections', () => {
  it('are never more than there are, and nobody waits for ever', () => {
    for (const connections of [1, 2, 3, 6]) {
      const rig = new Rig({ connections });
      rig.tick();
      const tickets = ['a', 'b', 'c', 'd'].map((key) => rig.arrive(frameOf([key])));
      rig.settle();
      for (const ticket of tickets) expect(rig.record(ticket).outcome).toBe('committed');
    }
  });

  it('go to the farthest region first', () => {
    const rig = new Rig({ connections: 3 });
    rig.tick();
    rig.arrive(frameOf(['a']));
    for (const region of ['near', 'middle', 'far']) {
      rig.now += 30;
      rig.execute(rig.flight(region));
    }
    rig.settle();
    rig.arrive(frameOf(['b']));
    expect(rig.last.sends.map(({ region }) => region)).toEqual(['far', 'middle', 'near']);
  });

  it('when short let a commit linger, and ride with the next prepare', () => {
    const rig = Rig.greeted({ connections: 3 });
    rig.arrive(frameOf(['a']));
    rig.executeAll();
    expect(rig.flights).toEqual([]);
    rig.now += limits.commitLingerMs - 1;
    rig.arrive(frameOf(['b']));
    expect(rig.flights).toHaveLength(3);
    for (const { round } of rig.flights) {
      expect(round.decisions.map(({ transaction }) => transaction)).toEqual([[3, 1]]);
      expect(round.prepares.map(({ transaction }) => transaction)).toEqual([[3, 2]]);
    }
  });

  it('when short carry a commit alone once it has lingered', () => {
    const rig = Rig.greeted({ connections: 3 });
    rig.arrive(frameOf(['a']));
    rig.executeAll();
    rig.advance(limits.commitLingerMs - 1);
    expect(rig.flights).toEqual([]);
    rig.advance(1);
    expect(rig.flights).toHaveLength(3);
  });

  it('when plenty carry a commit at once', () => {
    const rig = Rig.greeted({ connections: 9 });
    rig.arrive(frameOf(['a']));
    rig.executeAll();
    expect(rig.last.sends).toHaveLength(3);
  });

  it('carry a commit at once where a caller waits for its confirmation', () => {
    const rig = Rig.greeted({ connections: 3 });
    rig.arrive(frameOf(['a'], { ack: 'confirmed' }));
    rig.executeAll();
    expect(rig.last.sends).toHaveLength(3);
  });

  it('leave room for other regions: no region has more rounds on its way than its share', () => {
    const rig = Rig.greeted();
    for (let frame = 0; frame < 10; frame++) rig.arrive(frameOf([`k${frame}`]));
    for (const region of rig.regions) {
      expect(rig.flightsTo(region)).toHaveLength(limits.roundsInFlightPerRegion);
    }
    rig.executeAll(['far']);
    expect(rig.preparing('far')).toHaveLength(7);
  });
});
