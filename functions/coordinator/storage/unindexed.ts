/** Collects the steps of the log that no row of its index covers yet. */
import type { Bytes } from '../../../shared/contracts/bytes.ts';
import { compareOrder, type TransactionOrder, type WriteId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { LogStep } from './log-step.ts';

/** The parts of a step that are looked up. */
export interface Searched extends Pick<LogStep, 'rejected' | 'abandoned' | 'confirmed'> {
  readonly decisions: readonly {
    readonly transaction: TransactionOrder;
    readonly keys: readonly string[];
    readonly writes: readonly { readonly record: { readonly id: WriteId } }[];
  }[];
}

/** The steps since the last row of the index. */
export class Unindexed {
  readonly finds: Bytes[] = [];
  steps = 0;
  bytes = 0;
  lowId: WriteId | null = null;
  highId: WriteId | null = null;
  low: TransactionOrder | null = null;
  high: TransactionOrder | null = null;

  get isDue(): boolean {
    const { stepsPerIndex, findsPerIndex, bytesPerIndex } = limits;
    const { steps, finds, bytes } = this;
    return steps >= stepsPerIndex || finds.length >= findsPerIndex || bytes >= bytesPerIndex;
  }

  add({ decisions, rejected, abandoned, confirmed }: Searched, finds: readonly Bytes[]): void {
    this.steps += 1;
    this.finds.push(...finds);
    for (const { record } of decisions.flatMap(({ writes }) => writes)) this.#addId(record.id);
    for (const { id } of [...rejected, ...abandoned]) this.#addId(id);
    for (const { transaction } of [...decisions, ...confirmed]) {
      if (this.low === null || compareOrder(transaction, this.low) < 0) this.low = transaction;
      if (this.high === null || compareOrder(transaction, this.high) > 0) this.high = transaction;
    }
  }

  #addId(id: WriteId): void {
    if (this.lowId === null || id < this.lowId) this.lowId = id;
    if (this.highId === null || id > this.highId) this.highId = id;
  }
}
