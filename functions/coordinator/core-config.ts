import type { Configuration } from '../../shared/config/configuration.ts';
import type { RegionConfiguration } from '../../shared/contracts/members.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorConfig, StorageWrite } from '../../shared/protocol/io/events.ts';

/** The one shard that exists. */
export const shard = 0;

/** What the core is told of the configuration. */
export function coreConfig(
  { source, minVoters, outAfterMs, voteDeadlineMs, roundTimeoutMs }: Configuration,
  regions: readonly RegionConfiguration[],
): CoordinatorConfig {
  return {
    shard,
    regions: regions.map(({ id }) => id),
    source,
    minVoters,
    outAfterMs,
    connections: limits.connections,
    voteDeadlineMs,
    roundTimeoutMs,
  };
}

/** True where more is owed to couriers once it is stored. */
export function queuesEvents(writes: readonly StorageWrite[]): boolean {
  return writes.some(({ kind }) => kind === 'queue-events' || kind === 'queue-region-events');
}

/** Chance, for one step of the core. */
export function entropy(): string {
  const [bits = 0] = crypto.getRandomValues(new Uint32Array(1));
  return bits.toString(36);
}
