import type { MembersApi, ScriptsApi } from '../../../shared/contracts/coordinator.ts';
import type { RequestsApi } from '../../../shared/contracts/requests.ts';
import { UnfitVersion } from '../../../shared/contracts/rpc.ts';
import type { SubscriptionsApi } from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { ShardId } from '../../../shared/ids.ts';
import type { EdgeDependencies } from './dependencies.ts';

/** A question may be asked twice; what changes something may not. */
type Kind = 'read' | 'write';

/**
 * Asks the coordinator of `shard` something. Where the call throws, the object was reset, is overloaded, or could not be
 * reached, and the fresh instance is asked once more. Writes go by `sendWrites`.
 */
export async function askCoordinator<Answer, Asked>(
  dependencies: Pick<EdgeDependencies, 'log'> & { coordinatorOf(shard: ShardId): Asked },
  shard: ShardId,
  call: (coordinator: Asked) => Promise<Answer>,
): Promise<Result<Answer>> {
  return ask(dependencies, shard, 'read', () => call(dependencies.coordinatorOf(shard)), '');
}

/** Calls the same object about its feed and subscriptions, by the same rule. */
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

/** Calls the same object as an operator, by the same rule. */
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

/** Calls the same object about requests under their keys. Each call may be made twice. */
export async function askRequests<Answer>(
  dependencies: EdgeDependencies,
  shard: ShardId,
  call: (requests: RequestsApi) => Promise<Answer>,
): Promise<Result<Answer>> {
  return ask(dependencies, shard, 'read', () => call(dependencies.requestsOf(shard)), '');
}

/** Calls the same object about users' scripts. What it is asked to do may be asked for twice. */
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

/** True for the platform's own error of an object with too much to do; asking again would add to it. */
export function isOverloaded(error: unknown): boolean {
  return error instanceof Error && 'overloaded' in error && error.overloaded === true;
}
