import { assert } from '../../assert.ts';
import type { CopyStep, Role, Round, RoundPair, RoundReply } from '../../contracts/round.ts';
import { compareOrder, keyOf, type RegionId, type TransactionOrder } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { Leaving, Membership, StoredRegion } from '../io/events.ts';
import type { Transaction } from '../transactions/transaction.ts';
import type { Contents, Flight, Health, Refusals, RoundHead } from './flight.ts';
import { Lease } from './lease.ts';
import { MarkHistory } from './mark-history.ts';
import { MissedMarks } from './missed-marks.ts';
import { OwedDecisions } from './unacknowledged.ts';

const nothingSettled: TransactionOrder = [0, 0];

/** The code of the error by which a server refuses what takes memory. */
export const outOfMemory = 'OOM';

/** One region as the coordinator deals with it: what it owes, what waits for it, and what is on its way. */
export class RegionLink {
  readonly region: RegionId;
  health: Health = { kind: 'answering' };
  /** Smoothed time of a round, ms. */
  roundTripMs: number | null = null;
  /** No round goes out for decisions alone before this moment, ms. */
  lingerUntil = 0;
  generation: number;
  /** Generations that it had before: what holds one of them is not foreign. */
  former: readonly number[];
  begun: boolean;
  /** How many keys that Lockstep did not put there may be taken over or lost in it. */
  takes: number;
  /** The generation of another Lockstep's state that may be replaced with them, or null. */
  agreed: number | null;
  membership: Membership;
  readonly lease: Lease;
  readonly owed = new OwedDecisions();
  /** Where it is no voter, or on the way to be none: the keys that it misses, each with its last missed sequence. */
  readonly missed = new MissedMarks();
  /** The step of a copy that waits for a round; Copy puts it here. */
  copyStep: CopyStep | null = null;
  /** It is copied no sooner, ms. */
  copyAfter = 0;
  /** Reads are taken elsewhere until then, ms: it let a snapshot wait. */
  readsElsewhereUntil = 0;
  /** It has answered in any way since it was put out: a copy may begin. */
  reachable = false;
  /** It is known to be out of memory: a copy would fail. */
  isFull = false;
  /** When a copy last failed as it was out of memory, ms. */
  fullSince = Number.NEGATIVE_INFINITY;
  /** What it held when it last refused a round for its generation; null before that. */
  contents: Contents | null = null;
  /** It is to say what it holds: the shard has no members yet. */
  asksContents = false;
  /** A round that leaves no sooner has to be executed: it passes the loss check then. */
  #checkAfter: number | null = null;
  /** When the last round left that passed the loss check, ms. */
  #checkedAt = Number.NEGATIVE_INFINITY;
  /** It has answered in this incarnation and all its older locks are known. */
  #greeted = false;
  /** It may hold older locks, so it is asked for them also if there is nothing else to say. */
  #owesGreeting = true;
  #copySince: number | null = null;
  #refusals: Refusals | null = null;
  #settledMarks: string[] = [];
  /** What storage knew when it was last brought up to date. */
  #lastStored: StoredRegion;
  #failures = 0;
  #history: MarkHistory;
  #prepares: Transaction[] = [];
  readonly #flights = new Map<number, Flight>();

