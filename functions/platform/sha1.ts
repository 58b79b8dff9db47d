/** SHA-1, which the Web Crypto API computes only asynchronously. */
import { createHash } from 'node:crypto';
import { bytesWithin } from '../../shared/commands/raw-bytes.ts';

/** The SHA-1 of a text's bytes, in lower-case hex: EVALSHA names scripts by it. */
export function sha1Of(text: string): string {
  return createHash('sha1').update(bytesWithin(text), 'latin1').digest('hex');
}
