import type { Reply, SnapshotReply } from '../../../shared/commands/replies.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import type { ReadTarget, RegionReader } from '../reads/region-reader.ts';
import { takeSnapshot } from '../reads/route.ts';
import type { Snapshot } from '../reads/snapshot-read.ts';

/** The whole value of a key. `raw` is as the region answered it: strings hold one character a byte. */
export interface FoundValue {
  readonly type: string;
  readonly value: Reply;
  readonly raw: unknown;
}

/** What a key held at one moment, or null where it was absent, and the snapshot that says so. */
export interface ReadValue {
  readonly snapshot: Snapshot;
  readonly found: FoundValue | null;
}

/** How the whole value of each type is read. */
const wholeValue: Readonly<Record<string, (key: string) => readonly string[]>> = {
  string: (key) => ['GET', key],
  hash: (key) => ['HGETALL', key],
  list: (key) => ['LRANGE', key, '0', '-1'],
  set: (key) => ['SMEMBERS', key],
  zset: (key) => ['ZRANGE', key, '0', '-1', 'WITHSCORES'],
};

/**
 * Reads the whole value of `key`. Type and value come of one snapshot; a value that is no string costs a second one,
 * and a third where the type has changed in between.
 */
export async function readValue(
  reader: RegionReader,
  key: string,
  place: ReadTarget,
): Promise<Result<ReadValue>> {
  let expected = 'string';
  for (let attempt = 1; attempt <= limits.readAttempts; attempt += 1) {
    const command = wholeValue[expected]?.(key);
    if (command === undefined) return unreadable(expected);
    const snapshot = await takeSnapshot(reader, [['TYPE', key], command], place);
    if (!snapshot.ok) return snapshot;
    const [typeReply, valueReply] = snapshot.value.replies;
    const type = typeReply?.ok ? String(typeReply.reply) : 'unknown';
    if (type === 'none') return success({ snapshot: snapshot.value, found: null });
    if (type === expected) return found(snapshot.value, type, valueReply);
    expected = type;
  }
  const detail = 'The type of the key changed during each read. Retry.';
  return failure('read-contended', detail, {}, { 'Retry-After': '1' });
}

function found(
  snapshot: Snapshot,
  type: string,
  reply: SnapshotReply | undefined,
): Result<ReadValue> {
  if (reply === undefined || !reply.ok) return unreadable(type);
  const { raw } = reply;
  const isPairs = type === 'hash' || type === 'zset';
  // Pairs, not an object: a field may be named __proto__, and an object's order of fields is not the region's.
  const value = isPairs && Array.isArray(reply.reply) ? pairsOf(reply.reply) : reply.reply;
  return success({ snapshot, found: { type, value, raw } });
}

function pairsOf(flat: readonly Reply[]): readonly Reply[] {
  const pairs: Reply[] = [];
  for (let index = 0; index < flat.length; index += 2) {
    pairs.push([flat[index] ?? null, flat[index + 1] ?? null]);
  }
  return pairs;
}

function unreadable(type: string): ReturnType<typeof failure> {
  const detail = `A value of the type ${type} cannot be read as a whole. Use POST /v1/reads with commands for its type.`;
  return failure('unsupported-type', detail, { type });
}
