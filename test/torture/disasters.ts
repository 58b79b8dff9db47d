/** The faults of a torture run: the weather of every line, and disasters of the Worker and of the regions. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Fault, Garbage } from '../../local/gateway/faults.ts';
import { limits } from '../../shared/limits.ts';
import type { Random } from '../simulation/random.ts';
import type { TestRegion } from '../support/stack/stack.ts';
import { type FrontProxy, fairWeather, type LineWeather } from './front.ts';
import type { RegionSpan } from './history.ts';
import { clock, type Recorder } from './recorder.ts';
import type { Workers } from './workers.ts';

/** The parts of a run that break. */
export interface Breakable {
  readonly regions: readonly TestRegion[];
  readonly workers: Workers;
  readonly front: FrontProxy;
  readonly recorder: Recorder;
  isRunning(): boolean;
  /** Resolves with true once every region votes, and a write that began after the call was acknowledged. */
  isWhole(): Promise<boolean>;
}

/** The longest time for which something is gone, or stopped, in ms. Some regions are evicted within it. */
const goneMaximumMs = 4_000;

/** The longest time for which the weather stays as it is, in ms. */
const weatherMaximumMs = 4_000;

/**
 * The longest times between two disasters of one kind, in ms. A Worker that lives for less than a lease can evict no
 * region, so most of its lives are longer.
 */
const calmMaximumMs = { worker: 9_000, regions: 3_000 } as const;

/** Draws faults from a seed, until the run is over, and ends them all. */
export class Disasters {
  /** The times in which a region may not know that it has lost writes. */
  readonly losses: RegionSpan[] = [];
  readonly #around: Breakable;
  readonly #tasks: readonly Promise<void>[];
  readonly #snapshots = new Set<string>();
  /** The reason why a fault could not be carried out, such as a server that did not start again. */
  #failure: unknown = null;

  constructor(around: Breakable, randomOf: (name: string) => Random) {
    this.#around = around;
    const tasks = [
      this.#workerDisasters(randomOf('worker')),
      this.#regionDisasters(randomOf('regions')),
      this.#frontWeather(randomOf('front')),
      ...around.regions.map((region) => this.#lineWeather(region, randomOf(region.id))),
    ];
    this.#tasks = tasks.map((task) =>
      task.catch((error: unknown) => {
        this.#failure ??= error;
      }),
    );
  }

