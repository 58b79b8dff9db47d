import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig, start, timing } from './core-harness.ts';

/** A rig in which `middle` has just failed to answer a prepare of `a`. The abort is said to the others. */
function withSilence(notAfter = start + 10_000) {
  const rig = Rig.greeted();
  const ticket = rig.arrive(frameOf(['a'], { notAfter }));
  rig.executeAll(['near', 'far']);
  rig.silence(rig.flight('middle'));
  rig.executeAll(['near', 'far']);
  return { rig, ticket };
}

describe('a write that could not be decided', () => {
  it('is tried again by itself under a new transaction, within the time of its caller', () => {
    const { rig, ticket } = withSilence();
    rig.advance(limits.probeBackoffMinMs);
    rig.execute(rig.flight('middle'));
    expect(rig.preparing('middle')).toEqual([[3, 2]]);
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ transaction: '0.3.2', attempts: 2, sequence: 1 });
  });

  // R19: no attempt starts after notAfter, and none is under way when the caller is told.
  it('is given up at notAfter, naming the region that is silent', () => {
    const { rig, ticket } = withSilence(start + 400);
    for (let probes = 0; probes < 3; probes++) {
      rig.advance(rig.last.wakeAt === null ? 0 : rig.last.wakeAt - rig.now);
      for (const send of rig.flightsTo('middle')) rig.silence(send, 'connection refused');
    }
    rig.advance(start + 400 - rig.now - 1);
    expect(rig.told(ticket)).toBeUndefined();
    rig.advance(1);
    expect(rig.told(ticket)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'middle', reason: 'connection refused' }],
    });
    expect(rig.core.status()).toMatchObject({ queued: 0, undecided: 0 });
  });

  it('is told at notAfter also where its vote deadline would be later', () => {
    const rig = Rig.greeted();
    const frame = frameOf(['a'], { notAfter: rig.now + 60 });
    const ticket = rig.arrive(frame);
    rig.advance(60);
    expect(rig.told(ticket)).toMatchObject({ kind: 'unavailable' });
    expect(rig.core.write(frame.id)).toMatchObject({ kind: 'unavailable' });
    expect(rig.core.status().undecided).toBe(0);
  });

  it('is not committed by votes that come after its caller was told', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], { notAfter: rig.now + 60 }));
    const late = rig.flights;
    rig.advance(60);
    for (const send of late) rig.execute(send);
    rig.settle();
    expect(rig.told(ticket)?.kind).toBe('unavailable');
    expect(rig.persisted).not.toContainEqual(expect.objectContaining({ kind: 'commit' }));
  });

  it('is not tried again past its notAfter, where a longer-lived one took it along and is preempted', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    const short = rig.arrive(frameOf(['a'], { notAfter: rig.now + 60 }));
    const long = rig.arrive(frameOf(['a']));
    rig.executeAll();
    rig.advance(60);
    expect(rig.told(short)).toBeUndefined();
    const urgent = rig.arrive(frameOf(['a'], { priority: 1 }));
    expect(rig.told(short)).toMatchObject({ kind: 'unavailable' });
    rig.settle();
    expect([urgent, long].map((ticket) => rig.record(ticket).sequence)).toEqual([2, 3]);
  });

  it('pauses before it asks a region again that refused, twice as long each time', () => {
    const rig = Rig.greeted({ regions: ['only'] });
    rig.arrive(frameOf(['a']));
    const pauses: number[] = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      const prepare = rig.flightsTo('only').find(({ round }) => round.prepares.length > 0);
      if (prepare === undefined) throw new Error('the write is being tried');
      rig.execute(prepare, { votes: [{ kind: 'refused', reason: 'OOM' }] });
      const refusedAt = rig.now;
      while (rig.preparing('only').length === 0) {
        rig.executeAll();
        rig.advance((rig.last.wakeAt ?? rig.now) - rig.now);
      }
      pauses.push(rig.now - refusedAt);
    }
    expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 320, 500, 500]);
  });
});

