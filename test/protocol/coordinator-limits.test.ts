import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf, start } from './core-harness.ts';

describe('the admission', () => {
  it('takes no more frames than the limit of the queue, and answers busy to the next', () => {
    const harness = CoreHarness.begun();
    const frames = Array.from({ length: limits.framesQueued }, () => frameOf(['a']));
    for (const frame of frames) harness.arrive(frame, { async: true });
    const ticket = harness.arrive(frameOf(['b']));
    expect(harness.answerTo(ticket)).toEqual({ kind: 'busy', retryAfterMs: 1_000 });
    harness.executeAll();
    harness.arrive(frameOf(['b']));
    expect(harness.preparing('near')).toContainEqual([3, 3]);
  });

  it('takes no more bytes than the limit of the queue, and answers busy to the next', () => {
    const harness = CoreHarness.begun();
    // It is undecided, and in memory as well as those that wait.
    const undecided = frameOf(['a']);
    harness.arrive(undecided);
    harness.arrive(frameOf(['a'], { bytes: limits.queuedBytes - 100 - undecided.bytes }));
    expect(harness.answerTo(harness.arrive(frameOf(['a'], { bytes: 101 })))?.kind).toBe('busy');
    expect(harness.answerTo(harness.arrive(frameOf(['a'], { bytes: 100 })))).toBeUndefined();
  });

  it('still answers a repeated request when the queue is full', () => {
    const harness = CoreHarness.begun();
    const idempotency = { key: 'once', digest: 'this' };
    harness.arrive(frameOf(['a'], { idempotency, bytes: limits.queuedBytes }));
    harness.arrive(frameOf(['a'], { bytes: limits.queuedBytes }));
    expect(harness.answerTo(harness.arrive(frameOf(['a'])))?.kind).toBe('busy');
    const ticket = harness.arrive(frameOf(['a'], { idempotency }), { async: true });
    expect(harness.answerTo(ticket)?.kind).toBe('accepted');
  });

  // R19: no attempt starts after a frame's notAfter.
  it('refuses a frame whose notAfter has passed when it arrives, and tries nothing', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], { notAfter: harness.now }));
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'too-late' });
    expect(harness.flights).toEqual([]);
    expect(harness.core.status()).toMatchObject({ queued: 0, undecided: 0 });
  });
});

// R18: the clock never goes back.
describe('the clock', () => {
  const nowOf = (harness: CoreHarness) => harness.flights.at(-1)?.round.prepares.at(-1)?.now;

  it('does not go back with the machine’s clock, and runs at half speed until that catches up', () => {
    const harness = CoreHarness.begun({ regions: ['only'] });
    const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
    const arrive = () => {
      harness.executeAll();
      harness.arrive(frameOf(['a'], lasting));
    };
    arrive();
    const before = nowOf(harness) ?? 0;
    harness.now -= 5_000;
    arrive();
    expect(nowOf(harness)).toBe(before);
    harness.now += 1_000;
    arrive();
    expect(nowOf(harness)).toBe(before + 500);
    harness.now += 9_000;
    arrive();
    expect(nowOf(harness)).toBe(before + 5_000);
  });

  it('that was far ahead in an earlier instance refuses no write for it, and its deadlines still pass', () => {
    const hour = 3_600_000;
    const harness = new CoreHarness({ stored: { now: start + hour } });
    const clock = () => harness.core.clockAt(harness.now);
    const ticket = harness.arrive(frameOf(['a'], { notAfter: clock() + 5_000 }));
    harness.run(100);
    expect(harness.record(ticket).outcome).toBe('committed');
    const silent = harness.arrive(frameOf(['b'], { notAfter: clock() + 1_000 }));
    harness.run(2_100, []);
    expect(harness.answerTo(silent)).toMatchObject({ kind: 'unavailable' });
    harness.run(2 * hour);
    expect(clock()).toBe(harness.now);
  });

  it('by which a write was too late is stored before the refusal, so that no later instance decides the write', () => {
    const harness = CoreHarness.begun();
    const frame = frameOf(['a'], { notAfter: harness.now + 50 });
    const ticket = harness.arrive(frame);
    harness.run(2_500, ['near']);
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'unavailable' });
    const behind = harness.restarted({ now: frame.notAfter - 40 });
    behind.tick();
    const again = behind.arrive(frame);
    expect(behind.answerTo(again)).toMatchObject({ kind: 'too-late' });
  });

  it('is stored as well if a frame came too late, and if no caller waits for the answer', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a'], { notAfter: harness.now }));
    expect(harness.last.persist).toEqual([{ kind: 'clock', now: harness.now }]);
    const id = frameOf(['b'], { notAfter: harness.now + 20 });
    harness.arrive(id, { async: true });
    harness.run(3_000, []);
    expect(harness.core.write(id.id)).toMatchObject({ kind: 'unavailable' });
    expect(harness.tables.now).toBeGreaterThanOrEqual(id.notAfter);
  });

  it('does not start before the last time that an earlier instance has used', () => {
    const harness = new CoreHarness({ regions: ['only'], stored: { now: start + 300 } });
    harness.arrive(frameOf(['a']));
    expect(nowOf(harness)).toBe(start + 300);
  });

  it('is stored with each decision as the transaction had it', () => {
    const harness = CoreHarness.begun({ regions: ['only'] });
    harness.arrive(frameOf(['a']));
    const used = nowOf(harness);
    harness.now += 40;
    harness.executeAll();
    expect(harness.last.persist).toContainEqual(
      expect.objectContaining({ kind: 'commit', now: used }),
    );
  });
});

