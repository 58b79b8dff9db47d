import { Random } from './random.ts';
import { World } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { readWeatherOf } from './weather.ts';
import { type Run, Simulation } from './workload.ts';

/** One seeded run in which there are two coordinators at times, and many read through them. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const world = new World(new Timeline(), random, readWeatherOf(random));
  return new Simulation(world, random).run();
}
