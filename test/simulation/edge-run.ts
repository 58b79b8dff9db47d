import { Random } from './random.ts';
import { type Run, Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { edgeWeatherOf } from './weather.ts';
import { World } from './world.ts';

/** One seeded run in which clients read by the edge's own code. Its circuit breaker reads the clock of the process. */
export async function run(seed: number): Promise<Run> {
  const random = new Random(seed);
  const timeline = new Timeline();
  const world = new World(timeline, random, edgeWeatherOf(random));
  const clock = Date.now;
  Date.now = () => timeline.now;
  try {
    return await new Simulation(world, random).runAtEdge();
  } finally {
    Date.now = clock;
  }
}
