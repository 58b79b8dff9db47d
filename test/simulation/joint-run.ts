import { implementations } from '../region/implementations.ts';
import { JointRun } from '../region/joint-rounds.ts';

const opened = await Promise.all(
  implementations.filter(([name]) => name !== 'redis-server').map(([, open]) => open()),
);

/** Ends the embedded server. */
export async function end(): Promise<void> {
  await Promise.all(opened.map((implementation) => implementation.stop()));
}

/**
 * One seeded run of rounds of several shards in one region: joint and plain ones, their decisions, and reads, some late,
 * repeated, or after the region has lost data. The model and the scripts on the embedded server answer the same.
 */
export async function run(seed: number): Promise<{ readonly votes: number }> {
  const run = new JointRun(seed, opened);
  await run.run(30);
  return { votes: [...run.votes.values()].reduce((sum, count) => sum + count, 0) };
}
