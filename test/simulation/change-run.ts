import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { changeWeatherOf } from './weather.ts';
import { type Run, Workload } from './workload.ts';

/** One seeded run in which operators add and remove regions while clients write and read. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const simulation = new Simulation(new Timeline(), random, changeWeatherOf(random));
  return new Workload(simulation, random).run();
}
