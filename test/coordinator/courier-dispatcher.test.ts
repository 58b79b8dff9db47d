import { describe, expect, vi } from 'vitest';
import { CourierDispatcher } from '../../functions/coordinator/notify/courier-dispatcher.ts';
import { SubscriptionStorage } from '../../functions/coordinator/storage/subscription-storage.ts';
import type { Handover, Subscription } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { it as clockedIt } from './fake-clock.ts';
import { MemoryStorage } from './sqlite.ts';

const signingKey = { id: 'key', privateKey: '{}', publicKey: '{}' };

/** A courier's behaviour on a handover; by default it accepts it. */
type Courier = () => Promise<void>;

const takes: Courier = async () => {};
const fails: Courier = () => Promise.reject(new Error('the object is out of order'));
const hangs: Courier = () => new Promise(() => {});

/** The outbox of a coordinator and its couriers, with the behaviour that a test sets. */
class DispatcherHarness {
  readonly storage = new MemoryStorage();
  readonly couriers = new Map<string, Courier>();
  /** `endpoint event`, in the order in which couriers accepted them. */
  readonly taken: string[] = [];
  /** The pause that couriers ask for, ms. */
  restMs = 0;
  /** The number of events in each call. */
  readonly calls: { readonly endpoint: string; readonly events: number }[] = [];
  /** The time for which each call may wait for the outcome of its events, ms. */
  readonly holds: (number | undefined)[] = [];
  signs: () => Promise<typeof signingKey> = async () => signingKey;
  subscriptions = new SubscriptionStorage(this.storage);
  dispatcher = this.begin();

  /** A new instance of the coordinator, on the stored state. */
  begin(): CourierDispatcher {
    this.subscriptions = new SubscriptionStorage(this.storage);
    this.subscriptions.begin();
    const courierOf = (endpoint: string) => ({
      deliver: async (_: string, { events, holdMs }: Handover) => {
        this.calls.push({ endpoint, events: events.length });
        this.holds.push(holdMs);
        await (this.couriers.get(endpoint) ?? takes)();
        this.taken.push(...events.map(({ id }) => `${endpoint} ${id}`));
        return { restMs: this.restMs };
      },
    });
    this.dispatcher = new CourierDispatcher(this.subscriptions, courierOf, () => this.signs());
    return this.dispatcher;
  }

