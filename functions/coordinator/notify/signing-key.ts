/** Makes the key pair that signs webhook deliveries. */
import type { SigningKey } from '../../../shared/contracts/webhooks-and-feed.ts';

/** Makes an Ed25519 key pair. Its id is the beginning of the public key, so that receivers can distinguish keys. */
export async function newSigningKey(): Promise<SigningKey> {
  const pair = await crypto.subtle.generateKey({ name: 'Ed25519' }, true, ['sign', 'verify']);
  if (!('privateKey' in pair)) throw new Error('Ed25519 makes a pair of keys');
  const privateKey = JSON.stringify(await crypto.subtle.exportKey('jwk', pair.privateKey));
  const publicJwk = await crypto.subtle.exportKey('jwk', pair.publicKey);
  const publicKey = JSON.stringify(publicJwk);
  const x = 'x' in publicJwk && typeof publicJwk.x === 'string' ? publicJwk.x : '';
  return { id: x.slice(0, 12), privateKey, publicKey };
}
