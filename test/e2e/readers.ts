/** Strong readers that detect stale values during a load. */
import { setTimeout as delay } from 'node:timers/promises';
import type { TestStack } from '../support/stack/stack.ts';
import type { Load } from './load.ts';
import { bodyOf } from './writes.ts';

/** The target of a reader: only that region, or the nearest one that answers from that region's location. */
type Way = 'pinned' | 'near';

/**
 * Strong readers near every region, each of which reads all the counters of some loads over and over. Each value has
 * to be no less than every value that a client had got before the read began.
 */
export class Readers {
  /** Violations: values less than one that was known when the read began. */
  readonly stale: string[] = [];
  /** Answers by the reader's target and region. */
  readonly answered = new Map<string, number>();
  /** The regions that have answered by their lease. */
  readonly leased = new Set<string>();
  readonly #stack: TestStack;
  readonly #loads: readonly Load[];
  readonly #seen = new Map<Load, number>();
  readonly #readers: readonly Promise<void>[];
  #isRunning = true;

  constructor(stack: TestStack, loads: readonly Load[]) {
    this.#stack = stack;
    this.#loads = loads;
    this.#readers = stack.regions.flatMap(({ id }) => [
      this.#run(id, 'pinned'),
      this.#run(id, 'near'),
    ]);
  }

  /** Begins no further read; resolves when all begun reads are over. */
  async finish(): Promise<void> {
    this.#isRunning = false;
    await Promise.all(this.#readers);
  }

  async #run(region: string, way: Way): Promise<void> {
    while (this.#isRunning) {
      await this.#read(region, way);
      await delay(10);
    }
  }

  async #read(region: string, way: Way): Promise<void> {
    const known = this.#loads.map((load) => Math.max(load.highest, this.#seen.get(load) ?? 0));
    const reads = this.#loads.map(({ counter }) => ['GET', counter]);
    const query = { reads, consistency: 'strong', ...(way === 'pinned' ? { region } : {}) };
    const [latitude, longitude] = this.#stack.region(region).place.location;
    const place = { latitude: String(latitude), longitude: String(longitude) };
    const headers = { 'cf-blob': JSON.stringify(place) };
    const sent = this.#stack.send('POST', '/v1/reads', query, { scope: 'read', headers });
    const answer = await sent.catch(() => null);
    // A region without a vote refuses, and so do all while the Worker is down. That is no wrong answer.
    if (answer?.status !== 200) return;
    const name = `${way} ${region}`;
    this.answered.set(name, (this.answered.get(name) ?? 0) + 1);
    const by = answer.headers.get('lockstep-region') ?? '';
    const via = answer.headers.get('lockstep-via');
    if (via === 'lease') this.leased.add(by);
    const values = (bodyOf(answer).results ?? []).map(Number);
    for (const [index, load] of this.#loads.entries()) {
      const value = values[index] ?? Number.NaN;
      const least = known[index] ?? 0;
      if (!(value >= least)) {
        const what = `${load.counter} = ${value}, known was ${least}`;
        this.stale.push(`${name} (${by} by ${via}): ${what}`);
      }
      this.#seen.set(load, Math.max(this.#seen.get(load) ?? 0, value));
    }
  }
}
