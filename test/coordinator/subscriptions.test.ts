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

/** A desk with its storage, and what it has told its coordinator. */
function deskOf(voters: readonly string[]) {
  const { storage } = begun(new MemoryStorage());
  const told: string[] = [];
  const desk = new WebhookSubscriptions(storage.hooks, storage.changes, {
    voters: () => voters,
    resubscribe: () => told.push('resubscribe'),
    outboxGrew: () => told.push('owed'),
    newSigningKey: async () => ({ id: 'key', privateKey: '{}', publicKey: '{}' }),
  });
  const owedTo = (endpoint: string) => storage.hooks.outboxOf(endpoint, 100).events;
  return { storage, desk, told, owedTo };
}

describe('the recovery of an endpoint', () => {
  it('owes the kept writes once more, past changes of members, confirmed by the voters alone', async () => {
    const { storage, desk, owedTo } = deskOf(['alpha', 'gamma']);
    commit(storage, 1);
    confirm(storage, 1, 10);
    change(storage, 2);
    commit(storage, 3);
    desk.subscribe(subscriptionOf('ep_one'));
    expect(await desk.recover('ep_one', 0)).toBe(3);
    const owed = owedTo('ep_one');
    expect(owed.map(({ id }) => id)).toEqual([
      '0-1.write.committed',
      '0-1.write.confirmed',
      '0-3.write.committed',
    ]);
    const confirmed: unknown = JSON.parse(owed[1]?.body ?? '');
    expect(confirmed).toMatchObject({ data: { regions: { alpha: null, gamma: null } } });
  });

  it('is refused where there is no such endpoint', async () => {
    const { storage, desk } = deskOf([]);
    commit(storage, 1);
    expect(await desk.recover('ep_none', 0)).toBeNull();
  });
});

describe('a subscription', () => {
  it('is refused beyond the most that are allowed', () => {
    const { desk, told } = deskOf([]);
    for (let count = 0; count < limits.subscriptions; count += 1) {
      expect(desk.subscribe(subscriptionOf(`ep_${count}`))).toEqual({ kind: 'created' });
    }
    expect(desk.subscribe(subscriptionOf('ep_more')).kind).toBe('full');
    expect(told).toHaveLength(limits.subscriptions);
  });

  it('that asks for the same as one of the same token is not added', () => {
    const { storage, desk } = deskOf([]);
    const one = { ...subscriptionOf('ep_one'), owner: 'shop' };
    desk.subscribe(one);
    const same = { ...one, endpoint: 'ep_two', events: one.events.toReversed(), createdAt: 2 };
    expect(desk.subscribe(same)).toEqual({ kind: 'known', subscription: one });
    // The first request, sent again under its idempotency key, has the same id.
    expect(desk.subscribe(one)).toEqual({ kind: 'created' });
    expect(storage.hooks.subscriptions()).toHaveLength(1);
    expect(desk.subscribe({ ...same, owner: 'other' }).kind).toBe('created');
    expect(desk.subscribe({ ...same, endpoint: 'ep_three', prefixes: ['a'] }).kind).toBe('created');
  });

  it('is refused beyond the most of one host, also by a move, while other hosts have room', () => {
    const { desk } = deskOf([]);
    const to = (number: number, host: string) => ({
      ...subscriptionOf(`ep_${number}`),
      url: `https://${host}/${number}`,
    });
    for (let number = 0; number < limits.subscriptionsPerHost; number += 1) {
      expect(desk.subscribe(to(number, 'relay.example.com')).kind).toBe('created');
    }
    expect(desk.subscribe(to(100, 'relay.example.com')).kind).toBe('full');
    expect(desk.subscribe(to(100, 'other.example.com')).kind).toBe('created');
    const url = 'https://relay.example.com/moved';
    expect(desk.change('ep_100', { url }).kind).toBe('full');
    expect(desk.change('ep_0', { url }).kind).toBe('changed');
    expect(desk.change('ep_none', { url }).kind).toBe('unknown');
  });

  it('is refused beyond the most of one token', () => {
    const { desk } = deskOf([]);
    const by = (number: number, owner: string) => ({
      ...subscriptionOf(`ep-${number}`),
      owner,
    });
    for (let number = 0; number < limits.subscriptionsPerToken; number += 1) {
      expect(desk.subscribe(by(number, 'shop')).kind).toBe('created');
    }
    expect(desk.subscribe(by(1_000, 'shop')).kind).toBe('full');
    expect(desk.subscribe(by(1_000, 'other')).kind).toBe('created');
  });

  it('that a courier gave up is disabled once, and the others are told once', () => {
    const { storage, desk, told, owedTo } = deskOf([]);
    desk.subscribe(subscriptionOf('ep_one'));
    desk.subscribe(subscriptionOf('ep_two'));
    desk.disable('ep_one', 'it failed for too long', 5);
    desk.disable('ep_one', 'it failed for too long', 6);
    const [one] = storage.hooks.subscriptions();
    expect(one?.disabled).toEqual({ at: 5, reason: 'it failed for too long' });
    expect(owedTo('ep_one')).toEqual([]);
    expect(owedTo('ep_two').map(({ type }) => type)).toEqual(['endpoint.disabled']);
    expect(told.filter((word) => word === 'owed')).toHaveLength(1);
  });
});
