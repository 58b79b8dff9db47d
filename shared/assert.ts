/** A broken invariant of Lockstep: always a bug, never a failure of the environment. No code continues after one. */
export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation';
}

/**
 * Throws an {@link InvariantViolation} unless `condition` holds. `claim` states the invariant, in the present tense.
 */
export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new InvariantViolation(claim);
}

/** Makes a `switch` over a closed union exhaustive: it compiles only if no case is missing. */
export function unreachable(value: never): never {
  throw new InvariantViolation(`unexpected case ${JSON.stringify(value)}`);
}
