/** Fingerprints of ids and keys, by which the log finds the steps that hold them. */
import type { Bytes } from '../../../shared/contracts/bytes.ts';
import { keyOf, type TransactionOrder, type WriteId } from '../../../shared/ids.ts';

/** The bytes of a fingerprint. */
export const fingerprintBytes = 8;

/** Stands for every key in a step with too many keys to list. */
export const manyKeys = '*';

/** The fingerprint of the id of a write. */
export function ofWrite(id: WriteId): Bytes {
  return fingerprint(`w${id}`);
}

/** The fingerprint of a commit. */
export function ofCommit(transaction: TransactionOrder): Bytes {
  return fingerprint(`t${keyOf(transaction)}`);
}

/** The fingerprint of the confirmation of a commit. */
export function ofConfirmation(transaction: TransactionOrder): Bytes {
  return fingerprint(`c${keyOf(transaction)}`);
}

/** The fingerprint of a key that a commit changes. */
export function ofKey(key: string): Bytes {
  return fingerprint(`k${key}`);
}

/**
 * Eight bytes that differ for different texts, nearly always: two runs of FNV-1a over the UTF-16 units, the second with
 * another basis. Whoever finds a step by one looks for the text itself, so equal ones only cost a look. (Fowler, Noll and
 * Vo, "The FNV Non-Cryptographic Hash Algorithm", RFC 9923: prime 16777619, basis 2166136261.)
 */
function fingerprint(text: string): Bytes {
  let one = 2_166_136_261;
  let other = 2_166_136_261 ^ 0x5bd1_e995;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    one = Math.imul(one ^ unit, 16_777_619);
    other = Math.imul(other ^ (unit + 1), 16_777_619);
  }
  return bytesOf(one) + bytesOf(other ^ (one >>> 15));
}

function bytesOf(number: number): Bytes {
  return String.fromCharCode(
    (number >>> 24) & 0xff,
    (number >>> 16) & 0xff,
    (number >>> 8) & 0xff,
    number & 0xff,
  );
}
