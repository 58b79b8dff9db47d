/** The inputs of the core that come from the configuration and from chance. */
import type { Configuration } from '../../shared/config/configuration.ts';
import type { RegionConfiguration } from '../../shared/contracts/members.ts';
import type { ShardId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorConfig } from '../../shared/protocol/io/config.ts';
import type { StorageWrite } from '../../shared/protocol/io/ready.ts';

/** The part of the configuration that the core of `shard` needs, with its regions. */
export function coreConfig(
  shard: ShardId,
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

/** True if `writes` add events to the outbox. */
export function queuesEvents(writes: readonly StorageWrite[]): boolean {
  return writes.some(({ kind }) => kind === 'queue-events' || kind === 'queue-region-events');
}

/** Random characters for one step of the core, which itself has no randomness. */
export function entropy(): string {
  const [bits = 0] = crypto.getRandomValues(new Uint32Array(1));
  return bits.toString(36);
}
