import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf, start, timing } from './core-harness.ts';

/** A harness in which `middle` has just failed to answer a prepare of `a`. The abort is said to the others. */
function withSilence(notAfter = start + 10_000) {
  const harness = CoreHarness.begun();
  const ticket = harness.arrive(frameOf(['a'], { notAfter }));
  harness.executeAll(['near', 'far']);
  harness.silence(harness.flight('middle'));
  harness.executeAll(['near', 'far']);
  return { harness, ticket };
}

describe('a write that could not be decided', () => {
  it('is retried by itself under a new transaction, within the time of its caller', () => {
    const { harness, ticket } = withSilence();
    harness.advance(limits.probeBackoffMinMs);
    harness.execute(harness.flight('middle'));
    expect(harness.preparing('middle')).toEqual([[3, 2]]);
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({
      transaction: '0.3.2',
      attempts: 2,
      sequence: 1,
    });
  });

  // R19: no attempt starts after notAfter, and none is under way when the caller is answered.
  it('is given up at notAfter, naming the region that is silent', () => {
    const { harness, ticket } = withSilence(start + 400);
    for (let probes = 0; probes < 3; probes++) {
      harness.advance(harness.last.wakeAt === null ? 0 : harness.last.wakeAt - harness.now);
      for (const send of harness.flightsTo('middle')) harness.silence(send, 'connection refused');
    }
    harness.advance(start + 400 - harness.now - 1);
    expect(harness.answerTo(ticket)).toBeUndefined();
    harness.advance(1);
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'middle', reason: 'connection refused' }],
    });
    expect(harness.core.status()).toMatchObject({ queued: 0, undecided: 0 });
  });

  it('is answered at notAfter also if its vote deadline would be later', () => {
    const harness = CoreHarness.begun();
    const frame = frameOf(['a'], { notAfter: harness.now + 60 });
    const ticket = harness.arrive(frame);
    harness.advance(60);
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'unavailable' });
    expect(harness.core.write(frame.id)).toMatchObject({ kind: 'unavailable' });
    expect(harness.core.status().undecided).toBe(0);
  });

  it('is not committed by votes that come after its caller was answered', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], { notAfter: harness.now + 60 }));
    const late = harness.flights;
    harness.advance(60);
    for (const send of late) harness.execute(send);
    harness.settle();
    expect(harness.answerTo(ticket)?.kind).toBe('unavailable');
    expect(harness.persisted).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
  });

  it('is not retried past its notAfter, if a longer-lived write took it along and is preempted', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    const short = harness.arrive(frameOf(['a'], { notAfter: harness.now + 60 }));
    const long = harness.arrive(frameOf(['a']));
    harness.executeAll();
    harness.advance(60);
    expect(harness.answerTo(short)).toBeUndefined();
    const urgent = harness.arrive(frameOf(['a'], { priority: 1 }));
    expect(harness.answerTo(short)).toMatchObject({ kind: 'unavailable' });
    harness.settle();
    expect([urgent, long].map((ticket) => harness.record(ticket).sequence)).toEqual([2, 3]);
  });

  it('is sent to a region that refused only after a pause, twice as long each time', () => {
    const harness = CoreHarness.begun({ regions: ['only'] });
    harness.arrive(frameOf(['a']));
    const pauses: number[] = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      const prepare = harness.flightsTo('only').find(({ round }) => round.prepares.length > 0);
      if (prepare === undefined) throw new Error('the write is being tried');
      harness.execute(prepare, { votes: [{ kind: 'refused', reason: 'OOM' }] });
      const refusedAt = harness.now;
      while (harness.preparing('only').length === 0) {
        harness.executeAll();
        harness.advance((harness.last.wakeAt ?? harness.now) - harness.now);
      }
      pauses.push(harness.now - refusedAt);
    }
    expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 320, 500, 500]);
  });
});

