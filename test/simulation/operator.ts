import type { Simulation } from './simulation.ts';
import { generation } from './weather.ts';

/** The time between rounds of the operator, who returns held regions and adds missing ones, ms. */
const visitsEveryMs = 2_000;

/** The number of keys that an operator agrees to lose: more than any region of a run holds. */
const replace = 1_000;

/** An operator who adds and removes regions at run time. Every region is configured at first. */
export class Operator {
  /** Stored in the step in which the coordinator accepts a command to add or to remove. */
  readonly configured: Set<string>;
  readonly #simulation: Simulation;
  readonly #generations = new Map<string, number>();

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
    this.configured = new Set(simulation.regions.keys());
    if (simulation.weather.changesEveryMs > 0) this.#visit();
  }

  /** The generation under which readers know the region, though it may have been removed since. */
  generationOf(region: string): number {
    const known = this.#simulation.storage.durable.regions.get(region)?.generation;
    if (known !== undefined) this.#generations.set(region, known);
    return this.#generations.get(region) ?? generation;
  }

  /** Adds or removes a region. */
  change(): void {
    const { random, regions, storage, weather } = this.#simulation;
    // Before it has members, a shard takes other regions without an entry in its history.
    if (storage.durable.epoch === 0) return;
    const region = random.pick([...regions.keys()]);
    if (!this.configured.has(region)) this.#add(region);
    else {
      if (random.chance(weather.forceRecoveries)) this.#forceRecover(region);
      this.#remove(region);
    }
  }

  #add(region: string): void {
    const { coordinator } = this.#simulation;
    if (coordinator.core.status().regions.some((known) => known.region === region)) return;
    this.configured.add(region);
    coordinator.command({ kind: 'add', region, replace });
  }

  #remove(region: string): void {
    const { coordinator } = this.#simulation;
    this.generationOf(region);
    const staying = coordinator.core
      .status()
      .regions.filter(
        ({ state, cause }) => (state === 'voter' && cause === null) || cause === 'believed',
      );
    if (!staying.some((known) => known.region !== region)) return;
    this.configured.delete(region);
    coordinator.command({ kind: 'remove', region });
  }

  /** Force-recovers a voter that has applied every decision, so nothing is lost. */
  #forceRecover(besides: string): void {
    const { coordinator, random } = this.#simulation;
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
    coordinator.command({ kind: 'believe', region: random.pick(whole).region });
  }

  /** In the end every region is to be a member. */
  #visit(): void {
    const { timeline, storage, regions } = this.#simulation;
    timeline.after(visitsEveryMs, () => {
      if (this.#simulation.calm) {
        const missing = [...regions.keys()].filter(
          (region) => !storage.durable.regions.has(region),
        );
        for (const region of missing) this.#add(region);
      }
      for (const { region, membership } of storage.durable.regions.values()) {
        if (membership.state !== 'out' || !membership.manualReturn) continue;
        const command = { kind: 'return', region, whole: false, force: true, replace } as const;
        this.#simulation.coordinator.command(command);
      }
      this.#visit();
    });
  }
}
