import { assert } from '../assert.ts';
import { compareOrder, keyOf, type RegionId, type TransactionOrder } from '../ids.ts';
import { limits } from '../limits.ts';
import type { StoredRegion } from './events.ts';
import type { Decision, Round, RoundPair, RoundReply } from './round.ts';
import type { Transaction } from './transaction.ts';

/**
 * How a region answers. `silent` and `foreign` (it holds another coordinator's state) are probed until they answer as
 * they should; `lost` stays: it has lost acknowledged writes, and its votes count no more.
 */
export type Health =
  | { readonly kind: 'answering' }
  | { readonly kind: 'silent' | 'foreign'; readonly reason: string; readonly probeAt: number }
  | { readonly kind: 'lost'; readonly reason: string };

/** A decision that a region has not acknowledged. */
interface Owed {
  readonly decision: Decision;
  readonly bytes: number;
  /** How many rounds in flight carry it. */
  carried: number;
}

/** A round on its way. */
export interface Flight {
  readonly sentAt: number;
  readonly decisions: readonly Decision[];
  readonly transactions: readonly Transaction[];
  readonly probe: boolean;
  /** It asked for the locks of older incarnations. */
  readonly asked: boolean;
  /**
   * The transactions that other rounds settled since it left. It may have run before those, so a lock that it lists
   * for one of them says nothing.
   */
  readonly settledMeanwhile: Set<string>;
}

/** What every round to any region says alike. */
export interface RoundHead {
  readonly shard: number;
  readonly generation: number;
  readonly epoch: number;
  readonly incarnation: number;
  /** The last transaction given out, whatever became of it. */
  readonly newest: TransactionOrder;
  /** The oldest undecided transaction, or null. */
  readonly oldestUndecided: TransactionOrder | null;
}

const nothingSettled: TransactionOrder = [0, 0];

/** One region as the coordinator deals with it: what it owes, what waits for it, and what is on its way. */
export class RegionLink {
  readonly region: RegionId;
  health: Health = { kind: 'answering' };
  /** Smoothed time of a round, ms. */
  roundTripMs: number | null = null;
  /** No round goes out for decisions alone before this moment, ms. */
  lingerUntil = 0;
  pair: RoundPair | null;
  begun: boolean;
  /** It has answered in this incarnation and all its older locks are known. */
  #greeted = false;
  #storedCounter: number;
  #storedBegun: boolean;
  #failures = 0;
  readonly #marks = new Map<number, string>();
  readonly #owed = new Map<string, Owed>();
  #prepares: Transaction[] = [];
  readonly #flights = new Map<number, Flight>();

  constructor(stored: StoredRegion) {
    this.region = stored.region;
    this.begun = stored.begun;
    this.pair = stored.pair;
    this.#storedBegun = stored.begun;
    this.#storedCounter = stored.pair?.[0] ?? 0;
    if (stored.pair !== null) this.#marks.set(...stored.pair);
    if (stored.lost !== null) this.health = { kind: 'lost', reason: stored.lost };
  }

  get owedCount(): number {
    return this.#owed.size;
  }

  get flightCount(): number {
    return this.#flights.size;
  }

  get greeted(): boolean {
    return this.#greeted;
  }

  /** When the oldest waiting prepare was made (its order), or null where none waits. */
  get oldestPrepare(): TransactionOrder | null {
    return this.#prepares[0]?.order ?? null;
  }

  get hasPrepares(): boolean {
    return this.#prepares.length > 0;
  }

