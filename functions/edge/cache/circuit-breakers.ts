import type { RegionId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';

/**
 * A circuit breaker per region, for the life of an isolate: if one read had to wait for a region that does not answer,
 * the next reads do not wait for it again. It keeps no timers: the first read after the pause tries the region.
 */
export class Circuits {
  readonly #now: () => number;
  /** Per region that failed: until when it is not asked, in ms of `now`. */
  readonly #avoidedUntil = new Map<RegionId, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Returns the outcome of `call`, or null, without calling, if the region failed lately. An outcome of the kind
   * `fault` is a failure. A call that throws is none.
   */
  async ask<Outcome extends { readonly kind: string }>(
    region: RegionId,
    call: () => Promise<Outcome>,
  ): Promise<Outcome | null> {
    const until = this.#avoidedUntil.get(region);
    if (until !== undefined && this.#now() < until) return null;
    // This read tries the region, and others avoid it meanwhile. They must not wait for this one: it belongs to another
    // request, whose client may go away, so that its promise might never settle.
    if (until !== undefined) this.#avoid(region);
    const outcome = await call();
    if (outcome.kind === 'fault') this.#avoid(region);
    // A read that set out before the region failed proves nothing if it succeeds afterwards.
    else if (until !== undefined) this.#avoidedUntil.delete(region);
    return outcome;
  }

  #avoid(region: RegionId): void {
    this.#avoidedUntil.set(region, this.#now() + limits.silentRegionAvoidedMs);
  }
}
