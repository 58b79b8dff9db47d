/** The questions that a live instance answers without a step. */

import type {
  CoordinatorStatus,
  RegionFault,
  UnavailableCode,
  WriteRecord,
} from '../../contracts/coordinator.ts';
import type { WriteFrame } from '../../contracts/frame.ts';
import type { InDoubt } from '../../contracts/members.ts';
import type { RegionId, WriteId } from '../../ids.ts';
import type { Arrival } from './events.ts';

/** The state of a write that a running instance has and storage has not. */
export type LiveWrite =
  | { readonly kind: 'pending' }
  | {
      readonly kind: 'unavailable';
      readonly faults: readonly RegionFault[];
      readonly reason: string;
      readonly code: UnavailableCode | null;
    }
  | { readonly kind: 'unknown' };

/** Questions to a live instance that do not change it. */
export interface CoordinatorView {
  write(id: WriteId): LiveWrite;
  /** True for a frame that is on its way under the same key, or that came again and is known to this instance. */
  isUnderway(frame: Pick<WriteFrame, 'id' | 'idempotency'> & Pick<Arrival, 'again'>): boolean;
  /** The regions that have applied a recorded write, or null if it is not being applied any more, or never was. */
  appliedIn(record: WriteRecord): readonly RegionId[] | null;
  status(): CoordinatorStatus;
  inDoubt(): InDoubt;
}
