import type { Operation, WriteFrame } from '../../contracts/frame.ts';
import type { MemberChange, MemberEvent } from '../../contracts/members.ts';
import { outcomeKindOf } from '../../contracts/outcome.ts';
import type {
  Callback,
  EventType,
  RegionEventType,
  Subscription,
} from '../../contracts/webhooks-and-feed.ts';
import type { RegionId, ShardId } from '../../ids.ts';
import { concerns, withoutChannels } from '../../reserved-keys.ts';
import type { EventSubject, OutboxRegionEvent, OutboxWriteEvent } from '../io/ready.ts';
import type { CommittedWrite } from '../io/stored.ts';

/** The fields of an event besides the write itself. */
type EventFields = Pick<OutboxWriteEvent, 'type' | 'at' | 'regions' | 'reason'>;

/** The changes of members that are events. */
const regionEvents: Readonly<Record<MemberEvent, RegionEventType | null>> = {
  added: null,
  leaving: null,
  stayed: null,
  out: 'region.out',
  copying: null,
  returned: 'region.returned',
  removed: null,
  believed: 'region.returned',
  founded: null,
  diverged: 'region.diverged',
};

/** Decides which endpoint gets which event. An event is stored together with the change that it reports (rule R28). */
export class EventRouter {
  #subscriptions: readonly Subscription[];

  constructor(subscriptions: readonly Subscription[]) {
    this.#subscriptions = subscriptions;
  }

  /** The standing subscriptions have changed. */
  replace(subscriptions: readonly Subscription[]): void {
    this.#subscriptions = subscriptions;
  }

  /** The events about the decision on `write`; the caller stores them with it. */
  decided(write: CommittedWrite): readonly OutboxWriteEvent[] {
    const { decidedAt: at, outcome, part } = write.record;
    if (outcome === 'committed') return this.#eventsFor(write, { type: 'write.committed', at });
    const isCheck = outcomeKindOf(part) === 'check-failed';
    const reason = isCheck ? 'a check did not hold' : 'a command failed';
    return this.#eventsFor(write, { type: 'write.aborted', at, reason });
  }

  /** The data of a write to keep until it is confirmed: none if no endpoint gets that event. */
  keptFor(write: CommittedWrite): readonly CommittedWrite[] {
    const listeners = this.#listeners(write, 'write.confirmed');
    if (listeners.length === 0) return [];
    if (listeners.some(({ values }) => values)) return [write];
    return [{ ...write, commands: [], record: { ...write.record, part: '' } }];
  }

  /** Every region has applied `write`; `regions` has the ms after which each did. */
  confirmed(
    write: CommittedWrite,
    at: number,
    regions: Readonly<Record<RegionId, number | null>>,
  ): readonly OutboxWriteEvent[] {
    return this.#eventsFor(write, { type: 'write.confirmed', at, regions });
  }

  /** The frame was given up, and its callers are answered so. */
  abandoned(
    { id, keys, callback }: WriteFrame,
    at: number,
    reason: string,
  ): readonly OutboxWriteEvent[] {
    const record = { id, transaction: null, sequence: null, part: '' };
    const write = { record, keys: withoutChannels(keys), callback, commands: [] };
    return this.#eventsFor(write, { type: 'write.aborted', at, reason });
  }

  /** The events about a change of members of `shard`; the caller stores them with it. */
  ofMember(change: MemberChange, shard: ShardId): readonly OutboxRegionEvent[] {
    const type = regionEvents[change.event];
    if (type === null) return [];
    const name = `${change.region}.${type}.${change.sequence}`;
    // Sequences are those of a shard, and a courier takes an id once. The ids of shard 0 had no number before.
    const id = shard === 0 ? name : `${shard}.${name}`;
    return this.#subscriptions
      .filter(({ disabled, events }) => disabled === null && events.includes(type))
      .map(({ endpoint }) => ({ endpoint, id, type, change }));
  }

  #eventsFor(write: EventSubject, told: EventFields): readonly OutboxWriteEvent[] {
    const id = `${write.record.id}.${told.type}`;
    return this.#listeners(write, told.type).map(({ endpoint, values }) => ({
      endpoint,
      id,
      write,
      values,
      ...told,
    }));
  }

  #listeners(
    { keys, callback }: EventSubject,
    type: EventType,
  ): readonly (Callback | Subscription)[] {
    const subscriptions = this.#subscriptions.filter((one) => wants(one, type, keys));
    return callback?.events.includes(type) ? [callback, ...subscriptions] : subscriptions;
  }
}

function wants(
  { disabled, events, prefixes }: Subscription,
  type: EventType,
  keys: readonly string[],
): boolean {
  return disabled === null && events.includes(type) && concerns(keys, prefixes);
}

/** The Redis command of an operation. A script is named by its digest. */
export function commandOf({ kind, args, writes }: Operation): readonly string[] {
  const [key = '', second = '', third = ''] = args;
  switch (kind) {
    case 'set':
      return third === '' ? ['SET', key, second] : ['SET', key, second, 'PXAT', third];
    case 'pop':
      return second === '' ? ['SPOP', key] : ['SPOP', key, second];
    case 'script':
      return ['EVALSHA', key, String(writes.length), ...args.slice(2)];
    case 'publish':
      return ['PUBLISH', second, third];
    case 'flush':
      return ['FLUSHALL'];
    default:
      return args;
  }
}
