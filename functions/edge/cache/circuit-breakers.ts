/** Keeps the reads of an isolate from waiting again and again for a region that does not answer. */
import type { RegionId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';

/**
 * A circuit breaker per region, for the life of an isolate. A fault opens it for `limits.silentRegionAvoidedMs`; the
 * first read after that tries the region again. It needs no timers.
 */
export class Circuits {
  readonly #now: () => number;
  /** Per region that failed: the time until which no read asks it, in ms of `now`. */
  readonly #avoidedUntil = new Map<RegionId, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Returns the outcome of `call`, or null without a call if the region failed a moment ago. An outcome of the kind
   * `fault` counts as a failure. A call that throws does not.
   */
  async ask<Outcome extends { readonly kind: string }>(
    region: RegionId,
    call: () => Promise<Outcome>,
  ): Promise<Outcome | null> {
    const until = this.#avoidedUntil.get(region);
    if (until !== undefined && this.#now() < until) return null;
    // This read tries the region, while others avoid it. They must not wait for its outcome: if its client goes away,
    // the promise may never settle.
    if (until !== undefined) this.#avoid(region);
    const outcome = await call();
    if (outcome.kind === 'fault') this.#avoid(region);
    // Only a read that tried the region after the pause proves that it answers again: others began before it failed.
    else if (until !== undefined) this.#avoidedUntil.delete(region);
    return outcome;
  }

  #avoid(region: RegionId): void {
    this.#avoidedUntil.set(region, this.#now() + limits.silentRegionAvoidedMs);
  }
}
