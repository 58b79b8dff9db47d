/** Asks the registry for the map of the shards. */
import type { RegistryApi } from '../../shared/contracts/registry.ts';
import { limits } from '../../shared/limits.ts';
import type { MapAnswer } from '../../shared/protocol/io/events.ts';
import { parseShardMap } from '../../shared/shards/map-schema.ts';
import { withTimeout } from '../platform/timeout.ts';

/** Asks once. The lack of a usable answer is a value. */
export async function askForMap(registry: RegistryApi): Promise<MapAnswer> {
  try {
    const parsed = parseShardMap(await withTimeout(registry.map(), limits.registryTimeoutMs));
    if (parsed.ok) return { kind: 'map', map: parsed.map };
    return { kind: 'silent', reason: parsed.detail };
  } catch (error) {
    console.error('the registry did not answer', error);
    return { kind: 'silent', reason: String(error) };
  }
}
