import { Random } from './random.ts';
import { World } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { memberWeatherOf } from './weather.ts';
import { type Run, Simulation } from './workload.ts';

/** One seeded run in which regions leave and return all the time. The limits of copies are small here (runners.ts). */
export function run(seed: number): Run {
  const random = new Random(seed);
  const world = new World(new Timeline(), random, memberWeatherOf(random));
  return new Simulation(world, random).run();
}
