import type { LoanAnswer, LoanCall } from '../../contracts/loans.ts';
import type { ShardId } from '../../ids.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';

/** The calls of this coordinator to others, and those who wait for their answers. */
export class LoanCalls {
  readonly #ready: ReadyBuilder;
  readonly #open = new Map<number, (answer: LoanAnswer | null) => void>();
  #sent = 0;

  constructor(ready: ReadyBuilder) {
    this.#ready = ready;
  }

  /** Calls once; `take` gets the answer, or null if none came in time. Returns the number of the call. */
  send(
    shard: ShardId,
    call: LoanCall,
    timeoutMs: number,
    take: (answer: LoanAnswer | null) => void,
  ): number {
    this.#sent += 1;
    this.#open.set(this.#sent, take);
    this.#ready.call({ shard, number: this.#sent, call, timeoutMs });
    return this.#sent;
  }

  /** A call has ended. */
  onAnswer(number: number, answer: LoanAnswer | null): void {
    const take = this.#open.get(number);
    this.#open.delete(number);
    take?.(answer);
  }
}
