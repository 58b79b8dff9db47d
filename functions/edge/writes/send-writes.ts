/** Sends writes to the coordinator, and sends them again if a call fails (R46). */
import type { CoordinatorApi, WriteRequest } from '../../../shared/contracts/coordinator.ts';
import { UnfitVersion } from '../../../shared/contracts/rpc.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import { isOverloaded, retryLater, versionUnknown } from '../http/coordinator-calls.ts';
import { type EdgeDependencies, onlyShard } from '../http/dependencies.ts';

const unknown =
  'The outcome of the write is unknown. Retry with the same Idempotency-Key, which executes it at most once; without one, read the keys first.';

/** A coordinator as far as writes go to it. */
export type WritingCoordinator = Pick<CoordinatorApi, 'write' | 'writeAll' | 'accept'>;

/**
 * Calls the coordinator with writes. If the call throws, the object was reset (as by each deployment) or unreachable,
 * and the outcome is unknown. So the writes are sent again under the same ids: the new instance either answers from its
 * records, or knows that no older instance can still decide them, and executes them in the time that is left. An
 * overloaded object is not called again, as that would add to its load.
 */
export async function sendWrites<Answer>(
  dependencies: EdgeDependencies,
  requests: readonly WriteRequest[],
  call: (coordinator: WritingCoordinator, requests: readonly WriteRequest[]) => Promise<Answer>,
): Promise<Result<Answer>> {
  const startedAt = dependencies.now();
  let sent = requests;
  for (let resends = 0; ; resends += 1) {
    try {
      return success(await call(dependencies.coordinatorOf(onlyShard), sent));
    } catch (error) {
      const details = {
        shard: onlyShard,
        method: 'write',
        call: resends + 1,
        error: String(error),
      };
      dependencies.log('coordinator did not answer', details);
      if (error instanceof UnfitVersion) return versionUnknown(error);
      if (isOverloaded(error) || resends === limits.resendsPerWrite) break;
    }
    // Randomized: the writes of all clients fail at the same moment, and should not all return at once.
    const pauseMs = limits.resendPauseMs * 4 ** resends;
    await dependencies.pause(Math.round(pauseMs * (0.5 + Math.random())));
    const passedMs = dependencies.now() - startedAt;
    sent = requests.map((request) => againAfter(request, passedMs));
  }
  return failure('coordinator-unavailable', unknown, {}, retryLater);
}

/** A write whose time is over is not executed, but its recorded outcome is still returned. */
function againAfter(request: WriteRequest, passedMs: number): WriteRequest {
  return { ...request, again: true, timeoutMs: Math.max(0, request.timeoutMs - passedMs) };
}
