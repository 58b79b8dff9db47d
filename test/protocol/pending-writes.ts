import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { PendingWrite } from '../../shared/protocol/transactions/admission.ts';

/** A frame that waits, as it stands after it was admitted; `given` says how it differs. */
export function waitingOf(
  frame: WriteFrame,
  arrival: number,
  given: Partial<PendingWrite> = {},
): PendingWrite {
  return {
    frame,
    arrival,
    arrivedAt: 0,
    keysKeptMs: 1,
    admittedBytes: 0,
    isTooLarge: false,
    callers: [],
    attempts: 0,
    retryAt: 0,
    keyDiscoveryAttempts: 0,
    timeouts: 0,
    most: 256,
    isDenied: false,
    together: null,
    lacking: null,
    overruns: 0,
    divergentAttempts: 0,
    faults: [],
    ...given,
  };
}
