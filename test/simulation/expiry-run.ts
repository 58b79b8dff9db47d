import { Random } from './random.ts';
import { World } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { expiryWeatherOf } from './weather.ts';
import { type Run, Simulation } from './workload.ts';

/** One seeded run in which keys expire while they are written, and decisions come late. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const world = new World(new Timeline(), random, expiryWeatherOf(random));
  return new Simulation(world, random).run();
}
