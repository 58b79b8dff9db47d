/** The commands that Redis servers have run. */
import type { Redis } from 'ioredis';

/** Commands since the last reset, those within scripts included, and those of measurements not. */
export async function countCommands(redis: Redis): Promise<number> {
  const stats = await redis.info('commandstats');
  let calls = 0;
  for (const [, name, count] of stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)) {
    if (name !== 'info' && name !== 'config|resetstat') calls += Number(count);
  }
  return calls;
}
