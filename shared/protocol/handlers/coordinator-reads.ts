/** Strong reads that go through the coordinator: they wait for a turn, take a snapshot in a voter, and retry. */

import type { ReadRequest, RegionFault } from '../../contracts/coordinator.ts';
import { encodeReply } from '../../contracts/reply.ts';
import { type Decision, holdScript, type SnapshotResult } from '../../contracts/round.ts';
import { keyOf, type RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import { keysOfRead } from '../../shards/read-keys.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { CoordinatorEvent, Ticket } from '../io/events.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { WriteRefusal } from '../io/refusal.ts';
import type { OwnedSlots } from '../ownership/owned-slots.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import type { Loan } from '../transactions/loan.ts';
import { resolutionOf } from '../transactions/resolution.ts';
import type { Transactions } from '../transactions/transactions.ts';
import type { Loans } from './loans.ts';

type ReadResult = Extract<SnapshotResult, { kind: 'read' }>;

/** A read that goes through the coordinator. */
interface PendingRead {
  readonly ticket: Ticket;
  readonly request: ReadRequest;
  /** When it came, and until when it waits, ms. */
  readonly since: number;
  readonly until: number;
  settle: readonly Decision[];
  /** The region whose last snapshot met a lock of a committed write; null if it met none. */
  contendedIn: RegionId | null;
  attempts: number;
  /** The number of regions that got it and have not answered. */
  unanswered: number;
  readonly faults: RegionFault[];
}

/**
 * A snapshot on its way. `since` is when its region became a voter: the answer counts only if it is the same vote
 * still.
 */
interface SnapshotFlight {
  readonly read: PendingRead;
  readonly link: RegionLink;
  readonly since: number;
}

/** The parts of the coordinator that reads need. */
export interface CoordinatorReadsParts {
  readonly config: CoordinatorConfig;
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly transactions: Transactions;
  readonly slots: OwnedSlots;
  readonly loans: Loans;
}

/**
 * Strong reads without a lease (rule R40). The snapshot is taken in a voter, after the read came; the proof follows it,
 * so no other instance can have decided anything by then, and the decisions of this one are under a lock in that voter.
 */
export class CoordinatorReads {
  readonly #ready: ReadyBuilder;
  readonly #links: RegionLinks;
  readonly #transactions: Transactions;
  readonly #slots: OwnedSlots;
  readonly #timeoutMs: number;
  #waiting: PendingRead[] = [];
  readonly #flights = new Map<number, SnapshotFlight>();

  readonly #loans: Loans;

  constructor({ config, ready, links, transactions, slots, loans }: CoordinatorReadsParts) {
    this.#loans = loans;
    this.#ready = ready;
    this.#links = links;
    this.#transactions = transactions;
    this.#slots = slots;
    this.#timeoutMs = config.roundTimeoutMs;
  }

  /** Snapshots on their way: each takes a connection. */
  get flightCount(): number {
    return this.#flights.size;
  }

  /** Until when each read waits that has no snapshot on its way, ms. */
  get deadlines(): readonly number[] {
    return this.#waiting.map(({ until }) => until);
  }

  /** True while a read waits or has a snapshot on its way. */
  get busy(): boolean {
    return this.#waiting.length > 0 || this.#flights.size > 0;
  }

  /** Takes in a read. It is refused at once if too many wait. */
  receive({ ticket, request }: Extract<CoordinatorEvent, { kind: 'read-requested' }>): void {
    const moved = this.#slots.movedFor(keysOfRead(request));
    if (moved !== null) {
      this.#answerMoved(ticket, moved.version);
      return;
    }
    if (this.#waiting.length >= limits.readsQueued) {
      const faults = [{ region: '', reason: 'too many reads wait for the coordinator' }];
      this.#ready.reply({ kind: 'read', ticket, answer: { kind: 'unavailable', faults } });
      return;
    }
    const since = this.#ready.now;
    const until = since + limits.timeoutMsDefault;
    const { unanswered = 0 } = request;
    this.#waiting.push({
      ticket,
      request,
      since,
      until,
      settle: [],
      contendedIn: null,
      attempts: 0,
      unanswered,
      faults: [],
    });
  }

  /** The shard knows its slots now: reads of other keys are answered so. */
  onSlotsKnown(): void {
    this.#waiting = this.#waiting.filter(({ ticket, request }) => {
      const moved = this.#slots.movedFor(keysOfRead(request));
      if (moved !== null) this.#answerMoved(ticket, moved.version);
      return moved === null;
    });
  }

  #answerMoved(ticket: Ticket, version: number): void {
    this.#ready.reply({ kind: 'read', ticket, answer: { kind: 'moved', version } });
  }

  /** The shard has no members, so no region can answer. */
  refuseAll({ faults, reason }: WriteRefusal): void {
    for (const { ticket } of this.#waiting.splice(0)) {
      const answer = { kind: 'unavailable', faults, notFounded: reason } as const;
      this.#ready.reply({ kind: 'read', ticket, answer });
    }
  }

  /** When the read came that has waited longest for a snapshot, ms; null if none waits, or no more may be taken now. */
  get waitingSince(): number | null {
    if (this.#flights.size >= limits.readsInFlight) return null;
    return this.#oldest?.since ?? null;
  }

  /** Gives up the reads whose time is over, and plans for the others. */
  sweep(): void {
    const { now } = this.#ready;
    const isOver = ({ until, attempts }: PendingRead) =>
      until <= now || attempts >= limits.readAttempts;
    for (const read of this.#waiting) if (isOver(read)) this.#giveUp(read);
    this.#waiting = this.#waiting.filter((read) => !isOver(read));
    for (const { until } of this.#waiting) this.#ready.schedule(until);
  }

  /**
   * The keys whose loans keep a read from being taken: a region may hold a joint write on them whose round this shard does
   * not know, so that it would not notice its loss (rule R65). Null: any key, since a script may read it.
   */
  #doubtfulKeysOf({ request }: PendingRead): readonly string[] | null {
    return holdScript(request.commands) ? null : request.keys;
  }

  #loansOn(read: PendingRead): readonly Loan[] {
    const keys = this.#doubtfulKeysOf(read);
    return keys === null ? this.#transactions.loans : this.#transactions.loansOf(keys);
  }

  /** Takes a snapshot for the read that has waited longest, or gives that up if no region can answer it. */
  sendNext(shard: number): void {
    const read = this.#oldest;
    if (read === null) return;
    this.#waiting = this.#waiting.filter((waiting) => waiting !== read);
    this.#send(read, shard);
  }

  get #oldest(): PendingRead | null {
    let oldest: PendingRead | null = null;
    for (const read of this.#waiting) {
      const loans = this.#loansOn(read);
      for (const loan of loans) this.#loans.askSoon(loan);
      if (loans.length > 0 || this.#isHeldUp(read)) continue;
      if (oldest === null || read.since < oldest.since) oldest = read;
    }
    return oldest;
  }

  /** A snapshot has ended: answers its read, or queues it again. */
  onSnapshot({
    number,
    result,
    recorded,
    horizon,
  }: Extract<CoordinatorEvent, { kind: 'snapshot-completed' }>): void {
    const flight = this.#flights.get(number);
    if (flight === undefined) return;
    this.#flights.delete(number);
    const { read, link, since } = flight;
    const isSettledHere = read.contendedIn === link.region;
    read.contendedIn = null;
    const isSame = link.isVoter && !link.isQuarantined && link.membership.since === since;
    if (result.kind !== 'read' || !isSame) {
      const reason = result.kind === 'silent' ? result.reason : 'it is no voter';
      read.faults.push({ region: link.region, reason });
      if (result.kind === 'silent' && result.isUnanswered) read.unanswered += 1;
      if (isSpent(read)) this.#giveUp(read);
      else this.#waiting.push(read);
      // Without this, a region that lets one read wait would let every read wait.
      if (result.kind === 'silent')
        link.readsElsewhereUntil = this.#ready.now + limits.silentRegionAvoidedMs;
      return;
    }
    link.readsElsewhereUntil = 0;
    if (this.#loansOn(read).length > 0 || this.#isDoubtful(read, link)) {
      // Its keys were lent meanwhile.
      this.#waiting.push(read);
      return;
    }
    const holders = new Map(result.locks.map(({ holder }) => [keyOf(holder), holder]));
    if (isSettledHere && isOutrun(read, holders)) {
      this.#answer(read, link, result);
      return;
    }
    const resolutions = [...holders.values()].map((holder) =>
      resolutionOf(holder, recorded, this.#transactions.isUndecided(holder), horizon),
    );
    const settle = resolutions.flatMap((one) =>
      one.kind === 'committed'
        ? [
            {
              transaction: one.transaction,
              outcome: 'commit' as const,
              keys: one.keys,
              ...(one.otherShares !== undefined && { otherShares: one.otherShares }),
            },
          ]
        : [],
    );
    if (resolutions.some(({ kind }) => kind === 'forgotten')) {
      read.faults.push({
        region: link.region,
        reason: 'it holds a lock older than the kept log',
      });
      this.#waiting.push(read);
    } else if (settle.length > 0) {
      this.#waiting.push({ ...read, settle, contendedIn: link.region });
    } else {
      this.#answer(read, link, result);
    }
  }

  #answer({ ticket }: PendingRead, { region }: RegionLink, { replies }: ReadResult): void {
    const answer = { kind: 'read', replies: encodeReply(replies), region } as const;
    this.#ready.reply({ kind: 'read', ticket, answer });
  }

  #send(read: PendingRead, shard: number): void {
    const link = this.#regionFor(read);
    if (link === null) {
      this.#giveUp(read);
      return;
    }
    read.attempts += 1;
    const number = this.#links.nextNumber();
    const { since } = link.membership;
    this.#flights.set(number, { read, link, since });
    const { keys, commands } = read.request;
    const { settle } = read;
    this.#ready.send({
      kind: 'snapshot',
      region: link.region,
      number,
      request: {
        shard,
        generation: link.generation,
        strong: true,
        leased: false,
        lastAcknowledged: link.pair,
        settle,
        keys,
        commands,
      },
      timeoutMs: this.#timeoutMs,
    });
  }

  /** The voter that answers fastest, and has not failed this read yet. */
  #regionFor(read: PendingRead): RegionLink | null {
    const { request, faults } = read;
    const able = this.#links.voters.filter(
      (link) =>
        !link.isQuarantined &&
        link.begun &&
        link.health.kind === 'answering' &&
        !this.#isDoubtful(read, link),
    );
    const wanted = request.region;
    const candidates = able.filter(({ region }) => wanted === null || region === wanted);
    // If all have failed, the one that failed least often is tried again: a connection may have been lost.
    const failures = (link: RegionLink) =>
      faults.filter(({ region }) => region === link.region).length;
    const isAvoided = (link: RegionLink) => Number(link.readsElsewhereUntil > this.#ready.now);
    candidates.sort(
      (a, b) =>
        failures(a) - failures(b) ||
        isAvoided(a) - isAvoided(b) ||
        (a.roundTripMs ?? 0) - (b.roundTripMs ?? 0),
    );
    const [best] = candidates;
    return best !== undefined && failures(best) < limits.readFailuresPerRegion ? best : null;
  }

  /** Every region may lack a joint commit on these keys; the acknowledgements are on their way. */
  #isHeldUp(read: PendingRead): boolean {
    const { voters } = this.#links;
    return voters.length > 0 && voters.every((link) => this.#isDoubtful(read, link));
  }

  /** The region may lack a joint commit on these keys: it has not acknowledged it. */
  #isDoubtful(read: PendingRead, { unacknowledged }: RegionLink): boolean {
    return unacknowledged.hasJointCommitOn(this.#doubtfulKeysOf(read));
  }

  #giveUp(read: PendingRead): void {
    const { ticket, request, faults, contendedIn } = read;
    const unable = this.#links.all
      .filter(({ region }) => request.region === null || request.region === region)
      .filter((link) => !link.isVoter || link.isQuarantined || link.health.kind !== 'answering')
      .map(({ region, leaving, health }) => {
        const ailing = health.kind === 'answering' ? 'it is no voter' : health.reason;
        return { region, reason: leaving?.detail ?? ailing };
      });
    const { waitsFor } = this.#slots;
    if (waitsFor !== null) {
      const answer = { kind: 'unavailable', faults: [{ region: '', reason: waitsFor }] } as const;
      this.#ready.reply({ kind: 'read', ticket, answer });
      return;
    }
    // The last fault of each region.
    const last = new Map([...unable, ...faults].map((fault) => [fault.region, fault]));
    const spent = isSpent(read) ? ({ isUnanswered: true } as const) : {};
    const answer = {
      kind: 'unavailable',
      faults: [...last.values()],
      ...(contendedIn !== null && { contendedIn }),
      ...spent,
    } as const;
    this.#ready.reply({ kind: 'read', ticket, answer });
  }
}

/**
 * True if this snapshot settled the lock that the last one met in this region, and a later write has already locked the
 * single key again. That write was prepared here after the first snapshot, so it was decided after the read had begun,
 * if at all: the value between the two writes was current while the read lasted. Without this rule a key under constant
 * writes could not be read. With several keys, two readers could see two writes in different orders.
 */
function isOutrun(
  { request, settle }: PendingRead,
  holders: ReadonlyMap<string, unknown>,
): boolean {
  const isOfOneKey = request.keys.length === 1 && !holdScript(request.commands);
  if (!isOfOneKey || settle.length === 0) return false;
  return !settle.some(({ transaction }) => holders.has(keyOf(transaction)));
}

/** True if as many regions as may be got the read and did not answer (R40). */
function isSpent({ request, unanswered }: PendingRead): boolean {
  const most = holdScript(request.commands) ? limits.unansweredPerScript : limits.unansweredPerRead;
  return unanswered >= most;
}
