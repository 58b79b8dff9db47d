/** Presents the keys of regions, which are bytes, in JSON. */
import { type Bytes, exactTextOf } from '../../../shared/contracts/bytes.ts';

/** A key as operators see it: as text, or in base64 if it is not valid UTF-8. */
export interface KeyResponse {
  readonly key: string;
  readonly keyEncoding?: 'base64';
}

/** A region's key, with one character per byte, for JSON. */
export function presentKey(key: Bytes): KeyResponse {
  const text = exactTextOf(key);
  return text === null ? { key: btoa(key), keyEncoding: 'base64' } : { key: text };
}
