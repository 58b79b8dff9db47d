import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { memberWeatherOf } from './weather.ts';
import { type Run, Workload } from './workload.ts';

/** One seeded run in which regions leave and return all the time. The limits of copies are small here (runners.ts). */
export function run(seed: number): Run {
  const random = new Random(seed);
  const simulation = new Simulation(new Timeline(), random, memberWeatherOf(random));
  return new Workload(simulation, random).run();
}
