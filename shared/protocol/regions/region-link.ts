/**
 * The coordinator's view of one region. Decisions about its vote are made elsewhere; this file keeps its state
 * together.
 */

import { assert } from '../../assert.ts';
import type { CopyStep, Role, Round, RoundPair, RoundReply } from '../../contracts/round.ts';
import { compareOrder, type RegionId, type TransactionOrder } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { Leaving, Membership, StoredRegion } from '../io/stored.ts';
import type { Transaction } from '../transactions/transaction.ts';
import { Lease } from './lease.ts';
import { LentRounds } from './lent-rounds.ts';
import { LossCheck } from './loss-check.ts';
import { MissedKeyMap } from './missed-keys.ts';
import type { Contents, RoundHead } from './region-data.ts';
import { type Health, RegionHealth } from './region-health.ts';
import { RoundHistory } from './round-history.ts';
import { type Flight, RoundsInFlight } from './rounds-in-flight.ts';
import { ServerRefusals } from './server-refusals.ts';
import { UnacknowledgedDecisions } from './unacknowledged.ts';

const nothingSettled: TransactionOrder = [0, 0];

/**
 * The coordinator's view of one region: its unacknowledged decisions, the requests that wait for a round, and the
 * rounds on their way.
 */
export class RegionLink {
  readonly region: RegionId;
  /** Smoothed time of a round, ms. */
  roundTripMs: number | null = null;
  /** No round goes out for decisions alone before this moment, ms. */
  lingerUntil = 0;
  generation: number;
  /** Generations that it had before: a region with one of them is not foreign. */
  former: readonly number[];
  begun: boolean;
  /** The number of keys not put there by Lockstep that it may take over or lose. */
  takes: number;
  /** The generation of another Lockstep's state that may be replaced with them, or null. */
  agreed: number | null;
  membership: Membership;
  readonly lease: Lease;
  readonly refusals = new ServerRefusals();
  readonly lossCheck = new LossCheck();
  readonly flights = new RoundsInFlight();
  /** No lease is renewed: a loan has been open for long (rule R63). */
  isLeasePaused = false;
  readonly unacknowledged = new UnacknowledgedDecisions();
  readonly lent = new LentRounds(this.unacknowledged);
  /** The keys that it misses, each with its last missed sequence. Empty for a voter that stays. */
  readonly missed = new MissedKeyMap();
  /** The step of a copy that waits for a round; Copy puts it here. */
  copyStep: CopyStep | null = null;
  /** It is copied no sooner, ms. */
  copyAfter = 0;
  /** Reads are taken elsewhere until then, ms: it kept a snapshot waiting. */
  readsElsewhereUntil = 0;
  /** It has answered in any way since it was evicted: a copy may begin. */
  reachable = false;
  /** When a copy last failed because it was out of memory, ms. */
  fullSince = Number.NEGATIVE_INFINITY;
  /** Its contents when it last refused a round for its generation; null before that. */
  contents: Contents | null = null;
  /** It has to report its contents: the shard has no members yet. */
  mustReportContents = false;
  /** It has answered in this incarnation, and all its older locks are known. */
  #locksListed = false;
  /** It may hold older locks, so it is asked for them even if there is nothing else to send. */
  #mayHoldOlderLocks = true;
  #copySince: number | null = null;
  /** The newest record of it in storage. */
  #lastStored: StoredRegion;
  readonly #health = new RegionHealth();
  #history: RoundHistory;
  #prepares: Transaction[] = [];

  /** `leaseUntil`: until when a lease of a former instance may last, ms. */
  constructor(stored: StoredRegion, leaseUntil: number, now: number) {
    this.region = stored.region;
    this.generation = stored.generation;
    this.begun = stored.begun;
    this.#history = new RoundHistory(stored.pair);
    this.former = stored.former;
    this.takes = stored.takes;
    this.agreed = stored.agreed;
    // The clock of this instance may be behind that of the last one.
    this.membership = { ...stored.membership, since: Math.min(stored.membership.since, now) };
    this.lease = new Lease(leaseUntil);
    this.#lastStored = stored;
  }

  /** The highest pair that it has acknowledged under its generation. */
  get pair(): RoundPair | null {
    return this.#history.highest;
  }

  /** The generation of another Lockstep's state that it was last found with, or null. */
  get foreignGeneration(): number | null {
    const found = this.contents?.generation ?? 0;
    const isOwn = found === 0 || found === this.generation || this.former.includes(found);
    return isOwn ? null : found;
  }

  /**
   * An operator lets it take over or lose up to `keys` keys, and another Lockstep's state of this generation with them.
   */
  agree(keys: number, generation: number | null): void {
    this.takes = keys;
    this.agreed = generation;
  }

