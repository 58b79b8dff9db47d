/**
 * When a region has to show that it has lost nothing, and when it last did (rules R16 and R32). An executed round shows
 * it, since the region compares the round's pair with its history.
 */
export class LossCheck {
  /** When the round left, at the latest, that passed it, ms. */
  #passedAt = Number.NEGATIVE_INFINITY;
  #requiredFrom: number | null = null;

  /** A round that leaves at this moment or later has to pass the check, ms; null if none has to. */
  get requiredFrom(): number | null {
    return this.#requiredFrom;
  }

  /** A round that leaves from now on has to pass the check. */
  require(now: number): void {
    this.#requiredFrom ??= now;
  }

  /** A round that left at `sentAt` passed it. */
  pass(sentAt: number): void {
    this.#passedAt = Math.max(this.#passedAt, sentAt);
    if (this.#requiredFrom !== null && sentAt >= this.#requiredFrom) this.#requiredFrom = null;
  }

  /** True if a round that left at `since` or later passed it. */
  hasPassed(since: number): boolean {
    return this.#passedAt >= since;
  }

  /** No check is required any more. */
  cancel(): void {
    this.#requiredFrom = null;
  }
}
