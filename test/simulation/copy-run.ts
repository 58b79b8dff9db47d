import { Random } from './random.ts';
import { World } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { copyWeatherOf } from './weather.ts';
import { type Run, Simulation } from './workload.ts';

/** One seeded run in which there is always a copy. The limits of copies are small here (runners.ts). */
export function run(seed: number): Run {
  const random = new Random(seed);
  const world = new World(new Timeline(), random, copyWeatherOf(random));
  return new Simulation(world, random).run();
}
