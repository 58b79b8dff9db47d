import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CourierDispatcher } from '../../functions/coordinator/notify/courier-dispatcher.ts';
import { HookStorage } from '../../functions/coordinator/storage/subscription-storage.ts';
import type { OutboxEvent, Subscription } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { MemoryStorage } from './sqlite.ts';

const signingKey = { id: 'key', privateKey: '{}', publicKey: '{}' };

/** What a courier does with a handover; it takes it over where nothing is said. */
type Courier = () => Promise<void>;

const takes: Courier = async () => {};
const fails: Courier = () => Promise.reject(new Error('the object is out of order'));
const hangs: Courier = () => new Promise(() => {});

/** The outbox of a coordinator and its couriers, which behave as told. */
class World {
  readonly storage = new MemoryStorage();
  readonly couriers = new Map<string, Courier>();
  /** `endpoint event`, as couriers have taken them over. */
  readonly taken: string[] = [];
  /** For how long couriers ask to be left alone. */
  restMs = 0;
  /** How many events each call brought. */
  readonly calls: { readonly endpoint: string; readonly events: number }[] = [];
  signs: () => Promise<typeof signingKey> = async () => signingKey;
  hooks = new HookStorage(this.storage);
  handover = this.begin();

  /** A new life of the coordinator, on what is stored. */
  begin(): CourierDispatcher {
    this.hooks = new HookStorage(this.storage);
    this.hooks.begin();
    const courierOf = (endpoint: string) => ({
      deliver: async (_: string, { events }: { readonly events: readonly OutboxEvent[] }) => {
        this.calls.push({ endpoint, events: events.length });
        await (this.couriers.get(endpoint) ?? takes)();
        this.taken.push(...events.map(({ id }) => `${endpoint} ${id}`));
        return { restMs: this.restMs };
      },
    });
    this.handover = new CourierDispatcher(this.hooks, courierOf, () => this.signs());
    return this.handover;
  }

  owe(endpoint: string, ids: readonly string[], body = '{}'): void {
    const type = 'write.committed';
    this.hooks.queueEvents(ids.map((id) => ({ endpoint, id, type, at: 1, body })));
    this.handover.run();
  }

  callsOf(endpoint: string): number {
    return this.calls.filter((call) => call.endpoint === endpoint).length;
  }
}

function subscriptionOf(endpoint: string): Subscription {
  return {
    endpoint,
    url: 'https://example.com/all',
    events: ['write.committed'],
    prefixes: [],
    values: false,
    description: '',
    owner: null,
    disabled: null,
    createdAt: 1,
  };
}

function ids(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `e${index}`);
}

