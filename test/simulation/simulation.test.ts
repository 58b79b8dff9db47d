import { describe, expect, it } from 'vitest';
import { run } from './run.ts';

const first = Number(process.env.SEED ?? 1);
const count = Number(process.env.SEEDS ?? (process.env.SEED === undefined ? 3_000 : 1));

describe('the coordinator in bad weather', () => {
  it(`keeps every promise in ${count} seeded runs from seed ${first}`, { timeout: 600_000 }, () => {
    const total = {
      committed: 0,
      rejected: 0,
      unavailable: 0,
      unknown: 0,
      reads: 0,
      incarnations: 0,
    };
    for (let seed = first; seed < first + count; seed++) {
      const summary = runOrName(seed);
      for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += summary[key];
    }
    console.info(JSON.stringify(total));
    expect(total.committed).toBeGreaterThan(0);
  });
});

/** A failure names the seed that repeats it. */
function runOrName(seed: number) {
  try {
    return run(seed);
  } catch (error) {
    throw new Error(`seed ${seed}: repeat it by SEED=${seed} npx vitest run test/simulation`, {
      cause: error,
    });
  }
}
