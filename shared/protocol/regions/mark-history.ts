import type { RoundPair } from '../../contracts/round.ts';
import { limits } from '../../limits.ts';

/** The coordinator's copy of the newest pairs of one region's history of rounds (rule R16). */
export class MarkHistory {
  /** The highest pair that the region has acknowledged. */
  highest: RoundPair | null;
  readonly #marks = new Map<number, string>();

  constructor(highest: RoundPair | null) {
    this.highest = highest;
    if (highest !== null) this.#marks.set(...highest);
  }

  /** The first of `pairs` with another nonce than the region gave before: its history has been rewritten. */
  contradictionIn(pairs: readonly RoundPair[]): RoundPair | undefined {
    return pairs.find(([counter, mark]) => {
      const known = this.#marks.get(counter);
      return known !== undefined && known !== mark;
    });
  }

  learn(pairs: readonly RoundPair[]): void {
    for (const pair of pairs) {
      this.#marks.set(...pair);
      if (this.highest === null || pair[0] > this.highest[0]) this.highest = pair;
    }
    for (const counter of this.#marks.keys()) {
      if (counter < (this.highest?.[0] ?? 0) - limits.historyPairs) this.#marks.delete(counter);
    }
  }
}
