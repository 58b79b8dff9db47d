/** Delays reads until the regions know a new coordinator. */
import type { CoordinatorStatus } from '../../shared/contracts/coordinator.ts';
import type { RegionId } from '../../shared/ids.ts';

/**
 * Delays the first readers until every voter has answered this coordinator once, or has failed to: a region that has
 * never had a round of a coordinator would refuse the read.
 */
export class Readiness {
  readonly #known: ReadonlySet<RegionId>;
  readonly #made = Promise.withResolvers<void>();
  #isMade = false;

  /** `known` are the regions that have answered a round of an earlier life. */
  constructor(known: readonly RegionId[]) {
    this.#known = new Set(known);
  }

  /** Resolves once every other voter has answered once, or has failed to. */
  get made(): Promise<void> {
    return this.#made.promise;
  }

  /** Checks the regions after a step of the core, until they are ready. */
  note(status: () => Pick<CoordinatorStatus, 'regions' | 'founding' | 'slots'>): void {
    if (this.#isMade) return;
    const { regions, founding, slots } = status();
    // No region is asked before the shard knows its slots. If the registry is silent, nobody waits for the regions.
    if (slots?.phase === 'asking') return;
    // The count of the regions' keys may show that the shard can begin, and then they become voters.
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
