import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { expiryWeatherOf } from './weather.ts';
import { type Run, Workload } from './workload.ts';

/** One seeded run in which keys expire while they are written, and decisions come late. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const simulation = new Simulation(new Timeline(), random, expiryWeatherOf(random));
  return new Workload(simulation, random).run();
}
