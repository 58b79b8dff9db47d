import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { weatherOf } from './weather.ts';
import { type Run, Workload } from './workload.ts';

/** One seeded run in the weather of the seed. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const simulation = new Simulation(new Timeline(), random, weatherOf(random));
  return new Workload(simulation, random).run();
}
