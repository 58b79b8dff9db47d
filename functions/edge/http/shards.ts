/** Finds the shards that a request concerns, and calls each of several. */
import type { CoordinatorApi } from '../../../shared/contracts/coordinator.ts';
import type { AnswerOf, ArgumentsOf } from '../../../shared/contracts/rpc.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { ShardId } from '../../../shared/ids.ts';
import { everyKey } from '../../../shared/reserved-keys.ts';
import { type ShardMap, shardsIn, shardsOf } from '../../../shared/shards/shard-map.ts';
import { type CalledMethod, type CoordinatorCaller, callCoordinator } from './coordinator-calls.ts';
import type { KnownMap } from './dependencies.ts';

/** The dependencies that know the shards. */
interface WithShards {
  readonly shards: KnownMap;
}

/**
 * The only shard of these keys. This is the one place that meets keys of several shards: until a write or read over
 * several shards is built, it is refused here. `keysOf` is not called if one shard owns all keys.
 */
export function oneShardOf(map: ShardMap, keysOf: () => readonly string[]): Result<ShardId> {
  const [home, ...guests] = shardsOf(map.shards.length === 1 ? [] : keysOf(), map);
  return guests.length === 0 ? success(home) : severalShards([home, ...guests]);
}

function severalShards(shards: readonly ShardId[]): ReturnType<typeof failure> {
  const named = shards.slice(0, 4).join(', ');
  const more = shards.length > 4 ? ', …' : '';
  const detail = `Its keys belong to ${shards.length} shards: ${named}${more}. One request may use keys of one shard: give them the same hash tag, as in {user:1}:name.`;
  return failure('several-shards', detail);
}

/** The only shard, for requests about all keys that are not built for several shards. */
export function shardOfAll({ shards }: WithShards): Result<ShardId> {
  return oneShardOf(shards.now, () => [everyKey]);
}

/** The shard that keeps the things of which a deployment has one, such as its signing key. */
export function keeperOf({ shards }: WithShards): ShardId {
  return shardsIn(shards.now)[0];
}

/** Every shard, by the map that is known. */
export async function allShards({ shards }: WithShards): Promise<readonly [ShardId, ...ShardId[]]> {
  return shardsIn(await shards.given());
}

/** The answers of all shards, that of the keeper first. */
export type EachAnswer<Answer> = readonly [Answer, ...Answer[]];

/** Calls a method of the coordinator of every shard. Returns the first problem if one of them does not answer. */
export async function callEach<Name extends CalledMethod>(
  dependencies: CoordinatorCaller<Name> & WithShards,
  method: Name,
  ...values: ArgumentsOf<CoordinatorApi, Name>
): Promise<Result<EachAnswer<AnswerOf<CoordinatorApi, Name>>>> {
  const [keeper, ...others] = await allShards(dependencies);
  const call = (shard: ShardId) => callCoordinator(dependencies, shard, method, ...values);
  const [first, ...more] = await Promise.all([call(keeper), ...others.map(call)]);
  if (!first.ok) return first;
  const answers: [AnswerOf<CoordinatorApi, Name>, ...AnswerOf<CoordinatorApi, Name>[]] = [
    first.value,
  ];
  for (const answer of more) {
    if (!answer.ok) return answer;
    answers.push(answer.value);
  }
  return success(answers);
}

/** The problem of a request whose shard no map that can be had now names. Nothing was done. */
export function shardUnknown(): ReturnType<typeof failure> {
  const detail =
    'Nothing was done: the keys belong to another shard than the newest map says. Retry.';
  return failure('coordinator-unavailable', detail, {}, { 'Retry-After': '1' });
}
