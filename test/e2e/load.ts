/** Clients that increment a counter until each write is acknowledged. */
import { setTimeout as delay } from 'node:timers/promises';
import type { TestStack } from '../support/stack/stack.ts';
import { attempt, bodyOf, type StackResponse } from './writes.ts';

/** A write that was acknowledged, with the counter's value in its response. */
export interface Acknowledged {
  readonly key: string;
  readonly value: unknown;
  readonly id: string;
}

/** The result of an attempt that was not acknowledged. */
export type LoadFailure =
  | 'connection broken'
  | { readonly status: number; readonly body: StackResponse };

/**
 * Clients that increment one counter. Each write has a key of its own and is retried until it is acknowledged.
 * `everyMs`: the minimum time between the starts of a client's writes.
 */
export class Load {
  readonly acknowledged: Acknowledged[] = [];
  readonly failures: LoadFailure[] = [];
  private readonly stack: TestStack;
  readonly counter: string;
  /** The highest value that a client got. */
  highest = 0;
  private readonly timeoutMs: number;
  private readonly everyMs: number;
  private running = true;
  private arrivals: (() => void)[] = [];
  private readonly clients: readonly Promise<void>[];

  constructor(
    stack: TestStack,
    counter: string,
    clients: number,
    timeoutMs: number,
    everyMs: number = 0,
  ) {
    this.stack = stack;
    this.counter = counter;
    this.timeoutMs = timeoutMs;
    this.everyMs = everyMs;
    this.clients = Array.from({ length: clients }, (_, client) => this.run(client));
  }

  /** Resolves when `count` more writes have been acknowledged. */
  async more(count: number): Promise<void> {
    const target = this.acknowledged.length + count;
    while (this.acknowledged.length < target) {
      await new Promise<void>((resolve) => this.arrivals.push(resolve));
    }
  }

  /** Begins no further write; resolves when all begun writes have been acknowledged. */
  async finish(): Promise<void> {
    this.running = false;
    await Promise.all(this.clients);
  }

  private async run(client: number): Promise<void> {
    for (let number = 1; this.running; number += 1) {
      const rested = this.everyMs === 0 ? null : delay(this.everyMs);
      await this.untilAcknowledged(`${this.counter}:${client}:${number}`);
      await rested;
    }
  }

  private async untilAcknowledged(key: string): Promise<void> {
    for (;;) {
      const ops = [
        ['INCR', this.counter],
        ['SADD', `${this.counter}:keys`, key],
      ];
      const answer = await attempt(this.stack, ops, { key, timeoutMs: this.timeoutMs });
      if (answer?.status === 200) {
        const { results, id = '' } = bodyOf(answer);
        this.acknowledged.push({ key, value: results?.[0], id });
        this.highest = Math.max(this.highest, Number(results?.[0]));
        for (const arrived of this.arrivals.splice(0)) arrived();
        return;
      }
      this.failures.push(
        answer === null ? 'connection broken' : { status: answer.status, body: bodyOf(answer) },
      );
      // Like a client that respects Retry-After, but with a shorter pause.
      await delay(20);
    }
  }
}