  /** Resolves when the run is over, and no fault is left; rejects if one could not be carried out. */
  async finish(): Promise<void> {
    await Promise.all(this.#tasks);
    if (this.#failure !== null) throw this.#failure;
    const { front, regions, workers } = this.#around;
    front.weather = fairWeather;
    for (const { gateway } of regions) gateway.faults.clear();
    await workers.endStale();
    this.#say('all faults have ended');
  }

  async #workerDisasters(random: Random): Promise<void> {
    const { workers } = this.#around;
    const ways: readonly (() => Promise<void>)[] = [
      async () => {
        this.#say('kill -9 of the Worker');
        await workers.kill();
        await delay(random.between(0, 1_000));
        await workers.restart();
        this.#say('the Worker runs again');
      },
      async () => {
        const ms = random.between(50, goneMaximumMs);
        this.#say(`SIGSTOP of the Worker, for ${ms} ms`);
        workers.pause();
        await delay(ms);
        workers.resume();
      },
      async () => {
        this.#say('a successor starts on a copy of the storage; the Worker before it is stale');
        await workers.succeed();
        this.#say('the successor runs, and the stale Worker goes on');
        await delay(random.between(500, goneMaximumMs));
        if (random.chance(0.5)) {
          this.#say('kill -9 of the successor, while the stale Worker goes on');
          await workers.kill();
          await workers.restart();
        }
        await workers.endStale();
        this.#say('the stale Worker has ended');
      },
    ];
    await this.#again(random, calmMaximumMs.worker, ways);
  }

  async #regionDisasters(random: Random): Promise<void> {
    const { regions } = this.#around;
    const gone = () => random.between(0, goneMaximumMs);
    const ways: readonly ((region: TestRegion) => Promise<void>)[] = [
      async ({ id, redis }) => {
        const ms = gone();
        this.#say(`kill -9 of the Redis of ${id}, for ${ms} ms`);
        await redis.kill();
        await delay(ms);
        await redis.restart();
      },
      async ({ id, redis }) => {
        const ms = gone();
        this.#say(`SIGSTOP of the Redis of ${id}, for ${ms} ms`);
        redis.pause();
        await delay(ms);
        redis.resume();
      },
      async ({ id, redis }) => {
        await redis.snapshot();
        this.#snapshots.add(id);
        this.#say(`a copy of the data of ${id} is kept`);
      },
      async ({ id, redis }) => {
        if (!this.#snapshots.has(id)) {
          await redis.snapshot();
          this.#snapshots.add(id);
          await delay(random.between(200, 2_000));
        }
        await this.#lose(id, 'goes back to an earlier copy of its data', () => redis.rollback());
      },
      async ({ id, redis }) => this.#lose(id, 'loses all its data', () => redis.wipe()),
    ];
    // Losses come seldom, since the run waits for the return of the region.
    const often = [...ways.slice(0, 3), ...ways.slice(0, 3), ...ways, ...ways.slice(3, 4)];
    await this.#again(
      random,
      calmMaximumMs.regions,
      often.map((way) => () => way(random.pick(regions))),
    );
  }

  /** Takes a region's data, if every other one is known to have all of them (P3). */
  async #lose(id: string, text: string, carryOut: () => Promise<void>): Promise<void> {
    const { isWhole } = this.#around;
    if (!(await isWhole())) return;
    const from = clock();
    this.#say(`${id} ${text}`);
    await carryOut();
    this.losses.push({ region: id, from, to: clock() + limits.leaseTtlMs + limits.leaseDriftMs });
    await isWhole();
  }

  async #again(
    random: Random,
    calmMs: number,
    ways: readonly (() => Promise<void>)[],
  ): Promise<void> {
    const { isRunning } = this.#around;
    while (isRunning()) {
      await delay(random.between(100, calmMs));
      if (isRunning()) await random.pick(ways)();
    }
  }

  async #frontWeather(random: Random): Promise<void> {
    const { front } = this.#around;
    await this.#changing(random, 'between clients and the Worker', (weather) => {
      front.weather = weather;
    });
  }

  async #lineWeather({ id, gateway }: TestRegion, random: Random): Promise<void> {
    const { faults } = gateway;
    await this.#changing(random, `between the Worker and ${id}`, (weather) => {
      faults.setWeather(() => faultIn(weather, random));
      const reach = random.chance(0.9) ? 'whole' : random.pick(['cut', 'answers-lost'] as const);
      faults.setLine({ reach });
      if (reach !== 'whole') this.#say(`the line of ${id}: ${reach}`);
    });
  }

  async #changing(
    random: Random,
    line: string,
    change: (weather: LineWeather) => void,
  ): Promise<void> {
    while (this.#around.isRunning()) {
      const weather = random.chance(0.5) ? fairWeather : weatherOf(random);
      change(weather);
      const shown = Object.entries(weather).flatMap(([name, chance]) =>
        chance > 0 ? [`${name} ${(100 * chance).toFixed(0)} %`] : [],
      );
      this.#say(`${line}: ${shown.length === 0 ? 'fair' : shown.join(', ')}`);
      await delay(random.between(300, weatherMaximumMs));
    }
  }

  #say(text: string): void {
    this.#around.recorder.fault(text);
  }
}

function weatherOf(random: Random): LineWeather {
  const chance = () => (random.chance(0.5) ? random.next() * 0.1 : 0);
  return { lost: chance(), cut: chance(), slow: 2 * chance(), twice: 2 * chance() };
}

const garbage: readonly Garbage[] = ['page', 'broken-json', 'status-500'];

/** Draws the fault of one request to a region. */
function faultIn({ lost, cut, slow, twice }: LineWeather, random: Random): Fault | null {
  if (random.chance(lost)) return { kind: random.pick(['drop', 'hang'] as const), executed: false };
  if (random.chance(cut)) {
    const executed = true;
    if (random.chance(0.3)) return { kind: 'garbage', executed, answer: random.pick(garbage) };
    return { kind: random.pick(['drop', 'hang'] as const), executed };
  }
  if (random.chance(slow)) {
    // Some are later than the deadline of a vote.
    const ms = random.between(1, random.chance(0.1) ? 3_000 : 300);
    return { kind: 'slow', ms, executed: random.chance(0.5) };
  }
  if (random.chance(twice)) {
    if (random.chance(0.3)) return { kind: 'duplicate' };
    return { kind: 'duplicate', laterMs: random.between(1, 5_000) };
  }
  return null;
}
