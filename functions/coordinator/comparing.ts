/** Compares the data of regions for a shard that has no members yet. */
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RegionId, ShardId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { ComparisonResult } from '../../shared/protocol/io/events.ts';
import type { ComparisonRequest } from '../../shared/protocol/io/ready.ts';
import {
  beginVerify,
  cursorOf,
  isVerified,
  progressOfCursor,
  type VerifyScope,
  verifySlice,
} from '../region/verification.ts';

/** Compares one slice of all keys in `regions`. Never rejects: a region without a usable answer makes it `silent`. */
export async function compareSlice(
  shard: ShardId,
  { regions, cursor }: ComparisonRequest,
  clientOf: (region: RegionId) => RegionClient | null,
): Promise<ComparisonResult> {
  const compared: VerifyScope['regions'][number][] = [];
  for (const id of regions) {
    const client = clientOf(id);
    if (client === null) return { kind: 'silent', region: id, reason: 'it is not configured' };
    compared.push({ id, client });
  }
  const scope: VerifyScope = {
    shard,
    regions: compared,
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    now: () => Date.now(),
  };
  const begun = cursor === null ? null : progressOfCursor(cursor);
  const pace = { limit: limits.verifyKeysDefault, pauseMs: 0 };
  const slice = await verifySlice(scope, begun ?? beginVerify(regions, true, ''), pace);
  if (!slice.ok) return { kind: 'silent', ...slice.fault };
  const { checked, differing, restless, next } = slice.value;
  return {
    kind: 'compared',
    checked,
    differing: differing.length + restless.length,
    next: isVerified(next) ? null : cursorOf(next),
  };
}
