/** Records operations on counters, and finds contradictions to one order of all operations. */
import { expect } from 'vitest';
import type { Answer, TestStack } from '../support/stack/stack.ts';
import { bodyOf, write } from './writes.ts';

/** One increment or read of a counter, with the value that its client got. */
export interface RecordedOperation {
  readonly kind: 'increment' | 'read';
  readonly key: string;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly value: number;
}

/** The operations of clients and their results. All clocks are one clock. */
export class History {
  readonly all: RecordedOperation[] = [];

  /** Increments the counter, and records the result. */
  async increment(stack: TestStack, key: string): Promise<void> {
    const startedAt = performance.now();
    const answer = await write(stack, [['INCR', key]], { timeoutMs: 30_000 });
    expect(answer.status).toBe(200);
    this.note('increment', key, startedAt, bodyOf(answer).results?.[0]);
  }

  /** Reads the counter in `region` until the read is answered, and records the result. */
  async read(stack: TestStack, key: string, region: string): Promise<void> {
    const query = { reads: [['GET', key]], consistency: 'strong', region };
    for (;;) {
      const startedAt = performance.now();
      const answer = await stack.send('POST', '/v1/reads', query, { scope: 'read' });
      if (answer.status === 200) {
        this.note('read', key, startedAt, bodyOf(answer).results?.[0]);
        return;
      }
      expect(mayBeSentAgain(answer)).toBe(true);
    }
  }

  private note(
    kind: RecordedOperation['kind'],
    key: string,
    startedAt: number,
    value: unknown,
  ): void {
    this.all.push({ kind, key, startedAt, endedAt: performance.now(), value: Number(value ?? 0) });
  }
}

/**
 * True for a strong read that found a pending write each time, and for one whose region had no lease and no answer at
 * that time.
 */
export function mayBeSentAgain(answer: Answer): boolean {
  const { type } = bodyOf(answer);
  return type === '/problems/read-contended' || type === '/problems/region-unavailable';
}

/**
 * The reasons why the operations on one counter cannot have happened one after another, each at some time between its
 * start and its end; empty if there are none. For a counter that is only incremented by one these conditions suffice:
 * the values fix the order of the increments, and put each read after one of them.
 */
export function contradictions(operations: readonly RecordedOperation[]): readonly string[] {
  const increments = operations.filter(({ kind }) => kind === 'increment');
  const byValue = new Map(increments.map((increment) => [increment.value, increment]));
  const found: string[] = [];
  for (let value = 1; value <= increments.length; value += 1) {
    if (!byValue.has(value)) found.push(`no increment resulted in ${value}`);
  }
  for (const later of operations) {
    const source = byValue.get(later.value);
    if (later.value > 0 && (source === undefined || source.startedAt > later.endedAt)) {
      found.push(`${described(later)} ended before that value was begun`);
    }
    for (const earlier of operations) {
      const isOld =
        later.kind === 'read' ? later.value < earlier.value : later.value <= earlier.value;
      if (earlier.endedAt < later.startedAt && isOld) {
        found.push(`${described(later)} began after ${described(earlier)} had ended`);
      }
    }
  }
  return found;
}

function described({ kind, key, value, startedAt, endedAt }: RecordedOperation): string {
  return `the ${kind} of ${key} to ${value} (${startedAt.toFixed(1)} to ${endedAt.toFixed(1)} ms)`;
}
