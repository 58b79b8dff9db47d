import type { RegionId } from '../ids.ts';
import { limits } from '../limits.ts';
import type { WriteRecord } from '../wire/answers.ts';
import type {
  EndpointId,
  EventType,
  OwedEvent,
  Subscription,
  WriteEventBody,
} from '../wire/confirmations.ts';
import type { CommittedWrite } from './events.ts';
import type { Operation, WriteFrame } from './frame.ts';

type WriteEventType = WriteEventBody['type'];

/** What an event tells besides the write itself. */
interface Told {
  readonly type: WriteEventType;
  /** When it happened, ms. */
  readonly at: number;
  readonly regions?: Readonly<Record<RegionId, number | null>>;
  readonly reason?: string;
}

/** Who is owed which event. What is owed is stored together with what it tells of, so that no crash comes between. */
export class Confirmations {
  #subscriptions: readonly Subscription[];

  constructor(subscriptions: readonly Subscription[]) {
    this.#subscriptions = subscriptions;
  }

  replace(subscriptions: readonly Subscription[]): void {
    this.#subscriptions = subscriptions;
  }

  /** The decision about `write` is stored with these events. */
  decided(write: CommittedWrite): readonly OwedEvent[] {
    const at = write.record.decidedAt;
    if (write.record.outcome === 'committed')
      return this.#owed(write, { type: 'write.committed', at });
    const reason = write.record.part.startsWith('[1') ? 'a check did not hold' : 'a command failed';
    return this.#owed(write, { type: 'write.aborted', at, reason });
  }

  /** What has to be kept of a write until it is confirmed: nothing where nobody is to hear of that. */
  keptFor(write: CommittedWrite): readonly CommittedWrite[] {
    const { callback, keys } = write;
    const type = 'write.confirmed';
    const listeners = [
      ...this.#subscriptions.filter((subscription) => wants(subscription, type, keys)),
      ...(callback?.events.includes(type) ? [callback] : []),
    ];
    if (listeners.length === 0) return [];
    if (listeners.some(({ values }) => values)) return [write];
    return [{ ...write, commands: [], record: { ...write.record, part: '' } }];
  }

  /** Every region has applied `write`; `regions` says after how many ms each. */
  confirmed(
    write: CommittedWrite,
    at: number,
    regions: Readonly<Record<RegionId, number | null>>,
  ): readonly OwedEvent[] {
    return this.#owed(write, { type: 'write.confirmed', at, regions });
  }

  /** The frame was given up, and its callers are told so. */
  abandoned({ id, keys, callback }: WriteFrame, at: number, reason: string): readonly OwedEvent[] {
    const record = { id, transaction: null, sequence: null, part: '' };
    return this.#owed(
      { record, keys, callback, commands: [] },
      { type: 'write.aborted', at, reason },
    );
  }

  #owed(write: Teller, told: Told): readonly OwedEvent[] {
    const { callback, keys, record } = write;
    const id = `${record.id}.${told.type}`;
    const { type, at } = told;
    const owed: OwedEvent[] = [];
    if (callback?.events.includes(type)) {
      const body = bodyOf(write, told, callback.values);
      owed.push({ endpoint: callback.endpoint, id, type, at, body });
    }
    for (const subscription of this.#subscriptions) {
      if (!wants(subscription, type, keys)) continue;
      const body = bodyOf(write, told, subscription.values);
      owed.push({ endpoint: subscription.endpoint, id, type, at, body });
    }
    return owed;
  }
}

/** What the other subscriptions are owed when an endpoint is switched off. */
export function disabledEvents(
  subscriptions: readonly Subscription[],
  endpoint: EndpointId,
  reason: string,
  at: number,
): readonly OwedEvent[] {
  const type = 'endpoint.disabled';
  const timestamp = new Date(at).toISOString();
  const body = JSON.stringify({ type, timestamp, data: { endpoint, reason } });
  const id = `${endpoint}.${type}.${at}`;
  return subscriptions
    .filter(
      (one) => one.endpoint !== endpoint && one.disabled === null && one.events.includes(type),
    )
    .map((one) => ({ endpoint: one.endpoint, id, type, at, body }));
}

/** A write as far as an event tells of it. */
type Teller = Omit<CommittedWrite, 'record'> & {
  readonly record: Pick<WriteRecord, 'id' | 'sequence' | 'part'> & {
    readonly transaction: string | null;
  };
};

function wants(
  { disabled, events, prefixes }: Subscription,
  type: EventType,
  keys: readonly string[],
): boolean {
  if (disabled !== null || !events.includes(type)) return false;
  return (
    prefixes.length === 0 || keys.some((key) => prefixes.some((prefix) => key.startsWith(prefix)))
  );
}

/** The payload. It is thin unless values are asked for, and where they are too large to send. */
function bodyOf(write: Teller, { type, at, regions, reason }: Told, values: boolean): string {
  const { id, transaction, sequence, part } = write.record;
  const data = {
    id,
    transaction,
    sequence,
    keys: write.keys,
    ...(regions === undefined ? {} : { regions }),
    ...(reason === undefined ? {} : { reason }),
  };
  const head = JSON.stringify({ type, timestamp: new Date(at).toISOString(), data });
  if (!values || part === '') return head;
  // The replies stay as they are written: integers beyond 2^53 would not survive being parsed.
  const tail = `,"commands":${JSON.stringify(write.commands)},"part":${part}}}`;
  if (head.length + tail.length > limits.eventBytes)
    return `${head.slice(0, -2)},"valuesOmitted":true}}`;
  return head.slice(0, -2) + tail;
}

/** The Redis command that an operation stands for. */
export function commandOf({ kind, args }: Operation): readonly string[] {
  const [key = '', second = '', third = ''] = args;
  if (kind === 'set')
    return third === '' ? ['SET', key, second] : ['SET', key, second, 'PXAT', third];
  if (kind === 'pop') return second === '' ? ['SPOP', key] : ['SPOP', key, second];
  return args;
}
