import type { Bytes } from '../../shared/contracts/bytes.ts';
import type { RegionFault } from '../../shared/contracts/coordinator.ts';
import type { InspectedKey, RegionClient } from '../../shared/contracts/round.ts';
import { onlyShard, type RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';

/** A region that is compared with others. */
export interface ComparedRegion {
  readonly id: RegionId;
  readonly client: Pick<RegionClient, 'inspect'>;
}

/** What a comparison needs of the world. */
export interface ComparisonWorld {
  readonly regions: readonly ComparedRegion[];
  /** Fulfilled after `ms`. */
  pause(ms: number): Promise<void>;
}

/** The digest of one key in each region; null where it does not exist. */
export type Digests = Readonly<Record<RegionId, string | null>>;

/** How the regions hold one key. */
export type Compared =
  | { readonly kind: 'equal' }
  /** They differ, and none is about to change that. */
  | { readonly kind: 'differs'; readonly digests: Digests }
  /** The key was locked, or changed, at each look: nothing can be said. */
  | { readonly kind: 'restless'; readonly digests: Digests };

/** A value, or the region that gave no usable answer. */
export type Seen<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly fault: RegionFault };

interface Glimpse {
  readonly digests: Digests;
  readonly isLocked: boolean;
}

/**
 * Compares keys in all regions. What differs at the first look is looked at again: the regions are not read
 * at one moment, and a commit may be on its way. Every region locks a key before any of them shows a new value, so that
 * a difference which stands unlocked over two looks was made by no write on its way. The last two looks lie
 * further apart than clocks may, because a key expires by each region's own.
 */
export async function compareKeys(
  world: ComparisonWorld,
  keys: readonly Bytes[],
): Promise<Seen<ReadonlyMap<Bytes, Compared>>> {
  const outcome = new Map<Bytes, Compared>();
  let suspects = keys;
  let before = new Map<Bytes, Glimpse>();
  for (let look = 1; suspects.length > 0 && look <= limits.verifyLooks; look += 1) {
    if (look > 1) await world.pause(limits.verifyLookPauseMs * 2 ** (look - 2));
    const seen = await glimpse(world, suspects);
    if (!seen.ok) return seen;
    for (const [key, now] of seen.value) outcome.set(key, judge(before.get(key), now));
    suspects = suspects.filter((key) => outcome.get(key)?.kind !== 'equal');
    before = new Map(seen.value);
  }
  return { ok: true, value: outcome };
}

/**
 * The digests and locks of some keys in one region. An answer stops at a bound of bytes read, behind the key that passes
 * it, so it may leave out the last keys: these are asked for again. An answer without any of them ends the look.
 */
export async function lookAt(
  { id, client }: ComparedRegion,
  keys: readonly Bytes[],
): Promise<Seen<ReadonlyMap<Bytes, InspectedKey>>> {
  const found = new Map<Bytes, InspectedKey>();
  let left = keys;
  while (left.length > 0) {
    const some = left.slice(0, limits.verifyKeysPerLook);
    const question = { kind: 'keys', keys: some } as const;
    const result = await client.inspect(onlyShard, question, limits.inspectTimeoutMs);
    if (result.kind === 'silent') return silent(id, result.reason);
    for (const inspected of result.keys) found.set(inspected.key, inspected);
    const more = left.filter((key) => !found.has(key));
    if (more.length === left.length) return silent(id, 'its answer leaves out keys');
    left = more;
  }
  return { ok: true, value: found };
}

/** That a region gave no usable answer. */
export function silent(
  region: RegionId,
  reason: string,
): { readonly ok: false; readonly fault: RegionFault } {
  return { ok: false, fault: { region, reason } };
}

async function glimpse(
  { regions }: ComparisonWorld,
  keys: readonly Bytes[],
): Promise<Seen<ReadonlyMap<Bytes, Glimpse>>> {
  const looks = await Promise.all(regions.map((region) => lookAt(region, keys)));
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
  // Where a lock says that it is about to change, the regions vote on that, and their results are compared.
  if (isEqual) return { kind: 'equal' };
  const isSame = before !== undefined && JSON.stringify(before.digests) === JSON.stringify(digests);
  const isAtRest = isSame && !before.isLocked && !now.isLocked;
  return isAtRest ? { kind: 'differs', digests } : { kind: 'restless', digests };
}
