import { limits } from '../../limits.ts';

/**
 * How a region answers. `silent` and `foreign` (it holds another coordinator's state) are probed until they answer as
 * they should. `since` is when the first unanswered request left.
 */
export type Health =
  | { readonly kind: 'answering' }
  | {
      readonly kind: 'silent' | 'foreign';
      readonly reason: string;
      readonly since: number;
      readonly probeAt: number;
    };

/** The health of one region, and the pauses between the probes of one that does not answer. */
export class RegionHealth {
  #current: Health = { kind: 'answering' };
  /** In a row. */
  #failures = 0;

  get current(): Health {
    return this.#current;
  }

  /** The region executed a round. Only another round than a probe ends the row of failures. */
  answered(wasProbe: boolean): void {
    this.#current = { kind: 'answering' };
    if (!wasProbe) this.#failures = 0;
  }

  /** The failures of the past count no more. */
  recover(): void {
    this.answered(false);
  }

  /**
   * No usable answer came: the region is probed after a pause that doubles with each failure in a row, or grows with the
   * time since `outSince` (null: it is not out), up to `longestMs`.
   */
  fail(
    failure: {
      readonly kind: 'silent' | 'foreign';
      readonly reason: string;
      readonly sentAt: number;
    },
    outSince: number | null,
    now: number,
    longestMs: number,
  ): void {
    const { kind, reason, sentAt } = failure;
    const doubled = limits.probeBackoffMinMs * 2 ** Math.min(this.#failures, 16);
    // A new instance does not know the number of former probes, but since when the region has been out.
    const grown = outSince === null ? 0 : (now - outSince) / limits.outProbesPerAge;
    const pause = this.#failures === 0 ? doubled : Math.max(doubled, grown);
    this.#failures += 1;
    const probeAt = now + Math.ceil(Math.min(pause, longestMs));
    const since = this.#current.kind === 'answering' ? sentAt : this.#current.since;
    this.#current = { kind, reason, since, probeAt };
  }

  /** Work has come: a silent region is probed no later than after `longestMs`. */
  hasten(now: number, longestMs: number): void {
    if (this.#current.kind === 'answering') return;
    const probeAt = Math.min(this.#current.probeAt, now + longestMs);
    this.#current = { ...this.#current, probeAt };
  }
}
