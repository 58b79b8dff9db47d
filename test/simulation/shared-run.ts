import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { sharedWeatherOf } from './weather.ts';
import { type Run, Workload } from './workload.ts';

/** One seeded run in which reads of the same keys share snapshots, by the edge's own code. */
export async function run(seed: number): Promise<Run> {
  const random = new Random(seed);
  const simulation = new Simulation(new Timeline(), random, sharedWeatherOf(random));
  return await new Workload(simulation, random).runAtEdge();
}
