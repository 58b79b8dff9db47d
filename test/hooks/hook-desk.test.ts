import { describe, expect, it } from 'vitest';
import { HookDesk } from '../../functions/coordinator/hook-desk.ts';
import { limits } from '../../shared/limits.ts';
import type { Subscription } from '../../shared/wire/confirmations.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, change, commit, confirm } from './stored.ts';

function subscriptionOf(endpoint: string): Subscription {
  return {
    endpoint,
    url: 'https://example.com/all',
    events: ['write.committed', 'write.confirmed', 'region.out', 'endpoint.disabled'],
    prefixes: [],
    values: false,
    description: '',
    disabled: null,
    createdAt: 1,
  };
}

/** A desk with its storage, and what it has told its coordinator. */
function deskOf(voters: readonly string[]) {
  const { storage } = begun(new MemoryStorage());
  const told: string[] = [];
  const desk = new HookDesk(storage.hooks, storage.changes, {
    voters: () => voters,
    resubscribe: () => told.push('resubscribe'),
    owed: () => told.push('owed'),
    newSigningKey: async () => ({ id: 'key', privateKey: '{}', publicKey: '{}' }),
  });
  const owedTo = (endpoint: string) => storage.hooks.owedTo(endpoint, 100).events;
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
      expect(desk.subscribe(subscriptionOf(`ep_${count}`))).toBe('created');
    }
    expect(desk.subscribe(subscriptionOf('ep_more'))).toBe('full');
    expect(told).toHaveLength(limits.subscriptions);
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
