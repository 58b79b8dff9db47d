import type { CoordinatorApi, WriteRequest } from '../../../shared/contracts/coordinator.ts';
import { UnfitVersion } from '../../../shared/contracts/rpc.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import { isOverloaded } from '../http/coordinator-calls.ts';
import { type EdgeDependencies, onlyShard } from '../http/dependencies.ts';

const unknown =
  'The outcome of the write is unknown. Retry with the same Idempotency-Key, which executes it at most once; without one, read the keys first.';

/**
 * Has the coordinator carry writes out. Where the call throws, the object was reset (each deployment does that) or could not
 * be reached, and what it did is unknown. So the writes are sent again under their own ids: the fresh instance has either
 * recorded them, and answers so, or knows that no older one can decide them any more, and tries them anew in the time that
 * is left. An object that is overloaded is left alone: asking again would add to it.
 */
export async function sendWrites<Answer>(
  dependencies: EdgeDependencies,
  requests: readonly WriteRequest[],
  call: (coordinator: CoordinatorApi, requests: readonly WriteRequest[]) => Promise<Answer>,
): Promise<Result<Answer>> {
  const startedAt = dependencies.now();
  let sent = requests;
  for (let resends = 0; ; resends += 1) {
    try {
      return success(await call(dependencies.coordinatorOf(onlyShard), sent));
    } catch (error) {
      const details = { shard: onlyShard, kind: 'write', send: resends + 1, error: String(error) };
      dependencies.log('coordinator did not answer', details);
      if (error instanceof UnfitVersion) {
        return failure('version-unknown', error.message, {}, { 'Retry-After': '1' });
      }
      if (isOverloaded(error) || resends === limits.resendsPerWrite) break;
    }
    // Everybody whose write was in flight comes back at once, so not all at the same moment.
    const pauseMs = limits.resendPauseMs * 4 ** resends;
    await dependencies.pause(Math.round(pauseMs * (0.5 + Math.random())));
    const passedMs = dependencies.now() - startedAt;
    sent = requests.map((request) => againAfter(request, passedMs));
  }
  return failure('coordinator-unavailable', unknown, {}, { 'Retry-After': '1' });
}

/** One whose time is over is not tried anew, but its outcome is still to be had. */
function againAfter(request: WriteRequest, passedMs: number): WriteRequest {
  return { ...request, again: true, timeoutMs: Math.max(0, request.timeoutMs - passedMs) };
}
