/** A life of the registry: it stores the first map of the shards once, and answers the newest. */
import { parseConfiguration } from '../../shared/config/configuration.ts';
import type { RegistryApi } from '../../shared/contracts/registry.ts';
import type { Served } from '../../shared/contracts/rpc.ts';
import { initialMap, shardsIn } from '../../shared/shards/shard-map.ts';
import type { SqlObjectStorage } from '../coordinator/storage/sql.ts';
import { RegistryStorage } from './registry-storage.ts';

/**
 * One life of the registry. The configuration makes the first map alone: a later one, of another deployment or of a
 * release that was rolled back, changes no owner, and a difference is only logged.
 */
export class RegistryLife {
  /** The methods served by RPC, each with the proof of its answers (rule R17). */
  readonly served: Served<RegistryApi>;
  /** The storage, for the proofs of answers. */
  readonly storage: RegistryStorage;

  constructor(storage: SqlObjectStorage, environment: object) {
    const parsed = parseConfiguration(environment);
    if (!parsed.ok) throw new Error(parsed.detail);
    const { shards } = parsed.configuration;
    this.storage = new RegistryStorage(storage);
    const map = this.storage.begin(initialMap(shards));
    const known = shardsIn(map).length;
    if (known !== shards) {
      console.error(`the configuration has ${shards} shards, and the map ${known}, which stays`);
    }
    this.served = { map: { proof: 'stored', run: async () => this.storage.map } };
  }
}
