import type { Conclusion, JointOutcome, LoanQuestion, LoanWord } from '../../contracts/loans.ts';
import type { BlockedKey } from '../../contracts/members.ts';
import {
  compareOrder,
  formatTransactionName,
  type RegionId,
  type ShardId,
  type TransactionName,
  type TransactionOrder,
} from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { Stored, StoredJointCommit } from '../io/stored.ts';
import type { Transaction } from '../transactions/transaction.ts';
import type { Transactions } from '../transactions/transactions.ts';
import type { LoanCalls } from './loan-calls.ts';

/** The parts of the coordinator that conclusions need. */
export interface ConclusionsParts {
  readonly config: CoordinatorConfig;
  readonly stored: Stored;
  readonly ready: ReadyBuilder;
  readonly transactions: Transactions;
  readonly loanCalls: LoanCalls;
}

/** The outcome on its way to one guest. */
interface Addressee {
  readonly transaction: TransactionOrder | null;
  readonly replies: Conclusion['replies'];
  sendAt: number;
  pauseMs: number;
  tries: number;
  isSending: boolean;
}

interface OpenConclusion {
  readonly name: TransactionName;
  readonly outcome: JointOutcome;
  readonly now: number;
  readonly minority: readonly RegionId[];
  readonly blocked: readonly BlockedKey[];
  readonly guests: Map<ShardId, Addressee>;
}

/**
 * Home's word to its guests about joint transactions that are over (rules R60 and R62). A commit is repeated until each
 * guest has acknowledged it; an abort a few times, since a guest asks.
 */
export class Conclusions {
  readonly #parts: ConclusionsParts;
  readonly #open = new Map<string, OpenConclusion>();

  constructor(parts: ConclusionsParts) {
    this.#parts = parts;
    for (const commit of parts.stored.jointCommits ?? []) this.#takeUp(commit);
  }

