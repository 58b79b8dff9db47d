import { jsonText } from '../../shared/wire/replies.ts';

/** A strong ETag: equal for equal type and value, whatever region answered. `raw` holds strings one character a byte. */
export async function etagOf(type: string, raw: unknown): Promise<string> {
  const bytes = new TextEncoder().encode(`${type} ${jsonText(raw)}`);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const base64 = btoa(String.fromCharCode(...digest));
  return `"${base64.replaceAll('+', '-').replaceAll('/', '_').slice(0, 22)}"`;
}

/**
 * The entity tags that an If-Match or If-None-Match header names, `'any'` for an asterisk, or null where it is
 * malformed. A weak tag keeps its `W/`.
 */
export function parseTags(header: string): 'any' | readonly string[] | null {
  if (header.trim() === '*') return 'any';
  const tags = header.match(/(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g);
  const isList = /^\s*(?:W\/)?"[^"]*"\s*(?:,\s*(?:W\/)?"[^"]*"\s*)*$/.test(header);
  return isList ? tags : null;
}
