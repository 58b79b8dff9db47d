/** Drops old entries of the storage. */
import type { Retention } from '../../../shared/config/configuration.ts';
import { compareOrder, type TransactionOrder } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { KeptAnswers } from './kept-answers.ts';
import type { SqlObjectStorage } from './sql.ts';
import type { OldStep, StepLog } from './step-log.ts';

type Pruned = Pick<Retention, 'keptMs' | 'keptWrites'> & {
  /** True if room is short: entries without a promise are then dropped at the age of `limits.keptMsMinimum`. */
  readonly isPressed: boolean;
};

/** The part of the storage that the pruner reads and writes. */
export interface PrunedStorage {
  /** Decisions about transactions up to and including it may have been dropped. */
  horizon: TransactionOrder;
  /** The position of the first step with a commit that some voter has yet to acknowledge. */
  readonly open: number;
}

/**
 * Drops entries past their retention, in slices of a few rows: steps from the beginning of the log, and answers by
 * their age. So no position has to be stored, no slice scans rows that stay, and a new life has nothing to catch up on.
 * A slice deletes before it writes, so it works in a full storage.
 */
export class Pruner {
  readonly #storage: SqlObjectStorage;
  readonly #pruned: PrunedStorage;
  readonly #log: StepLog;
  readonly #answers: KeptAnswers;

  constructor(
    storage: SqlObjectStorage,
    pruned: PrunedStorage,
    log: StepLog,
    answers: KeptAnswers,
  ) {
    this.#storage = storage;
    this.#pruned = pruned;
    this.#log = log;
    this.#answers = answers;
  }

  /** Drops one slice; true if there may be more to drop. */
  slice(now: number, pruned: Pruned): boolean {
    return this.#storage.transactionSync(() => {
      const leastMs = pruned.isPressed ? limits.keptMsMinimum : pruned.keptMs;
      const before = now - Math.min(leastMs, pruned.keptMs);
      const young = now - Math.min(limits.keptMsMinimum, pruned.keptMs);
      const steps = this.#dropSteps(before, young, pruned.keptWrites);
      // The next life may run on a machine whose clock is behind this one's.
      const answers = this.#answers.drop(now - limits.keysGraceMs, limits.rowsPerPrune);
      return steps || answers;
    });
  }

  /**
   * Drops steps from the beginning of the log. It stops at the oldest commit that some region has yet to apply, and at
   * those after `young`, however many there are: a write that is sent again must find its record, or the note that it was
   * reported as aborted.
   */
  #dropSteps(before: number, young: number, keptWrites: number): boolean {
    const { open } = this.#pruned;
    const steps = this.#log.oldest(limits.rowsPerPrune);
    const isKept = ({ last, at, sequence }: OldStep) =>
      last >= open || at > young || (at > before && sequence > this.#log.sequence - keptWrites);
    const kept = steps.findIndex(isKept);
    const dropped = kept < 0 ? steps : steps.slice(0, kept);
    const last = dropped.at(-1)?.last;
    if (last === undefined) return false;
    this.#log.drop(last);
    this.#raiseHorizon(dropped);
    return kept < 0;
  }

  #raiseHorizon(dropped: readonly OldStep[]): void {
    const { horizon } = this.#pruned;
    let raised = horizon;
    for (const { highest } of dropped) {
      if (highest !== null && compareOrder(highest, raised) > 0) raised = highest;
    }
    if (raised !== horizon) this.#pruned.horizon = raised;
  }
}
