import type { CoordinatorStatus } from '../../shared/contracts/coordinator.ts';
import type { RegionId } from '../../shared/ids.ts';

/**
 * Which regions have heard of this coordinator. One that never has would refuse a read, so who asks for the shard's state
 * in order to read waits until each has answered once, or failed to.
 */
export class Readiness {
  readonly #known: ReadonlySet<RegionId>;
  readonly #made = Promise.withResolvers<void>();
  #isMade = false;

  /** `known` are the regions that an earlier life was known to. */
  constructor(known: readonly RegionId[]) {
    this.#known = new Set(known);
  }

  /** Fulfilled when each other region has answered once, or failed to. */
  get made(): Promise<void> {
    return this.#made.promise;
  }

  /** Looks at the regions, until all is made. */
  note(status: () => Pick<CoordinatorStatus, 'regions' | 'founding'>): void {
    if (this.#isMade) return;
    const { regions, founding } = status();
    // The regions may be about to say that the shard can begin.
    if (founding?.phase === 'counting') return;
    this.#isMade = regions.every(
      ({ region, state, health, roundTripMs }) =>
        this.#known.has(region) ||
        state !== 'voter' ||
        health !== 'answering' ||
        roundTripMs !== null,
    );
    if (this.#isMade) this.#made.resolve();
  }
}
