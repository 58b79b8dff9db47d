import { jsonText, parsePartOutcome } from '../commands/replies.ts';
import type {
  EndpointId,
  OwedEvent,
  RegionEventBody,
  Subscription,
} from '../contracts/webhooks-and-feed.ts';
import { limits } from '../limits.ts';
import type { OwedRegionEvent, OwedWriteEvent } from '../protocol/io/events.ts';
import { bytesInUtf8 } from '../protocol/transactions/bytes.ts';
import { valuesAmong } from '../reserved-keys.ts';

/**
 * The body of an event about a write (WriteEventBody). It is thin unless values are asked for, and also if all copies of it
 * would be too large to send: a write of some bytes may read and remove a large value, and everybody who asks for values
 * would be sent that. So it is with many keys. Integers beyond 2^53 stay exact.
 */
export function writeEventText(
  event: OwedWriteEvent,
  copies: Copies = { all: 1, withValues: 1 },
): string {
  const { write, type, at, regions, reason, values } = event;
  const { record, keys, commands } = write;
  const { id, transaction, sequence, part } = record;
  const named = valuesAmong(keys);
  const keyText = JSON.stringify(named);
  const areTooMany =
    keyText.length * copies.all > limits.eventKeysTogether ||
    bytesInUtf8(keyText) > limits.eventKeysBytes;
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

/** How many endpoints are sent the same event, and how many of them with values. */
interface Copies {
  readonly all: number;
  readonly withValues: number;
}

/** Events that tell of the same, in the form in which they are kept and sent. The text is made once for all endpoints. */
export function owedEventsOf(events: readonly OwedWriteEvent[]): readonly OwedEvent[] {
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
}: Pick<OwedRegionEvent, 'type' | 'change'>): string {
  const { region, sequence, epoch, cause, detail } = change;
  const timestamp = new Date(change.at).toISOString();
  const body: RegionEventBody = {
    type,
    timestamp,
    data: { region, sequence, epoch, cause, detail },
  };
  return JSON.stringify(body);
}

/** Events about regions in the form in which they are kept and sent. */
export function owedRegionEventsOf(events: readonly OwedRegionEvent[]): readonly OwedEvent[] {
  return events.map((event) => {
    const { endpoint, id, type, change } = event;
    return { endpoint, id, type, at: change.at, body: regionEventText(event) };
  });
}

/** The body of the event that an endpoint was switched off. */
export function disabledEventText(endpoint: EndpointId, reason: string, at: number): string {
  const timestamp = new Date(at).toISOString();
  return JSON.stringify({ type: 'endpoint.disabled', timestamp, data: { endpoint, reason } });
}

/** What the other subscriptions are owed when an endpoint is switched off. Told twice within the hour, it is one event. */
export function disabledEvents(
  subscriptions: readonly Subscription[],
  endpoint: EndpointId,
  reason: string,
  at: number,
): readonly OwedEvent[] {
  const type = 'endpoint.disabled';
  const body = disabledEventText(endpoint, reason, at);
  const id = `${endpoint}.${type}.${Math.floor(at / 3_600_000)}`;
  return subscriptions
    .filter((one) => one.disabled === null && one.events.includes(type))
    .filter((one) => one.endpoint !== endpoint)
    .map((one) => ({ endpoint: one.endpoint, id, type, at, body }));
}
