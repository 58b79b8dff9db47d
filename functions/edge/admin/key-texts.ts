import { bytesOfText, textOfBytes } from '../../../shared/commands/replies.ts';
import type { Bytes } from '../../../shared/contracts/bytes.ts';

/** A key as operators see it: as text, or in base64 where it is not the UTF-8 of any. */
export interface KeyResponse {
  readonly key: string;
  readonly keyEncoding?: 'base64';
}

/** A key of a region, one character a byte, for JSON. */
export function presentKey(key: Bytes): KeyResponse {
  const text = textOfKey(key);
  return text === null ? { key: btoa(key), keyEncoding: 'base64' } : { key: text };
}

/** The text that the bytes of a key spell, or null where they spell none: such a key was not written by Lockstep. */
export function textOfKey(key: Bytes): string | null {
  const text = textOfBytes(key);
  return bytesOfText(text) === key ? text : null;
}
