/** Writes at a steady rate, and finds the longest time without an acknowledged write. */
import type { Attempted, BenchClient, WriteBody } from './client.ts';

/** The current time, in ms since 1970, finer than `Date.now`. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** A period without an acknowledged write, in ms since 1970. */
export interface Stop {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Writes at a steady rate, with any number of unanswered writes, until it is stopped. Keeps the result of each. */
export class BenchLoad {
  readonly startedAtMs = nowMs();
  /** The times at which writes were reported as committed, in this order. */
  readonly answeredAtMs: number[] = [];
  /** The numbers of refusals by their problem. */
  readonly refusals = new Map<string, number>();
  unknown = 0;
  begun = 0;
  private readonly client: BenchClient;
  private readonly perSecond: number;
  private readonly bodyOf: (number: number) => WriteBody;
  private readonly ended: (number: number, attempted: Attempted) => void;
  private readonly pending = new Set<Promise<void>>();
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(
    client: BenchClient,
    perSecond: number,
    bodyOf: (number: number) => WriteBody,
    ended: (number: number, attempted: Attempted) => void = () => {},
  ) {
    this.client = client;
    this.perSecond = perSecond;
    this.bodyOf = bodyOf;
    this.ended = ended;
    // A late timer catches up.
    this.timer = setInterval(() => this.beginDue(), 5);
  }

  /** Begins no further write, and resolves when all have an answer. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.pending);
  }

  private beginDue(): void {
    const due = ((nowMs() - this.startedAtMs) * this.perSecond) / 1_000;
    while (this.begun < due) {
      this.begun += 1;
      const attempt = this.make(this.begun);
      this.pending.add(attempt);
      void attempt.finally(() => this.pending.delete(attempt));
    }
  }

  private async make(number: number): Promise<void> {
    const attempted = await this.client.attempt(this.bodyOf(number));
    this.ended(number, attempted);
    if (attempted.kind === 'committed') this.answeredAtMs.push(nowMs());
    else if (attempted.kind === 'unknown') this.unknown += 1;
    else {
      const { problem } = attempted;
      this.refusals.set(problem, (this.refusals.get(problem) ?? 0) + 1);
    }
  }
}

/** The longest period between two consecutive answers, within the given times. */
export function longestStop(answeredAtMs: readonly number[], within: Stop): Stop {
  const inside = answeredAtMs.filter((at) => at > within.fromMs && at < within.toMs);
  let longest: Stop = { fromMs: within.fromMs, toMs: within.fromMs };
  let fromMs = within.fromMs;
  for (const toMs of [...inside, within.toMs]) {
    if (toMs - fromMs > longest.toMs - longest.fromMs) longest = { fromMs, toMs };
    fromMs = toMs;
  }
  return longest;
}

/** The length, ms. */
export function lengthMs({ fromMs, toMs }: Stop): number {
  return toMs - fromMs;
}
