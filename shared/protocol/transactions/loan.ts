import type { GrantedLoan } from '../../contracts/loans.ts';
import type { Share } from '../../contracts/share.ts';
import {
  formatTransactionName,
  type RegionId,
  type ShardId,
  type TransactionName,
  type TransactionOrder,
} from '../../ids.ts';
import type { StoredLoan } from '../io/stored.ts';
import { assertLoanTransition, type LoanState } from './loan-states.ts';

/**
 * Keys that this shard has lent to a joint transaction of another shard, under an order of its own. It holds them until
 * home concludes it (rule R58).
 */
export class Loan {
  readonly order: TransactionOrder;
  readonly name: TransactionName;
  readonly keys: readonly string[];
  readonly priority: number;
  /** When it was made, ms; minus infinity for one of a former instance, which counts as old. */
  readonly lentAt: number;
  /** The numbers of the lent rounds by their regions. */
  readonly rounds = new Map<RegionId, number>();
  /** The answer to home; null for a loan of a former instance. */
  answer: GrantedLoan | null = null;
  /** When home is asked next, ms, and the pause after that. */
  askAt: number;
  pauseMs = 0;
  /** Whether a question is on its way. */
  isAsking = false;
  /** How often home has said that the transaction is undecided. */
  pendings = 0;
  /** Of a committed loan: the shares of the other shards. */
  otherShares: readonly Share[] = [];
  /** The next question ends the transaction, or preempts it at this priority. */
  ends = false;
  preempts: number | null = null;
  #state: LoanState;

  constructor(
    { transaction, name, keys }: StoredLoan,
    priority: number,
    lentAt: number,
    askAt: number,
  ) {
    this.order = transaction;
    this.name = name;
    this.keys = keys;
    this.priority = priority;
    this.lentAt = lentAt;
    this.askAt = askAt;
    this.#state = 'lent';
  }

  /** The shard that decides. */
  get home(): ShardId {
    return this.name.shard;
  }

  get state(): LoanState {
    return this.#state;
  }

  /** Home has decided. */
  end(by: 'commit' | 'abort'): void {
    const next = by === 'commit' ? 'committed' : 'aborted';
    assertLoanTransition(by, this.#state, next);
    this.#state = next;
  }

  /** Its name as a text. */
  get key(): string {
    return formatTransactionName(this.name);
  }
}
