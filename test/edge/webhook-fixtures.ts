import type { Subscription } from '../../shared/contracts/webhooks-and-feed.ts';
import { type Call, EdgeUnderTest } from './fakes.ts';

/** A subscription, and an edge whose couriers and coordinator know it and accept every call. */

export const endpoint = 'ep_01990a5c7d3e7c1a9b642f0d8a51c7e2';
export const callbackEndpoint = 'cb_AbCdEfGhIjKlMnOpQrStUv';
export const secret = `whsec_${btoa('a'.repeat(32))}`;
export const now = 1_795_000_000_000;
export const signingKey = {
  id: 'key-1',
  privateKey: '{"kty":"OKP","crv":"Ed25519","x":"-_8","d":"private-half"}',
  publicKey: '{"kty":"OKP","crv":"Ed25519","x":"-_8"}',
};
export const subscription: Subscription = {
  endpoint,
  url: 'https://example.com/hooks',
  events: ['write.confirmed'],
  prefixes: ['order:'],
  values: false,
  description: '',
  owner: 'writer',
  disabled: null,
  createdAt: now,
};

export function edgeWith(known: readonly Subscription[] = [subscription]): EdgeUnderTest {
  const edge = new EdgeUnderTest();
  edge.coordinator = {
    signingKey: async () => signingKey,
    subscribe: async () => ({ kind: 'created' }),
    subscriptions: async () => known,
    changeSubscription: async (_id, patch) => ({
      kind: 'changed',
      subscription: { ...subscription, ...patch },
    }),
    unsubscribe: async (id) => known.some((each) => each.endpoint === id),
    recover: async () => 2,
  };
  edge.courier = {
    configure: async () => {},
    deliver: async () => ({ restMs: 0 }),
    rotate: async () => {},
    enable: async () => {},
    remove: async () => {},
    replay: async () => 3,
  };
  return edge;
}

export function changesIn(edge: EdgeUnderTest): readonly Call[] {
  const isQuestion = (method: string) => ['subscriptions', 'signingKey'].includes(method);
  return edge.calls.filter(([, method]) => !isQuestion(method));
}
