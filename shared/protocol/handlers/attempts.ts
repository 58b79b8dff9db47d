import type { BlockedKey } from '../../contracts/members.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { WriteRefusal } from '../io/refusal.ts';
import type { BlockedKeys } from '../membership/blocked-keys.ts';
import { fullRegionsOf } from '../membership/enough-voters.ts';
import type { AttemptControl } from '../membership/members-parts.ts';
import type { KeysOfShard, Shards } from '../ownership/shards.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import type { PendingWrite } from '../transactions/admission.ts';
import { Joint } from '../transactions/joint.ts';
import { type PendingWrites, tooLate } from '../transactions/pending-writes.ts';
import { storageFault } from '../transactions/stored-size.ts';
import type { Transaction } from '../transactions/transaction.ts';
import type { Transactions } from '../transactions/transactions.ts';
import type { Conclusions } from './conclusions.ts';

/** The parts of the coordinator that attempts work on. */
export interface AttemptsParts {
  readonly config: CoordinatorConfig;
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly pendingWrites: PendingWrites;
  readonly transactions: Transactions;
  readonly blocked: BlockedKeys;
  readonly shards: Shards;
  readonly conclusions: Conclusions;
}

/**
 * The attempts to carry out frames: each is a transaction, which begins here and, unless it is decided, is aborted here.
 * The parts of an aborted one are queued again, or answered.
 */
export class Attempts implements AttemptControl {
  readonly #parts: AttemptsParts;
  /** True if a queued frame may be able to begin that could not before. */
  isBatchRequested = false;

  constructor(parts: AttemptsParts) {
    this.#parts = parts;
  }

  /** The number of undecided transactions. */
  get undecided(): number {
    return this.#parts.transactions.count;
  }

  /** Lets the next `batch` look at the queue: something has changed that may let a frame begin. */
  requestBatch(): void {
    this.isBatchRequested = true;
  }

  /** Begins a transaction with these parts: all voters are asked to prepare it, or first other shards for their keys. */
  begin(parts: readonly PendingWrite[]): void {
    const { config, links, transactions, ready, shards } = this.#parts;
    const { voters } = links;
    const ids = voters.map(({ region }) => region);
    const guests = shards.isOnly ? [] : shards.foreignAmong(keysOf(parts));
    if (guests.length > 0) {
      this.#beginJoint(parts, ids, guests);
      return;
    }
    const transaction = transactions.begin(parts, ids, ready.now, config.voteDeadlineMs);
    for (const link of voters) link.enqueue(transaction);
    ready.schedule(transaction.deadline);
  }

