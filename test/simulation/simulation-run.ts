import { Random } from './random.ts';
import { World } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { weatherOf } from './weather.ts';
import { type Run, Simulation } from './workload.ts';

/** One seeded run in the weather of the seed. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const world = new World(new Timeline(), random, weatherOf(random));
  return new Simulation(world, random).run();
}
