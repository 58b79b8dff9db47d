import type { Bytes } from '../../contracts/bytes.ts';
import type { CopyItem, CopyKey, CopyStep } from '../../contracts/round.ts';

/** Keys on their way from the source to the target. */
export interface Batch {
  readonly items: readonly CopyItem[];
  /** The sequence given out last when the source was asked: marks up to it are settled by what it answered. */
  readonly noted: number;
  /** Those of the keys whose value does not begin here. */
  readonly pieces: ReadonlySet<Bytes>;
}

/** A key that has to be read again, and where. `noted` is that of its first piece. */
export interface RetryKey extends CopyKey {
  readonly noted: number;
}

/** What the source has been asked, and the sequence given out last at that moment. */
export interface Reading {
  readonly step: Extract<CopyStep, { kind: 'scan' | 'read' }>;
  readonly keys: readonly RetryKey[];
  readonly noted: number;
}

/** The key as the source is asked for it. */
export function askedFor({ key, from }: RetryKey): CopyKey {
  return { key, from };
}
