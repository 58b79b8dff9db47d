/** Records the writes of a benchmark, and compares the record with the regions' data, to detect lost writes. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Stack } from '../../local/stack/stack.ts';
import { connectTo } from '../support/redis.ts';
import type { Attempted, BenchClient, WriteBody } from './client.ts';

/** The number of counters; each has a hash of the writes that incremented it. */
const counters = 50;
/** Of each reader: the number of counters per snapshot, and its pause before the next one. */
const countersPerRead = 8;
const readPauseMs = 10;
const readPauseMsAfterFailure = 100;

/**
 * Writes that leave a verifiable trace, and reads that verify it. Each write increments a counter and records its own
 * number beside it. A counter only grows, so a strong read must return at least every value that a client had got
 * before the read began.
 */
export class Ledger {
  readonly committed = new Set<number>();
  readonly refused = new Set<number>();
  /** Answered reads, by their path. */
  readonly reads = new Map<string, number>();
  readsUnanswered = 0;
  staleReads = 0;
  private readonly name: string;
  /** The highest value of each counter that a client has got. */
  private readonly known: number[] = Array.from({ length: counters }, () => 0);

  constructor(name: string) {
    this.name = name;
  }

  /** The write of this number. */
  bodyOf(number: number): WriteBody {
    const counter = number % counters;
    return {
      ops: [
        ['INCR', this.counterKey(counter)],
        ['HSET', this.notesKey(counter), String(number), '1'],
      ],
    };
  }

  /** Records the result of the write of this number. */
  ended(number: number, attempted: Attempted): void {
    if (attempted.kind === 'refused') this.refused.add(number);
    if (attempted.kind !== 'committed') return;
    this.committed.add(number);
    this.learn(number % counters, Number(attempted.results[0]));
  }

  /** Reads in `region`, one snapshot after another, until `isOver`. */
  async readUntil(client: BenchClient, region: string, isOver: () => boolean): Promise<void> {
    for (let first = 0; !isOver(); first = (first + countersPerRead) % counters) {
      const asked = Array.from({ length: countersPerRead }, (_, at) => (first + at) % counters);
      const least = asked.map((counter) => this.known[counter] ?? 0);
      const answer = await client.snapshot(asked.map(this.counterKey), region);
      if (answer === null) {
        this.readsUnanswered += 1;
        await delay(readPauseMsAfterFailure);
        continue;
      }
      this.reads.set(answer.via, (this.reads.get(answer.via) ?? 0) + 1);
      const values = asked.map((_, at) => Number(answer.results[at] ?? 0));
      if (values.some((value, at) => value < (least[at] ?? 0))) this.staleReads += 1;
      for (const [at, counter] of asked.entries()) this.learn(counter, values[at] ?? 0);
      await delay(readPauseMs);
    }
  }

  /** Compares the regions' data in the end, read past Lockstep. Each number is a sum over all regions. */
  async audit(stack: Stack): Promise<Audit> {
    const sum = { lost: 0, inVain: 0, miscounted: 0 };
    for (const { redis } of stack.regions) {
      const client = connectTo(redis.port);
      const noted = new Set<number>();
      for (let counter = 0; counter < counters; counter += 1) {
        const numbers = await client.hkeys(this.notesKey(counter));
        for (const number of numbers) noted.add(Number(number));
        const value = Number((await client.get(this.counterKey(counter))) ?? 0);
        if (value !== numbers.length) sum.miscounted += 1;
      }
      client.disconnect();
      sum.lost += [...this.committed].filter((number) => !noted.has(number)).length;
      sum.inVain += [...this.refused].filter((number) => noted.has(number)).length;
    }
    return sum;
  }

  private learn(counter: number, value: number): void {
    this.known[counter] = Math.max(this.known[counter] ?? 0, value);
  }

  private readonly counterKey = (counter: number) => `${this.name}:counter:${counter}`;
  private readonly notesKey = (counter: number) => `${this.name}:notes:${counter}`;
}

/** The errors in the regions' data. */
export interface Audit {
  /** Writes that were reported as committed and are missing. */
  readonly lost: number;
  /** Writes that were reported as not written and exist. */
  readonly inVain: number;
  /** Counters that differ from the number of recorded writes. */
  readonly miscounted: number;
}
