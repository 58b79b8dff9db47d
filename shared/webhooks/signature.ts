/**
 * Signs webhooks according to Standard Webhooks. The signed content is `${id}.${timestamp}.${body}` in UTF-8. `v1` is
 * an HMAC-SHA256 with a shared secret; `v1a` is an Ed25519 signature, which a receiver can check without a secret.
 */
import { assert } from '../assert.ts';
import type { SigningKey } from '../contracts/webhooks-and-feed.ts';

const secretPrefix = 'whsec_';
const publicKeyPrefix = 'whpk_';
const secretBytesMinimum = 24;
const secretBytesMaximum = 64;
const secretBytesGenerated = 32;

/** The name of this type differs between Node and the Worker. */
type ImportedKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>;

/** The headers of one attempt. */
export type WebhookHeaders = Readonly<
  Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string>
>;

/** Signs the events of one endpoint with every key in force. */
export interface WebhookSigner {
  /** `timestamp` is the time of the attempt, in seconds since 1970. */
  sign(id: string, timestamp: number, body: string): Promise<WebhookHeaders>;
}

/** A new secret: `whsec_` and 32 random bytes in base64. */
export function generateSecret(): string {
  return `${secretPrefix}${toBase64(crypto.getRandomValues(new Uint8Array(secretBytesGenerated)))}`;
}

/** True if `text` is `whsec_` followed by 24 to 64 bytes in canonical base64. */
export function isSecret(text: string): boolean {
  return secretBytes(text) !== null;
}

/** The deployment's public key in the format of Standard Webhooks: `whpk_` and its 32 bytes in base64. */
export function publicKeyText(key: Pick<SigningKey, 'publicKey'>): string {
  const { x }: { readonly x?: unknown } = JSON.parse(key.publicKey);
  assert(typeof x === 'string', 'a signing key is an Ed25519 key pair');
  const bytes = fromBase64(x.replaceAll('-', '+').replaceAll('_', '/'));
  return `${publicKeyPrefix}${toBase64(bytes)}`;
}

/** A signer with `secrets`: two during the overlap of a rotation, none if only the asymmetric signature is wanted. */
export async function createSigner(
  secrets: readonly string[],
  key: Pick<SigningKey, 'privateKey'>,
): Promise<WebhookSigner> {
  const symmetric = await Promise.all(secrets.map(importSecret));
  const asymmetric = await importPrivateKey(key.privateKey);
  return {
    async sign(id, timestamp, body) {
      const content = new TextEncoder().encode(`${id}.${timestamp}.${body}`);
      const signatures = await Promise.all([
        ...symmetric.map((secret) => signWith('v1', 'HMAC', secret, content)),
        signWith('v1a', 'Ed25519', asymmetric, content),
      ]);
      return {
        'webhook-id': id,
        'webhook-timestamp': String(timestamp),
        'webhook-signature': signatures.join(' '),
      };
    },
  };
}

async function signWith(
  version: 'v1' | 'v1a',
  algorithm: 'HMAC' | 'Ed25519',
  key: ImportedKey,
  content: Uint8Array,
): Promise<string> {
  const signature = await crypto.subtle.sign(algorithm, key, content);
  return `${version},${toBase64(new Uint8Array(signature))}`;
}

function importSecret(secret: string): Promise<ImportedKey> {
  const bytes = secretBytes(secret);
  assert(bytes !== null, 'a secret was checked when it came in');
  return crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
}

function importPrivateKey(text: string): Promise<ImportedKey> {
  return crypto.subtle.importKey('jwk', JSON.parse(text), { name: 'Ed25519' }, false, ['sign']);
}

/** The bytes of a secret, or null if it is malformed. */
function secretBytes(text: string): Uint8Array | null {
  if (!text.startsWith(secretPrefix)) return null;
  const encoded = text.slice(secretPrefix.length);
  // Decoders differ in the other spellings that they accept; all agree on the canonical one.
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(encoded) || encoded.length % 4 !== 0) return null;
  const bytes = fromBase64(encoded);
  if (toBase64(bytes) !== encoded) return null;
  const isLong = bytes.length >= secretBytesMinimum && bytes.length <= secretBytesMaximum;
  return isLong ? bytes : null;
}

function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
