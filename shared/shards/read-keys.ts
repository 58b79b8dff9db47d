/** The keys that decide to which shard a read belongs. */
import { holdScript, type ReadCommand } from '../contracts/round.ts';
import { everyKey } from '../reserved-keys.ts';

/** The part of a read that its shards follow from. */
interface KeyedRead {
  readonly keys: readonly string[];
  readonly commands: readonly ReadCommand[];
}

/**
 * The keys that a strong read concerns: all, if one of its commands names none, such as DBSIZE, or is a user's script,
 * which may touch keys that it does not declare.
 */
export function keysOfRead({ keys, commands }: KeyedRead): readonly string[] {
  const areAll = holdScript(commands) || commands.some(({ reads }) => reads.length === 0);
  return areAll ? [everyKey] : keys;
}