// R11: while any voter does not answer, nothing is prepared anywhere.
describe('the gate', () => {
  it('keeps a new write from every region while one is silent', () => {
    const { harness } = withSilence();
    harness.arrive(frameOf(['b']));
    harness.advance(limits.probeBackoffMinMs - 1);
    expect(harness.flights).toEqual([]);
    expect(harness.core.status()).toMatchObject({ queued: 2, undecided: 0 });
  });

  it('sends probes that carry nothing, though decisions are unacknowledged', () => {
    const { harness } = withSilence();
    harness.advance(limits.probeBackoffMinMs);
    expect(harness.core.status().regions[1]).toMatchObject({ health: 'silent', unacknowledged: 1 });
    expect(harness.flights.map(({ region }) => region)).toEqual(['middle']);
    expect(harness.flight('middle').round).toMatchObject({ decisions: [], prepares: [] });
  });

  it('sends probes after pauses that double, up to the longest', () => {
    const { harness } = withSilence();
    const pauses: number[] = [];
    for (let probe = 0; probe < 7; probe++) {
      const silentSince = harness.now;
      while (harness.flights.length === 0)
        harness.advance((harness.last.wakeAt ?? harness.now) - harness.now);
      pauses.push(harness.now - silentSince);
      harness.silence(harness.flight('middle'));
    }
    expect(pauses).toEqual([50, 100, 200, 400, 800, 1_000, 1_000]);
  });

  it('sends a probe after the first pause again, once the region has answered a round in between', () => {
    const { harness } = withSilence();
    for (let probe = 0; probe < 3; probe++) {
      while (harness.flights.length === 0)
        harness.advance((harness.last.wakeAt ?? harness.now) - harness.now);
      if (probe < 2) harness.silence(harness.flight('middle'));
    }
    harness.settle();
    harness.arrive(frameOf(['b']));
    harness.silence(harness.flight('middle'));
    const silentSince = harness.now;
    harness.executeAll();
    while (harness.flightsTo('middle').length === 0) {
      harness.executeAll();
      harness.advance((harness.last.wakeAt ?? harness.now) - harness.now);
    }
    expect(harness.now - silentSince).toBe(limits.probeBackoffMinMs);
  });

  it('sends one probe at a time, however long it takes', () => {
    const { harness } = withSilence();
    harness.advance(timing.voteDeadlineMs);
    expect(harness.flightsTo('middle')).toHaveLength(1);
  });

  it('opens with the answer to a probe: unacknowledged decisions go first, and the writes follow', () => {
    const { harness } = withSilence();
    const other = harness.arrive(frameOf(['b']));
    harness.advance(limits.probeBackoffMinMs);
    harness.execute(harness.flight('middle'));
    const { round } = harness.flight('middle');
    expect(round.decisions).toEqual([{ transaction: [3, 1], outcome: 'abort', keys: ['a'] }]);
    expect(round.prepares.map(({ keys }) => keys)).toEqual([['a'], ['b']]);
    harness.settle();
    expect(harness.record(other)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });

  it('closes when a round takes longer than the vote deadline', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.executeAll(['near', 'far']);
    harness.advance(timing.voteDeadlineMs);
    expect(harness.core.status().regions[1]).toMatchObject({ region: 'middle', health: 'silent' });
    harness.executeAll(['near', 'far']);
    harness.arrive(frameOf(['b']));
    expect(harness.preparing('near')).toEqual([]);
  });

  it('closes when a region refuses to apply a decision, and reports it', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.executeAll();
    harness.execute(harness.flight('far'), { decisions: ['refused'] });
    const waiting = harness.arrive(frameOf(['b'], { notAfter: harness.now + 40 }));
    harness.advance(40);
    expect(harness.answerTo(waiting)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'far', reason: expect.stringContaining('refused to apply') }],
    });
  });

  it('closes if a region has too many unacknowledged decisions', () => {
    const unconfirmed = Array.from({ length: limits.unacknowledgedPerRegion }, (_, at) => ({
      transaction: [2, at + 1] as const,
      keys: [`k${at}`],
      sequence: at + 1,
      writes: [],
    }));
    const harness = new CoreHarness({ stored: { unconfirmed } });
    harness.tick();
    const ticket = harness.arrive(frameOf(['a'], { notAfter: start + 5 }));
    harness.advance(5);
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify(harness.answerTo(ticket))).toContain('decisions to acknowledge');
    const fewer = new CoreHarness({ stored: { unconfirmed: unconfirmed.slice(1) } });
    fewer.tick();
    fewer.arrive(frameOf(['a']));
    expect(fewer.core.status().undecided).toBe(1);
  });
});