// R11: while any voter does not answer, nothing is prepared anywhere.
describe('the gate', () => {
  it('keeps a new write from every region while one is silent', () => {
    const { rig } = withSilence();
    rig.arrive(frameOf(['b']));
    rig.advance(limits.probeBackoffMinMs - 1);
    expect(rig.flights).toEqual([]);
    expect(rig.core.status()).toMatchObject({ queued: 2, undecided: 0 });
  });

  it('is probed by rounds that carry nothing, though decisions are owed', () => {
    const { rig } = withSilence();
    rig.advance(limits.probeBackoffMinMs);
    expect(rig.core.status().regions[1]).toMatchObject({ health: 'silent', unacknowledged: 1 });
    expect(rig.flights.map(({ region }) => region)).toEqual(['middle']);
    expect(rig.flight('middle').round).toMatchObject({ decisions: [], prepares: [] });
  });

  it('is probed after pauses that double, up to the longest', () => {
    const { rig } = withSilence();
    const pauses: number[] = [];
    for (let probe = 0; probe < 7; probe++) {
      const silentSince = rig.now;
      while (rig.flights.length === 0) rig.advance((rig.last.wakeAt ?? rig.now) - rig.now);
      pauses.push(rig.now - silentSince);
      rig.silence(rig.flight('middle'));
    }
    expect(pauses).toEqual([50, 100, 200, 400, 800, 1_000, 1_000]);
  });

  it('is probed again after the first pause, once the region has answered a round in between', () => {
    const { rig } = withSilence();
    for (let probe = 0; probe < 3; probe++) {
      while (rig.flights.length === 0) rig.advance((rig.last.wakeAt ?? rig.now) - rig.now);
      if (probe < 2) rig.silence(rig.flight('middle'));
    }
    rig.settle();
    rig.arrive(frameOf(['b']));
    rig.silence(rig.flight('middle'));
    const silentSince = rig.now;
    rig.executeAll();
    while (rig.flightsTo('middle').length === 0) {
      rig.executeAll();
      rig.advance((rig.last.wakeAt ?? rig.now) - rig.now);
    }
    expect(rig.now - silentSince).toBe(limits.probeBackoffMinMs);
  });

  it('sends one probe at a time, however long it takes', () => {
    const { rig } = withSilence();
    rig.advance(timing.voteDeadlineMs);
    expect(rig.flightsTo('middle')).toHaveLength(1);
  });

  it('opens with the answer to a probe: what is owed goes first, and the writes follow', () => {
    const { rig } = withSilence();
    const other = rig.arrive(frameOf(['b']));
    rig.advance(limits.probeBackoffMinMs);
    rig.execute(rig.flight('middle'));
    const { round } = rig.flight('middle');
    expect(round.decisions).toEqual([{ transaction: [3, 1], outcome: 'abort', keys: ['a'] }]);
    expect(round.prepares.map(({ keys }) => keys)).toEqual([['a'], ['b']]);
    rig.settle();
    expect(rig.record(other)).toMatchObject({ outcome: 'committed', attempts: 1 });
  });

  it('closes when a round takes longer than the vote deadline', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.executeAll(['near', 'far']);
    rig.advance(timing.voteDeadlineMs);
    expect(rig.core.status().regions[1]).toMatchObject({ region: 'middle', health: 'silent' });
    rig.executeAll(['near', 'far']);
    rig.arrive(frameOf(['b']));
    expect(rig.preparing('near')).toEqual([]);
  });

  it('closes when a region refuses to apply a decision, and tells of it', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.executeAll();
    rig.execute(rig.flight('far'), { decisions: ['refused'] });
    const waiting = rig.arrive(frameOf(['b'], { notAfter: rig.now + 40 }));
    rig.advance(40);
    expect(rig.told(waiting)).toMatchObject({
      kind: 'unavailable',
      faults: [{ region: 'far', reason: expect.stringContaining('refused to apply') }],
    });
  });

  it('closes where a region has too many decisions to acknowledge', () => {
    const unconfirmed = Array.from({ length: limits.unacknowledgedPerRegion }, (_, at) => ({
      transaction: [2, at + 1] as const,
      keys: [`k${at}`],
      sequence: at + 1,
      writes: [],
    }));
    const rig = new Rig({ stored: { unconfirmed } });
    rig.tick();
    const ticket = rig.arrive(frameOf(['a'], { notAfter: start + 5 }));
    rig.advance(5);
    expect(rig.told(ticket)).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify(rig.told(ticket))).toContain('decisions to acknowledge');
    const fewer = new Rig({ stored: { unconfirmed: unconfirmed.slice(1) } });
    fewer.tick();
    fewer.arrive(frameOf(['a']));
    expect(fewer.core.status().undecided).toBe(1);
  });
});
