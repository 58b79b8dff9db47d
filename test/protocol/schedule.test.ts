import { describe, expect, it } from 'vitest';
import type { Round } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { RegionLink } from '../../shared/protocol/regions/region-link.ts';
import { nextTurn } from '../../shared/protocol/regions/schedule.ts';
import { Transaction } from '../../shared/protocol/transactions/transaction.ts';
import { frameOf } from './core-harness.ts';
import { waitingOf } from './pending-writes.ts';
import { voterOf } from './stored.ts';

const now = 5_000;
const later = now + 1;
/** The time between two transactions, ms, of which none waits for the next. */
const calm: number = limits.commitLingerMs;

/** A link that has answered before, `roundTripMs` away, without unacknowledged decisions. */
function linkOf(region: string, roundTripMs: number): RegionLink {
  const link = new RegionLink(voterOf(region), Number.NEGATIVE_INFINITY, 0);
  send(link);
  const nothing = { decisions: [], votes: [], history: [], older: [], olderTruncated: false };
  const reply = { ...nothing, clock: null, copy: null, isFull: null };
  link.update(reply, link.land(1), 0);
  link.roundTripMs = roundTripMs;
  return link;
}

/** A round leaves for the link's region. */
function send(link: RegionLink, number = 1, copies = false): Round {
  const order = [1, 0] as const;
  const head = { shard: 0, generation: 1, epoch: 1, incarnation: 1 };
  const parts = { ...head, newest: order, oldestUndecided: null };
  return link.nextRound(number, parts, 'mark', 0, copies);
}

function prepare(link: RegionLink, sequence: number): void {
  const waiting = waitingOf(frameOf(['a']), sequence);
  link.enqueue(new Transaction([1, sequence], [waiting], [link.region], now, later));
}

function commit(link: RegionLink, lingerUntil: number): void {
  link.unacknowledged.add({ transaction: [1, 1], outcome: 'commit', keys: ['a'] }, 1, 10, 0);
  link.lingerUntil = lingerUntil;
}

/** The link that gets the next connection, while no read waits. */
function nextLink(
  links: readonly RegionLink[],
  free: number,
  at: number,
  gapMs = calm,
): RegionLink | null {
  const turn = nextTurn(links, null, free, at, gapMs);
  return turn?.kind === 'round' ? turn.link : null;
}

function copy(link: RegionLink, since: number): void {
  link.copyStep = { kind: 'list', cursor: '0', count: 1 };
  link.noteCopyStep(since);
}

