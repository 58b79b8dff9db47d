/** How many runs of a random test there are, and the seed from which they follow. */
export interface Runs {
  readonly numRuns: number;
  readonly seed: number;
}

/**
 * The runs of a random test, `count` if the environment does not say otherwise: `SEQUENCES` is their number, and `SEED`
 * makes them others. Without it they are the same each time, so that what fails has failed for a reason in the change.
 */
export function runCountOf(count: number): Runs {
  return {
    numRuns: Number(process.env.SEQUENCES ?? count),
    seed: Number(process.env.SEED ?? 1),
  };
}
