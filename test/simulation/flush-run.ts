import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { flushWeatherOf } from './weather.ts';
import { type Run, Workload } from './workload.ts';

/** One seeded run in which all keys are deleted now and then. The limits of copies are small here (runners.ts). */
export function run(seed: number): Run {
  const random = new Random(seed);
  const simulation = new Simulation(new Timeline(), random, flushWeatherOf(random));
  return new Workload(simulation, random).run();
}
