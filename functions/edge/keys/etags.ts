/** ETags of keys: computes them from values, and parses them from headers. */
import { jsonText } from '../../../shared/commands/replies.ts';

/**
 * A strong ETag, equal for equal type and value in every region. `raw` holds strings with one character per byte.
 * Regions list the members of a set and the fields of a hash in different orders, so both are digested in byte order.
 */
export async function etagOf(type: string, raw: unknown): Promise<string> {
  const bytes = new TextEncoder().encode(`${type} ${jsonText(inByteOrder(type, raw))}`);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const base64 = btoa(String.fromCharCode(...digest));
  return `"${base64.replaceAll('+', '-').replaceAll('/', '_').slice(0, 22)}"`;
}

function inByteOrder(type: string, raw: unknown): unknown {
  if (!Array.isArray(raw)) return raw;
  const items: readonly unknown[] = raw;
  if (type === 'set') return [...items].sort((a, b) => compare(String(a), String(b)));
  if (type !== 'hash') return raw;
  const pairs = Array.from({ length: items.length / 2 }, (_, index) => [
    items[2 * index],
    items[2 * index + 1],
  ]);
  return pairs.sort(([a], [b]) => compare(String(a), String(b)));
}

/** Each character stands for one byte, so the order of code units is the order of bytes. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/**
 * The entity tags of an If-Match or If-None-Match header, `'any'` for an asterisk, or null if it is malformed. A weak
 * tag keeps its `W/`.
 */
export function parseTags(header: string): 'any' | readonly string[] | null {
  if (header.trim() === '*') return 'any';
  const tags = header.match(/(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g);
  const isList = /^\s*(?:W\/)?"[^"]*"\s*(?:,\s*(?:W\/)?"[^"]*"\s*)*$/.test(header);
  return isList ? tags : null;
}
