import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { readWeatherOf } from './weather.ts';
import { type Run, Workload } from './workload.ts';

/** One seeded run in which there are two coordinators at times, and many read through them. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const simulation = new Simulation(new Timeline(), random, readWeatherOf(random));
  return new Workload(simulation, random).run();
}
