/** The number of runs of a random test, and their seed. */
export interface Runs {
  readonly numRuns: number;
  readonly seed: number;
}

/**
 * The runs of a random test, `count` unless the environment says otherwise: `SEQUENCES` sets their number, and `SEED`
 * changes them. Without it they are the same each time, so that a failure comes from the change under test.
 */
export function runCountOf(count: number): Runs {
  return {
    numRuns: Number(process.env.SEQUENCES ?? count),
    seed: Number(process.env.SEED ?? 1),
  };
}
