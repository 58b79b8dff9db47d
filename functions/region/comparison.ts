/** Compares the values of keys across regions, for verify and repair. */
import type { Bytes } from '../../shared/contracts/bytes.ts';
import type { RegionFault } from '../../shared/contracts/coordinator.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { InspectedKey } from '../../shared/contracts/round.ts';
import type { RegionId, ShardId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';

/** A region that takes part in a comparison. */
export interface ComparedRegion {
  readonly id: RegionId;
  readonly client: Pick<RegionClient, 'inspect'>;
}

/** The regions that a comparison reads, and how it waits between two looks. */
export interface ComparisonScope {
  /** The shard whose locks count. */
  readonly shard: ShardId;
  readonly regions: readonly ComparedRegion[];
  /** Resolves after `ms` milliseconds. */
  pause(ms: number): Promise<void>;
}

/** The digest of one key per region; null if the key does not exist there. */
export type Digests = Readonly<Record<RegionId, string | null>>;

/** The result of comparing one key. */
export type Compared =
  | { readonly kind: 'equal' }
  /** The regions differ, and no write in progress explains it. */
  | { readonly kind: 'differs'; readonly digests: Digests }
  /** The key was locked or changed between all looks, so the comparison is inconclusive. */
  | { readonly kind: 'restless'; readonly digests: Digests };

/** A value, or the region that did not return a usable response. */
export type ValueOrFault<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly fault: RegionFault };

interface Glimpse {
  readonly digests: Digests;
  readonly isLocked: boolean;
}

/**
 * Compares keys in all regions. Keys that differ at the first look are read again, because regions are not read at the
 * same moment and a commit may be in progress. Every region locks a key before any region shows its new value, so a
 * difference that persists unlocked over two looks is not due to a write in progress. The last two looks are further
 * apart than clocks may be, because a key expires by each region's own clock.
 */
export async function compareKeys(
  scope: ComparisonScope,
  keys: readonly Bytes[],
): Promise<ValueOrFault<ReadonlyMap<Bytes, Compared>>> {
  const outcome = new Map<Bytes, Compared>();
  let suspects = keys;
  let before = new Map<Bytes, Glimpse>();
  for (let look = 1; suspects.length > 0 && look <= limits.verifyLooks; look += 1) {
    if (look > 1) await scope.pause(limits.verifyLookPauseMs * 2 ** (look - 2));
    const seen = await glimpse(scope, suspects);
    if (!seen.ok) return seen;
    for (const [key, now] of seen.value) outcome.set(key, judge(before.get(key), now));
    suspects = suspects.filter((key) => outcome.get(key)?.kind !== 'equal');
    before = new Map(seen.value);
  }
  return { ok: true, value: outcome };
}

/**
 * Reads the digests and locks of some keys in one region. A response stops after the key that exceeds the bound of bytes
 * read, so it may omit the last keys; these are requested again. A response without any of them is a fault.
 */
export async function lookAt(
  { shard }: Pick<ComparisonScope, 'shard'>,
  { id, client }: ComparedRegion,
  keys: readonly Bytes[],
): Promise<ValueOrFault<ReadonlyMap<Bytes, InspectedKey>>> {
  const found = new Map<Bytes, InspectedKey>();
  let left = keys;
  while (left.length > 0) {
    const some = left.slice(0, limits.verifyKeysPerLook);
    const question = { kind: 'keys', keys: some } as const;
    const result = await client.inspect(shard, question, limits.inspectTimeoutMs);
    if (result.kind === 'silent') return silent(id, result.reason);
    for (const inspected of result.keys) found.set(inspected.key, inspected);
    const more = left.filter((key) => !found.has(key));
    if (more.length === left.length) return silent(id, 'its response omits keys');
    left = more;
  }
  return { ok: true, value: found };
}

/** The fault of a region that did not return a usable response. */
export function silent(
  region: RegionId,
  reason: string,
): { readonly ok: false; readonly fault: RegionFault } {
  return { ok: false, fault: { region, reason } };
}

async function glimpse(
  scope: ComparisonScope,
  keys: readonly Bytes[],
): Promise<ValueOrFault<ReadonlyMap<Bytes, Glimpse>>> {
  const { regions } = scope;
  const looks = await Promise.all(regions.map((region) => lookAt(scope, region, keys)));
  const failed = looks.find((look) => !look.ok);
  if (failed?.ok === false) return failed;
  const glimpses = keys.map((key) => {
    const digests: Record<RegionId, string | null> = {};
    let isLocked = false;
    for (const [index, look] of looks.entries()) {
      const inspected = look.ok ? look.value.get(key) : undefined;
      digests[regions[index]?.id ?? ''] = inspected?.digest ?? null;
      isLocked ||= (inspected?.holder ?? null) !== null;
    }
    return [key, { digests, isLocked }] as const;
  });
  return { ok: true, value: new Map(glimpses) };
}

function judge(before: Glimpse | undefined, now: Glimpse): Compared {
  const { digests } = now;
  const isEqual = new Set(Object.values(digests)).size <= 1;
  // If a lock announces a change, the regions vote on it, and the vote compares their results.
  if (isEqual) return { kind: 'equal' };
  const isSame = before !== undefined && JSON.stringify(before.digests) === JSON.stringify(digests);
  const isAtRest = isSame && !before.isLocked && !now.isLocked;
  return isAtRest ? { kind: 'differs', digests } : { kind: 'restless', digests };
}