  /** It votes, even if it is about to leave. */
  get isVoter(): boolean {
    return this.membership.state === 'voter';
  }

  /** Why it is no voter, or is about to lose its vote. */
  get leaving(): Leaving | null {
    return this.membership.state === 'voter' ? this.membership.leaving : this.membership;
  }

  /** A voter with untrusted data: its votes are ignored and it is sent no decisions. */
  get isQuarantined(): boolean {
    return this.isVoter && this.leaving?.whole === true;
  }

  /** It votes and answers, and its data are trusted. */
  get isHealthy(): boolean {
    return this.isVoter && !this.isQuarantined && this.health.kind === 'answering';
  }

  /** It should have a lease if clients read there: it is healthy, and stays. */
  get isLeased(): boolean {
    return this.isHealthy && this.leaving === null;
  }

  get health(): Health {
    return this.#health.current;
  }

  get role(): Role {
    return this.membership.state;
  }

  /** The transaction whose prepare has waited longest for a round, or null. */
  get oldestPrepare(): Transaction | null {
    return this.#prepares[0] ?? null;
  }

  /** The transactions whose prepares wait for a round, oldest first. */
  get prepares(): readonly Transaction[] {
    return this.#prepares;
  }

  /** Since when its step of a copy waits for a round, ms; null if none may go. `noteCopyStep` keeps it current. */
  get copySince(): number | null {
    return this.copyStep === null ? null : this.#copySince;
  }

  /** Called in each step: notes since when a step of a copy waits. */
  noteCopyStep(now: number): void {
    if (this.copyStep === null) this.#copySince = null;
    else this.#copySince ??= now;
  }

  /** It should have a lease, and may get one now. */
  get renewsLease(): boolean {
    return this.isLeased && !this.isLeasePaused;
  }

  /**
   * True if a lent round can hold all that it has to: no lock is unknown, and every decision fits, with those of the other
   * shards (rule R58).
   */
  get canLend(): boolean {
    const { whole, bytes } = this.unacknowledged.fitting();
    return this.begun && this.#locksListed && whole && bytes <= limits.roundBytes / 16;
  }

