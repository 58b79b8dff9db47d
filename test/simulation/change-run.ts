import { Random } from './random.ts';
import { World } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { changeWeatherOf } from './weather.ts';
import { type Run, Simulation } from './workload.ts';

/** One seeded run in which operators add and remove regions while clients write and read. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const world = new World(new Timeline(), random, changeWeatherOf(random));
  return new Simulation(world, random).run();
}
