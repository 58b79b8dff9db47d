import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { replayOf, runInParallel } from './parallel-runner.ts';

const first = Number(process.env.SEED ?? 1);
const count = Number(process.env.SEEDS ?? (process.env.SEED === undefined ? 5_000 : 1));

describe('the coordinator in bad weather', () => {
  it(`keeps every promise in ${count} seeded runs from seed ${first}`, {
    timeout: 3_000_000,
  }, async () => {
    const { done, totals, failures } = await runInParallel({
      runner: 'simulation',
      patches: [],
      from: first,
      count,
      jobs: Math.min(availableParallelism(), Math.ceil(count / 100)),
      onlyFirst: false,
    });
    console.info(JSON.stringify(Object.fromEntries(totals)));
    // If everything is broken, a few seeds show enough.
    const named = failures
      .slice(0, 5)
      .map(
        ({ seed, reason }) =>
          `seed ${seed}, repeated by ${replayOf('simulation', seed)}: ${reason}`,
      );
    expect(named).toEqual([]);
    expect(done).toBe(count);
    expect(totals.get('committed')).toBeGreaterThan(0);
  });
});
