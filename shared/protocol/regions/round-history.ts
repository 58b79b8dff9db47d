import type { RoundPair } from '../../contracts/round.ts';
import { limits } from '../../limits.ts';

/** The coordinator's copy of the newest pairs of one region's history of rounds (rule R16). */
export class RoundHistory {
  /** The highest pair that the region has acknowledged. */
  highest: RoundPair | null;
  readonly #nonces = new Map<number, string>();

  constructor(highest: RoundPair | null) {
    this.highest = highest;
    if (highest !== null) this.#nonces.set(...highest);
  }

  /** The first of `pairs` with another nonce than the region gave before: its history has been rewritten. */
  contradictionIn(pairs: readonly RoundPair[]): RoundPair | undefined {
    return pairs.find(([counter, nonce]) => {
      const known = this.#nonces.get(counter);
      return known !== undefined && known !== nonce;
    });
  }

  /** Adds the pairs of a reply, and forgets those that are too old to be compared. */
  add(pairs: readonly RoundPair[]): void {
    for (const pair of pairs) {
      this.#nonces.set(...pair);
      if (this.highest === null || pair[0] > this.highest[0]) this.highest = pair;
    }
    for (const counter of this.#nonces.keys()) {
      if (counter < (this.highest?.[0] ?? 0) - limits.historyPairs) this.#nonces.delete(counter);
    }
  }
}