  /** Something depends on its older locks: it is asked for them, even if storage says that there are none. */
  requireLocks(): void {
    if (!this.#locksListed) this.#mayHoldOlderLocks = true;
  }

  /** True if something besides prepares has to be sent and no round in flight carries it already. */
  get hasUnsent(): boolean {
    if (!this.isVoter) return false;
    if (!this.#areLocksKnown && this.flights.size === 0) return true;
    const { requiredFrom } = this.lossCheck;
    if (requiredFrom !== null && !this.flights.hasLeftSince(requiredFrom)) return true;
    return this.unacknowledged.hasUnsent;
  }

  /**
   * True if nothing is unacknowledged, waiting or on its way; for a region that is no voter, if no return is awaited.
   */
  get isQuiet(): boolean {
    if (this.membership.state === 'out') return this.membership.manualReturn;
    if (this.membership.state === 'copying' || this.leaving !== null) return false;
    return (
      this.#areLocksKnown &&
      this.unacknowledged.count === 0 &&
      this.flights.size === 0 &&
      this.#prepares.length === 0
    );
  }

  /** It is out, and no copy may begin before it has answered a probe. */
  get isAwaited(): boolean {
    const { membership, reachable } = this;
    return membership.state === 'out' && !membership.manualReturn && !reachable;
  }

  /** Storage says that it holds no lock (rule R44): it need not be asked for older ones until a round leaves anyway. */
  rest(): void {
    this.#mayHoldOlderLocks = false;
  }

  get #areLocksKnown(): boolean {
    return this.#locksListed || !this.#mayHoldOlderLocks;
  }

  /** A prepare waits for a round to this region. */
  enqueue(transaction: Transaction): void {
    this.#prepares.push(transaction);
  }

  /** Drops a prepare that has not left yet. */
  withdraw(transaction: Transaction): void {
    this.#prepares = this.#prepares.filter((waiting) => waiting !== transaction);
  }

  /**
   * The region has no vote any more, so nothing that was sent to it matters. Returns the keys of its unacknowledged
   * commits, which it has missed.
   */
  leave(): ReturnType<UnacknowledgedDecisions['abandon']> {
    this.#prepares = [];
    this.lossCheck.cancel();
    this.refusals.forget();
    this.lease.cease();
    this.reachable = false;
    return this.unacknowledged.abandon();
  }

  /** Its copy begins, which drops the locks of older rounds. A new generation has no history. */
  beginCopy(generation: number): void {
    if (generation !== this.generation) {
      this.former = [this.generation, ...this.former].slice(0, limits.formerGenerations);
      this.generation = generation;
      this.begun = false;
      this.#history = new RoundHistory(null);
      this.#lastStored = { ...this.#lastStored, pair: null };
    }
    this.copyStep = null;
    this.listLocksAgain();
  }

  /** Makes the region list its older locks again. */
  listLocksAgain(): void {
    this.#locksListed = false;
    this.#mayHoldOlderLocks = true;
  }

  /**
   * The next round, which is noted as on its way. Unacknowledged decisions come first, all of them; if they do not fit
   * one round, no prepare goes along (rule R9). A silent region gets a probe, which carries nothing and leaves no
   * nonce. With `copies`, prepares wait for another round: a step of a copy goes in this one.
   */
  nextRound(number: number, head: RoundHead, nonce: string, now: number, copies = false): Round {
    const speaks = this.isVoter && !this.isQuarantined && this.health.kind === 'answering';
    const { decisions, bytes, whole } = speaks
      ? this.unacknowledged.fitting()
      : { decisions: [], bytes: 0, whole: false };
    const budget = limits.roundBytes / 3 - bytes;
    const transactions = whole && !copies ? this.#takePrepares(budget) : [];
    const isJoint = transactions.some(({ joint }) => joint !== null);
    for (const transaction of transactions) transaction.sent(this.region, now);
    for (const decision of decisions) this.unacknowledged.carry(decision, 1);
    const mayRenew = speaks && this.leaving === null && !this.isLeasePaused;
    const lease = mayRenew ? this.lease.requestFor(now) : null;
    // A step of a copy takes its time, so no vote waits for one.
    const copy = transactions.length === 0 ? this.#takeCopyStep() : null;
    this.flights.set(number, {
      sentAt: now,
      decisions,
      transactions,
      ...(isJoint && { isJoint }),
      probe: this.health.kind !== 'answering',
      epoch: head.epoch,
      generation: this.generation,
      lease,
      copy,
      asksLocks: !this.#locksListed && this.isVoter,
      settledMeanwhile: new Set(),
    });
    // The prepare of a joint transaction stands beside the rounds of its shards.
    const prepares = isJoint ? [] : transactions.map((transaction) => transaction.prepare);
    return { ...this.#roundHead(head, nonce), decisions, prepares, lease, copy };
  }

  /**
   * A round for a joint transaction of another shard, which sends it. It is made as any other, with every unacknowledged
   * decision, but asks for no lease (rule R58).
   */
  lendRound(number: number, head: RoundHead, nonce: string, now: number): Round {
    const { decisions, whole } = this.unacknowledged.fitting();
    assert(whole && this.canLend && this.isHealthy, 'a lent round holds all that it has to');
    this.lent.lend(number, {
      sentAt: now,
      decisions,
      transactions: [],
      probe: false,
      epoch: head.epoch,
      generation: this.generation,
      lease: null,
      copy: null,
      asksLocks: false,
      settledMeanwhile: new Set(),
    });
    return { ...this.#roundHead(head, nonce), decisions, prepares: [], lease: null, copy: null };
  }

  #roundHead(head: RoundHead, nonce: string) {
    return {
      shard: head.shard,
      generation: this.generation,
      role: this.role,
      epoch: head.epoch,
      incarnation: head.incarnation,
      begin: this.isVoter && !this.begun,
      takes: this.takes,
      askOlder: this.isVoter && !this.#locksListed,
      lowWatermark: this.#lowWatermark(head),
      lastAcknowledged: this.pair,
      nonce,
    };
  }

  /** Before this moment no third or fourth round leaves beside those in flight, ms (rule R20). */
  get spacedUntil(): number {
    const { newestSentAt, size } = this.flights;
    if (size < 2 || newestSentAt === null) return 0;
    // Clocks read whole milliseconds.
    return newestSentAt + Math.ceil((this.roundTripMs ?? 0) / limits.roundsPerRoundTrip);
  }

  /** True if a round has been in flight for longer than the region usually takes, or nobody knows how long it takes. */
  isLate(now: number): boolean {
    if (this.roundTripMs === null) return true;
    const allowedMs = this.roundTripMs * limits.lateRoundTrips + limits.lateMs;
    return this.flights.isOverdue(now, allowedMs);
  }

  /** Ends the flight of a round, with any result. */
  land(number: number): Flight {
    const flight = this.flights.get(number);
    assert(flight !== undefined, `round ${number} to ${this.region} is in flight`);
    this.flights.delete(number);
    for (const decision of flight.decisions) this.unacknowledged.carry(decision, -1);
    return flight;
  }

  /** The region has acknowledged the decision about `transaction`. */
  acknowledged(transaction: TransactionOrder): void {
    if (this.unacknowledged.remove(transaction)) this.flights.noteSettled(transaction);
  }

  /** Updates the region's state by an executed round. Returns the loss that the reply shows, or null. */
  update(reply: RoundReply, flight: Flight, now: number): string | null {
    const votes = flight.isJoint === true ? 0 : flight.transactions.length;
    assert(
      reply.decisions.length === flight.decisions.length && reply.votes.length === votes,
      'an executed round answers each decision and prepare; the client has checked that',
    );
    const loss = this.#addHistory(reply);
    if (loss !== null) return loss;
    this.begun = true;
    this.refusals.update(reply);
    // Its contents are Lockstep's from now on; keys that come from elsewhere later need a new agreement.
    this.agree(0, null);
    this.contents = null;
    this.#locksListed ||= flight.asksLocks && !reply.olderTruncated;
    this.#health.answered(flight.probe);
    this.lossCheck.pass(flight.sentAt);
    const took = now - flight.sentAt;
    this.roundTripMs = this.roundTripMs === null ? took : this.roundTripMs * 0.8 + took * 0.2;
    return null;
  }

  /**
   * Updates the region's state by a lent round that was executed a while ago. That it has answered another shard then
   * says nothing about its health now.
   */
  updateLent(reply: RoundReply, flight: Flight): string | null {
    assert(
      reply.decisions.length === flight.decisions.length,
      'an executed round answers each decision; the client has checked that',
    );
    const loss = this.#addHistory(reply);
    if (loss === null) this.lossCheck.pass(flight.sentAt);
    return loss;
  }

  /** Adds the pairs of an answer. Returns the loss that they show, or null. */
  #addHistory(reply: RoundReply): string | null {
    const contradiction = this.#history.contradictionIn(reply.history);
    if (contradiction !== undefined) {
      return `its history shows another nonce for round ${contradiction[0]} than it acknowledged`;
    }
    this.#history.add(reply.history);
    return null;
  }

  /** The failures of the past count no more. */
  recover(): void {
    this.#health.recover();
  }

  /** No usable answer came to the request that left at `sentAt`: the region is probed after at most `longestMs`. */
  fail(
    reason: string,
    now: number,
    sentAt: number,
    longestMs: number,
    kind: 'silent' | 'foreign' = 'silent',
  ): void {
    const { state, since } = this.membership;
    this.#health.fail({ kind, reason, sentAt }, state === 'out' ? since : null, now, longestMs);
  }

  /** Work has come: a silent region is probed no later than after `longestMs`. */
  hasten(now: number, longestMs: number): void {
    this.#health.hasten(now, longestMs);
  }

  /**
   * The record of the region to store now; null if storage knows enough. The highest acknowledged pair goes along with
   * every write that is made anyway (`writing`), and alone when it has moved far enough.
   */
  takeStorable(writing: boolean): StoredRegion | null {
    const { begun, takes, agreed, pair } = this.#lastStored;
    const moved = (this.pair?.[0] ?? 0) - (pair?.[0] ?? 0);
    const due = moved >= (writing ? 1 : limits.pairStoredEveryRounds);
    const isKnown = begun === this.begun && takes === this.takes && agreed === this.agreed;
    if (!due && isKnown) return null;
    this.#lastStored = this.stored;
    return this.#lastStored;
  }

  /** The record of the region for storage. */
  get stored(): StoredRegion {
    const { region, generation, former, begun, takes, agreed, pair, membership } = this;
    return { region, generation, former, begun, takes, agreed, pair, membership };
  }

  /**
   * The low watermark: everything up to the oldest undecided or unacknowledged transaction, without it, is settled
   * here.
   */
  #lowWatermark(head: RoundHead): TransactionOrder {
    // The copy drops the region's locks, so no transaction up to the newest can have any there.
    if (this.membership.state === 'copying') return head.newest;
    if (!this.#locksListed) return nothingSettled;
    const { oldest: unacknowledged } = this.unacknowledged;
    const undecided = head.oldestUndecided;
    const isUndecidedFirst =
      unacknowledged === null ||
      (undecided !== null && compareOrder(undecided, unacknowledged) <= 0);
    const oldest = isUndecidedFirst ? undecided : unacknowledged;
    return oldest === null ? head.newest : [oldest[0], oldest[1] - 1];
  }

  #takePrepares(budget: number): readonly Transaction[] {
    let bytes = 0;
    let count = 0;
    for (const transaction of this.#prepares) {
      bytes += transaction.bytes;
      if (count === limits.preparesPerRound || (bytes > budget && count > 0)) break;
      // A joint transaction goes alone, with the rounds of its shards.
      if (transaction.joint !== null && count > 0) break;
      count += 1;
      if (transaction.joint !== null) break;
    }
    return this.#prepares.splice(0, count);
  }

  #takeCopyStep(): CopyStep | null {
    if (this.health.kind !== 'answering' || this.isQuarantined) return null;
    const step = this.copyStep;
    this.copyStep = null;
    this.#copySince = null;
    return step;
  }
}
