import { type ShardId, shardNameOf } from '../ids.ts';
import type { CoordinatorApi } from './coordinator.ts';
import type { RegistryApi } from './registry.ts';
import { type RpcTarget, remote } from './rpc.ts';
import type { CourierApi, EndpointId, FeedApi } from './webhooks-and-feed.ts';

/**
 * The Durable Objects: how each is named, and how each is called. Every call, of the edge and between objects, goes
 * through a proxy that is made here.
 */

/** A binding's namespace of objects, as far as calls need it. */
export interface ObjectNamespace<Options = unknown> {
  getByName(name: string, options?: Options): RpcTarget;
}

/** The coordinator of a shard. `options` is passed to the platform with each call. */
export function coordinatorIn<Options>(
  namespace: ObjectNamespace<Options>,
  shard: ShardId,
  options?: Options,
): CoordinatorApi {
  return remote(() => namespace.getByName(shardNameOf(shard), options));
}

/** The courier of a webhook endpoint. */
export function courierIn(namespace: ObjectNamespace, endpoint: EndpointId): CourierApi {
  return remote(() => namespace.getByName(endpoint));
}

/** The object that sends a shard's changes to the followers of its feed. */
export function feedIn(namespace: ObjectNamespace, shard: ShardId): FeedApi {
  return remote(() => namespace.getByName(shardNameOf(shard)));
}

/** The only registry. */
const registryName = 'registry';

/** The registry, which has the map of the shards. `options` is passed to the platform with each call. */
export function registryIn<Options>(
  namespace: ObjectNamespace<Options>,
  options?: Options,
): RegistryApi {
  return remote(() => namespace.getByName(registryName, options));
}
