/** Tests secrets and signatures against the published library. */
import { createHmac, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import {
  createSigner,
  generateSecret,
  isSecret,
  publicKeyText,
} from '../../shared/webhooks/signature.ts';
import { newSigningKey } from './keys.ts';

const body = '{"type":"write.committed","data":{"keys":["größe","🔑"]}}';
const id = 'evt_1';
const now = () => Math.floor(Date.now() / 1_000);

function secretOf(bytes: number): string {
  return `whsec_${Buffer.alloc(bytes, 0xfb).toString('base64')}`;
}

describe('a secret', () => {
  it('that is generated is valid, holds 32 bytes and is different each time', () => {
    const secrets = Array.from({ length: 20 }, generateSecret);
    expect(secrets.every(isSecret)).toBe(true);
    expect(new Set(secrets).size).toBe(20);
    expect(Buffer.from(secrets[0]?.slice(6) ?? '', 'base64')).toHaveLength(32);
  });

  it.each([24, 25, 26, 32, 63, 64])('of %d bytes is valid', (bytes) => {
    expect(isSecret(secretOf(bytes))).toBe(true);
  });

  it.each([
    ['', 'nothing'],
    ['whsec_', 'no bytes'],
    [secretOf(23), '23 bytes'],
    [secretOf(65), '65 bytes'],
    [secretOf(32).slice(6), 'no prefix'],
    [secretOf(32).replace('whsec_', 'WHSEC_'), 'another prefix'],
    [secretOf(32).slice(0, -1), 'no padding'],
    [`${secretOf(24)}====`, 'too much padding'],
    [secretOf(32).replace('+', '-'), 'the URL alphabet'],
    [secretOf(32).replace('+', ' '), 'a space'],
    [`${secretOf(24)}\n`, 'a line end'],
    [secretOf(25).replace('w==', 'x=='), 'bits after its end'],
  ])('%j is refused, since it has %s', (secret) => {
    expect(isSecret(secret)).toBe(false);
  });
});

describe('a signature', () => {
  it('is the one that the published library computes for fixed input', async () => {
    const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    const signer = await createSigner([secret], newSigningKey());
    const headers = await signer.sign(
      'msg_p5jXN8AQM9LWM0D4loKWxJek',
      1_614_265_330,
      '{"test": 2432232314}',
    );
    const [v1] = headers['webhook-signature'].split(' ');
    // The example that the specification's authors publish.
    expect(v1).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
    const hmac = createHmac('sha256', Buffer.from(secret.slice(6), 'base64'));
    hmac.update('msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}');
    expect(v1).toBe(`v1,${hmac.digest('base64')}`);
  });

  it('is accepted by the published library, and not for another body, id, time or secret', async () => {
    const secret = generateSecret();
    const headers = await (await createSigner([secret], newSigningKey())).sign(id, now(), body);
    const webhook = new Webhook(secret);
    expect(webhook.verify(body, headers)).toEqual(JSON.parse(body));
    expect(() => webhook.verify(`${body} `, headers)).toThrow('No matching signature');
    const other = { ...headers, 'webhook-id': 'evt_2' };
    expect(() => webhook.verify(body, other)).toThrow('No matching signature');
    const later = { ...headers, 'webhook-timestamp': String(now() + 60) };
    expect(() => webhook.verify(body, later)).toThrow('No matching signature');
    expect(() => new Webhook(generateSecret()).verify(body, headers)).toThrow('No matching');
  });

  it('is made with both secrets during the overlap of a rotation', async () => {
    const [old, fresh] = [generateSecret(), generateSecret()];
    const headers = await (await createSigner([fresh, old], newSigningKey())).sign(id, now(), body);
    expect(new Webhook(old).verify(body, headers)).toEqual(JSON.parse(body));
    expect(new Webhook(fresh).verify(body, headers)).toEqual(JSON.parse(body));
    const versions = headers['webhook-signature'].split(' ').map((each) => each.split(',')[0]);
    expect(versions).toEqual(['v1', 'v1', 'v1a']);
  });

  it('can be checked with the public key alone, even without a secret', async () => {
    const key = newSigningKey();
    const headers = await (await createSigner([], key)).sign(id, 1_700_000_000, body);
    const [version, encoded = ''] = headers['webhook-signature'].split(',');
    expect(version).toBe('v1a');
    const content = Buffer.from(`${id}.1700000000.${body}`);
    const signature = Buffer.from(encoded, 'base64');
    const publicKey = createPublicKey({ key: JSON.parse(key.publicKey), format: 'jwk' });
    expect(verify(null, content, publicKey, signature)).toBe(true);
    expect(verify(null, Buffer.from('other'), publicKey, signature)).toBe(false);
  });
});

describe('the public key', () => {
  it('is returned as whpk_ and its bytes in base64', () => {
    const { publicKey } = generateKeyPairSync('ed25519');
    const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
    const text = publicKeyText({ publicKey: JSON.stringify(publicKey.export({ format: 'jwk' })) });
    expect(text).toBe(`whpk_${raw.toString('base64')}`);
  });
});
