import { describe, expect, it } from 'vitest';
import type { MemberEvent } from '../../shared/contracts/members.ts';
import {
  type Callback,
  eventTypes,
  type Subscription,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import type { OutboxWriteEvent } from '../../shared/protocol/io/ready.ts';
import type { CommittedWrite } from '../../shared/protocol/io/stored.ts';
import { commandOf, EventRouter } from '../../shared/protocol/transactions/event-router.ts';
import {
  disabledEvents,
  outboxEventsOf,
  writeEventText,
} from '../../shared/webhooks/event-text.ts';
import { partOfJson } from '../region/replies.ts';
import { frameOf } from './core-harness.ts';

const callback: Callback = {
  endpoint: 'cb_one',
  url: 'https://example.com/hook',
  secret: null,
  events: ['write.confirmed'],
  values: false,
};

/** The body of an event, as its receiver reads it. */
function bodyOf(event: OutboxWriteEvent | undefined) {
  return JSON.parse(event === undefined ? '{}' : writeEventText(event));
}

function subscriptionOf(given: Partial<Subscription> = {}): Subscription {
  return {
    endpoint: 'ep_one',
    url: 'https://example.com/all',
    events: ['write.committed', 'write.confirmed', 'write.aborted', 'endpoint.disabled'],
    prefixes: [],
    values: false,
    description: '',
    owner: null,
    disabled: null,
    createdAt: 1,
    ...given,
  };
}

function writeOf(
  given: Partial<CommittedWrite> = {},
  json = '[0,9007199254740993]',
): CommittedWrite {
  const isDone = json.startsWith('[0');
  const record = {
    id: '0-a',
    outcome: isDone ? ('committed' as const) : ('rejected' as const),
    transaction: '0.1.2',
    sequence: isDone ? 7 : null,
    part: partOfJson(json),
    votes: [],
    decidedAt: 1_000,
    attempts: 1,
    appliedIn: [],
    ms: 3,
  };
  return { record, keys: ['stock:1'], commands: [['INCR', 'stock:1']], callback: null, ...given };
}

describe('an event in the outbox', () => {
  it('goes to the callback for the events that it names, under an id that does not change', () => {
    const confirmations = new EventRouter([]);
    const write = writeOf({ callback });
    expect(confirmations.decided(write)).toEqual([]);
    const events = confirmations.confirmed(write, 1_200, { near: 20, far: null });
    expect(events).toEqual(confirmations.confirmed(write, 1_200, { near: 20, far: null }));
    expect(events).toMatchObject([{ endpoint: 'cb_one', id: '0-a.write.confirmed', at: 1_200 }]);
    expect(bodyOf(events[0])).toEqual({
      type: 'write.confirmed',
      timestamp: '1970-01-01T00:00:01.200Z',
      data: {
        id: '0-a',
        transaction: '0.1.2',
        sequence: 7,
        keys: ['stock:1'],
        regions: { near: 20, far: null },
      },
    });
  });

  it('goes to each enabled subscription whose prefix matches a key', () => {
    const disabled = { at: 1, reason: 'it failed' };
    const confirmations = new EventRouter([
      subscriptionOf({ endpoint: 'all' }),
      subscriptionOf({ endpoint: 'stock', prefixes: ['order:', 'stock:'] }),
      subscriptionOf({ endpoint: 'orders', prefixes: ['order:'] }),
      subscriptionOf({ endpoint: 'off', disabled }),
      subscriptionOf({ endpoint: 'aborts', events: ['write.aborted'] }),
    ]);
    const endpoints = confirmations.decided(writeOf()).map(({ endpoint }) => endpoint);
    expect(endpoints).toEqual(['all', 'stock']);
  });

  it('says why a write was aborted, whether voted down or given up', () => {
    const confirmations = new EventRouter([subscriptionOf()]);
    const reasons = [
      ...confirmations.decided(writeOf({}, '[1,0,null]')),
      ...confirmations.decided(writeOf({}, '[2,0,"WRONGTYPE"]')),
      ...confirmations.abandoned(frameOf(['a']), 5, 'a region is away'),
    ].map((event) => [event.type, bodyOf(event).data.reason]);
    expect(reasons).toEqual([
      ['write.aborted', 'a check did not hold'],
      ['write.aborted', 'a command failed'],
      ['write.aborted', 'a region is away'],
    ]);
  });

  it('carries commands and exact replies if values are requested, and neither otherwise', () => {
    const confirmations = new EventRouter([
      subscriptionOf({ endpoint: 'thin' }),
      subscriptionOf({ endpoint: 'whole', values: true }),
    ]);
    const [thin, whole] = confirmations.decided(writeOf());
    expect(JSON.stringify(bodyOf(thin))).not.toContain('INCR');
    expect(whole === undefined ? '' : writeEventText(whole)).toContain(
      '"commands":[["INCR","stock:1"]],"results":["9007199254740993"]}}',
    );
  });

  it('omits values that are too large to send, and says so', () => {
    const confirmations = new EventRouter([subscriptionOf({ values: true })]);
    const commands = [['SET', 'stock:1', 'x'.repeat(limits.eventBytes)]];
    const [event] = confirmations.decided(writeOf({ commands }));
    expect(bodyOf(event).data).toMatchObject({ id: '0-a', valuesOmitted: true });
  });

  it('omits values and keys that are too large to send to all, and says so', () => {
    const many = Array.from({ length: 30 }, (_, index) =>
      subscriptionOf({ endpoint: `ep_${index}`, values: true }),
    );
    const commands = [['SET', 'stock:1', 'x'.repeat(limits.eventBytesTogether / 25)]];
    const bodies = (count: number, write: CommittedWrite) =>
      outboxEventsOf(new EventRouter(many.slice(0, count)).decided(write)).map(({ body }) => body);
    expect(bodies(20, writeOf({ commands })).join('')).toContain('xxx');
    const bounded = bodies(30, writeOf({ commands }));
    expect(bounded).toHaveLength(30);
    expect(JSON.parse(bounded[0] ?? '').data).toMatchObject({ valuesOmitted: true });
    const keys = ['stock:1', `stock:${'k'.repeat(limits.eventKeysTogether / 25)}`];
    expect(JSON.parse(bodies(1, writeOf({ keys }))[0] ?? '').data.keys).toEqual(keys);
    const omitted = JSON.parse(bodies(30, writeOf({ keys }))[0] ?? '').data;
    expect(omitted).toMatchObject({ keys: [], keysOmitted: true });
  });

  it('omits keys whose text exceeds a row, regardless of their characters', () => {
    const bodyWith = (key: string) => {
      const confirmations = new EventRouter([subscriptionOf({})]);
      const write = writeOf({ keys: ['stock:1', `stock:${key}`] });
      return outboxEventsOf(confirmations.decided(write))[0]?.body ?? '';
    };
    // A control character has six bytes there.
    for (const key of ['漢'.repeat(limits.rowBytes / 3), '\u0001'.repeat(limits.rowBytes / 6)]) {
      expect(JSON.parse(bodyWith(key)).data).toMatchObject({ keys: [], keysOmitted: true });
      const whole = bodyWith(key.slice(0, key.length * 0.9));
      expect(JSON.parse(whole).data.keys).toHaveLength(2);
      expect(Buffer.byteLength(whole)).toBeLessThan(limits.rowBytes);
    }
  });

  it('is kept for a confirmation only if an endpoint subscribes to it, with values if they are requested', () => {
    const nobody = new EventRouter([subscriptionOf({ events: ['write.aborted'] })]);
    expect(nobody.keptFor(writeOf())).toEqual([]);
    const thin = nobody.keptFor(writeOf({ callback }))[0];
    expect(thin).toMatchObject({ commands: [], record: { part: '' } });
    const whole = writeOf({ callback: { ...callback, values: true } });
    expect(nobody.keptFor(whole)).toEqual([whole]);
  });
});

describe('the end of an endpoint', () => {
  it('is sent to the other subscriptions that ask for it', () => {
    const subscriptions = [
      subscriptionOf({ endpoint: 'gone' }),
      subscriptionOf({ endpoint: 'other' }),
      subscriptionOf({ endpoint: 'deaf', events: ['write.committed'] }),
    ];
    const events = disabledEvents(subscriptions, 'gone', '410 Gone', 9);
    expect(events.map(({ endpoint }) => endpoint)).toEqual(['other']);
    expect(JSON.parse(events[0]?.body ?? '').data).toEqual({
      endpoint: 'gone',
      reason: '410 Gone',
    });
  });
});

const memberEvents: Readonly<Record<MemberEvent, true>> = {
  added: true,
  leaving: true,
  stayed: true,
  out: true,
  copying: true,
  returned: true,
  removed: true,
  believed: true,
  founded: true,
  diverged: true,
};

describe('every type of event', () => {
  it('is sent for a change of a write, a member or an endpoint', () => {
    const subscriptions = [subscriptionOf({ events: eventTypes })];
    const router = new EventRouter(subscriptions);
    const change = { sequence: 1, at: 1, epoch: 1, region: 'near', cause: null, detail: '' };
    const events: readonly { readonly type: string }[] = [
      ...router.decided(writeOf()),
      ...router.confirmed(writeOf(), 1, {}),
      ...router.abandoned(frameOf(['k']), 1, 'it was late'),
      ...disabledEvents(subscriptions, 'gone', '410 Gone', 1),
      ...(Object.keys(memberEvents) as MemberEvent[]).flatMap((event) =>
        router.ofMember({ ...change, event }, 0),
      ),
    ];
    expect(new Set(events.map(({ type }) => type))).toEqual(new Set(eventTypes));
  });

  it('about a region has an id of its own in each shard', () => {
    const router = new EventRouter([subscriptionOf({ events: ['region.out'] })]);
    const change = { sequence: 7, at: 1, epoch: 1, region: 'near', cause: null, detail: '' };
    const idOf = (shard: number) => router.ofMember({ ...change, event: 'out' }, shard)[0]?.id;
    expect([0, 1, 2].map(idOf)).toEqual([
      'near.region.out.7',
      '1.near.region.out.7',
      '2.near.region.out.7',
    ]);
  });
});

describe('the command of an operation', () => {
  const none = { writes: [0], reads: [], reply: null, seed: null } as const;

  it.each([
    ['set', ['k', 'v', ''], ['SET', 'k', 'v']],
    ['set', ['k', 'v', '99'], ['SET', 'k', 'v', 'PXAT', '99']],
    ['pop', ['k', ''], ['SPOP', 'k']],
    ['pop', ['k', '2'], ['SPOP', 'k', '2']],
    ['write', ['INCR', 'k'], ['INCR', 'k']],
  ] as const)('of kind %s with %j is %j', (kind, args, command) => {
    expect(commandOf({ kind, args, ...none })).toEqual(command);
  });
});
