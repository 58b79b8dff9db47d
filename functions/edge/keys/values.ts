/** Reads the whole value of a key of any type. */
import type { Reply, SnapshotReply } from '../../../shared/commands/replies.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import type { ReadTarget, RegionReader } from '../reads/region-reader.ts';
import { takeSnapshot } from '../reads/route.ts';
import type { Snapshot } from '../reads/snapshot-read.ts';

/** The whole value of a key. `raw` is the region's reply, with one character per byte. */
export interface FoundValue {
  readonly type: string;
  readonly value: Reply;
  readonly raw: unknown;
}

/** The value of a key at one moment, null if it was absent, and the snapshot that it is from. */
export interface ReadValue {
  readonly snapshot: Snapshot;
  readonly found: FoundValue | null;
}

/** Per type, the command that reads the whole value. */
const wholeValue: Readonly<Record<string, (key: string) => readonly string[]>> = {
  string: (key) => ['GET', key],
  hash: (key) => ['HGETALL', key],
  list: (key) => ['LRANGE', key, '0', '-1'],
  set: (key) => ['SMEMBERS', key],
  zset: (key) => ['ZRANGE', key, '0', '-1', 'WITHSCORES'],
};

/**
 * Reads the whole value of `key`. Type and value are from one snapshot. A value that is not a string takes a second
 * snapshot, and one more if the type changed in between.
 */
export async function readValue(
  reader: RegionReader,
  key: string,
  target: ReadTarget,
): Promise<Result<ReadValue>> {
  let expected = 'string';
  for (let attempt = 1; attempt <= limits.readAttempts; attempt += 1) {
    const command = wholeValue[expected]?.(key);
    if (command === undefined) return unreadable(expected);
    const snapshot = await takeSnapshot(reader, [['TYPE', key], command], target);
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
  // Pairs instead of an object: a field may be named __proto__, and objects do not keep the region's order.
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
