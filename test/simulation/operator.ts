import type { World } from './simulation.ts';
import { generation } from './weather.ts';

/** How often held regions are called back and missing ones added while regions come and go, ms. */
const visitsEveryMs = 2_000;

/** What an operator agrees to lose: more keys than any region of a run holds. */
const replace = 1_000;

/** An operator who adds and removes regions at run time. Every region is configured at first. */
export class Operator {
  /** Stored in the step in which the coordinator takes an order to add or to remove, which is one that it does not refuse. */
  readonly configured: Set<string>;
  readonly #world: World;
  readonly #generations = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
    this.configured = new Set(world.regions.keys());
    if (world.weather.changesEveryMs > 0) this.#visit();
  }

  /** The generation under which readers know the region, though it may have been removed since. */
  generationOf(region: string): number {
    const known = this.#world.storage.durable.regions.get(region)?.generation;
    if (known !== undefined) this.#generations.set(region, known);
    return this.#generations.get(region) ?? generation;
  }

  /** A region comes or goes. */
  change(): void {
    const { random, regions, storage, weather } = this.#world;
    // Before it has members, a shard takes other regions without a word in its history.
    if (storage.durable.epoch === 0) return;
    const region = random.pick([...regions.keys()]);
    if (!this.configured.has(region)) this.#add(region);
    else {
      if (random.chance(weather.believes)) this.#believe(region);
      this.#remove(region);
    }
  }

  #add(region: string): void {
    const { coordinator } = this.#world;
    if (coordinator.core.status().regions.some((known) => known.region === region)) return;
    this.configured.add(region);
    coordinator.order({ kind: 'add', region, replace });
  }

  #remove(region: string): void {
    const { coordinator } = this.#world;
    this.generationOf(region);
    const staying = coordinator.core
      .status()
      .regions.filter(
        ({ state, cause }) => (state === 'voter' && cause === null) || cause === 'believed',
      );
    if (!staying.some((known) => known.region !== region)) return;
    this.configured.delete(region);
    coordinator.order({ kind: 'remove', region });
  }

  /** Nothing is lost by believing a voter that has applied every decision. */
  #believe(besides: string): void {
    const { coordinator, random } = this.#world;
    const whole = coordinator.core
      .status()
      .regions.filter(
        ({ region, state, cause, health, unacknowledged }) =>
          region !== besides &&
          state === 'voter' &&
          cause === null &&
          health === 'answering' &&
          unacknowledged === 0,
      );
    if (whole.length === 0) return;
    coordinator.order({ kind: 'believe', region: random.pick(whole).region });
  }

  /** In the end every region is to be a member. */
  #visit(): void {
    const { timeline, storage, regions } = this.#world;
    timeline.after(visitsEveryMs, () => {
      if (this.#world.calm) {
        const missing = [...regions.keys()].filter(
          (region) => !storage.durable.regions.has(region),
        );
        for (const region of missing) this.#add(region);
      }
      for (const { region, membership } of storage.durable.regions.values()) {
        if (membership.state !== 'out' || !membership.held) continue;
        const order = { kind: 'return', region, whole: false, force: true, replace } as const;
        this.#world.coordinator.order(order);
      }
      this.#visit();
    });
  }
}