  /** True while a guest has not acknowledged a commit. */
  get hasCommits(): boolean {
    for (const { outcome } of this.#open.values()) if (outcome.kind === 'commit') return true;
    return false;
  }

  /** The joint commits that some guest has not acknowledged, by their names, with these guests. */
  get commits(): readonly (readonly [name: string, guests: readonly ShardId[]])[] {
    return [...this.#open].flatMap(([name, { outcome, guests }]) =>
      outcome.kind === 'commit' ? [[name, [...guests.keys()]] as const] : [],
    );
  }

  /** The full name of a transaction of this shard. */
  nameOf([incarnation, sequence]: TransactionOrder): TransactionName {
    const { config, stored } = this.#parts;
    return { shard: config.shard, birth: stored.generation, incarnation, sequence };
  }

  /** The transaction is committed, at this sequence; the step stores it. */
  commit(transaction: Transaction, sequence: number): void {
    const { joint, now } = transaction;
    if (joint === null) return;
    const shares = transaction.sharesOf(this.#parts.config.shard);
    this.#add(transaction, { kind: 'commit', shares, sequence }, now, []);
  }

  /** The transaction is given up, or rejected at the clock reading `now`; 0: nothing was seen at any. */
  abort(transaction: Transaction, now: number, blocked: readonly BlockedKey[] = []): void {
    this.#add(transaction, { kind: 'abort' }, now, blocked);
  }

  /** A loan came after its transaction was over. */
  abortLoan(name: TransactionName, guest: ShardId, transaction: TransactionOrder): void {
    const key = formatTransactionName(name);
    const known = this.#open.get(key);
    const addressee = newAddressee(transaction, {}, this.#parts.ready.now);
    if (known?.outcome.kind === 'commit') return;
    if (known !== undefined) known.guests.set(guest, addressee);
    else {
      this.#open.set(key, {
        name,
        outcome: { kind: 'abort' },
        now: 0,
        minority: [],
        blocked: [],
        guests: new Map([[guest, addressee]]),
      });
    }
  }

  /** Sends the conclusions that are due. Called in each step, after its changes. */
  advance(): void {
    const { now } = this.#parts.ready;
    for (const [key, conclusion] of this.#open) {
      for (const [guest, addressee] of conclusion.guests) {
        if (addressee.isSending) continue;
        if (addressee.sendAt > now) this.#parts.ready.schedule(addressee.sendAt);
        else this.#send(key, conclusion, guest, addressee);
      }
    }
  }

  /** A guest asks about a loan. `recorded` is the joint commit of that transaction in storage. */
  wordOn(
    from: ShardId,
    { name, transaction, ends, preempts }: LoanQuestion,
    recorded: StoredJointCommit | null,
    abort: (transaction: Transaction) => void,
  ): LoanWord {
    const { stored, transactions, ready } = this.#parts;
    if (name.birth !== stored.generation) return { kind: 'unknown' };
    if (name.incarnation > stored.incarnation) {
      ready.ended ??= `asked about a loan to transaction ${formatTransactionName(name)} of a later incarnation`;
      return { kind: 'unknown' };
    }
    const now = Math.max(stored.now, ready.storedNow);
    if (recorded !== null) {
      const { shares, sequence } = recorded;
      const share = shares.find(({ shard }) => shard === from);
      const isIts = share !== undefined && compareOrder(share.transaction, transaction) === 0;
      const outcome = isIts
        ? ({ kind: 'commit', shares, sequence } as const)
        : ({ kind: 'abort' } as const);
      return { kind: 'concluded', outcome, now: Math.max(now, recorded.now) };
    }
    const open = transactions.find([name.incarnation, name.sequence]);
    const guest = open?.joint?.guest(from) ?? null;
    if (open !== null && guest !== null) {
      // A loan other than the one that home has been given is over; one may still be on its way.
      const { loan } = guest;
      const mayCount = loan === null || compareOrder(loan.transaction, transaction) === 0;
      const isEnded = ends || (preempts !== null && preempts > open.priority);
      if (mayCount && !isEnded) return { kind: 'pending' };
      if (mayCount) abort(open);
    }
    return { kind: 'concluded', outcome: { kind: 'abort' }, now };
  }

  #takeUp({ transaction, shares, sequence, now, unacknowledged }: StoredJointCommit): void {
    const name = this.nameOf(transaction);
    const guests = unacknowledged.flatMap((guest) => {
      const share = shares.find(({ shard }) => shard === guest);
      if (share === undefined) return [];
      return [[guest, newAddressee(share.transaction, {}, 0)] as const];
    });
    this.#open.set(formatTransactionName(name), {
      name,
      outcome: { kind: 'commit', shares, sequence },
      now,
      minority: [],
      blocked: [],
      guests: new Map(guests),
    });
  }

  #add(
    { joint }: Transaction,
    outcome: JointOutcome,
    now: number,
    blocked: readonly BlockedKey[],
  ): void {
    if (joint === null) return;
    const asked = joint.guests.filter(({ state }) => state === 'asked' || state === 'lent');
    if (asked.length === 0) return;
    const guests = asked.map(({ shard, loan, replies }) => {
      const given = Object.fromEntries(replies);
      return [
        shard,
        newAddressee(loan?.transaction ?? null, given, this.#parts.ready.now),
      ] as const;
    });
    const { name, minority } = joint;
    this.#open.set(formatTransactionName(name), {
      name,
      outcome,
      now,
      minority,
      blocked,
      guests: new Map(guests),
    });
  }

  #send(key: string, conclusion: OpenConclusion, guest: ShardId, addressee: Addressee): void {
    const { loanCalls, ready } = this.#parts;
    const { name, outcome, now, minority, blocked } = conclusion;
    const { transaction, replies } = addressee;
    addressee.isSending = true;
    addressee.tries += 1;
    const message = { name, transaction, outcome, replies, now, minority, blocked };
    const call = { kind: 'conclude', conclusion: message } as const;
    loanCalls.send(guest, call, limits.loanCallTimeoutMs, (answer) => {
      addressee.isSending = false;
      const isAcknowledged = answer?.kind === 'conclude';
      const isEnough = outcome.kind === 'abort' && addressee.tries >= limits.abortsSentPerGuest;
      if (!isAcknowledged && !isEnough) {
        addressee.sendAt = ready.now + addressee.pauseMs;
        addressee.pauseMs = Math.min(2 * addressee.pauseMs, limits.loanBackoffMaxMs);
        return;
      }
      // A later loan of the same try may stand in its place.
      if (conclusion.guests.get(guest) === addressee) conclusion.guests.delete(guest);
      if (conclusion.guests.size === 0) this.#open.delete(key);
      if (!isAcknowledged || outcome.kind === 'abort') return;
      const order = [name.incarnation, name.sequence] as const;
      ready.persist({ kind: 'guest-acknowledged', transaction: order, guest });
    });
  }
}

function newAddressee(
  transaction: TransactionOrder | null,
  replies: Conclusion['replies'],
  now: number,
): Addressee {
  const pauseMs = limits.loanBackoffMinMs;
  return { transaction, replies, sendAt: now, pauseMs, tries: 0, isSending: false };
}
