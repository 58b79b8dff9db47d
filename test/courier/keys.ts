/** The signing keys of the couriers' tests. */
import { generateKeyPairSync } from 'node:crypto';
import type { SigningKey } from '../../shared/contracts/webhooks-and-feed.ts';

/** A deployment's key pair. */
export function newSigningKey(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    id: 'key_1',
    privateKey: JSON.stringify(privateKey.export({ format: 'jwk' })),
    publicKey: JSON.stringify(publicKey.export({ format: 'jwk' })),
  };
}