  queue(endpoint: string, ids: readonly string[], body = '{}'): void {
    const type = 'write.committed';
    this.subscriptions.queueEvents(ids.map((id) => ({ endpoint, id, type, at: 1, body })));
    this.dispatcher.run();
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

const it = clockedIt.extend('harness', () => new DispatcherHarness());

describe('a handover', () => {
  it('brings each endpoint its events in order, in batches, and then leaves the outbox empty', async ({
    harness,
  }) => {
    harness.queue('a', ids(limits.eventsPerHandover + 1));
    harness.queue('b', ids(1));
    await vi.runAllTimersAsync();
    const taken = harness.taken.filter((one) => one.startsWith('a '));
    expect(taken).toEqual(ids(limits.eventsPerHandover + 1).map((id) => `a ${id}`));
    expect(harness.calls).toContainEqual({ endpoint: 'a', events: limits.eventsPerHandover });
    expect(harness.taken).toContain('b e0');
    expect(harness.subscriptions.hasOutbox).toBe(false);
  });

  it('never exceeds the size of a call, even with large events', async ({ harness }) => {
    // A row has less than 2,000,000 bytes, so no single event exceeds the bound.
    harness.queue('a', ids(5), 'x'.repeat(limits.handoverCharacters / 2 - 30_000));
    harness.queue('b', ids(2), 'x'.repeat(10));
    await vi.runAllTimersAsync();
    const sizes = harness.calls.map(({ endpoint, events }) => `${endpoint} ${events}`);
    expect(sizes.toSorted()).toEqual(['a 1', 'a 2', 'a 2', 'b 2']);
    expect(harness.taken).toHaveLength(7);
  });

  it('may wait for the outcome of its events only while a place for another endpoint is free', async ({
    harness,
  }) => {
    const held = ids(limits.couriersAtOnce);
    for (const endpoint of held) {
      harness.couriers.set(endpoint, hangs);
      harness.queue(endpoint, ids(1));
      await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    }
    const { handoverHoldMs } = limits;
    expect(harness.holds).toEqual(
      held.map((_, index) => (index < held.length - 1 ? handoverHoldMs : 0)),
    );
  });

  it('does not wait for the outcome of its events while another endpoint has to', async ({
    harness,
  }) => {
    for (const endpoint of ids(limits.couriersAtOnce + 1)) {
      harness.couriers.set(endpoint, hangs);
      harness.queue(endpoint, ids(1));
    }
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(harness.holds).toEqual(ids(limits.couriersAtOnce).map(() => 0));
  });

  it('serves the others at once while one courier fails, and brings its events later', async ({
    harness,
  }) => {
    harness.couriers.set('broken', fails);
    harness.queue('broken', ids(1));
    harness.queue('well', ids(3 * limits.eventsPerHandover));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(harness.taken).toHaveLength(3 * limits.eventsPerHandover);
    harness.couriers.delete('broken');
    await vi.runAllTimersAsync();
    expect(harness.taken).toContain('broken e0');
    expect(harness.subscriptions.hasOutbox).toBe(false);
  });

  it('serves the others while couriers never answer, and tries these again', async ({
    harness,
  }) => {
    const stuck = ids(limits.couriersAtOnce).map((id) => `stuck-${id}`);
    for (const endpoint of stuck) {
      harness.couriers.set(endpoint, hangs);
      harness.queue(endpoint, ids(1));
    }
    harness.queue('well', ids(1));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs + limits.handoverTimeoutMs);
    expect(harness.taken).toEqual(['well e0']);
    harness.couriers.clear();
    await vi.runAllTimersAsync();
    expect(harness.taken.toSorted()).toEqual([...stuck.map((each) => `${each} e0`), 'well e0']);
  });

  it('pauses all endpoints of a host, for a bounded time, and no other', async ({ harness }) => {
    const targets = { a: 'https://one.example.com/a', b: 'https://one.example.com/b' };
    for (const [endpoint, url] of Object.entries(targets)) {
      harness.subscriptions.keepTarget({ endpoint, url, secret: null, events: [], values: false });
    }
    harness.subscriptions.keepSubscription({
      ...subscriptionOf('c'),
      url: 'https://one.example.com/c',
    });
    harness.subscriptions.keepSubscription({
      ...subscriptionOf('d'),
      url: 'https://two.example.com/',
    });
    expect(harness.dispatcher.restHost('one.example.com', 5_000)).toBe(5_000);
    expect(harness.dispatcher.restHost('one.example.com', 1_000)).toBe(5_000);
    for (const endpoint of ['a', 'b', 'c', 'd']) harness.queue(endpoint, ids(1));
    await vi.advanceTimersByTimeAsync(4_000);
    expect(harness.taken).toEqual(['d e0']);
    await vi.advanceTimersByTimeAsync(1_000 + limits.handoverLingerMs);
    expect(harness.taken.toSorted()).toEqual(['a e0', 'b e0', 'c e0', 'd e0']);
    expect(harness.dispatcher.restHost('one.example.com', 10 * 60_000)).toBe(limits.hostRestMsMost);
  });

  it('skips paused endpoints, regardless of their number, and reaches all others', async ({
    harness,
  }) => {
    const many = Array.from(
      { length: 2 * limits.endpointsPerLook + 10 },
      (_, index) => `r${index}`,
    );
    harness.restMs = 60_000;
    for (const endpoint of many) harness.queue(endpoint, ids(limits.eventsPerHandover + 1));
    await vi.advanceTimersByTimeAsync(20_000);
    // Each got one batch, and pauses with the rest.
    expect(new Set(harness.calls.map(({ endpoint }) => endpoint)).size).toBe(many.length);
    expect(harness.calls).toHaveLength(many.length);
    harness.restMs = 0;
    harness.queue('well', ids(1));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(harness.taken).toContain('well e0');
  });

  it('calls an unreachable courier at growing intervals', async ({ harness }) => {
    harness.couriers.set('broken', fails);
    harness.queue('broken', ids(1));
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    expect(harness.callsOf('broken')).toBeLessThan(30);
    const before = harness.callsOf('broken');
    await vi.advanceTimersByTimeAsync(limits.handoverBackoffMaxMs);
    expect(harness.callsOf('broken')).toBeGreaterThan(before);
  });

  it('survives a signing key that cannot be made at first', async ({ harness }) => {
    harness.signs = () => Promise.reject(new Error('no key'));
    harness.queue('a', ids(1));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    harness.signs = async () => signingKey;
    await vi.runAllTimersAsync();
    expect(harness.taken).toEqual(['a e0']);
  });

  it('brings the events that an instance left in the outbox when it was killed', async ({
    harness,
  }) => {
    harness.couriers.set('a', hangs);
    harness.queue('a', ids(2));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    harness.couriers.clear();
    harness.begin().run();
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(harness.taken).toEqual(['a e0', 'a e1']);
    expect(harness.subscriptions.hasOutbox).toBe(false);
  });
});

describe('an endpoint that is unsubscribed while its events are being handed over', () => {
  it('takes no events of other endpoints with it', async ({ harness }) => {
    const gate = Promise.withResolvers<void>();
    harness.subscriptions.keepSubscription(subscriptionOf('gone'));
    harness.couriers.set('gone', () => gate.promise);
    harness.queue('gone', ids(3));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(harness.subscriptions.dropSubscription('gone')).toBe(true);
    gate.resolve();
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    harness.queue('stays', ids(1));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(harness.taken).toContain('stays e0');
    expect(harness.subscriptions.hasOutbox).toBe(false);
  });

  it('gets no event after the call under way', async ({ harness }) => {
    harness.subscriptions.keepSubscription(subscriptionOf('gone'));
    harness.couriers.set('gone', fails);
    harness.queue('gone', ids(3));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    harness.subscriptions.dropSubscription('gone');
    harness.couriers.clear();
    await vi.runAllTimersAsync();
    expect(harness.taken).toEqual([]);
    expect(harness.subscriptions.hasOutbox).toBe(false);
  });

  it('pauses a courier for as long as it asks, and then brings the accumulated events at once', async ({
    harness,
  }) => {
    harness.restMs = 60_000;
    harness.queue('dead', ids(1));
    await vi.advanceTimersByTimeAsync(limits.handoverLingerMs);
    expect(harness.callsOf('dead')).toBe(1);
    for (const id of ['x', 'y', 'z']) {
      harness.queue('dead', [id]);
      await vi.advanceTimersByTimeAsync(10_000);
    }
    expect(harness.callsOf('dead')).toBe(1);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(harness.callsOf('dead')).toBe(2);
    expect(harness.taken).toEqual(['dead e0', 'dead x', 'dead y', 'dead z']);
  });
});
