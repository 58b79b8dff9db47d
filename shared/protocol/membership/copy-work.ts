/** The units of work of a copy: keys to read again, a request to the source, and a batch on its way to the target. */

import type { Bytes } from '../../contracts/bytes.ts';
import type { CopyItem, CopyKey, CopyStep } from '../../contracts/round.ts';

/** Keys on their way from the source to the target. */
export interface Batch {
  readonly items: readonly CopyItem[];
  /** The newest sequence when the source was asked: its answer settles missed keys up to it. */
  readonly noted: number;
  /** Those of the keys of which this is not the first piece. */
  readonly pieces: ReadonlySet<Bytes>;
}

/** A key that has to be read again, and the position to read from. `noted` is that of its first piece. */
export interface RetryKey extends CopyKey {
  readonly noted: number;
}

/** A request to the source, and the newest sequence when it was made. */
export interface Reading {
  readonly step: Extract<CopyStep, { kind: 'scan' | 'read' }>;
  readonly keys: readonly RetryKey[];
  readonly noted: number;
}

/** The key in the form of a request to the source. */
export function askedFor({ key, from }: RetryKey): CopyKey {
  return { key, from };
}
