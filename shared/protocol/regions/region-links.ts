import { assert, unreachable } from '../../assert.ts';
import type { RegionFault } from '../../contracts/coordinator.ts';
import type { JointRound } from '../../contracts/joint.ts';
import type { Decision, Refusal, Round } from '../../contracts/round.ts';
import { counted } from '../../counted.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { Membership, Stored, StoredRegion } from '../io/stored.ts';
import type { Transaction } from '../transactions/transaction.ts';
import type { RoundHead } from './region-data.ts';
import { RegionLink } from './region-link.ts';

/** The finding about a region's state in the refusal of a round. Null: none. */
export type Finding =
  /** It does not hold the writes that it acknowledged. */
  | { readonly kind: 'lost'; readonly reason: string }
  /** It holds another coordinator's state, or keys that Lockstep did not put there. */
  | { readonly kind: 'foreign'; readonly reason: string }
  | null;

/** All regions of a shard: sends them rounds and decisions, and notes how they answer. */
export class RegionLinks {
  readonly #links = new Map<RegionId, RegionLink>();
  readonly #config: CoordinatorConfig;
  readonly #ready: ReadyBuilder;
  /** The rounds on their way to regions that have left. */
  readonly #orphans = new Set<number>();
  #sent = 0;
  /** When clients or operators last asked for something, ms. */
  #workedAt: number;

  constructor(config: CoordinatorConfig, stored: Stored, ready: ReadyBuilder) {
    this.#config = config;
    this.#ready = ready;
    for (const region of stored.regions) this.#add(region, Number.POSITIVE_INFINITY);
    for (const { region, keys } of stored.missed) {
      const link = this.#links.get(region);
      for (const [key, sequence] of keys) link?.missed.set(key, sequence);
    }
    if (stored.isResting) for (const link of this.voters) link.rest();
    // A new instance is idle until a client or an operator asks for something; a shard that begins has to find its
    // regions.
    this.#workedAt = stored.epoch === 0 ? ready.now : Number.NEGATIVE_INFINITY;
    ready.schedule(ready.now + limits.commitLingerMs);
  }

