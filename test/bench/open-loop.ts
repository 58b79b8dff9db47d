/**
 * Operations that arrive at a rate, whether or not earlier ones are done (a Poisson process). Their latency counts from
 * the time at which they should begin, so that a server that stalls is not measured less often.
 */
import type { Carry } from './closed-loop.ts';
import { HttpConnection } from './http-connection.ts';

/** The load of an open loop. */
export interface OpenLoop<Operation> {
  /** Of the HTTP server, on 127.0.0.1. */
  readonly port: number;
  readonly perSecond: number;
  /** The time in which operations begin, ms. */
  readonly ms: number;
  readonly next: () => Operation;
  readonly carry: Carry<Operation>;
  readonly isRead: (operation: Operation) => boolean;
  /** Draws the pauses between arrivals. */
  readonly random: () => number;
}

/** The results of an open loop. */
export interface OpenResult {
  /** Latencies, in ms. */
  readonly readsMs: readonly number[];
  readonly writesMs: readonly number[];
  readonly failed: number;
  /** The first failure, or null. */
  readonly failure: string | null;
  /** Operations per second that should begin, and that ended, once the first part of the time was over. */
  readonly offered: number;
  readonly achieved: number;
}

/** Operations that may be under way. Further ones fail: the server is far beyond its rate. */
const underwayMaximum = 4_096;

/** The first part of the time, in which the load builds up. */
const warmShare = 0.25;

/** Runs it, and waits for all responses. */
export function runOpenLoop<Operation>(loop: OpenLoop<Operation>): Promise<OpenResult> {
  return new Arrivals(loop).run();
}

class Arrivals<Operation> {
  private readonly loop: OpenLoop<Operation>;
  private readonly idle: HttpConnection[] = [];
  private readonly pending = new Set<Promise<void>>();
  private readonly readsMs: number[] = [];
  private readonly writesMs: number[] = [];
  private failed = 0;
  private failure: string | null = null;
  private begun = 0;
  private ended = 0;
  private startedAt = 0;

  constructor(loop: OpenLoop<Operation>) {
    this.loop = loop;
  }

  async run(): Promise<OpenResult> {
    const { ms, perSecond, random } = this.loop;
    this.startedAt = performance.now();
    const pause = () => (-Math.log(1 - random()) * 1_000) / perSecond;
    let dueAt = this.startedAt + pause();
    while (dueAt < this.startedAt + ms) {
      const leftMs = dueAt - performance.now();
      if (leftMs > 0) await after(leftMs);
      // A late timer catches up.
      while (dueAt <= performance.now() && dueAt < this.startedAt + ms) {
        this.begin(dueAt);
        dueAt += pause();
      }
    }
    await Promise.all(this.pending);
    for (const connection of this.idle) connection.close();
    const { readsMs, writesMs, failed, failure } = this;
    const seconds = (ms * (1 - warmShare)) / 1_000;
    const rates = { offered: this.begun / seconds, achieved: this.ended / seconds };
    return { readsMs, writesMs, failed, failure, ...rates };
  }

  private begin(dueAt: number): void {
    if (this.isCounted(dueAt)) this.begun += 1;
    if (this.pending.size >= underwayMaximum) {
      this.fail(`more than ${underwayMaximum} operations were under way`);
      return;
    }
    const one = this.carryOut(dueAt);
    this.pending.add(one);
    void one.finally(() => this.pending.delete(one));
  }

  private async carryOut(dueAt: number): Promise<void> {
    const { port, next, carry, isRead } = this.loop;
    // In turn: the server closes those that rest for some seconds, and its memory grows with each that is opened.
    const connection = this.idle.shift() ?? new HttpConnection(port);
    const operation = next();
    try {
      await carry(connection, operation);
      const now = performance.now();
      (isRead(operation) ? this.readsMs : this.writesMs).push(now - dueAt);
      if (this.isCounted(now)) this.ended += 1;
    } catch (error) {
      this.fail(String(error).slice(0, 300));
    }
    this.idle.push(connection);
  }

  private isCounted(at: number): boolean {
    const { ms } = this.loop;
    return at >= this.startedAt + ms * warmShare && at < this.startedAt + ms;
  }

  private fail(reason: string): void {
    this.failed += 1;
    this.failure ??= reason;
  }
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
