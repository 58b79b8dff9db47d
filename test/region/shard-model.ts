/** The state that a region of the model keeps for one shard: its head, its locks, its settled transactions, its lease. */
import type {
  Decision,
  DecisionReply,
  OlderLock,
  Round,
  Vote,
} from '../../shared/contracts/round.ts';
import { compareOrder, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { areAll, everyKey } from '../../shared/reserved-keys.ts';
import type { Pieces } from './copying.ts';
import type { RegionHead } from './region-head.ts';
import { bytesOf, compareBytes } from './replies.ts';
import type { Intent } from './staging.ts';

/** A lock: the transaction that holds it, and the effect of its commit on the key. */
export interface Lock {
  readonly holder: TransactionOrder;
  readonly intent: Intent;
}

/** Everything that a region stores for one shard. Its parts are never changed in place once they are stored. */
export interface ModelledShard {
  readonly head: RegionHead | null;
  readonly locks: ReadonlyMap<string, Lock>;
  readonly settled: ReadonlyMap<string, TransactionOrder>;
  /** The end of the lease by the region's own clock, ms; 0 if there is none. */
  readonly lease: number;
  /** Values that still lack pieces. */
  readonly pieces: ReadonlyMap<string, string>;
}

/** The state of a shard of which the region knows nothing. */
export const noShard: ModelledShard = {
  head: null,
  locks: new Map(),
  settled: new Map(),
  lease: 0,
  pieces: new Map(),
};

/** One shard in a region of the model. It judges; the region has the data, and applies. */
export class ShardModel {
  head: RegionHead | null;
  lease: number;
  readonly pieces: Pieces;
  readonly #locks: Map<string, Lock>;
  readonly #settled: Map<string, TransactionOrder>;

  constructor(state: ModelledShard = noShard) {
    this.head = state.head;
    this.lease = state.lease;
    this.pieces = new Map(state.pieces);
    this.#locks = new Map(state.locks);
    this.#settled = new Map(state.settled);
  }

  /** A copy of everything. */
  state(): ModelledShard {
    return {
      head: this.head,
      locks: new Map(this.#locks),
      settled: new Map(this.#settled),
      lease: this.lease,
      pieces: new Map(this.pieces),
    };
  }

  /** The locks by key. */
  get locks(): ReadonlyMap<string, Lock> {
    return this.#locks;
  }

  /** Drops the state of a generation, or from before a copy. */
  drop(): void {
    this.#locks.clear();
    this.#settled.clear();
    this.pieces.clear();
    this.lease = 0;
  }

  addLock(key: string, lock: Lock): void {
    this.#locks.set(key, lock);
  }

  dropLock(key: string): void {
    this.#locks.delete(key);
  }

  /** The transaction is settled, and has no locks any more. Those that it had are returned. */
  settle(transaction: TransactionOrder, keys: readonly string[]): readonly Lock[] {
    const locks = keys.flatMap((key) => this.#locks.get(key) ?? []);
    for (const key of keys) this.#locks.delete(key);
    this.#settled.set(nameOf(transaction), transaction);
    return locks;
  }

  /** True if the transaction is settled, or forgotten as such. */
  isOver(transaction: TransactionOrder): boolean {
    const { head } = this;
    if (head !== null && compareOrder(transaction, head.lowWatermark) <= 0) return true;
    return this.#settled.has(nameOf(transaction));
  }

  /** The reply to a decision; `apply` if all its locks are here, so that it can be applied. */
  judge(decision: Decision, round: Round, head: RegionHead): DecisionReply | 'apply' {
    const { transaction, keys } = decision;
    if (transaction[0] > round.incarnation) return 'refused';
    if (compareOrder(transaction, head.lowWatermark) <= 0) return 'acknowledged';
    const count = this.countLocked(transaction, keys);
    if (count > 0 && count < keys.length) return 'lost';
    if (count > 0) return 'apply';
    if (this.#settled.has(nameOf(transaction))) return 'acknowledged';
    if (decision.outcome === 'commit') return 'lost';
    this.#settled.set(nameOf(transaction), transaction);
    return 'acknowledged';
  }

  /** True if the transaction holds the locks of all keys, of which there is at least one. */
  isWhole(transaction: TransactionOrder, keys: readonly string[]): boolean {
    return keys.length > 0 && this.countLocked(transaction, keys) === keys.length;
  }

  countLocked(transaction: TransactionOrder, keys: readonly string[]): number {
    return keys.filter((key) => isHolder(this.#locks.get(key), transaction)).length;
  }

  holderOf(key: string): TransactionOrder | null {
    return (this.#locks.get(key) ?? this.#locks.get(everyKey))?.holder ?? null;
  }

  /** The vote against locks on these keys for this transaction, or null. */
  objection(
    transaction: TransactionOrder,
    keys: readonly string[],
    round: Round,
    head: RegionHead,
  ): Extract<Vote, { kind: 'late' | 'duplicate' | 'locked' | 'fenced' }> | null {
    if (round.epoch < head.epoch) return { kind: 'fenced', by: 'epoch' };
    if (transaction[0] < head.incarnation) return { kind: 'fenced', by: 'incarnation' };
    if (compareOrder(transaction, head.lowWatermark) <= 0) return { kind: 'late' };
    if (this.countLocked(transaction, keys) > 0) return { kind: 'duplicate' };
    if (this.#settled.has(nameOf(transaction))) return { kind: 'late' };
    for (const key of areAll(keys) ? this.#locks.keys() : [everyKey, ...keys]) {
      const lock = this.#locks.get(key);
      if (lock !== undefined) return { kind: 'locked', key, holder: lock.holder };
    }
    return null;
  }

  forgetSettled(lowWatermark: TransactionOrder): void {
    for (const [name, transaction] of this.#settled) {
      if (compareOrder(transaction, lowWatermark) <= 0) this.#settled.delete(name);
    }
  }

  /** The locks of older incarnations, and whether there are more than one answer lists. */
  older(incarnation: number): readonly [readonly OlderLock[], boolean] {
    const byName = new Map<string, { transaction: TransactionOrder; keys: string[] }>();
    for (const [key, { holder }] of this.#locks) {
      if (holder[0] >= incarnation) continue;
      const found = byName.get(nameOf(holder));
      if (found === undefined) byName.set(nameOf(holder), { transaction: holder, keys: [key] });
      else found.keys.push(key);
    }
    const all = [...byName.values()].sort((a, b) => compareOrder(a.transaction, b.transaction));
    const listed: OlderLock[] = [];
    let count = 0;
    for (const { transaction, keys } of all) {
      count += keys.length;
      if (listed.length > 0 && count > limits.olderLocksPerAnswer) return [listed, true];
      keys.sort((a, b) => compareBytes(bytesOf(a), bytesOf(b)));
      listed.push({ transaction, keys });
    }
    return [listed, false];
  }

  /** The locks that a strong reader of these keys meets. */
  locksMet(keys: readonly string[]) {
    return [everyKey, ...keys].flatMap((key) => {
      const lock = this.#locks.get(key);
      return lock === undefined ? [] : [{ key, holder: lock.holder }];
    });
  }
}

function isHolder(lock: Lock | undefined, transaction: TransactionOrder): boolean {
  return lock !== undefined && compareOrder(lock.holder, transaction) === 0;
}

function nameOf(transaction: TransactionOrder): string {
  return transaction.join('.');
}
