import type { WriteAnswer } from '../../shared/contracts/coordinator.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import { Frames } from './frames.ts';
import { contentsOf } from './history.ts';
import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { calmWeather } from './weather.ts';

const keys = ['a', 'b', 'c'];

/**
 * One seeded run in which somebody changes a key of one region around Lockstep. With three regions the other two are
 * right: the write that shows the difference is decided, and the region is copied whole. With two there is no
 * majority: writes to that key are refused, those to others are not, until an operator has named the region to copy
 * from (R39).
 */
export function run(seed: number): { readonly writes: number } {
  const random = new Random(seed);
  const crashEveryMs = random.pick([0, 0, 15_000]);
  const simulation = new Simulation(new Timeline(), random, {
    ...calmWeather(random),
    crashEveryMs,
  });
  const run = new Divergence(simulation, random);
  return { writes: run.run() };
}

class Divergence {
  readonly #simulation: Simulation;
  readonly #random: Random;
  readonly #frames: Frames;
  readonly #values = new Map<string, string>();
  #writes = 0;

  constructor(simulation: Simulation, random: Random) {
    this.#simulation = simulation;
    this.#random = random;
    this.#frames = new Frames(simulation);
  }

  run(): number {
    for (const key of keys) this.#append(key);
    const victim = this.#random.pick([...this.#simulation.regions.keys()]);
    const key = this.#random.pick(keys);
    const { timeline } = this.#simulation;
    // A commit that is applied after it would undo the change.
    timeline.run(timeline.now + 5_000, 100_000);
    const model = this.#simulation.regions.get(victim);
    model?.run('APPEND', key, 'around');
    const hasMajority = this.#simulation.regions.size > 2;
    // No region compares a key that no write touches; a copy of everything still repairs it.
    if (hasMajority) model?.run('SET', 'untouched', 'around');
    if (hasMajority) this.#append(key);
    else this.#meetBlocked(key, victim);
    for (const one of keys) this.#append(one);
    this.#expectAlike();
    return this.#writes;
  }

  /** Of two regions that differ, the coordinator trusts neither. */
  #meetBlocked(key: string, victim: string): void {
    const { regions } = this.#simulation;
    this.#expectRefusal(['APPEND', key, 'x']);
    for (const other of keys) if (other !== key) this.#append(other);
    this.#simulation.crash();
    // Every write to the key is refused, even one that shows no difference.
    this.#expectRefusal(['SET', key, 'x']);
    const [source] = [...regions.keys()].filter((region) => region !== victim);
    const repaired = { key, regions: [victim] };
    if (source === undefined) throw new Error('there is another region');
    const { timeline, storage } = this.#simulation;
    // If the coordinator died with the admin command, the operator repeats it.
    for (let attempt = 0; attempt < 3 && storage.durable.blocked.size > 0; attempt += 1) {
      this.#simulation.coordinator.command({ kind: 'repair', source, keys: [repaired] });
      timeline.run(timeline.now + 20_000, 1_000_000);
    }
  }

  #expectRefusal(operation: readonly string[]): void {
    const answer = this.#send(operation);
    const code = answer?.kind === 'unavailable' ? answer.code : answer?.kind;
    if (code !== 'diverged') throw new Error(`a write to a key that differs was answered ${code}`);
  }

  /** A write that has to be decided, and to find the results of the writes before it. */
  #append(key: string): void {
    const text = this.#random.pick(['x', 'yy', 'zzz']);
    const value = (this.#values.get(key) ?? '') + text;
    const answer = this.#send(['APPEND', key, text]);
    if (answer?.kind !== 'decided')
      throw new Error(`a write was answered ${JSON.stringify(answer)}`);
    if (answer.record.part !== encodeReply([0, value.length])) {
      throw new Error(`a write of ${value.length} bytes was answered ${answer.record.part}`);
    }
    this.#values.set(key, value);
  }

  /** Sends a write again until it is answered, as a client with an idempotency key does. */
  #send(operation: readonly string[]): WriteAnswer | null {
    const { timeline } = this.#simulation;
    const idempotency = { key: `key-${this.#writes}`, digest: 'same' };
    let answer: WriteAnswer | null = null;
    for (let attempt = 0; attempt < 5 && answer === null; attempt += 1) {
      const frame = this.#frames.of([[...operation]], []);
      const notAfter = timeline.now + 25_000;
      this.#writes += 1;
      this.#simulation.coordinator.write(
        { ...frame, notAfter, ack: 'committed', idempotency },
        false,
        (reply) => {
          if (reply?.kind === 'write') answer = reply.answer;
        },
      );
      const until = timeline.now + 30_000;
      while (answer === null && timeline.now < until) timeline.run(timeline.now + 100, 100_000);
    }
    return answer;
  }

  #expectAlike(): void {
    const { timeline, regions, storage } = this.#simulation;
    this.#simulation.calm = true;
    void this.#simulation.coordinator;
    timeline.run(timeline.now + 30_000, 1_000_000);
    for (const { region, membership } of storage.durable.regions.values()) {
      if (membership.state !== 'voter') throw new Error(`${region} has not come back`);
    }
    const contents = new Set([...regions.values()].map((one) => contentsOf(one, timeline.now)));
    if (contents.size > 1) throw new Error(`the regions hold ${[...contents].join(' and ')}`);
  }
}
