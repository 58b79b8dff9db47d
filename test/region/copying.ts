/** The copies and digests of the region model. */

import { createHash } from 'node:crypto';
import type { Bytes } from '../../shared/contracts/bytes.ts';
import type { CopyForm, CopyItem, CopyKey, CopyReply } from '../../shared/contracts/round.ts';
import type { ShardId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { Entry, Keys, Value } from './commands.ts';
import { bytesOf, textOf } from './replies.ts';

/** The item of a copy that the model returns. A whole value is a piece that is both the first and the last. */
interface ItemData {
  readonly key: Bytes;
  readonly form: CopyForm;
  /** The text of the piece, or null if the key is to be removed. */
  readonly text: string | null;
  readonly at: number;
  readonly isLast: boolean;
}

const endOfScan = null;

/** About `count` keys of `data` after `cursor`, and the cursor of the next page. */
export function keysAfter(
  data: ReadonlyMap<string, Entry>,
  cursor: string,
  count: number,
): { readonly keys: readonly Bytes[]; readonly cursor: string | null } {
  const all = [...data.keys()].filter((key) => !key.startsWith('lockstep:')).map(bytesOf);
  // The name of the last key is a stable cursor, even if keys appear and disappear around it.
  const after = all.filter((key) => cursor === '0' || key > cursor.slice(1)).sort();
  const keys = after.slice(0, count);
  const last = keys.at(-1);
  const isEnd = last === undefined || after.length <= count;
  return { keys, cursor: isEnd ? endOfScan : `k${last}` };
}

/** Reads keys for a copy, up to the size of a step. */
export function readForCopy(
  wanted: readonly CopyKey[],
  form: CopyForm,
  keys: Keys,
  isLocked: (key: string) => boolean,
): Pick<Extract<CopyReply, { kind: 'read' }>, 'items' | 'locked' | 'left'> {
  const items: CopyItem[] = [];
  const locked: Bytes[] = [];
  const left: Bytes[] = [];
  let used = 0;
  for (const { key, from } of wanted) {
    const entry = keys.get(textOf(key));
    if (isLocked(textOf(key))) {
      locked.push(key);
    } else if (entry === undefined || (form === 'absent' && entry.expiry !== -1)) {
      items.push(removalOf(key));
    } else if (form !== 'absent') {
      const text = textOfEntry(entry);
      const size = key.length + text.length - Number(from);
      if (used > 0 && (left.length > 0 || used + size > limits.copyBytesPerStep)) {
        left.push(key);
      } else {
        items.push(itemOf(key, form, text, Number(from)));
        used += size;
      }
    }
  }
  return { items, locked, left };
}

function removalOf(key: Bytes): CopyItem {
  const data: ItemData = { key, form: 'logical', text: null, at: 0, isLast: true };
  return { key, data: JSON.stringify(data), next: null };
}

function itemOf(key: Bytes, form: CopyForm, whole: string, from: number): CopyItem {
  const at = from > whole.length ? 0 : from;
  const text = whole.slice(at, at + limits.copyBytesPerStep);
  const end = at + text.length;
  const isWhole = at === 0 && end === whole.length;
  const data: ItemData = {
    key,
    form: isWhole ? form : 'logical',
    text,
    at,
    isLast: end === whole.length,
  };
  return { key, data: JSON.stringify(data), next: data.isLast ? null : String(end) };
}

/** The key under which the pieces of a large value wait for the last one. */
export type Pieces = Map<Bytes, string>;

/** Writes one item. Returns the reason for a failure, or null. */
export function writeItem(text: string, keys: Keys, pieces: Pieces, dumps: boolean): string | null {
  const data: ItemData = JSON.parse(text);
  if (data.text === null) {
    pieces.delete(data.key);
    keys.set(textOf(data.key), undefined);
    return null;
  }
  if (data.form === 'dump' && !dumps) return 'ERR unknown command';
  const before = data.at === 0 ? '' : pieces.get(data.key)?.slice(0, data.at);
  if (before?.length !== data.at) return 'ERR the beginning of the value is missing';
  if (!data.isLast) {
    pieces.set(data.key, before + data.text);
    return null;
  }
  pieces.delete(data.key);
  const entry = entryOf(before + data.text);
  const isGone = entry.expiry !== -1 && entry.expiry < keys.clock;
  keys.set(textOf(data.key), isGone ? undefined : entry);
  return null;
}

/** Whether the item removes its key. */
export function isRemoval(text: string): boolean {
  const data: ItemData = JSON.parse(text);
  return data.text === null;
}

/** The number of characters in the values of an entry. */
export function charactersOf({ value }: Entry): number {
  return contentsOf(value).join('').length;
}

/** The key of an item. */
export function keyOfItem(text: string): Bytes {
  const data: ItemData = JSON.parse(text);
  return data.key;
}

function textOfEntry({ value, expiry }: Entry): string {
  return JSON.stringify([expiry, value.type, contentsOf(value)]);
}

/** The parts of a value as a flat list. */
function contentsOf(value: Value): readonly string[] {
  switch (value.type) {
    case 'string':
      return [value.text];
    case 'list':
      return value.items;
    case 'hash':
      return [...value.fields].flat();
    case 'set':
      return [...value.members];
    case 'zset':
      return [...value.scores].flatMap(([member, score]) => [member, String(score)]);
  }
}

function entryOf(text: string): Entry {
  const [expiry, type, contents] = JSON.parse(text);
  return { expiry, value: valueFrom(type, contents) };
}

function valueFrom(type: Value['type'], contents: readonly string[]): Value {
  switch (type) {
    case 'string':
      return { type, text: contents[0] ?? '' };
    case 'list':
      return { type, items: contents };
    case 'hash':
      return { type, fields: new Map(pairsOf(contents)) };
    case 'set':
      return { type, members: new Set(contents) };
    case 'zset': {
      const scores = pairsOf(contents).map(([member, score]) => [member, Number(score)] as const);
      return { type, scores: new Map(scores) };
    }
  }
}

function pairsOf(flat: readonly string[]): (readonly [string, string])[] {
  return flat.flatMap((name, index) =>
    index % 2 === 0 ? [[name, flat[index + 1] ?? ''] as const] : [],
  );
}

/** A digest of a key's type, expiry and value, independent of the order of its elements in memory. */
export function digestOfEntry({ value, expiry }: Entry): string {
  const flat = contentsOf(value);
  const hasPairs = value.type === 'hash' || value.type === 'zset';
  const parts = hasPairs ? pairsOf(flat).map((pair) => JSON.stringify(pair)) : flat;
  const sorted = value.type === 'list' ? parts : [...parts].sort();
  return createHash('sha1')
    .update(JSON.stringify([value.type, expiry, sorted]))
    .digest('hex');
}

/** The owner of each key, if copies and counts are bound to the keys of their shard; null: they see every key. */
export type OwnerOf = ((key: string) => ShardId) | null;

/** The keys of one shard. */
export function ownedBy(
  live: ReadonlyMap<string, Entry>,
  ownerOf: OwnerOf,
  shard: ShardId,
): ReadonlyMap<string, Entry> {
  return ownerOf === null ? live : new Map([...live].filter(([key]) => ownerOf(key) === shard));
}

/** The number of users' keys. */
export function countKeys(live: ReadonlyMap<string, Entry>): number {
  return [...live.keys()].filter((key) => !key.startsWith('lockstep:')).length;
}
