import { assert } from '../../assert.ts';
import type { RegionFault } from '../../contracts/coordinator.ts';
import type { MemberEvent, OutCause } from '../../contracts/members.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import { flushedKey, reservedPrefix, valuesAmong } from '../../reserved-keys.ts';
import type { Leaving, Membership } from '../io/events.ts';
import type { WriteRefusal } from '../io/refusal.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { outOfMemory } from '../regions/server-refusals.ts';
import { Founding } from './founding.ts';
import { bothOf, removal } from './leaving.ts';
import type { MemberChanges, MembersParts, Trust } from './members-parts.ts';
import { assertTransition, type RegionEvent } from './region-states.ts';
import { isForceRecovered, Rejoin } from './rejoin.ts';

/**
 * The members of the shard. A voter that fails, has lost writes, or diverged is evicted once its lease is over; from
 * then on each decision notes the keys that it misses; when it can be reached again it is copied, and votes again
 * (rules R31 to R38).
 */
export class Members implements MemberChanges {
  readonly rejoin: Rejoin;
  readonly founding: Founding;
  readonly #parts: MembersParts;
  #isBegun = false;
  /** When each voter that is about to leave was first seen to, ms. */
  readonly #suspectedAt = new Map<RegionId, number>();

  constructor(parts: MembersParts) {
    this.#parts = parts;
    this.rejoin = new Rejoin(parts, this);
    this.founding = new Founding(parts, this);
  }

  /** True if nothing may begin for the moment, and queued frames are not refused for that. */
  get isPaused(): boolean {
    return this.rejoin.admissionPaused || this.founding.isOpen;
  }

  /** The regions for which every write waits, besides voters that do not answer. */
  get obstacles(): readonly RegionFault[] {
    return [...this.rejoin.obstacles, ...this.founding.obstacles];
  }

  /** Why no write can be taken in, or null. */
  get refusal(): WriteRefusal | null {
    if (this.founding.isOpen) return this.founding.refusal;
    const { voters } = this.#parts.links;
    const faults = this.#parts.links.all
      .filter((link) => !link.isVoter || link.isQuarantined)
      .map(({ region, leaving }) => ({ region, reason: leaving?.detail ?? '' }));
    if (voters.length > 0 && voters.every((link) => link.isQuarantined)) {
      const reason =
        'every region that votes has lost writes: an operator must name the correct one';
      return { code: 'lost', faults, reason };
    }
    const { minVoters } = this.#parts.config;
    if (voters.length >= minVoters) return null;
    const reason = `${voters.length} of at least ${minVoters} regions can vote`;
    return { code: 'too-few-voters', faults, reason };
  }

  /**
   * The voters that are out of memory, if too few would be left without them: then they stay, since commands that free
   * memory go through everywhere, and those that take some are refused. Empty if others can go on without them.
   */
  get fullRegions(): readonly RegionFault[] {
    const { links, config } = this.#parts;
    const others = links.voters.filter(
      (link) => !link.isQuarantined && link.leaving === null && link.refusals.inRow === null,
    );
    if (others.length >= Math.max(1, config.minVoters)) return [];
    return links.voters.flatMap(({ region, refusals: { inRow } }) =>
      inRow?.code === outOfMemory ? [{ region, reason: inRow.reason }] : [],
    );
  }

  /** The first step of an instance: founds the shard, or brings its members in line with the configuration. */
  begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    if (this.#parts.state.epoch === 0) this.founding.open();
    else this.#reconcile();
  }

  /** It does not hold the writes that it acknowledged: its votes count no more, and everything has to be copied. */
  lose(link: RegionLink, detail: string): void {
    this.suspect(link, { cause: 'lost', detail, whole: true, manualReturn: false });
  }

  /** The region is about to lose its vote, or, if it has none, to come back in another way. */
  suspect(link: RegionLink, leaving: Leaving): void {
    const { membership, leaving: known } = link;
    const both = known === null ? leaving : bothOf(known, leaving);
    if (membership.state === 'copying') {
      this.rejoin.fail(both);
      return;
    }
    if (both === known) return;
    if (membership.state === 'out') {
      this.set(link, { ...membership, ...both }, 'suspected');
      if (both.whole) this.#clearMissed(link);
      return;
    }
    this.set(link, { ...membership, leaving: both }, 'suspected');
    const event = leaving.cause === 'diverged' ? 'diverged' : 'leaving';
    this.note(link.region, event, leaving.cause, leaving.detail);
    if (leaving.whole) this.#parts.host.abortAll();
  }

