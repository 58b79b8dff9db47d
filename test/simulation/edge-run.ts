import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { edgeWeatherOf } from './weather.ts';
import { type Run, Workload } from './workload.ts';

/** One seeded run in which clients read by the edge's own code, its circuit breakers included. */
export async function run(seed: number): Promise<Run> {
  const random = new Random(seed);
  const simulation = new Simulation(new Timeline(), random, edgeWeatherOf(random));
  return await new Workload(simulation, random).runAtEdge();
}
