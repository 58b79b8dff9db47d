/** Calls the coordinator and turns its failures into problems. Writes are sent by `writes/send-writes.ts` instead. */
import type { MembersApi, ScriptsApi } from '../../../shared/contracts/coordinator.ts';
import type { RequestsApi } from '../../../shared/contracts/requests.ts';
import { UnfitVersion } from '../../../shared/contracts/rpc.ts';
import type { SubscriptionsApi } from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { ShardId } from '../../../shared/ids.ts';
import type { EdgeDependencies } from './dependencies.ts';

/** A `read` may be sent twice, a `write` may not. */
type Kind = 'read' | 'write';

/**
 * Calls the coordinator of `shard`. A call throws if the object was reset, is overloaded or cannot be reached; unless
 * it is overloaded, a second call goes to the new instance. Returns `coordinator-unavailable` if that fails too.
 */
export async function askCoordinator<Answer, Asked>(
  dependencies: Pick<EdgeDependencies, 'log'> & { coordinatorOf(shard: ShardId): Asked },
  shard: ShardId,
  call: (coordinator: Asked) => Promise<Answer>,
): Promise<Result<Answer>> {
  return ask(dependencies, shard, 'read', () => call(dependencies.coordinatorOf(shard)), '');
}

/** As {@link askCoordinator}, for the change feed and subscriptions. A `write` is sent only once. */
export async function askHooks<Answer>(
  dependencies: EdgeDependencies,
  shard: ShardId,
  kind: Kind,
  call: (hooks: SubscriptionsApi) => Promise<Answer>,
): Promise<Result<Answer>> {
  const unknown =
    'The outcome of the change is unknown. Check GET /v1/webhooks, then retry if needed.';
  return ask(dependencies, shard, kind, () => call(dependencies.hooksOf(shard)), unknown);
}

/** As {@link askCoordinator}, for the commands of operators. A `write` is sent only once. */
export async function askMembers<Answer>(
  dependencies: EdgeDependencies,
  shard: ShardId,
  kind: Kind,
  call: (members: MembersApi) => Promise<Answer>,
): Promise<Result<Answer>> {
  const unknown =
    'The outcome of the command is unknown. Check GET /v1/admin/regions, then retry if needed.';
  return ask(dependencies, shard, kind, () => call(dependencies.membersOf(shard)), unknown);
}

/** As {@link askCoordinator}, for requests with an Idempotency-Key. Each of these calls is idempotent. */
export async function askRequests<Answer>(
  dependencies: EdgeDependencies,
  shard: ShardId,
  call: (requests: RequestsApi) => Promise<Answer>,
): Promise<Result<Answer>> {
  return ask(dependencies, shard, 'read', () => call(dependencies.requestsOf(shard)), '');
}

/** As {@link askCoordinator}, for users' scripts. Each of these calls is idempotent. */
export async function askScripts<Answer>(
  dependencies: EdgeDependencies,
  shard: ShardId,
  call: (scripts: ScriptsApi) => Promise<Answer>,
): Promise<Result<Answer>> {
  return ask(dependencies, shard, 'read', () => call(dependencies.scriptsOf(shard)), '');
}

const later = { 'Retry-After': '1' };

async function ask<Answer>(
  dependencies: Pick<EdgeDependencies, 'log'>,
  shard: ShardId,
  kind: Kind,
  call: () => Promise<Answer>,
  unknown: string,
): Promise<Result<Answer>> {
  const sends = kind === 'read' ? 2 : 1;
  for (let send = 1; send <= sends; send += 1) {
    try {
      return success(await call());
    } catch (error) {
      dependencies.log('coordinator did not answer', { shard, kind, send, error: String(error) });
      if (error instanceof UnfitVersion)
        return failure('version-unknown', error.message, {}, later);
      if (isOverloaded(error)) break;
    }
  }
  const detail = kind === 'write' ? unknown : 'The request could not be answered. Retry.';
  return failure('coordinator-unavailable', detail, {}, later);
}

/** True for the platform's error of an overloaded object: another call would add to its load. */
export function isOverloaded(error: unknown): boolean {
  return error instanceof Error && 'overloaded' in error && error.overloaded === true;
}