// R20: prepares before commits that travel alone, the oldest first, the farthest first among equals.
describe('the next connection', () => {
  it('goes to no region if there is nothing to send', () => {
    expect(nextLink([linkOf('near', 10), linkOf('far', 200)], 6, now)).toBeNull();
  });

  it('goes to a lone commit only after its wait, while transactions begin in quick succession', () => {
    const link = linkOf('near', 10);
    commit(link, now + limits.commitLingerMs);
    expect(nextLink([link], 6, now, limits.commitLingerMs)).toBe(link);
    expect(nextLink([link], 6, now, limits.commitLingerMs - 1)).toBeNull();
    expect(nextLink([link], 6, now + limits.commitLingerMs, 0)).toBe(link);
  });

  it('goes to no region if no connection is free', () => {
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

  it('goes to the farthest region if prepares are equally old', () => {
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

  it('goes to no late region that already has its share of rounds on the way', () => {
    const link = linkOf('near', 10);
    for (const number of [2, 3]) send(link, number);
    prepare(link, 1);
    const lateAt = 10 * limits.lateRoundTrips + limits.lateMs;
    expect(nextLink([link], 1, lateAt - 1)).toBe(link);
    expect(nextLink([link], 1, lateAt)).toBeNull();
    expect(nextLink([link], 2, lateAt)).toBe(link);
  });

  it('goes to no region that has the most rounds on the way', () => {
    const link = linkOf('near', 10);
    for (let number = 1; number <= limits.roundsInFlightPerRegion; number++) send(link, number + 1);
    prepare(link, 1);
    expect(nextLink([link], 9, now)).toBeNull();
  });

  it('goes to a region with two rounds on the way only a part of its round trip after the last', () => {
    const link = linkOf('far', 60);
    send(link, 2);
    prepare(link, 1);
    expect(nextLink([link], 6, 0)).toBe(link);
    send(link, 3);
    prepare(link, 2);
    const spacedUntil = 60 / limits.roundsPerRoundTrip;
    expect(nextLink([link], 6, spacedUntil - 1)).toBeNull();
    expect(nextLink([link], 6, spacedUntil)).toBe(link);
  });

  it('goes to a silent region only to probe it, when its pause is over', () => {
    const link = linkOf('near', 10);
    prepare(link, 1);
    link.fail('connection refused', now, now, limits.probeBackoffMaxMs);
    const probeAt = now + limits.probeBackoffMinMs;
    expect(nextLink([link], 6, probeAt - 1)).toBeNull();
    expect(nextLink([link], 6, probeAt)).toBe(link);
    send(link, 2);
    expect(nextLink([link], 6, probeAt)).toBeNull();
  });

  it('goes to a due lease after a commit, but before a step of a copy', () => {
    const [reader, owing, copied] = ['reader', 'owing', 'copied'].map((one) => linkOf(one, 10));
    if (reader === undefined || owing === undefined || copied === undefined) throw new Error();
    reader.lease.noteReaders(now, limits.leaseReadersMinMs);
    copy(copied, now);
    commit(owing, now - 1);
    expect(nextLink([copied, reader, owing], 1, now)).toBe(owing);
    expect(nextLink([copied, reader], 1, now)).toBe(reader);
    expect(nextLink([copied], 1, now)).toBe(copied);
  });

  it('never goes to a region that has lost writes', () => {
    const link = linkOf('near', 10);
    prepare(link, 1);
    const leaving = {
      cause: 'lost',
      detail: 'it is empty',
      whole: true,
      manualReturn: false,
    } as const;
    link.membership = { state: 'voter', since: 0, leaving };
    expect(nextLink([link], 6, now)).toBeNull();
  });
});

const overdue = now - limits.fairAfterMs;

// R20: requests that have waited for long go first, so no kind of request keeps another from ever leaving.
describe('the next connection, after a request has waited for long', () => {
  it('goes to a step of a copy before a younger prepare, in a round that takes no prepare', () => {
    const link = linkOf('near', 10);
    prepare(link, 1);
    copy(link, overdue + 1);
    expect(nextTurn([link], null, 6, now, calm)).toEqual({ kind: 'round', link, copies: false });
    expect(nextTurn([link], null, 6, now + 1, calm)).toEqual({ kind: 'round', link, copies: true });
  });

  it('goes to a round whose prepares wait for another if a step of a copy has waited', () => {
    const link = linkOf('near', 10);
    prepare(link, 1);
    copy(link, overdue);
    const round = send(link, 2, true);
    expect(round).toMatchObject({ prepares: [], copy: { kind: 'list' } });
    expect(nextTurn([link], null, 6, now, calm)).toEqual({ kind: 'round', link, copies: false });
  });

  it('goes to a probe before a younger prepare', () => {
    const [silent, near] = [linkOf('silent', 10), linkOf('near', 10)];
    silent.fail(
      'connection refused',
      overdue - limits.probeBackoffMinMs,
      0,
      limits.probeBackoffMaxMs,
    );
    prepare(near, 1);
    expect(nextLink([near, silent], 1, now - 1)).toBe(near);
    expect(nextLink([near, silent], 1, now)).toBe(silent);
  });

  it('goes to a commit and to a lease before a younger prepare', () => {
    const [near, owing, reader] = [linkOf('near', 10), linkOf('owing', 10), linkOf('reader', 10)];
    prepare(near, 1);
    commit(owing, overdue);
    expect(nextLink([near, owing], 1, now)).toBe(owing);
    reader.lease.noteReaders(overdue - 1, limits.leaseReadersMinMs);
    expect(nextLink([near, owing, reader], 1, now)).toBe(reader);
  });

  it('goes to a read that has waited, and before that to prepares', () => {
    const link = linkOf('near', 10);
    prepare(link, 1);
    expect(nextTurn([link], overdue + 1, 1, now, calm)).toMatchObject({ kind: 'round' });
    expect(nextTurn([link], overdue, 1, now, calm)).toEqual({ kind: 'snapshot' });
    expect(nextTurn([link], overdue, 0, now, calm)).toBeNull();
  });

  it('goes to a prepare that has waited longer than all others', () => {
    const [near, copied] = [linkOf('near', 10), linkOf('copied', 10)];
    prepare(near, 1);
    const at = now + 2 * limits.fairAfterMs;
    copy(copied, now + 1);
    expect(nextTurn([near, copied], now + 2, 1, at, calm)).toMatchObject({ link: near });
  });

  it('goes to no more silent regions than may be probed at once', () => {
    const count = limits.probesInFlight + 1;
    const links = Array.from({ length: count }, (_, index) => linkOf(`${index}`, 10));
    for (const link of links)
      link.fail('connection refused', overdue - 1_000, 0, limits.probeBackoffMaxMs);
    for (const link of links.slice(1)) {
      expect(nextLink(links, 6, now)).not.toBeNull();
      send(link, 2);
    }
    expect(nextLink(links, 6, now)).toBeNull();
  });
});
