/** Verifies that all regions hold the same data, in slices that any isolate can continue. */
import { z } from 'zod';
import { type Bytes, bytesOfText } from '../../shared/contracts/bytes.ts';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import {
  type ComparisonScope,
  compareKeys,
  type Digests,
  lookAt,
  silent,
  type ValueOrFault,
} from './comparison.ts';

/** The progress of a verification. Another call continues from here, possibly in another isolate. */
export interface VerifyProgress {
  /** The regions to compare, in the order of scanning. */
  readonly regions: readonly RegionId[];
  /** False if the regions are all voters, which they must remain until the end. */
  readonly areChosen: boolean;
  readonly prefix: string;
  /** The index of the region being scanned; `cursor` is the position in it. Past the last region, the scan is complete. */
  readonly region: number;
  readonly cursor: string;
  /** Totals over all calls. */
  readonly checked: number;
  readonly differing: number;
}

/** The pace of a verification. */
export interface VerifyPace {
  /** The approximate number of keys that a call scans. */
  readonly limit: number;
  readonly pauseMs: number;
}

/** A key whose values differ between regions. */
export interface DigestDifference {
  readonly key: Bytes;
  readonly digests: Digests;
}

/** The result of one call. */
export interface VerifySlice {
  readonly checked: number;
  readonly differing: readonly DigestDifference[];
  /** Keys that changed or were locked at every look. */
  readonly restless: readonly Bytes[];
  readonly next: VerifyProgress;
}

/** The regions that a verification reads, and its clock. */
export interface VerifyScope extends ComparisonScope {
  /** The time in ms. */
  now(): number;
}

const progressSchema = z.strictObject({
  regions: z.array(z.string()).min(2).max(limits.regions),
  areChosen: z.boolean(),
  prefix: z.string().max(limits.verifyPrefixCharacters),
  region: z.int().min(0),
  cursor: z.string().regex(/^\d{1,20}$/),
  checked: z.int().min(0),
  differing: z.int().min(0),
});

/** Returns the start of a verification. */
export function beginVerify(
  regions: readonly RegionId[],
  areChosen: boolean,
  prefix: string,
): VerifyProgress {
  return { regions, areChosen, prefix, region: 0, cursor: '0', checked: 0, differing: 0 };
}

/** True if all keys have been compared. */
export function isVerified({ regions, region }: VerifyProgress): boolean {
  return region >= regions.length;
}

/** Encodes the progress as an opaque cursor. */
export function cursorOf(progress: VerifyProgress): string {
  return btoa(bytesOfText(JSON.stringify(progress)));
}

/** Decodes a cursor; null if it is not valid. */
export function progressOfCursor(text: string): VerifyProgress | null {
  try {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const parsed = progressSchema.safeParse(JSON.parse(new TextDecoder().decode(bytes)));
    if (!parsed.success || parsed.data.region >= parsed.data.regions.length) return null;
    return parsed.data;
  } catch {
    return null;
  }
}

/**
 * Compares the next slice of keys. It scans one region after another, so it also finds keys that only one region holds; a
 * key that an earlier region holds was compared when that region was scanned. Keys that are written meanwhile may be
 * compared before or after the write; every key that exists during the whole verification is compared.
 */
export async function verifySlice(
  scope: VerifyScope,
  from: VerifyProgress,
  { limit, pauseMs }: VerifyPace,
): Promise<ValueOrFault<VerifySlice>> {
  const startedAt = scope.now();
  const differing: DigestDifference[] = [];
  const restless: Bytes[] = [];
  let progress = from;
  let checked = 0;
  let scanned = 0;
  for (let step = 0; step < limits.verifyStepsPerCall; step += 1) {
    if (isVerified(progress) || scanned >= limit) break;
    if (step > 0) {
      if (scope.now() - startedAt >= limits.verifyMs) break;
      if (pauseMs > 0) await scope.pause(pauseMs);
    }
    const page = await scanPage(scope, progress, limit - scanned);
    if (!page.ok) return page;
    const compared = await compareKeys(scope, page.value.keys);
    if (!compared.ok) return compared;
    for (const [key, outcome] of compared.value) {
      if (outcome.kind === 'differs') differing.push({ key, digests: outcome.digests });
      if (outcome.kind === 'restless') restless.push(key);
    }
    checked += compared.value.size;
    scanned += page.value.scanned;
    progress = page.value.next;
  }
  const counts = {
    checked: from.checked + checked,
    differing: from.differing + differing.length,
  };
  return { ok: true, value: { checked, differing, restless, next: { ...progress, ...counts } } };
}

/** One step of a scan: the number of keys found, and the keys to compare. */
interface Page {
  readonly scanned: number;
  readonly keys: readonly Bytes[];
  readonly next: VerifyProgress;
}

/** Scans one step: returns the keys that have not been compared yet, and the progress after them. */
async function scanPage(
  scope: VerifyScope,
  progress: VerifyProgress,
  wanted: number,
): Promise<ValueOrFault<Page>> {
  const { shard, regions } = scope;
  const id = progress.regions[progress.region] ?? '';
  const scanned = regions.find((region) => region.id === id);
  if (scanned === undefined) return silent(id, 'the region is no longer configured');
  const count = Math.min(wanted, limits.verifyKeysPerLook);
  const question = { kind: 'scan', cursor: progress.cursor, count } as const;
  const result = await scanned.client.inspect(shard, question, limits.inspectTimeoutMs);
  if (result.kind === 'silent') return silent(id, result.reason);
  const prefix = bytesOfText(progress.prefix);
  // SCAN may return a key twice.
  let keys: readonly Bytes[] = [...new Set(result.keys.map(({ key }) => key))];
  keys = keys.filter((key) => key.startsWith(prefix));
  for (const earlier of regions.filter(
    (one) => progress.regions.indexOf(one.id) < progress.region,
  )) {
    const held = await lookAt(scope, earlier, keys);
    if (!held.ok) return held;
    keys = keys.filter((key) => (held.value.get(key)?.digest ?? null) === null);
  }
  const { cursor } = result;
  const next =
    cursor === null
      ? { ...progress, region: progress.region + 1, cursor: '0' }
      : { ...progress, cursor };
  return { ok: true, value: { scanned: result.keys.length, keys, next } };
}
