import { describe, expect, it } from 'vitest';
import { WebhookSubscriptions } from '../../functions/coordinator/notify/subscriptions.ts';
import type { Subscription } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, change, commit, confirm } from './stored.ts';

function subscriptionOf(endpoint: string): Subscription {
  return {
    endpoint,
    url: `https://${endpoint.replace('_', '-')}.example.com/all`,
    events: ['write.committed', 'write.confirmed', 'region.out', 'endpoint.disabled'],
    prefixes: [],
    values: false,
    description: '',
    owner: null,
    disabled: null,
    createdAt: 1,
  };
}

/** The subscriptions with their storage, and the calls that they have made to their coordinator. */
function subscriptionsWith(voters: readonly string[]) {
  const { storage } = begun(new MemoryStorage());
  const calls: string[] = [];
  const subscriptions = new WebhookSubscriptions(storage.subscriptions, storage.changes, {
    voters: () => voters,
    resubscribe: () => calls.push('resubscribe'),
    outboxGrew: () => calls.push('outboxGrew'),
    newSigningKey: async () => ({ id: 'key', privateKey: '{}', publicKey: '{}' }),
  });
  const outboxOf = (endpoint: string) => storage.subscriptions.outboxOf(endpoint, 100).events;
  return { storage, subscriptions, calls, outboxOf };
}

describe('the recovery of an endpoint', () => {
  it('queues the kept writes again, past changes of members, confirmed by the voters alone', async () => {
    const { storage, subscriptions, outboxOf } = subscriptionsWith(['alpha', 'gamma']);
    commit(storage, 1);
    confirm(storage, 1, 10);
    change(storage, 2);
    commit(storage, 3);
    subscriptions.subscribe(subscriptionOf('ep_one'));
    expect(await subscriptions.recover('ep_one', 0)).toBe(3);
    const queued = outboxOf('ep_one');
    expect(queued.map(({ id }) => id)).toEqual([
      '0-1.write.committed',
      '0-1.write.confirmed',
      '0-3.write.committed',
    ]);
    const confirmed: unknown = JSON.parse(queued[1]?.body ?? '');
    expect(confirmed).toMatchObject({ data: { regions: { alpha: null, gamma: null } } });
  });

  it('is refused if there is no such endpoint', async () => {
    const { storage, subscriptions } = subscriptionsWith([]);
    commit(storage, 1);
    expect(await subscriptions.recover('ep_none', 0)).toBeNull();
  });
});

describe('a subscription', () => {
  it('is refused beyond the limit', () => {
    const { subscriptions, calls } = subscriptionsWith([]);
    for (let count = 0; count < limits.subscriptions; count += 1) {
      expect(subscriptions.subscribe(subscriptionOf(`ep_${count}`))).toEqual({ kind: 'created' });
    }
    expect(subscriptions.subscribe(subscriptionOf('ep_more')).kind).toBe('full');
    expect(calls).toHaveLength(limits.subscriptions);
  });

  it('that equals another one of the same token is not added', () => {
    const { storage, subscriptions } = subscriptionsWith([]);
    const one = { ...subscriptionOf('ep_one'), owner: 'shop' };
    subscriptions.subscribe(one);
    const same = { ...one, endpoint: 'ep_two', events: one.events.toReversed(), createdAt: 2 };
    expect(subscriptions.subscribe(same)).toEqual({ kind: 'known', subscription: one });
    // The first request, sent again under its idempotency key, has the same id.
    expect(subscriptions.subscribe(one)).toEqual({ kind: 'created' });
    expect(storage.subscriptions.all()).toHaveLength(1);
    expect(subscriptions.subscribe({ ...same, owner: 'other' }).kind).toBe('created');
    expect(subscriptions.subscribe({ ...same, endpoint: 'ep_three', prefixes: ['a'] }).kind).toBe(
      'created',
    );
  });

  it('is refused beyond the limit of its host, also by a change of URL, while other hosts have room', () => {
    const { subscriptions } = subscriptionsWith([]);
    const to = (number: number, host: string) => ({
      ...subscriptionOf(`ep_${number}`),
      url: `https://${host}/${number}`,
    });
    for (let number = 0; number < limits.subscriptionsPerHost; number += 1) {
      expect(subscriptions.subscribe(to(number, 'relay.example.com')).kind).toBe('created');
    }
    expect(subscriptions.subscribe(to(100, 'relay.example.com')).kind).toBe('full');
    expect(subscriptions.subscribe(to(100, 'other.example.com')).kind).toBe('created');
    const url = 'https://relay.example.com/moved';
    expect(subscriptions.change('ep_100', { url }).kind).toBe('full');
    expect(subscriptions.change('ep_0', { url }).kind).toBe('changed');
    expect(subscriptions.change('ep_none', { url }).kind).toBe('unknown');
  });

  it('is refused beyond the limit of its token', () => {
    const { subscriptions } = subscriptionsWith([]);
    const by = (number: number, owner: string) => ({
      ...subscriptionOf(`ep-${number}`),
      owner,
    });
    for (let number = 0; number < limits.subscriptionsPerToken; number += 1) {
      expect(subscriptions.subscribe(by(number, 'shop')).kind).toBe('created');
    }
    expect(subscriptions.subscribe(by(1_000, 'shop')).kind).toBe('full');
    expect(subscriptions.subscribe(by(1_000, 'other')).kind).toBe('created');
  });

  it('that a courier gave up is disabled once, with one event to the other subscriptions', () => {
    const { storage, subscriptions, calls, outboxOf } = subscriptionsWith([]);
    subscriptions.subscribe(subscriptionOf('ep_one'));
    subscriptions.subscribe(subscriptionOf('ep_two'));
    subscriptions.disable('ep_one', 'it failed for too long', 5);
    subscriptions.disable('ep_one', 'it failed for too long', 6);
    const [one] = storage.subscriptions.all();
    expect(one?.disabled).toEqual({ at: 5, reason: 'it failed for too long' });
    expect(outboxOf('ep_one')).toEqual([]);
    expect(outboxOf('ep_two').map(({ type }) => type)).toEqual(['endpoint.disabled']);
    expect(calls.filter((call) => call === 'outboxGrew')).toHaveLength(1);
  });
});
