/** Holds the scripts for several shards on a real server to the model, by random rounds. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Implementation, implementations } from './implementations.ts';
import { JointRun } from './joint-rounds.ts';

const seeds = Array.from({ length: 40 }, (_, index) => index + 1);

describe('joint rounds on redis-server', () => {
  const opened: Implementation[] = [];
  beforeAll(async () => {
    for (const [name, open] of implementations) {
      if (name !== 'the embedded server') opened.push(await open());
    }
  });
  afterAll(() => Promise.all(opened.map((region) => region.stop())));

  it('answer as the model does, with losses, repeats and stale senders', async () => {
    const votes = new Map<string, number>();
    for (const seed of seeds) {
      const run = new JointRun(seed, opened);
      await run.run(40);
      for (const [kind, count] of run.votes) votes.set(kind, (votes.get(kind) ?? 0) + count);
    }
    expect(votes.get('yes')).toBeGreaterThan(100);
    expect(votes.get('objected')).toBeGreaterThan(100);
  });
});