  get all(): readonly RegionLink[] {
    return [...this.#links.values()];
  }

  get voters(): readonly RegionLink[] {
    return this.all.filter((link) => link.isVoter);
  }

  has(region: RegionId): boolean {
    return this.#links.has(region);
  }

  find(region: RegionId): RegionLink | null {
    return this.#links.get(region) ?? null;
  }

  /** A region that this shard has not known so far, or knows no more. It has no lease. */
  add(
    region: RegionId,
    generation: number,
    former: readonly number[],
    membership: Membership,
  ): RegionLink {
    const agreement = { takes: 0, agreed: null };
    const stored = {
      region,
      generation,
      former,
      begun: false,
      ...agreement,
      pair: null,
      membership,
    };
    return this.#add(stored, Number.NEGATIVE_INFINITY);
  }

  /**
   * The region to which a round went, or null if it has left since, even if it has been added again: then the result
   * does not matter, and only the connection becomes free.
   */
  receiverOf(region: RegionId, round: number): RegionLink | null {
    if (this.#orphans.delete(round)) return null;
    return this.find(region);
  }

  /** The region leaves the shard. Requests on their way to it keep their connections until they end. */
  remove(region: RegionId): void {
    for (const number of this.#links.get(region)?.flights.keys() ?? []) this.#orphans.add(number);
    this.#links.delete(region);
  }

  /** True while no voter can be read from, and the first round to one is about to leave. */
  get isBeginning(): boolean {
    const { voters } = this;
    const isBegun = voters.some(({ begun }) => begun);
    return !isBegun && voters.some(({ health }) => health.kind === 'answering');
  }

  /** True while some region has an answer or a request outstanding. */
  get busy(): boolean {
    const { now } = this.#ready;
    // A region that has lost writes is evicted, as long as another one could stay.
    const mayLeave = this.voters.some((link) => !link.isQuarantined);
    return this.all.some(
      (link) =>
        link.lease.hasReaders(now) ||
        (link.isQuarantined ? mayLeave : !link.isQuiet && !link.isAwaited),
    );
  }

  /** True while a region is out that returns by itself once it answers. */
  get awaitsReturn(): boolean {
    return this.all.some((link) => link.isAwaited);
  }

  /** True if every voter answers and nothing is open there: no lock is left anywhere (rule R44). */
  get areCalm(): boolean {
    return this.voters.every((link) => link.isHealthy && link.isQuiet);
  }

  /** Clients or operators ask for something: silent regions are probed soon. */
  noteWork(): void {
    const { now } = this.#ready;
    const wasIdle = this.#isIdle;
    this.#workedAt = now;
    if (!wasIdle) return;
    for (const link of this.#links.values()) {
      link.hasten(now, this.#longestPauseMs(link));
      this.#plan(link);
    }
  }

  /** An operator saw an old answer of `link`: it is probed now, so that the next answer is newer. */
  probeNow(link: RegionLink): void {
    link.hasten(this.#ready.now, 0);
    this.#plan(link);
  }

  /** An answer has come: the first storage write of this instance is durable (rule R30). */
  beginLeases(): void {
    for (const link of this.#links.values()) link.lease.begin(this.#ready.now);
  }

  /** The longest smoothed time of a round, ms. */
  get slowestMs(): number {
    return Math.max(0, ...this.all.map((link) => link.roundTripMs ?? 0));
  }

  /** The number of requests on their way that take connections, those to removed regions included. */
  get flightCount(): number {
    return this.all.reduce((sum, link) => sum + link.flights.size, this.#orphans.size);
  }

  /**
   * The voters because of which nothing can be prepared now. While there is one, no voter is asked to lock anything.
   */
  get obstacles(): readonly RegionFault[] {
    const faults: RegionFault[] = [];
    for (const { region, health, unacknowledged, isQuarantined, leaving } of this.voters) {
      if (isQuarantined) faults.push({ region, reason: leaving?.detail ?? '' });
      else if (health.kind !== 'answering') faults.push({ region, reason: health.reason });
      else if (unacknowledged.count >= limits.unacknowledgedPerRegion) {
        faults.push({
          region,
          reason: `has ${counted(unacknowledged.count, 'decision')} to acknowledge`,
        });
      }
    }
    return faults;
  }

  /** Queues `decision` for `link`. It waits a moment for a prepare to ride with, unless it is `urgent`. */
  queueDecision(
    link: RegionLink,
    decision: Decision,
    how: { readonly sequence: number; readonly bytes: number; readonly urgent: boolean },
  ): void {
    if (!link.isVoter || link.isQuarantined) return;
    const lingering = link.hasUnsent;
    link.unacknowledged.add(decision, how.sequence, how.bytes, this.#ready.now);
    if (how.urgent) link.lingerUntil = this.#ready.now;
    else if (!lingering) link.lingerUntil = this.#ready.now + limits.commitLingerMs;
    this.#ready.schedule(link.lingerUntil);
  }

  /** Queues `decision` for every voter; `sequence` is that of a commit's last write. */
  queueDecisionForAll(decision: Decision, sequence: number, urgent: boolean): void {
    const bytes = bytesOf(decision);
    for (const link of this.#links.values())
      this.queueDecision(link, decision, { sequence, bytes, urgent });
  }

  /** No usable answer came from `link` to the request that left at `sentAt`. */
  fail(
    link: RegionLink,
    reason: string,
    sentAt: number,
    kind: 'silent' | 'foreign' = 'silent',
  ): void {
    link.fail(reason, this.#ready.now, sentAt, this.#longestPauseMs(link), kind);
    this.#plan(link);
  }

  /** `link` refused a whole round, which left at `sentAt` under its present generation. */
  refused(link: RegionLink, refusal: Refusal, sentAt: number): Finding {
    switch (refusal.kind) {
      case 'lost':
        link.recover();
        return { kind: 'lost', reason: 'it no longer holds a round that it had acknowledged' };
      case 'history': {
        const reason = 'its history has moved past the last acknowledged round';
        this.fail(link, reason, sentAt);
        // There is no way left to find out whether it has lost something.
        return link.isVoter ? null : { kind: 'lost', reason };
      }
      case 'phase':
        this.fail(link, 'it is in the midst of a copy that this coordinator has not begun', sentAt);
        return null;
      case 'generation': {
        const { has, keys } = refusal;
        link.contents = { generation: has, keys, at: this.#ready.now };
        const isKnown = has === 0 || link.former.includes(has);
        if (isKnown && link.begun) {
          link.recover();
          return { kind: 'lost', reason: lossOf(has) };
        }
        const isAgreed = (has === 0 || has === link.agreed) && keys <= link.takes;
        // A region about to be copied may be empty still, or hold data that the copy replaces.
        if (isAgreed || (isKnown && has !== 0)) {
          link.recover();
          return null;
        }
        const reason = foreignnessOf(has, keys);
        this.fail(link, reason, sentAt, 'foreign');
        return { kind: 'foreign', reason };
      }
      default:
        return unreachable(refusal);
    }
  }

  /** Counts regions that take too long as silent, and plans for all. */
  sweep(): void {
    const { now } = this.#ready;
    for (const link of this.#links.values()) {
      const { oldestSentAt } = link.flights;
      const isOverdue = link.flights.isOverdue(now, this.#config.voteDeadlineMs);
      if (link.health.kind === 'answering' && isOverdue && oldestSentAt !== null) {
        const reason = `has not answered for ${this.#config.voteDeadlineMs} ms`;
        link.fail(reason, now, oldestSentAt, this.#longestPauseMs(link));
      }
      this.#plan(link);
    }
  }

  /** The number of the next round or snapshot. */
  nextNumber(): number {
    this.#sent += 1;
    return this.#sent;
  }

  /** Sends the next round to `link`; `copies` as in {@link RegionLink.nextRound}. */
  sendRound(link: RegionLink, head: RoundHead, entropy: string, copies: boolean): void {
    const { now } = this.#ready;
    const number = this.nextNumber();
    const nonce = `${entropy}${number.toString(36)}`;
    const round = link.nextRound(number, head, nonce, now, copies);
    // A renewal rests on a proof that comes after the reading and before it leaves (rule R30).
    if (round.lease !== null && round.lease.reading !== null) this.#ready.prove();
    const { region } = link;
    const timeoutMs = this.#config.roundTimeoutMs;
    const transaction = link.flights.get(number)?.transactions[0];
    const joint = transaction === undefined ? null : jointRoundOf(transaction, region, round);
    if (joint === null) this.#ready.send({ kind: 'round', region, number, round, timeoutMs });
    else this.#ready.sendJoint({ kind: 'joint-round', region, number, round: joint, timeoutMs });
    this.#ready.schedule(now + this.#config.voteDeadlineMs);
  }

  /** Plans for the leases that become due, and the rounds that may leave, before anything else happens. */
  planAhead(): void {
    const { now } = this.#ready;
    for (const link of this.all) {
      if (link.renewsLease) this.#ready.schedule(link.lease.dueAt(now));
      if (link.oldestPrepare !== null || link.hasUnsent) this.#ready.schedule(link.spacedUntil);
    }
  }

  /** Stores the changes of regions that storage needs, together with the writes of this step. */
  persist(): void {
    for (const link of this.#links.values()) {
      const keys = link.missed.takeSettled();
      if (keys.length > 0) this.#ready.persist({ kind: 'copied', region: link.region, keys });
    }
    for (const link of this.#links.values()) {
      const region = link.takeStorable(this.#ready.writes);
      if (region !== null) this.#ready.persist({ kind: 'region', region });
    }
  }

  get #isIdle(): boolean {
    return this.#ready.now >= this.#workedAt + limits.idleAfterMs;
  }

  /** The longest pause before a region is probed again, ms. Without work no caller waits for a probe. */
  #longestPauseMs({ membership }: RegionLink): number {
    if (this.#isIdle) return limits.idleProbeBackoffMaxMs;
    return membership.state === 'out' ? limits.outProbeBackoffMaxMs : limits.probeBackoffMaxMs;
  }

  #add(stored: StoredRegion, leaseUntil: number): RegionLink {
    assert(!this.#links.has(stored.region), `${stored.region} is a member once`);
    const link = new RegionLink(stored, leaseUntil, this.#ready.now);
    link.lingerUntil = this.#ready.now + limits.commitLingerMs;
    this.#links.set(stored.region, link);
    return link;
  }

  #plan({ health, lingerUntil, flights: { oldestSentAt } }: RegionLink): void {
    this.#ready.schedule(lingerUntil);
    if (health.kind !== 'answering') this.#ready.schedule(health.probeAt);
    else if (oldestSentAt !== null) {
      this.#ready.schedule(oldestSentAt + this.#config.voteDeadlineMs);
    }
  }
}

/** The request of a joint transaction: home's own round, and the lent ones; null for a transaction of one shard. */
function jointRoundOf(transaction: Transaction, region: RegionId, own: Round): JointRound | null {
  if (transaction.joint === null) return null;
  const lent = transaction.joint.guests.map(({ loan }) => loan?.rounds[region]);
  assert(
    lent.every((round) => round !== undefined),
    'every guest has lent a round for each voter',
  );
  return { rounds: [own, ...lent], prepare: transaction.jointPrepare(own.shard) };
}

function lossOf(generation: number): string {
  return generation === 0 ? 'it holds no state any more' : 'it went back to before its last copy';
}

function foreignnessOf(generation: number, keys: number): string {
  if (generation === 0) return `it holds ${counted(keys, 'key')} that Lockstep did not put there`;
  return `it holds the state of another Lockstep (generation ${generation}), and ${counted(keys, 'key')}`;
}

/** The approximate size of a decision in a round, bytes. */
export function bytesOf({ keys, otherShares = [] }: Decision): number {
  const own = keys.reduce((sum, key) => sum + 3 * key.length + 8, 32);
  return otherShares.reduce(
    (sum, share) => share.keys.reduce((bytes, key) => bytes + 3 * key.length + 8, sum + 32),
    own,
  );
}
