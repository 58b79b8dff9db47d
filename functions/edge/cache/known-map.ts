/** Remembers the map of the shards, for the life of an isolate. */
import type { RegistryApi } from '../../../shared/contracts/registry.ts';
import { limits } from '../../../shared/limits.ts';
import { parseShardMap } from '../../../shared/shards/map-schema.ts';
import { initialMap, type ShardMap } from '../../../shared/shards/shard-map.ts';
import type { EdgeDependencies, KnownMap } from '../http/dependencies.ts';

/**
 * The map that an isolate knows. It begins with the first map of the configuration and asks nobody: a shard that does
 * not own a key answers `moved`, and only then the registry is asked. So a map that is old costs a call, and no promise.
 */
export class RememberedMap implements KnownMap {
  readonly #registry: RegistryApi;
  readonly #dependencies: Pick<EdgeDependencies, 'log' | 'withTimeout'>;
  #map: ShardMap;
  /** False while the map is a guess: a configuration with several shards may have been changed since the first map. */
  #isGiven: boolean;
  /** The question on its way, which all that need the answer share. */
  #asking: Promise<void> | null = null;

  constructor(
    shards: number,
    registry: RegistryApi,
    dependencies: Pick<EdgeDependencies, 'log' | 'withTimeout'>,
  ) {
    this.#map = initialMap(shards);
    this.#isGiven = shards === 1;
    this.#registry = registry;
    this.#dependencies = dependencies;
  }

  get now(): ShardMap {
    return this.#map;
  }

  async given(): Promise<ShardMap> {
    return this.#isGiven ? this.#map : this.renewed(this.#map);
  }

  async renewed(used: ShardMap): Promise<ShardMap> {
    if (this.#map !== used) return this.#map;
    this.#asking ??= this.#ask();
    const asked = this.#asking;
    try {
      // The request that began the question may end before the answer, so each has a timer of its own.
      await this.#dependencies.withTimeout(asked, limits.registryTimeoutMs);
    } catch (error) {
      this.#dependencies.log('registry did not answer', { error: String(error) });
    } finally {
      if (this.#asking === asked) this.#asking = null;
    }
    return this.#map;
  }

  async #ask(): Promise<void> {
    const parsed = parseShardMap(await this.#registry.map());
    if (!parsed.ok) throw new Error(parsed.detail);
    this.#isGiven = true;
    // An older map would send everything astray once more.
    if (parsed.map.version >= this.#map.version) this.#map = parsed.map;
  }
}
