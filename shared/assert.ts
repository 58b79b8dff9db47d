/** A broken promise inside Lockstep itself: a bug, never a failure of the world. Nothing is guessed after one. */
export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation';
}

/** Throws an {@link InvariantViolation} unless `condition` holds. `claim` says what was expected, in the present tense. */
export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new InvariantViolation(claim);
}

/** Makes a `switch` over a closed union exhaustive: compiles only where no case is left. */
export function unreachable(value: never): never {
  throw new InvariantViolation(`unexpected case ${JSON.stringify(value)}`);
}
