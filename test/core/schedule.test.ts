import { describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { Waiting } from '../../shared/protocol/admission.ts';
import { RegionLink } from '../../shared/protocol/region-link.ts';
import { nextLink } from '../../shared/protocol/schedule.ts';
import { Transaction } from '../../shared/protocol/transaction.ts';
import { frameOf } from './rig.ts';
import { voterOf } from './stored.ts';

const now = 5_000;
const later = now + 1;

/** A link that has answered before, `roundTripMs` away, and to which nothing is owed. */
function linkOf(region: string, roundTripMs: number): RegionLink {
  const link = new RegionLink(voterOf(region), Number.NEGATIVE_INFINITY, 0);
  send(link);
  const nothing = { decisions: [], votes: [], marks: [], older: [], olderTruncated: false };
  const reply = { ...nothing, clock: null, copy: null };
  link.learn(reply, link.land(1), 0);
  link.roundTripMs = roundTripMs;
  return link;
}

/** A round leaves for the link's region. */
function send(link: RegionLink, number = 1): void {
  const order = [1, 0] as const;
  const head = { shard: 0, generation: 1, epoch: 1, incarnation: 1 };
  link.nextRound(number, { ...head, newest: order, oldestUndecided: null }, 'mark', 0);
}

function prepare(link: RegionLink, sequence: number): void {
  const waiting: Waiting = {
    frame: frameOf(['a']),
    arrival: sequence,
    arrivedAt: 0,
    callers: [],
    attempts: 0,
    retryAt: 0,
    searches: 0,
    stalls: 0,
    together: null,
    lacking: null,
    doubts: 0,
    faults: [],
  };
  link.enqueue(new Transaction([1, sequence], [waiting], [link.region], now, later));
}

function commit(link: RegionLink, lingerUntil: number): void {
  link.owed.add({ transaction: [1, 1], outcome: 'commit', keys: ['a'] }, 1, 10, 0);
  link.lingerUntil = lingerUntil;
}

// R20: prepares before commits that travel alone, the oldest first, the farthest first among equals.
describe('the next connection', () => {
  it('goes to nobody where nothing is to be said', () => {
    expect(nextLink([linkOf('near', 10), linkOf('far', 200)], 6, now)).toBeNull();
  });

  it('goes to nobody where none is free', () => {
    const link = linkOf('near', 10);
    prepare(link, 1);
    expect(nextLink([link], 0, now)).toBeNull();
    expect(nextLink([link], 1, now)).toBe(link);
  });

  it('goes to a prepare before a commit that travels alone', () => {
    const [near, far] = [linkOf('near', 10), linkOf('far', 200)];
    prepare(near, 9);
    commit(far, now);
    expect(nextLink([far, near], 1, now)).toBe(near);
  });

  it('goes to the oldest prepare, however near', () => {
    const [near, far] = [linkOf('near', 10), linkOf('far', 200)];
    prepare(near, 1);
    prepare(far, 2);
    expect(nextLink([far, near], 1, now)).toBe(near);
  });

  it('goes to the farthest region where prepares are equally old', () => {
    const [near, far] = [linkOf('near', 10), linkOf('far', 200)];
    prepare(near, 1);
    prepare(far, 1);
    expect(nextLink([near, far], 1, now)).toBe(far);
  });

  it('goes to a region of unknown distance before the farthest known', () => {
    const [far, fresh] = [linkOf('far', 200), linkOf('fresh', 0)];
    fresh.roundTripMs = null;
    prepare(far, 1);
    prepare(fresh, 1);
    expect(nextLink([far, fresh], 1, now)).toBe(fresh);
  });

  it('goes to the commit that has lingered longest', () => {
    const [near, far] = [linkOf('near', 10), linkOf('far', 200)];
    commit(near, now - 5);
    commit(far, now - 4);
    expect(nextLink([far, near], 1, now)).toBe(near);
  });

  it('goes to no commit that still lingers, unless a prepare to each region still finds one', () => {
    const [near, far] = [linkOf('near', 10), linkOf('far', 200)];
    commit(far, later);
    expect(nextLink([near, far], 2, now)).toBeNull();
    expect(nextLink([near, far], 3, now)).toBe(far);
    expect(nextLink([near, far], 1, later)).toBe(far);
    commit(near, later);
    expect(nextLink([near, far], 3, now)).toBeNull();
    expect(nextLink([near, far], 4, now)).not.toBeNull();
  });

  it('goes to no region that has its share of rounds on the way', () => {
    const link = linkOf('near', 10);
    for (let number = 2; number <= limits.roundsInFlightPerRegion; number++) send(link, number);
    prepare(link, 1);
    expect(nextLink([link], 9, now)).toBe(link);
    send(link, limits.roundsInFlightPerRegion + 1);
    prepare(link, 2);
    expect(nextLink([link], 9, now)).toBeNull();
  });

  it('goes to a silent region only to probe it, when its pause is over', () => {
    const link = linkOf('near', 10);
    prepare(link, 1);
    link.fail('connection refused', now, now);
    const probeAt = now + limits.probePauseMsFirst;
    expect(nextLink([link], 6, probeAt - 1)).toBeNull();
    expect(nextLink([link], 6, probeAt)).toBe(link);
    send(link, 2);
    expect(nextLink([link], 6, probeAt)).toBeNull();
  });

  it('goes to a lease that is due after all but a step of a copy', () => {
    const [reader, owing, copied] = ['reader', 'owing', 'copied'].map((one) => linkOf(one, 10));
    if (reader === undefined || owing === undefined || copied === undefined) throw new Error();
    reader.lease.want(now);
    copied.copyStep = { kind: 'list', cursor: '0', count: 1 };
    commit(owing, now - 1);
    expect(nextLink([copied, reader, owing], 1, now)).toBe(owing);
    expect(nextLink([copied, reader], 1, now)).toBe(reader);
    expect(nextLink([copied], 1, now)).toBe(copied);
  });

  it('never goes to a region that has lost writes', () => {
    const link = linkOf('near', 10);
    prepare(link, 1);
    const leaving = { cause: 'lost', detail: 'it is empty', whole: true, held: false } as const;
    link.membership = { state: 'voter', since: 0, leaving };
    expect(nextLink([link], 6, now)).toBeNull();
  });
});