// R20: a bounded number of rounds wait for an answer; the harness throws if there are more.
describe('the connections', () => {
  it('stay within their limit, and no round waits for ever', () => {
    for (const connections of [1, 2, 3, 6]) {
      const harness = new CoreHarness({ connections });
      harness.tick();
      const tickets = ['a', 'b', 'c', 'd'].map((key) => harness.arrive(frameOf([key])));
      harness.settle();
      for (const ticket of tickets) expect(harness.record(ticket).outcome).toBe('committed');
    }
  });

  it('may all be taken by reads, whose end lets a waiting decision leave', () => {
    const harness = CoreHarness.begun({ regions: ['only'], connections: 2 });
    harness.arrive(frameOf(['a']));
    harness.read();
    harness.read();
    harness.execute(harness.flight('only'));
    expect(harness.snapshots).toHaveLength(2);
    harness.advance(limits.commitLingerMs);
    expect(harness.flights).toEqual([]);
    const [first] = harness.snapshots;
    if (first !== undefined) {
      harness.endSnapshot(first, { kind: 'read', replies: ['1'], locks: [] });
    }
    expect(harness.deciding('only')).toMatchObject([{ outcome: 'commit', keys: ['a'] }]);
  });

  it('go to the farthest region first', () => {
    const harness = new CoreHarness({ connections: 3 });
    harness.tick();
    harness.arrive(frameOf(['a']));
    for (const region of ['near', 'middle', 'far']) {
      harness.now += 30;
      harness.execute(harness.flight(region));
    }
    harness.settle();
    harness.arrive(frameOf(['b']));
    expect(harness.last.sends.map(({ region }) => region)).toEqual(['far', 'middle', 'near']);
  });

  it('when short let a commit linger, and send it with the next prepare', () => {
    const harness = CoreHarness.begun({ connections: 3 });
    harness.arrive(frameOf(['a']));
    harness.executeAll();
    expect(harness.flights).toEqual([]);
    harness.now += limits.commitLingerMs - 1;
    harness.arrive(frameOf(['b']));
    expect(harness.flights).toHaveLength(3);
    for (const { round } of harness.flights) {
      expect(round.decisions.map(({ transaction }) => transaction)).toEqual([[3, 1]]);
      expect(round.prepares.map(({ transaction }) => transaction)).toEqual([[3, 2]]);
    }
  });

  it('when short carry a commit alone once it has lingered', () => {
    const harness = CoreHarness.begun({ connections: 3 });
    harness.arrive(frameOf(['a']));
    harness.executeAll();
    harness.advance(limits.commitLingerMs - 1);
    expect(harness.flights).toEqual([]);
    harness.advance(1);
    expect(harness.flights).toHaveLength(3);
  });

  it('when plentiful carry a commit at once', () => {
    const harness = CoreHarness.begun({ connections: 9 });
    harness.arrive(frameOf(['a']));
    harness.executeAll();
    expect(harness.last.sends).toHaveLength(3);
  });

  it('carry a commit at once if a caller waits for its confirmation', () => {
    const harness = CoreHarness.begun({ connections: 3 });
    harness.arrive(frameOf(['a'], { ack: 'confirmed' }));
    harness.executeAll();
    expect(harness.last.sends).toHaveLength(3);
  });

  it('leave room for other regions: no region has more rounds on their way than its share', () => {
    const harness = CoreHarness.begun();
    for (let frame = 0; frame < 10; frame++) {
      harness.arrive(frameOf([`k${frame}`]));
      harness.advance(10);
    }
    for (const region of harness.regions) {
      expect(harness.flightsTo(region)).toHaveLength(limits.roundsInFlightPerRegion);
    }
    harness.executeAll(['far']);
    expect(harness.preparing('far')).toHaveLength(10 - limits.roundsInFlightPerRegion);
  });
});