  /**
   * Notes the keys of a commit as missed by the regions that did not vote on it; the step stores them with the
   * decision.
   */
  missedBy(keys: readonly string[], sequence: number): readonly RegionId[] {
    const absent = this.#parts.links.all.filter(({ membership }) =>
      membership.state === 'out' ? !membership.whole : membership.state === 'copying',
    );
    if (keys.includes(flushedKey)) {
      for (const link of absent) this.#missAll(link);
      return [];
    }
    const named = valuesAmong(keys);
    for (const { missed } of absent) for (const key of named) missed.set(key, sequence);
    return absent.map(({ region }) => region);
  }

  /** It has missed a write to all keys. A copy under way began before that. */
  #missAll(link: RegionLink): void {
    const { leaving } = link;
    assert(leaving !== null, 'a region without a vote has left for a reason');
    this.suspect(link, { ...leaving, whole: true });
  }

  /** The members' epoch. */
  get epoch(): number {
    return this.#parts.state.epoch;
  }

  /** A region without a vote holds the state of another coordinator: no copy overwrites it without an operator. */
  findForeign(link: RegionLink, detail: string): void {
    const { membership } = link;
    const leaving: Leaving = { cause: 'foreign', detail, whole: true, manualReturn: true };
    if (membership.state === 'copying') this.rejoin.fail(leaving);
    else if (membership.state === 'out' && membership.cause !== 'removed') {
      const isNoted = membership.manualReturn && membership.detail === detail;
      if (membership.cause === 'foreign' && isNoted) return;
      this.set(link, { ...membership, ...leaving }, 'found-foreign');
      this.#clearMissed(link);
      if (membership.cause !== 'foreign') this.note(link.region, 'out', 'foreign', detail);
    }
  }

  /** A region that is out has answered, so it can be reached. `passedCheck`: its data can be built on. */
  onContact(link: RegionLink, passedCheck: boolean): void {
    const { membership } = link;
    if (membership.state !== 'out') return;
    link.reachable ||= passedCheck || membership.whole;
    // It is probed until it has memory.
    if (link.refusals.isFull) {
      this.#parts.links.fail(link, 'its server is out of memory', this.#parts.ready.now);
    }
  }

  /** Makes every change of members that is possible now. Called in each step, after its event. */
  advance(): void {
    this.founding.advance();
    this.#evictDue();
    this.#forgetRemoved();
    this.#boundMissedKeys();
    this.rejoin.advance();
  }

  /**
   * The region is forgotten once no reader can use it any more: a region that was force-recovered instead must not
   * decide before that, nor in the next life of this coordinator (rules R30 and R38).
   */
  remove(link: RegionLink): void {
    if (link.isVoter) this.suspect(link, removal);
    else {
      if (this.rejoin.progressOf(link) !== null) this.rejoin.cancel();
      this.leave(link, removal, 'removed');
      this.#forgetRemoved();
    }
  }

  #forgetRemoved(): void {
    const { links, ready } = this.#parts;
    for (const link of links.all) {
      if (link.isVoter || link.leaving?.cause !== 'removed') continue;
      ready.schedule(link.lease.endsAt);
      if (link.lease.endsAt <= ready.now) this.#forget(link);
    }
  }

  #forget(link: RegionLink): void {
    assertTransition('forgotten', link.membership, null);
    link.leave();
    this.#parts.links.remove(link.region);
    this.#parts.ready.persist({ kind: 'forget', region: link.region });
    this.note(link.region, 'removed', 'removed', 'it is no region of this shard any more');
  }

  /** An operator chooses the data of this region as the right ones, even if it has lost writes. */
  forceRecover(link: RegionLink): void {
    // If a coordinator has lost its storage, its regions hold the state of another one.
    link.agree(Number.MAX_SAFE_INTEGER, link.foreignGeneration);
    this.trust(link, {
      event: 'believed',
      detail: 'an operator declared its data correct',
      cause: 'ordered',
      detailOfOthers: `${link.region} was force-recovered instead`,
    });
  }

  /**
   * This region alone is right from now on, with any data. It votes once it has dropped its unfinished transactions.
   */
  trust(link: RegionLink, why: Trust): void {
    const { links, state } = this.#parts;
    this.rejoin.cancel();
    this.#parts.host.abortAll();
    state.epoch += 1;
    for (const other of links.all) {
      const cause = other === link ? 'believed' : why.cause;
      const detail = other === link ? 'an operator force-recovered it' : why.detailOfOthers;
      this.#parts.pendingConfirmations.dismiss(other.region);
      this.leave(other, { cause, detail, whole: true, manualReturn: false }, 'overruled');
    }
    this.note(link.region, why.event, 'believed', why.detail);
    this.rejoin.begin(link);
  }

  /** Probes the region again to find out whether it can be copied. */
  askAgain(link: RegionLink): void {
    const { now } = this.#parts.ready;
    link.reachable = false;
    link.copyAfter = now;
    link.recover();
    this.#parts.links.fail(link, 'it has not been asked yet', now);
  }

  /** Adds an entry to the history and to the change feed, and queues the events about it. */
  note(region: RegionId, event: MemberEvent, cause: OutCause | null, detail: string): void {
    const { state, ready, eventRouter } = this.#parts;
    state.sequence += 1;
    const { epoch, sequence } = state;
    const change = { sequence, at: ready.now, epoch, region, event, cause, detail };
    ready.persist({ kind: 'members', epoch, changes: [change] });
    const events = eventRouter.ofMember(change);
    if (events.length > 0) ready.persist({ kind: 'queue-region-events', events });
  }

  /** Notes keys of a region that have to be copied. */
  addMissed(link: RegionLink, missed: readonly (readonly [key: string, sequence: number])[]): void {
    const keys = missed.filter(([key]) => !key.startsWith(reservedPrefix));
    if (keys.length === 0) return;
    for (const [key, sequence] of keys) link.missed.set(key, sequence);
    this.#parts.ready.persist({ kind: 'missed', missed: { region: link.region, keys } });
  }

  /** Changes the membership of a region, and stores it with this step. */
  set(link: RegionLink, membership: Membership, event: RegionEvent): void {
    assertTransition(event, link.membership, membership);
    link.membership = membership;
    // Only a region whose own data are kept takes over any number of keys: in every other case they would be deleted.
    const isKept = membership.state === 'voter' || membership.cause === 'believed';
    if (!isKept && link.takes === Number.MAX_SAFE_INTEGER) link.agree(0, null);
    this.#parts.ready.persist({ kind: 'region', region: link.stored });
  }

  #reconcile(): void {
    const { config, links, ready } = this.#parts;
    for (const region of config.regions) if (!links.has(region)) this.join(region, 0);
    for (const link of links.all) {
      const { membership } = link;
      if (membership.state === 'copying') {
        // It goes on under a new token: steps of the last instance may still be on their way.
        const { token: _, ...absence } = membership;
        this.set(link, { ...absence, state: 'out' }, 'copy-interrupted');
      }
      if (!link.isVoter) links.fail(link, 'it has not been asked yet', ready.now);
      if (config.regions.includes(link.region)) continue;
      // No other region has the right data: a later instance removes it, once it has been copied.
      if (isForceRecovered(link) && links.voters.length === 0) continue;
      this.remove(link);
    }
  }

  /**
   * A region that this shard has not known so far: everything is copied to it before it votes. Up to `takes` keys that
   * Lockstep did not put there may be lost in it.
   */
  join(region: RegionId, takes: number): void {
    const { links, ready } = this.#parts;
    const since = ready.now;
    const detail = 'it is new: everything has to be copied to it';
    const membership = {
      state: 'out',
      since,
      cause: 'new',
      detail,
      whole: true,
      manualReturn: false,
    } as const;
    // It may have been a region of this shard before it was removed.
    assertTransition('added', links.find(region)?.membership ?? null, membership);
    const link = links.add(region, 0, [this.#parts.stored.generation], membership);
    link.takes = takes;
    links.fail(link, 'it has not been asked yet', since);
    ready.persist({ kind: 'region', region: link.stored });
    this.note(region, 'added', 'new', detail);
  }

  /** Suspects a voter whose server keeps refusing writes that others carry out, as long as enough others stay. */
  #suspectRefusing(): void {
    const { links, config, ready } = this.#parts;
    const others = links.voters.filter((link) => link.isLeased && link.refusals.inRow === null);
    const isEnough = others.length >= Math.max(1, config.minVoters);
    for (const link of links.voters) {
      // It is measured against others, so the time counts from when these carry out the writes that it refuses.
      if (!isEnough) link.refusals.countFrom(ready.now);
      const { leaving } = link;
      const { inRow } = link.refusals;
      if (inRow === null || leaving !== null) continue;
      if (inRow.last - inRow.since < config.outAfterMs) continue;
      const detail = `its server refuses writes that others accept: ${inRow.reason}`;
      this.suspect(link, { cause: 'refusing', detail, whole: false, manualReturn: false });
    }
  }

  #evictDue(): void {
    const { ready, links, config } = this.#parts;
    const { now } = ready;
    this.#suspectRefusing();
    const departing = links.voters.filter((link) => {
      const { health } = link;
      if (link.leaving !== null) return true;
      if (health.kind === 'answering') return false;
      ready.schedule(health.since + config.outAfterMs);
      return health.since + config.outAfterMs <= now;
    });
    for (const region of this.#suspectedAt.keys()) {
      if (!departing.some((link) => link.region === region)) this.#suspectedAt.delete(region);
    }
    for (const { region } of departing) {
      if (!this.#suspectedAt.has(region)) this.#suspectedAt.set(region, now);
    }
    const staying = links.voters.filter((link) => !departing.includes(link));
    // Sound ones may leave; they stay if without them no voter would be left.
    const willing = departing.filter((link) => link.isHealthy);
    if (staying.length > 0) this.#evictIfSafe(departing, staying);
    else if (willing.length < departing.length && willing.length > 0) {
      this.#evictIfSafe(
        departing.filter((link) => !link.isHealthy),
        willing,
      );
    }
    const { refusal } = this;
    if (refusal !== null) this.#parts.host.refuseAll(refusal);
  }

  /**
   * They leave once no lease is left and every voter that stays has shown since that it has lost nothing (rule R32).
   */
  #evictIfSafe(departing: readonly RegionLink[], staying: readonly RegionLink[]): void {
    if (departing.length === 0) return;
    const { ready } = this.#parts;
    const leasesEndAt = Math.max(...departing.map((link) => link.lease.endsAt));
    ready.schedule(leasesEndAt);
    if (leasesEndAt === Number.POSITIVE_INFINITY) {
      // The end is known once any region has answered in this life, and a resting instance has asked none.
      for (const { lossCheck } of staying) lossCheck.require(ready.now);
    }
    if (leasesEndAt > ready.now) return;
    // Required as late as can be: a voter that stays may lose its data while the leases run out.
    const since = Math.max(leasesEndAt, ...this.#suspectedAt.values());
    for (const { lossCheck } of staying) if (!lossCheck.hasPassed(since)) lossCheck.require(since);
    const isShown = staying.every(
      (link) => link.health.kind === 'answering' && link.lossCheck.hasPassed(since),
    );
    if (isShown) this.#evict(departing);
  }

  #evict(departing: readonly RegionLink[]): void {
    const { host, pendingConfirmations, state } = this.#parts;
    host.abortAll();
    state.epoch += 1;
    for (const link of departing) {
      const { health } = link;
      const isForeign = health.kind === 'foreign';
      const leaving: Leaving = link.leaving ?? {
        cause: isForeign ? 'foreign' : causeOf(link),
        detail: health.kind === 'answering' ? '' : health.reason,
        whole: isForeign,
        manualReturn: isForeign,
      };
      pendingConfirmations.dismiss(link.region);
      this.leave(link, leaving, 'evicted');
      this.note(link.region, 'out', leaving.cause, leaving.detail);
    }
    this.#unblockRepaired(departing);
    host.requestBatch();
  }

  /** The region has no vote, from now on or as before, for the reason given. */
  leave(link: RegionLink, leaving: Leaving, event: RegionEvent): void {
    const { now } = this.#parts.ready;
    const missed = link.leave();
    const { cause, detail, manualReturn } = leaving;
    // The contents of a region that has never answered are unknown.
    const isFlushed = missed.some(([key]) => key === flushedKey);
    const whole = leaving.whole || isFlushed || !link.begun;
    this.set(link, { state: 'out', since: now, cause, detail, whole, manualReturn }, event);
    if (whole) this.#clearMissed(link);
    else this.addMissed(link, missed);
    this.#parts.links.fail(link, 'it is out', now);
  }

  /** The region that differed about a key has no vote any more, so the key may be written to again. */
  #unblockRepaired(departed: readonly RegionLink[]): void {
    const { blocked, links } = this.#parts;
    const repaired = departed.filter(({ leaving }) => leaving?.cause === 'repair');
    const keys = blocked.all
      .map(({ key }) => key)
      .filter((key) => repaired.some(({ missed }) => missed.has(key)))
      .filter((key) => !links.voters.some(({ missed }) => missed.has(key)));
    blocked.remove(keys);
  }

  /** If everything is copied, the list of missed keys is of no use. */
  #clearMissed(link: RegionLink): void {
    if (link.missed.size === 0) return;
    link.missed.clear();
    this.#parts.ready.persist({ kind: 'copied', region: link.region, keys: null });
  }

  /** A region that has missed too many keys to list is copied whole. */
  #boundMissedKeys(): void {
    const { missedKeysPerRegion, missedBytesPerRegion } = limits;
    for (const link of this.#parts.links.all) {
      const { size, bytes } = link.missed;
      if (link.isVoter || (size <= missedKeysPerRegion && bytes <= missedBytesPerRegion)) continue;
      const detail = `it has missed more than ${missedKeysPerRegion} keys, or ${missedBytesPerRegion} bytes of their names`;
      this.suspect(link, {
        cause: link.leaving?.cause ?? 'silent',
        detail,
        whole: true,
        manualReturn: false,
      });
    }
  }
}

/** The cause of an eviction: its server refused to the last, or no usable answer came. */
function causeOf({ health, refusals: { inRow } }: RegionLink): OutCause {
  const isRefusing = health.kind !== 'answering' && inRow !== null;
  return isRefusing && inRow.last >= health.since ? 'refusing' : 'silent';
}