  /** `leaseUntil`: until when a lease may last that this instance did not grant, ms. */
  constructor(stored: StoredRegion, leaseUntil: number, now: number) {
    this.region = stored.region;
    this.generation = stored.generation;
    this.begun = stored.begun;
    this.#history = new MarkHistory(stored.pair);
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

  /** An operator lets up to `keys` keys be taken over or lost there, and the state of another Lockstep with them. */
  agree(keys: number, generation: number | null): void {
    this.takes = keys;
    this.agreed = generation;
  }

  get isVoter(): boolean {
    return this.membership.state === 'voter';
  }

  /** Why it is no voter, or will not be one for long. */
  get leaving(): Leaving | null {
    return this.membership.state === 'voter' ? this.membership.leaving : this.membership;
  }

  /** It votes, but what it holds is not to be trusted: its votes count no more, and it hears nothing. */
  get isQuarantined(): boolean {
    return this.isVoter && this.leaving?.whole === true;
  }

  /** It votes and answers, and what it holds is to be trusted. */
  get isSound(): boolean {
    return this.isVoter && !this.isQuarantined && this.health.kind === 'answering';
  }

  /** It should have a lease where somebody reads: it is sound, and to stay. */
  get isLeased(): boolean {
    return this.isSound && this.leaving === null;
  }

  /** Its server refuses what others carry out, in a row, for so long; null if it does not. */
  get refusals(): Refusals | null {
    return this.#refusals;
  }

  get role(): Role {
    return this.membership.state;
  }

  /** The rounds on their way, by their numbers, oldest first. */
  get flights(): ReadonlyMap<number, Flight> {
    return this.#flights;
  }

  get flightCount(): number {
    return this.#flights.size;
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

  /** A round that leaves from now on has to pass the loss check. */
  requireCheck(now: number): void {
    this.#checkAfter ??= now;
  }

  /** True where a round passed the loss check that left at `since` or later. */
  hasPassedCheck(since: number): boolean {
    return this.#checkedAt >= since;
  }

  /** True where something besides prepares is to be said and no round in flight says it already. */
  get hasUnsaid(): boolean {
    if (!this.isVoter) return false;
    if (!this.#isKnown && this.#flights.size === 0) return true;
    if (this.#checkAfter !== null && !this.#checkIsOnItsWay(this.#checkAfter)) return true;
    return this.owed.isUnsaid;
  }

  /** When the oldest round in flight left, ms; null where none is. */
  get oldestSentAt(): number | null {
    const [oldest] = this.#flights.values();
    return oldest?.sentAt ?? null;
  }

  /** True where a round has been out for `deadlineMs` or longer. */
  isOverdue(now: number, deadlineMs: number): boolean {
    return this.oldestSentAt !== null && this.oldestSentAt + deadlineMs <= now;
  }

  /** True where a probe is on its way. */
  get probing(): boolean {
    for (const flight of this.#flights.values()) if (flight.probe) return true;
    return false;
  }

  /** True where nothing is owed, waiting or on its way; for a region that is no voter, where nobody waits for it. */
  get settled(): boolean {
    if (this.membership.state === 'out') return this.membership.held;
    if (this.membership.state === 'copying' || this.leaving !== null) return false;
    return (
      this.#isKnown &&
      this.owed.count === 0 &&
      this.#flights.size === 0 &&
      this.#prepares.length === 0
    );
  }

  /** It is out, and no copy may begin before it has answered a probe. */
  get isAwaited(): boolean {
    const { membership, reachable } = this;
    return membership.state === 'out' && !membership.held && !reachable;
  }

  /** Storage says that it holds no lock (rule R44): it need not be asked for older ones until a round leaves anyway. */
  rest(): void {
    this.#owesGreeting = false;
  }

  get #isKnown(): boolean {
    return this.#greeted || !this.#owesGreeting;
  }

  enqueue(transaction: Transaction): void {
    this.#prepares.push(transaction);
  }

  /** Drops a prepare that has not left yet. */
  withdraw(transaction: Transaction): void {
    this.#prepares = this.#prepares.filter((waiting) => waiting !== transaction);
  }

  /**
   * The region votes no more: nothing that it has been told matters any longer. What it has not acknowledged of commits
   * is returned: it has missed these keys.
   */
  leave(): ReturnType<OwedDecisions['abandon']> {
    this.#prepares = [];
    this.#checkAfter = null;
    this.#refusals = null;
    this.lease.cease();
    this.reachable = false;
    return this.owed.abandon();
  }

  /** Its copy begins: what older rounds left there is dropped. A new generation has no history. */
  beginCopy(generation: number): void {
    if (generation !== this.generation) {
      this.former = [this.generation, ...this.former].slice(0, limits.formerGenerations);
      this.generation = generation;
      this.begun = false;
      this.#history = new MarkHistory(null);
      this.#lastStored = { ...this.#lastStored, pair: null };
    }
    this.copyStep = null;
    this.greetAgain();
  }

  /** The keys have been copied as they were when `noted` was the sequence given out last. */
  copied(keys: readonly string[], noted: number): void {
    const settled = keys.filter((key) => {
      const mark = this.missed.get(key);
      return mark !== undefined && mark <= noted;
    });
    for (const key of settled) this.missed.delete(key);
    this.#settledMarks.push(...settled);
  }

  /** The marks that were settled since this was last asked. */
  takeSettledMarks(): readonly string[] {
    return this.#settledMarks.splice(0);
  }

  /** Makes the region list its older locks again. */
  greetAgain(): void {
    this.#greeted = false;
    this.#owesGreeting = true;
  }

  /**
   * The next round, and what of it is on its way. Unacknowledged decisions come first, all of them; where they do
   * not fit one round, no prepare goes along (rule Order of a round). A silent region gets a probe, which carries
   * nothing and leaves no mark. With `copies`, prepares wait for another round: a step of a copy goes in this one.
   */
  nextRound(number: number, head: RoundHead, mark: string, now: number, copies = false): Round {
    const speaks = this.isVoter && !this.isQuarantined && this.health.kind === 'answering';
    const { decisions, bytes, whole } = speaks
      ? this.owed.thatFit()
      : { decisions: [], bytes: 0, whole: false };
    const budget = limits.roundBytes / 3 - bytes;
    const transactions = whole && !copies ? this.#takePrepares(budget) : [];
    for (const transaction of transactions) transaction.sent(this.region, now);
    for (const decision of decisions) this.owed.carry(decision, 1);
    const lease = speaks && this.leaving === null ? this.lease.orderFor(now) : null;
    // A step of a copy takes its time, so no vote waits for one.
    const copy = transactions.length === 0 ? this.#takeCopyStep() : null;
    this.#flights.set(number, {
      sentAt: now,
      decisions,
      transactions,
      probe: this.health.kind !== 'answering',
      epoch: head.epoch,
      generation: this.generation,
      lease,
      copy,
      asked: !this.#greeted && this.isVoter,
      settledMeanwhile: new Set(),
    });
    return {
      shard: head.shard,
      generation: this.generation,
      role: this.role,
      epoch: head.epoch,
      incarnation: head.incarnation,
      begin: this.isVoter && !this.begun,
      takes: this.takes,
      askOlder: this.isVoter && !this.#greeted,
      floor: this.#floor(head),
      seen: this.pair,
      mark,
      decisions,
      prepares: transactions.map((transaction) => transaction.prepare),
      lease,
      copy,
    };
  }

  /** Ends the flight of a round, whatever came of it. */
  land(number: number): Flight {
    const flight = this.#flights.get(number);
    assert(flight !== undefined, `round ${number} to ${this.region} is in flight`);
    this.#flights.delete(number);
    for (const decision of flight.decisions) this.owed.carry(decision, -1);
    return flight;
  }

  /** The region has acknowledged the decision about `transaction`. */
  acknowledged(transaction: TransactionOrder): void {
    const key = keyOf(transaction);
    if (!this.owed.remove(transaction)) return;
    for (const { asked, settledMeanwhile } of this.#flights.values()) {
      if (asked) settledMeanwhile.add(key);
    }
  }

  /** Takes in what an executed round says of the region itself. A string is the loss that it shows. */
  learn(reply: RoundReply, flight: Flight, now: number): string | null {
    assert(
      reply.decisions.length === flight.decisions.length &&
        reply.votes.length === flight.transactions.length,
      'an executed round answers each decision and prepare; the client has checked that',
    );
    const contradiction = this.#history.contradictionIn(reply.marks);
    if (contradiction !== undefined) {
      return `its history shows another mark for round ${contradiction[0]} than it acknowledged`;
    }
    this.#history.learn(reply.marks);
    this.begun = true;
    this.#endRefusals(reply);
    // What it holds is Lockstep's from now on; who fills it behind its back has to be asked anew.
    this.agree(0, null);
    this.contents = null;
    this.#greeted ||= flight.asked && !reply.olderTruncated;
    this.health = { kind: 'answering' };
    this.#checkedAt = Math.max(this.#checkedAt, flight.sentAt);
    if (this.#checkAfter !== null && flight.sentAt >= this.#checkAfter) this.#checkAfter = null;
    if (!flight.probe) this.#failures = 0;
    const took = now - flight.sentAt;
    this.roundTripMs = this.roundTripMs === null ? took : this.roundTripMs * 0.8 + took * 0.2;
    return null;
  }

  /** The failures of the past count no more. */
  recover(): void {
    this.#failures = 0;
    this.health = { kind: 'answering' };
  }

  /** Its server refused a step by an error of its own. Refusals that are far apart are not in a row. */
  refuses(code: string, reason: string, now: number): void {
    const known = this.#refusals;
    const isInRow = known !== null && now - known.last <= limits.refusalsApartMs;
    this.#refusals = { code, reason, since: isInRow ? known.since : now, last: now };
  }

  /** Its refusals count from now on, if there are any. */
  refusesFrom(now: number): void {
    if (this.#refusals !== null) this.#refusals = { ...this.#refusals, since: now };
  }

  /** What an executed round says of its server's refusals: that they are over, or nothing. */
  #endRefusals({ isFull, votes, decisions }: RoundReply): void {
    if (isFull !== null) this.isFull = isFull;
    if (this.#refusals === null) return;
    const hasWritten =
      votes.some(({ kind }) => kind === 'yes') ||
      (decisions.length > 0 && decisions.every((reply) => reply === 'acknowledged'));
    // What takes no memory goes through in a region that is full.
    const isOver = this.#refusals.code === outOfMemory ? isFull === false : hasWritten;
    if (isOver) this.#refusals = null;
  }

  /**
   * No usable answer: the region is asked again after a pause that doubles with each failure in a row, or grows with the
   * time for which it has been out, up to `longestMs`.
   */
  fail(
    reason: string,
    now: number,
    sentAt: number,
    longestMs: number,
    kind: 'silent' | 'foreign' = 'silent',
  ): void {
    const doubled = limits.probeBackoffMinMs * 2 ** Math.min(this.#failures, 16);
    const { membership } = this;
    // A new instance does not know how often it was asked before, but since when it has been out.
    const grown =
      membership.state === 'out' ? (now - membership.since) / limits.outProbesPerAge : 0;
    const isFirst = this.#failures === 0;
    this.#failures += 1;
    const probeAt =
      now + Math.ceil(Math.min(isFirst ? doubled : Math.max(doubled, grown), longestMs));
    const since = this.health.kind === 'answering' ? sentAt : this.health.since;
    this.health = { kind, reason, since, probeAt };
  }

  /** Work has come: a region that is silent is asked no later than after `longestMs`. */
  hasten(now: number, longestMs: number): void {
    if (this.health.kind === 'answering') return;
    const probeAt = Math.min(this.health.probeAt, now + longestMs);
    this.health = { ...this.health, probeAt };
  }

  /**
   * What storage should know of the region now; null where it knows enough. The highest acknowledged pair goes along
   * with every write that leaves anyway (`writing`), and alone when it has moved far enough.
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

  get stored(): StoredRegion {
    const { region, generation, former, begun, takes, agreed, pair, membership } = this;
    return { region, generation, former, begun, takes, agreed, pair, membership };
  }

  /** Everything at or below it is settled here: below the oldest undecided or unacknowledged transaction. */
  #floor(head: RoundHead): TransactionOrder {
    // The locks of a region that is copied are dropped: nothing given out so far can mean anything there any more.
    if (this.membership.state === 'copying') return head.newest;
    if (!this.#greeted) return nothingSettled;
    const { oldest: owed } = this.owed;
    const undecided = head.oldestUndecided;
    const isOwedFirst = undecided === null || (owed !== null && compareOrder(owed, undecided) < 0);
    const oldest = isOwedFirst ? owed : undecided;
    return oldest === null ? head.newest : [oldest[0], oldest[1] - 1];
  }

  #takePrepares(budget: number): readonly Transaction[] {
    let bytes = 0;
    let count = 0;
    for (const transaction of this.#prepares) {
      bytes += transaction.bytes;
      if (count === limits.preparesPerRound || (bytes > budget && count > 0)) break;
      count += 1;
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

  #checkIsOnItsWay(since: number): boolean {
    for (const flight of this.#flights.values()) if (flight.sentAt >= since) return true;
    return false;
  }
}
