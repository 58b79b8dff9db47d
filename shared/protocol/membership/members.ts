import { assert } from '../../assert.ts';
import type { RegionFault } from '../../contracts/coordinator.ts';
import type { MemberEvent, OutCause } from '../../contracts/members.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { WriteRefusal } from '../io/refusal.ts';
import type { Leaving, Membership } from '../io/stored.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { fullRegionsOf, refusalBy } from './enough-voters.ts';
import { Evictions } from './evictions.ts';
import { Founding } from './founding.ts';
import { bothOf } from './leaving.ts';
import { MemberRecords } from './member-records.ts';
import type { MemberChanges, MembersParts, Trust } from './members-parts.ts';
import { isFlush, MissedWrites } from './missed-writes.ts';
import type { RegionEvent } from './region-states.ts';
import { Rejoin } from './rejoin.ts';
import { Roster } from './roster.ts';

/**
 * The members of the shard. A voter that fails, has lost writes, or diverged is evicted once its lease is over; from
 * then on each decision notes the keys that it misses; when it can be reached again it is copied, and votes again
 * (rules R31 to R38). This class judges findings about a region; its parts do the rest.
 */
export class Members implements MemberChanges {
  readonly rejoin: Rejoin;
  readonly founding: Founding;
  readonly #parts: MembersParts;
  readonly #records: MemberRecords;
  readonly #missed: MissedWrites;
  readonly #evictions: Evictions;
  readonly #roster: Roster;
  #isBegun = false;

  constructor(parts: MembersParts) {
    this.#parts = parts;
    this.#records = new MemberRecords(parts);
    this.#missed = new MissedWrites(parts.links, parts.ready);
    this.rejoin = new Rejoin(parts, this);
    this.founding = new Founding(parts, this);
    this.#evictions = new Evictions(parts, this);
    this.#roster = new Roster(parts, this, this.rejoin);
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
    return refusalBy(this.#parts.links, this.#parts.config.minVoters);
  }

  /** The voters that are out of memory and stay, since others could not go on without them. */
  get fullRegions(): readonly RegionFault[] {
    return fullRegionsOf(this.#parts.links, this.#parts.config.minVoters);
  }

  /** The first step of an instance: founds the shard, or brings its members in line with the configuration. */
  begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    if (this.#parts.state.epoch === 0) this.founding.open();
    else this.#roster.reconcile();
  }

  /** It does not hold the writes that it acknowledged: its votes count no more, and everything has to be copied. */
  noteLoss(link: RegionLink, detail: string): void {
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
      if (both.whole) this.#missed.clear(link);
      return;
    }
    this.set(link, { ...membership, leaving: both }, 'suspected');
    const event = leaving.cause === 'diverged' ? 'diverged' : 'leaving';
    this.note(link.region, event, leaving.cause, leaving.detail);
    if (leaving.whole) this.#parts.attempts.abortAll();
  }

  /**
   * Notes the keys of a commit as missed by the regions that did not vote on it; the step stores them with the
   * decision.
   */
  missedBy(keys: readonly string[], sequence: number): readonly RegionId[] {
    if (!isFlush(keys)) return this.#missed.noteCommit(keys, sequence);
    for (const link of this.#missed.absent) this.#missAll(link);
    return [];
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
  noteForeign(link: RegionLink, detail: string): void {
    const { membership } = link;
    const leaving: Leaving = { cause: 'foreign', detail, whole: true, manualReturn: true };
    if (membership.state === 'copying') this.rejoin.fail(leaving);
    else if (membership.state === 'out' && membership.cause !== 'removed') {
      const isNoted = membership.manualReturn && membership.detail === detail;
      if (membership.cause === 'foreign' && isNoted) return;
      this.set(link, { ...membership, ...leaving }, 'found-foreign');
      this.#missed.clear(link);
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
    this.#evictions.advance();
    const { refusal } = this;
    if (refusal !== null) this.#parts.attempts.refuseAll(refusal);
    this.#roster.forgetRemoved();
    this.#boundMissedKeys();
    this.rejoin.advance();
  }

  /** Adds a region that the shard has not known so far: up to `takes` keys not put there by Lockstep may be lost in it. */
  join(region: RegionId, takes: number): void {
    this.#roster.join(region, takes);
  }

  /** Removes a region. It is forgotten once no reader can use it any more. */
  remove(link: RegionLink): void {
    this.#roster.remove(link);
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
    this.#parts.attempts.abortAll();
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
  probeAgain(link: RegionLink): void {
    const { now } = this.#parts.ready;
    link.reachable = false;
    link.copyAfter = now;
    link.recover();
    this.#parts.links.fail(link, 'it has not been asked yet', now);
  }

  /** Adds an entry to the history and to the change feed, and queues the events about it. */
  note(region: RegionId, event: MemberEvent, cause: OutCause | null, detail: string): void {
    this.#records.note(region, event, cause, detail);
  }

  /** Notes keys of a region that have to be copied. */
  addMissed(link: RegionLink, missed: readonly (readonly [key: string, sequence: number])[]): void {
    this.#missed.add(link, missed);
  }

  /** Changes the membership of a region, and stores it with this step. */
  set(link: RegionLink, membership: Membership, event: RegionEvent): void {
    this.#records.set(link, membership, event);
  }

  /** The region has no vote, from now on or as before, for the reason given. */
  leave(link: RegionLink, leaving: Leaving, event: RegionEvent): void {
    const { now } = this.#parts.ready;
    const missed = link.leave();
    const { cause, detail, manualReturn } = leaving;
    // The contents of a region that has never answered are unknown.
    const isFlushed = isFlush(missed.map(([key]) => key));
    const whole = leaving.whole || isFlushed || !link.begun;
    this.set(link, { state: 'out', since: now, cause, detail, whole, manualReturn }, event);
    if (whole) this.#missed.clear(link);
    else this.addMissed(link, missed);
    this.#parts.links.fail(link, 'it is out', now);
  }

  /** A region that has missed too many keys to list is copied whole. */
  #boundMissedKeys(): void {
    const { missedKeysPerRegion, missedBytesPerRegion } = limits;
    for (const link of this.#missed.excessive) {
      const detail = `it has missed more than ${missedKeysPerRegion} keys, or ${missedBytesPerRegion} bytes of their names`;
      const cause = link.leaving?.cause ?? 'silent';
      this.suspect(link, { cause, detail, whole: true, manualReturn: false });
    }
  }
}
