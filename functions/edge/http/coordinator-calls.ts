/** Calls a coordinator and turns its failures into problems. Writes are sent by `writes/send-writes.ts` instead. */
import type { CoordinatorApi } from '../../../shared/contracts/coordinator.ts';
import {
  type AnswerOf,
  type ArgumentsOf,
  type Callable,
  UnfitVersion,
} from '../../../shared/contracts/rpc.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { ShardId } from '../../../shared/ids.ts';
import type { EdgeDependencies } from './dependencies.ts';

/** Methods that send writes, which have ids and are resent under them, and methods that other objects call. */
type NotCalledHere =
  | 'write'
  | 'writeAll'
  | 'writeGathered'
  | 'accept'
  | 'follow'
  | 'disabled'
  | 'hostRests';

/** A method that {@link callCoordinator} calls. */
export type CalledMethod = Exclude<keyof CoordinatorApi, NotCalledHere>;

const checkWebhooks =
  'The outcome of the change is unknown. Check GET /v1/webhooks, then retry if needed.';

/**
 * The reaction to a call without an answer. `repeat`: it is made once more, since the method changes nothing, or has
 * the same effect if it is executed twice. Otherwise the call is not repeated, and the client gets this detail.
 */
const ifUnanswered: Readonly<Record<CalledMethod, 'repeat' | { readonly detail: string }>> = {
  recall: 'repeat',
  status: 'repeat',
  resolve: 'repeat',
  describe: 'repeat',
  read: 'repeat',
  attend: 'repeat',
  regions: 'repeat',
  order: {
    detail:
      'The outcome of the command is unknown. Check GET /v1/admin/regions, then retry if needed.',
  },
  history: 'repeat',
  inDoubt: 'repeat',
  lastWrites: 'repeat',
  changes: 'repeat',
  subscribe: { detail: checkWebhooks },
  subscriptions: 'repeat',
  changeSubscription: 'repeat',
  unsubscribe: { detail: checkWebhooks },
  recover: { detail: checkWebhooks },
  signingKey: 'repeat',
  beginRequest: 'repeat',
  endRequest: 'repeat',
  keepScripts: 'repeat',
  scriptTexts: 'repeat',
  scriptsKnown: 'repeat',
  flushScripts: 'repeat',
};

/** Dependencies with coordinators that have the method `Name`. */
export type CoordinatorCaller<Name extends CalledMethod> = Pick<EdgeDependencies, 'log'> & {
  coordinatorOf(shard: ShardId): Callable<CoordinatorApi, Name>;
};

/**
 * Calls a method of the coordinator of `shard`. A call that throws found the object reset, overloaded or unreachable. A
 * method that may be repeated is then called once more, on the fresh instance, unless the object is overloaded.
 */
export async function callCoordinator<Name extends CalledMethod>(
  dependencies: CoordinatorCaller<Name>,
  shard: ShardId,
  method: Name,
  ...values: ArgumentsOf<CoordinatorApi, Name>
): Promise<Result<AnswerOf<CoordinatorApi, Name>>> {
  const rule = ifUnanswered[method];
  const calls = rule === 'repeat' ? 2 : 1;
  for (let call = 1; call <= calls; call += 1) {
    try {
      const coordinator = dependencies.coordinatorOf(shard);
      return success(await coordinator[method](...values));
    } catch (error) {
      const details = { shard, method, call, error: String(error) };
      dependencies.log('coordinator did not answer', details);
      if (error instanceof UnfitVersion) return versionUnknown(error);
      if (isOverloaded(error)) break;
    }
  }
  const detail = rule === 'repeat' ? 'The request could not be answered. Retry.' : rule.detail;
  return failure('coordinator-unavailable', detail, {}, retryLater);
}

/** The headers of a problem after which a retry may succeed at once. */
export const retryLater = { 'Retry-After': '1' } as const;

/** The problem of a call between releases that do not understand each other, as during a deployment. */
export function versionUnknown(error: UnfitVersion): ReturnType<typeof failure> {
  return failure('version-unknown', error.message, {}, retryLater);
}

/** True for the platform's error of an overloaded object: another call would add to its load. */
export function isOverloaded(error: unknown): boolean {
  return error instanceof Error && 'overloaded' in error && error.overloaded === true;
}
