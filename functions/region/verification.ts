import { z } from 'zod';
import { bytesOfText } from '../../shared/commands/replies.ts';
import type { Bytes } from '../../shared/contracts/bytes.ts';
import { onlyShard, type RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import {
  type ComparisonWorld,
  compareKeys,
  type Digests,
  lookAt,
  type Seen,
  silent,
} from './comparison.ts';

/** Where a verification stands. It goes on from here in another call, maybe of another isolate. */
export interface VerifyPlace {
  /** Those that are compared, in the order in which they are scanned. */
  readonly regions: readonly RegionId[];
  /** False where they are all voters: they have to be so to the end. */
  readonly areChosen: boolean;
  readonly prefix: string;
  /** Which of the regions is being scanned, and from where on; past the last one it is over. */
  readonly region: number;
  readonly cursor: string;
  /** Counts over all calls. */
  readonly checked: number;
  readonly differing: number;
}

/** How fast a verification goes. */
export interface VerifyPace {
  /** About so many keys are scanned by a call. */
  readonly limit: number;
  readonly pauseMs: number;
}

/** A key whose regions differ. */
export interface Difference {
  readonly key: Bytes;
  readonly digests: Digests;
}

/** What one call found. */
export interface VerifySlice {
  readonly checked: number;
  readonly differing: readonly Difference[];
  /** Keys that changed at each look. */
  readonly restless: readonly Bytes[];
  readonly next: VerifyPlace;
}

/** What a verification needs of the world. */
export interface VerifyWorld extends ComparisonWorld {
  /** ms. */
  now(): number;
}

const placeSchema = z.strictObject({
  regions: z.array(z.string()).min(2).max(limits.regions),
  areChosen: z.boolean(),
  prefix: z.string().max(limits.verifyPrefixCharacters),
  region: z.int().min(0),
  cursor: z.string().regex(/^\d{1,20}$/),
  checked: z.int().min(0),
  differing: z.int().min(0),
});

/** The beginning of a verification. */
export function beginVerify(
  regions: readonly RegionId[],
  areChosen: boolean,
  prefix: string,
): VerifyPlace {
  return { regions, areChosen, prefix, region: 0, cursor: '0', checked: 0, differing: 0 };
}

/** True where nothing is left to be compared. */
export function isVerified({ regions, region }: VerifyPlace): boolean {
  return region >= regions.length;
}

/** A place as text that says nothing to its reader. */
export function cursorOf(place: VerifyPlace): string {
  return btoa(bytesOfText(JSON.stringify(place)));
}

/** The place that a cursor stands for, or null where it is none. */
export function placeOfCursor(text: string): VerifyPlace | null {
  try {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const parsed = placeSchema.safeParse(JSON.parse(new TextDecoder().decode(bytes)));
    if (!parsed.success || parsed.data.region >= parsed.data.regions.length) return null;
    return parsed.data;
  } catch {
    return null;
  }
}

/**
 * Compares the next slice of keys. Region after region is scanned, so that also keys are found which one region alone
 * holds; a key that an earlier region holds was compared when that one was scanned. What is written meanwhile may be
 * compared before or after; what stands still during the whole verification is compared.
 */
export async function verifySlice(
  world: VerifyWorld,
  from: VerifyPlace,
  { limit, pauseMs }: VerifyPace,
): Promise<Seen<VerifySlice>> {
  const startedAt = world.now();
  const differing: Difference[] = [];
  const restless: Bytes[] = [];
  let place = from;
  let checked = 0;
  let scanned = 0;
  for (let step = 0; step < limits.verifyStepsPerCall; step += 1) {
    if (isVerified(place) || scanned >= limit) break;
    if (step > 0) {
      if (world.now() - startedAt >= limits.verifyMs) break;
      if (pauseMs > 0) await world.pause(pauseMs);
    }
    const page = await scanPage(world, place, limit - scanned);
    if (!page.ok) return page;
    const compared = await compareKeys(world, page.value.keys);
    if (!compared.ok) return compared;
    for (const [key, outcome] of compared.value) {
      if (outcome.kind === 'differs') differing.push({ key, digests: outcome.digests });
      if (outcome.kind === 'restless') restless.push(key);
    }
    checked += compared.value.size;
    scanned += page.value.scanned;
    place = page.value.next;
  }
  const counts = {
    checked: from.checked + checked,
    differing: from.differing + differing.length,
  };
  return { ok: true, value: { checked, differing, restless, next: { ...place, ...counts } } };
}

/** One step of a scan: how many keys it brought, and which of them are to be compared. */
interface Page {
  readonly scanned: number;
  readonly keys: readonly Bytes[];
  readonly next: VerifyPlace;
}

/** The keys of one step of a scan that have not been compared yet, and the place after it. */
async function scanPage(
  { regions }: VerifyWorld,
  place: VerifyPlace,
  wanted: number,
): Promise<Seen<Page>> {
  const id = place.regions[place.region] ?? '';
  const scanned = regions.find((region) => region.id === id);
  if (scanned === undefined) return silent(id, 'it is not there any more');
  const count = Math.min(wanted, limits.verifyKeysPerLook);
  const question = { kind: 'scan', cursor: place.cursor, count } as const;
  const result = await scanned.client.inspect(onlyShard, question, limits.inspectTimeoutMs);
  if (result.kind === 'silent') return silent(id, result.reason);
  const prefix = bytesOfText(place.prefix);
  // A scan may bring a key twice.
  let keys: readonly Bytes[] = [...new Set(result.keys.map(({ key }) => key))];
  keys = keys.filter((key) => key.startsWith(prefix));
  for (const earlier of regions.filter((one) => place.regions.indexOf(one.id) < place.region)) {
    const held = await lookAt(earlier, keys);
    if (!held.ok) return held;
    keys = keys.filter((key) => (held.value.get(key)?.digest ?? null) === null);
  }
  const { cursor } = result;
  const next =
    cursor === null ? { ...place, region: place.region + 1, cursor: '0' } : { ...place, cursor };
  return { ok: true, value: { scanned: result.keys.length, keys, next } };
}
