import { createHash } from 'node:crypto';
import { bytesWithin } from '../../shared/commands/raw-bytes.ts';

/** The SHA-1 of a text's bytes, in hex: the name by which EVALSHA knows a script. */
export function sha1Of(text: string): string {
  return createHash('sha1').update(bytesWithin(text), 'latin1').digest('hex');
}
