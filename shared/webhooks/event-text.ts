/** Writes the bodies of webhook events. */
import { jsonText, parsePartOutcome } from '../commands/replies.ts';
import { utf8Length } from '../contracts/bytes.ts';
import type {
  EndpointId,
  OutboxEvent,
  RegionEventBody,
  Subscription,
} from '../contracts/webhooks-and-feed.ts';
import { limits } from '../limits.ts';
import type { OutboxRegionEvent, OutboxWriteEvent } from '../protocol/io/ready.ts';
import { valuesAmong } from '../reserved-keys.ts';

/**
 * The body of an event about a write (WriteEventBody). Omits values if they were not requested, or if all copies
 * together would be too large: a small write may read and remove a large value, which every receiver with values would
 * get. Omits keys if they are too large. Keeps integers beyond 2^53 exact.
 */
export function writeEventText(
  event: OutboxWriteEvent,
  copies: Copies = { all: 1, withValues: 1 },
): string {
  const { write, type, at, regions, reason, values } = event;
  const { record, keys, commands } = write;
  const { id, transaction, sequence, part } = record;
  const named = valuesAmong(keys);
  const keyText = JSON.stringify(named);
  const areTooMany =
    keyText.length * copies.all > limits.eventKeysTogether ||
    utf8Length(keyText) > limits.eventKeysBytes;
  const data = {
    id,
    transaction,
    sequence,
    ...(areTooMany ? { keys: [], keysOmitted: true } : { keys: named }),
    ...(regions === undefined ? {} : { regions }),
    ...(reason === undefined ? {} : { reason }),
  };
  const timestamp = new Date(at).toISOString();
  const thin = JSON.stringify({ type, timestamp, data });
  const outcome = values && part !== '' ? parsePartOutcome(part) : null;
  if (outcome?.kind !== 'done') return thin;
  const whole = jsonText({
    type,
    timestamp,
    data: { ...data, commands, results: outcome.results },
  });
  const isWithin =
    whole.length <= limits.eventBytes &&
    whole.length * copies.withValues <= limits.eventBytesTogether;
  if (isWithin) return whole;
  return JSON.stringify({ type, timestamp, data: { ...data, valuesOmitted: true } });
}

/** The number of endpoints that get the same event, and how many of them with values. */
interface Copies {
  readonly all: number;
  readonly withValues: number;
}

/** The events of one write as they are stored and sent. The body is made once for all endpoints. */
export function outboxEventsOf(events: readonly OutboxWriteEvent[]): readonly OutboxEvent[] {
  const texts = new Map<boolean, string>();
  const withValues = events.filter(({ values }) => values).length;
  const copies = { all: events.length, withValues };
  return events.map((event) => {
    const { endpoint, id, type, at, values } = event;
    const body = texts.get(values) ?? writeEventText(event, copies);
    texts.set(values, body);
    return { endpoint, id, type, at, body };
  });
}

/** The body of an event about a region. */
export function regionEventText({
  type,
  change,
}: Pick<OutboxRegionEvent, 'type' | 'change'>): string {
  const { region, sequence, epoch, cause, detail } = change;
  const timestamp = new Date(change.at).toISOString();
  const body: RegionEventBody = {
    type,
    timestamp,
    data: { region, sequence, epoch, cause, detail },
  };
  return JSON.stringify(body);
}

/** Events about regions as they are stored and sent. */
export function outboxRegionEventsOf(events: readonly OutboxRegionEvent[]): readonly OutboxEvent[] {
  return events.map((event) => {
    const { endpoint, id, type, change } = event;
    return { endpoint, id, type, at: change.at, body: regionEventText(event) };
  });
}

/** The body of the event `endpoint.disabled`. */
export function disabledEventText(endpoint: EndpointId, reason: string, at: number): string {
  const timestamp = new Date(at).toISOString();
  return JSON.stringify({ type: 'endpoint.disabled', timestamp, data: { endpoint, reason } });
}

/**
 * The events for other subscriptions that an endpoint was disabled. A repeated report within the hour has the same id.
 */
export function disabledEvents(
  subscriptions: readonly Subscription[],
  endpoint: EndpointId,
  reason: string,
  at: number,
): readonly OutboxEvent[] {
  const type = 'endpoint.disabled';
  const body = disabledEventText(endpoint, reason, at);
  const id = `${endpoint}.${type}.${Math.floor(at / 3_600_000)}`;
  return subscriptions
    .filter((one) => one.disabled === null && one.events.includes(type))
    .filter((one) => one.endpoint !== endpoint)
    .map((one) => ({ endpoint: one.endpoint, id, type, at, body }));
}
