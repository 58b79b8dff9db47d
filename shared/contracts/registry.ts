/** The registry's surface for coordinators and the edge, as types. */
import type { ShardMap } from '../shards/shard-map.ts';

/** All that the registry offers by RPC. Callers parse the map: the registry may be of another release. */
export interface RegistryApi {
  /** The newest map of the shards. It follows a storage write begun after the call, so a stale instance cannot answer. */
  map(): Promise<ShardMap>;
}