  /** True where something besides prepares is to be said and no round in flight says it already. */
  get hasUnsaid(): boolean {
    if (!this.#greeted && this.#flights.size === 0) return true;
    for (const owed of this.#owed.values()) if (owed.carried === 0) return true;
    return false;
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

  /** True where the region still has to acknowledge the decision about `transaction`. */
  owes(transaction: TransactionOrder): boolean {
    return this.#owed.has(keyOf(transaction));
  }

  /** True where nothing is owed, waiting or on its way. */
  get settled(): boolean {
    return this.#greeted && this.#owed.size === 0 && this.#flights.size === 0 && !this.hasPrepares;
  }

  enqueue(transaction: Transaction): void {
    this.#prepares.push(transaction);
  }

  /** Drops a prepare that has not left yet. */
  withdraw(transaction: Transaction): void {
    this.#prepares = this.#prepares.filter((waiting) => waiting !== transaction);
  }

  /** From now on every round says `decision` until it is acknowledged. Nobody hears it who has been found lost. */
  owe(decision: Decision, bytes: number): void {
    if (this.health.kind === 'lost') return;
    this.#owed.set(keyOf(decision.transaction), { decision, bytes, carried: 0 });
  }

  /** Makes the region list its older locks again. */
  greetAgain(): void {
    this.#greeted = false;
  }

  /**
   * The next round, and what of it is on its way. Unacknowledged decisions come first, all of them; where they do
   * not fit one round, no prepare goes along (rule Order of a round). A silent region gets a probe, which carries
   * nothing and leaves no mark.
   */
  nextRound(number: number, head: RoundHead, mark: string, now: number): Round {
    const probe = this.health.kind !== 'answering';
    const { decisions, bytes, whole } = probe
      ? { decisions: [], bytes: 0, whole: false }
      : this.#decisionsThatFit();
    const transactions = whole ? this.#takePrepares(limits.roundBytes / 3 - bytes) : [];
    for (const transaction of transactions) transaction.sent(this.region, now);
    for (const decision of decisions) this.#carry(decision, 1);
    this.#flights.set(number, {
      sentAt: now,
      decisions,
      transactions,
      probe,
      asked: !this.#greeted,
      settledMeanwhile: new Set(),
    });
    return {
      shard: head.shard,
      generation: head.generation,
      epoch: head.epoch,
      incarnation: head.incarnation,
      begin: !this.begun,
      askOlder: !this.#greeted,
      floor: this.#floor(head),
      seen: this.pair,
      mark,
      decisions,
      prepares: transactions.map((transaction) => transaction.prepare),
    };
  }

  /** Ends the flight of a round, whatever came of it. */
  land(number: number): Flight {
    const flight = this.#flights.get(number);
    assert(flight !== undefined, `round ${number} to ${this.region} is in flight`);
    this.#flights.delete(number);
    for (const decision of flight.decisions) this.#carry(decision, -1);
    return flight;
  }

  /** The region has acknowledged the decision about `transaction`. */
  acknowledged(transaction: TransactionOrder): void {
    const key = keyOf(transaction);
    if (!this.#owed.delete(key)) return;
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
    const contradiction = reply.marks.find(([counter, mark]) => {
      const known = this.#marks.get(counter);
      return known !== undefined && known !== mark;
    });
    if (contradiction !== undefined) {
      return `its history shows another mark for round ${contradiction[0]} than it acknowledged`;
    }
    for (const pair of reply.marks) {
      this.#marks.set(...pair);
      if (this.pair === null || pair[0] > this.pair[0]) this.pair = pair;
    }
    for (const counter of this.#marks.keys()) {
      if (counter < (this.pair?.[0] ?? 0) - limits.historyPairs) this.#marks.delete(counter);
    }
    this.begun = true;
    this.#greeted ||= flight.asked && !reply.olderTruncated;
    this.health = { kind: 'answering' };
    if (!flight.probe) this.#failures = 0;
    const took = now - flight.sentAt;
    this.roundTripMs = this.roundTripMs === null ? took : this.roundTripMs * 0.8 + took * 0.2;
    return null;
  }

  /** No usable answer: the region is asked again after a pause that doubles with each failure in a row. */
  fail(reason: string, now: number, kind: 'silent' | 'foreign' = 'silent'): void {
    if (this.health.kind === 'lost') return;
    const doubled = limits.probePauseMsFirst * 2 ** Math.min(this.#failures, 16);
    this.#failures += 1;
    const probeAt = now + Math.min(doubled, limits.probePauseMsLast);
    this.health = { kind, reason, probeAt };
  }

  /**
   * What storage should know of the region now; null where it knows enough. The highest acknowledged pair goes along
   * with every write that leaves anyway (`writing`), and alone when it has moved far enough.
   */
  takeStorable(writing: boolean): StoredRegion | null {
    const moved = (this.pair?.[0] ?? 0) - this.#storedCounter;
    const due = moved >= (writing ? 1 : limits.pairStoredEveryRounds);
    if (!due && this.begun === this.#storedBegun) return null;
    this.#storedCounter = this.pair?.[0] ?? 0;
    this.#storedBegun = this.begun;
    return this.stored;
  }

  get stored(): StoredRegion {
    const lost = this.health.kind === 'lost' ? this.health.reason : null;
    return { region: this.region, begun: this.begun, pair: this.pair, lost };
  }

  /** Everything at or below it is settled here: below the oldest undecided or unacknowledged transaction. */
  #floor(head: RoundHead): TransactionOrder {
    if (!this.#greeted) return nothingSettled;
    let oldest = head.oldestUndecided;
    for (const { decision } of this.#owed.values()) {
      const order = decision.transaction;
      if (oldest === null || compareOrder(order, oldest) < 0) oldest = order;
    }
    return oldest === null ? head.newest : [oldest[0], oldest[1] - 1];
  }

  #decisionsThatFit() {
    const decisions: Decision[] = [];
    let bytes = 0;
    for (const owed of this.#owed.values()) {
      const fits = bytes + owed.bytes <= limits.roundBytes / 3 || decisions.length === 0;
      if (decisions.length === limits.decisionsPerRound || !fits) {
        return { decisions, bytes, whole: false };
      }
      decisions.push(owed.decision);
      bytes += owed.bytes;
    }
    return { decisions, bytes, whole: true };
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

  #carry(decision: Decision, by: 1 | -1): void {
    const owed = this.#owed.get(keyOf(decision.transaction));
    if (owed !== undefined) owed.carried += by;
  }
}
