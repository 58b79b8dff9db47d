/** Finds out which shard an object coordinates. */
import { type ShardId, shardNameOf, shardOfName } from '../../shared/ids.ts';
import { storedShardOf } from './storage/slot-storage.ts';
import type { Sql } from './storage/sql.ts';

/** Thrown if an object coordinates no shard, by its name or by its storage. Every call is refused then. */
export class UnknownShard extends Error {
  override readonly name = 'UnknownShard';
}

/**
 * The shard of the object with this name. An alarm that was set before the platform gave objects their names wakes one
 * without: its shard is the one whose storage it is. Throws {@link UnknownShard}, and writes nothing.
 */
export function shardOfObject(name: string | undefined, sql: Sql): ShardId {
  const stored = storedShardOf(sql);
  if (name === undefined) {
    if (stored !== null) return stored;
    throw new UnknownShard(
      'an object without a name and without a storage is no shard: call one by its name',
    );
  }
  const named = shardOfName(name);
  if (named === null) {
    const example = shardNameOf(0);
    throw new UnknownShard(
      `no shard has the name ${JSON.stringify(name)}: use one like ${example}`,
    );
  }
  if (stored !== null && stored !== named) {
    throw new UnknownShard(`the object ${name} has the storage of shard ${stored}`);
  }
  return named;
}