let world = new World();

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, 'error').mockImplementation(() => {});
  world = new World();
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('a handover', () => {
  it('brings each endpoint its events in order, in batches, and then owes nothing', async () => {
    world.owe('a', ids(limits.eventsPerHandover + 1));
    world.owe('b', ids(1));
    await vi.runAllTimersAsync();
    const taken = world.taken.filter((one) => one.startsWith('a '));
    expect(taken).toEqual(ids(limits.eventsPerHandover + 1).map((id) => `a ${id}`));
    expect(world.calls).toContainEqual({ endpoint: 'a', events: limits.eventsPerHandover });
    expect(world.taken).toContain('b e0');
    expect(world.hooks.hasOutbox).toBe(false);
  });

  it('never passes the size of a call, however large the events are', async () => {
    // A row has less than 2,000,000 bytes, so no single event passes the bound.
    world.owe('a', ids(5), 'x'.repeat(limits.handoverCharacters / 2 - 30_000));
    world.owe('b', ids(2), 'x'.repeat(10));
    await vi.runAllTimersAsync();
    const sizes = world.calls.map(({ endpoint, events }) => `${endpoint} ${events}`);
    expect(sizes.toSorted()).toEqual(['a 1', 'a 2', 'a 2', 'b 2']);
    expect(world.taken).toHaveLength(7);
  });

  it('goes on with the others at once while one courier fails, and brings its events later', async () => {
    world.couriers.set('broken', fails);
    world.owe('broken', ids(1));
    world.owe('well', ids(3 * limits.eventsPerHandover));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(world.taken).toHaveLength(3 * limits.eventsPerHandover);
    world.couriers.delete('broken');
    await vi.runAllTimersAsync();
    expect(world.taken).toContain('broken e0');
    expect(world.hooks.hasOutbox).toBe(false);
  });

  it('goes on with the others while couriers never answer, and tries these again', async () => {
    const stuck = ids(limits.couriersAtOnce).map((id) => `stuck-${id}`);
    for (const endpoint of stuck) {
      world.couriers.set(endpoint, hangs);
      world.owe(endpoint, ids(1));
    }
    world.owe('well', ids(1));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs + limits.handoverTimeoutMs);
    expect(world.taken).toEqual(['well e0']);
    world.couriers.clear();
    await vi.runAllTimersAsync();
    expect(world.taken.toSorted()).toEqual([...stuck.map((each) => `${each} e0`), 'well e0']);
  });

  it('lets all endpoints of a host rest, for a bounded time, and no other', async () => {
    const targets = { a: 'https://one.example.com/a', b: 'https://one.example.com/b' };
    for (const [endpoint, url] of Object.entries(targets)) {
      world.hooks.keepTarget({ endpoint, url, secret: null, events: [], values: false });
    }
    world.hooks.keepSubscription({ ...subscriptionOf('c'), url: 'https://one.example.com/c' });
    world.hooks.keepSubscription({ ...subscriptionOf('d'), url: 'https://two.example.com/' });
    expect(world.handover.restHost('one.example.com', 5_000)).toBe(5_000);
    expect(world.handover.restHost('one.example.com', 1_000)).toBe(5_000);
    for (const endpoint of ['a', 'b', 'c', 'd']) world.owe(endpoint, ids(1));
    await vi.advanceTimersByTimeAsync(4_000);
    expect(world.taken).toEqual(['d e0']);
    await vi.advanceTimersByTimeAsync(1_000 + limits.handoverLingerMs);
    expect(world.taken.toSorted()).toEqual(['a e0', 'b e0', 'c e0', 'd e0']);
    expect(world.handover.restHost('one.example.com', 10 * 60_000)).toBe(limits.hostRestMsMost);
  });

  it('passes by those that rest, however many they are, and comes to all others', async () => {
    const many = Array.from(
      { length: 2 * limits.endpointsPerLook + 10 },
      (_, index) => `r${index}`,
    );
    world.restMs = 60_000;
    for (const endpoint of many) world.owe(endpoint, ids(limits.eventsPerHandover + 1));
    await vi.advanceTimersByTimeAsync(20_000);
    // Each was handed one batch, and rests with what is left.
    expect(new Set(world.calls.map(({ endpoint }) => endpoint)).size).toBe(many.length);
    expect(world.calls).toHaveLength(many.length);
    world.restMs = 0;
    world.owe('well', ids(1));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(world.taken).toContain('well e0');
  });

  it('asks a courier that stays out of reach ever more rarely', async () => {
    world.couriers.set('broken', fails);
    world.owe('broken', ids(1));
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    expect(world.callsOf('broken')).toBeLessThan(30);
    const before = world.callsOf('broken');
    await vi.advanceTimersByTimeAsync(limits.handoverBackoffMaxMs);
    expect(world.callsOf('broken')).toBeGreaterThan(before);
  });

  it('outlives a signing key that cannot be made at first', async () => {
    world.signs = () => Promise.reject(new Error('no key'));
    world.owe('a', ids(1));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    world.signs = async () => signingKey;
    await vi.runAllTimersAsync();
    expect(world.taken).toEqual(['a e0']);
  });

  it('takes up in its next life what a killed one owed', async () => {
    world.couriers.set('a', hangs);
    world.owe('a', ids(2));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    world.couriers.clear();
    world.begin().run();
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(world.taken).toEqual(['a e0', 'a e1']);
    expect(world.hooks.hasOutbox).toBe(false);
  });
});

describe('an endpoint that is unsubscribed while its events are being handed over', () => {
  it('takes nothing with it that others are owed', async () => {
    const gate = Promise.withResolvers<void>();
    world.hooks.keepSubscription(subscriptionOf('gone'));
    world.couriers.set('gone', () => gate.promise);
    world.owe('gone', ids(3));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(world.hooks.dropSubscription('gone')).toBe(true);
    gate.resolve();
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    world.owe('stays', ids(1));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(world.taken).toContain('stays e0');
    expect(world.hooks.hasOutbox).toBe(false);
  });

  it('is handed no more than what was under way', async () => {
    world.hooks.keepSubscription(subscriptionOf('gone'));
    world.couriers.set('gone', fails);
    world.owe('gone', ids(3));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    world.hooks.dropSubscription('gone');
    world.couriers.clear();
    await vi.runAllTimersAsync();
    expect(world.taken).toEqual([]);
    expect(world.hooks.hasOutbox).toBe(false);
  });

  it('leaves a courier alone for as long as it asks, and brings it then what came together', async () => {
    world.restMs = 60_000;
    world.owe('dead', ids(1));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(world.callsOf('dead')).toBe(1);
    for (const id of ['x', 'y', 'z']) {
      world.owe('dead', [id]);
      await vi.advanceTimersByTimeAsync(10_000);
    }
    expect(world.callsOf('dead')).toBe(1);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(world.callsOf('dead')).toBe(2);
    expect(world.taken).toEqual(['dead e0', 'dead x', 'dead y', 'dead z']);
  });
});