  /** Begins a joint transaction, whose loans are asked for at the end of the step. */
  #beginJoint(
    parts: readonly PendingWrite[],
    voters: readonly RegionId[],
    guests: readonly KeysOfShard[],
  ): void {
    const { transactions, ready, shards, conclusions } = this.#parts;
    const isOrdered = parts.some((part) => part.isOrdered === true);
    const deadlineMs = limits.loanRequestTimeoutMs * (guests.length + 1);
    const transaction = transactions.begin(parts, voters, ready.now, deadlineMs, (order) => ({
      ownKeys: shards.ownAmong(keysOf(parts)),
      joint: new Joint(conclusions.nameOf(order), guests, isOrdered),
    }));
    ready.schedule(transaction.deadline);
  }

  /** Aborts, and queues the parts again in their old places. Nothing is stored: no record means aborted. */
  abort(transaction: Transaction, retryAt: number, blocked: readonly BlockedKey[] = []): void {
    const { pendingWrites, ready } = this.#parts;
    this.release(transaction, 'abort');
    this.queueAbort(transaction);
    this.#parts.conclusions.abort(transaction, 0, blocked);
    for (const part of transaction.parts) {
      part.retryAt = retryAt;
      if (transaction.isStalled) part.timeouts += 1;
      if (transaction.isEndless) part.overruns += 1;
      if (part.frame.notAfter <= ready.now) pendingWrites.giveUp(part, part.faults, tooLate);
      else if (!this.#refuse(part, transaction)) pendingWrites.enqueue(part);
    }
  }

  /** Refuses a frame that a region cannot run, or that a script has made too large. */
  #refuse(part: PendingWrite, { isEndless, parts }: Transaction): boolean {
    const { config, links, pendingWrites, blocked } = this.#parts;
    if (part.lacking !== null) {
      const { region, command } = part.lacking;
      const detail = `${region} does not know ${command}: its server is older, or lacks a module`;
      pendingWrites.refuse(part, 'unsupported-command', detail);
      return true;
    }
    const faults = part.isDenied ? fullRegionsOf(links, config.minVoters) : [];
    if (faults.length > 0) {
      pendingWrites.giveUp(part, faults, 'the regions that vote are out of memory', 'full');
      return true;
    }
    if (part.isTooLarge) {
      const detail = `with its replies it takes more than the ${limits.rowBytes} bytes that can be stored`;
      pendingWrites.refuse(part, 'too-large', detail);
      return true;
    }
    if (isEndless && parts.length === 1 && part.overruns > limits.overrunsPerWrite) {
      const detail = `regions take longer than ${limits.voteDeadlineMs} ms to carry it out; send fewer of its commands at once`;
      pendingWrites.refuse(part, 'too-large', detail);
      return true;
    }
    if (part.keyDiscoveryAttempts === 0) return false;
    if (pendingWrites.moveAway(part)) return true;
    if (pendingWrites.refuseAsJoint(part)) return true;
    const { length } = part.frame.keys;
    if (length > limits.keysPerWrite) {
      const detail = `its script touches ${length} keys; the limit is ${limits.keysPerWrite}`;
      pendingWrites.refuse(part, 'too-large', detail);
      return true;
    }
    const { bytes } = part.frame;
    const excess =
      bytes > limits.frameBytes
        ? `it has ${bytes} bytes; the limit is ${limits.frameBytes}`
        : storageFault(part.frame);
    if (excess !== null) {
      pendingWrites.refuse(part, 'too-large', `with the keys that its script touches ${excess}`);
      return true;
    }
    if (part.keyDiscoveryAttempts > limits.searchesPerWrite) {
      const detail = 'its script touches other keys at each attempt; declare them';
      pendingWrites.refuse(part, 'unsupported-command', detail);
      return true;
    }
    const refusal = blocked.refusalOf(part.frame.keys);
    if (refusal === null) return false;
    pendingWrites.giveUp(part, refusal.faults, refusal.reason, refusal.code);
    return true;
  }

  /** Aborts every undecided transaction; the parts are queued again at once. */
  abortAll(): void {
    const { transactions, ready } = this.#parts;
    for (const transaction of transactions.undecided) this.abort(transaction, ready.now);
  }

  /** Gives up every queued frame. */
  refuseAll({ faults, reason, code }: WriteRefusal): void {
    const { pendingWrites } = this.#parts;
    for (const part of pendingWrites.queue.take(() => true))
      pendingWrites.giveUp(part, faults, reason, code);
  }

  /** The transaction is decided: its keys are free, and may let frames begin. */
  release(transaction: Transaction, by: 'commit' | 'reject' | 'abort'): void {
    const claim = transaction.joint?.claim ?? null;
    if (claim !== null) this.#parts.pendingWrites.queue.removeClaim(claim);
    this.#parts.transactions.release(transaction, by);
    this.requestBatch();
  }

  /** Queues the abort for every region that may have the prepare, and takes it back from the others. */
  queueAbort(transaction: Transaction): void {
    const { order, ownKeys: keys, bytes } = transaction;
    const decision = { transaction: order, outcome: 'abort', keys } as const;
    const reached = new Set(transaction.reached);
    for (const link of this.#parts.links.all) {
      if (!reached.has(link.region)) link.withdraw(transaction);
      else this.#parts.links.queueDecision(link, decision, { sequence: 0, bytes, urgent: false });
    }
  }
}

function keysOf(parts: readonly PendingWrite[]): readonly string[] {
  return [...new Set(parts.flatMap(({ frame }) => frame.keys))];
}
