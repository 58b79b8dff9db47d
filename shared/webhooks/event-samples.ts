/** Sample events for testing webhooks. */
import { unreachable } from '../assert.ts';
import type { MemberChange } from '../contracts/members.ts';
import type { EndpointId, EventType, RegionEventType } from '../contracts/webhooks-and-feed.ts';
import type { RegionId } from '../ids.ts';
import type { OutboxWriteEvent } from '../protocol/io/ready.ts';
import { disabledEventText, regionEventText, writeEventText } from './event-text.ts';

/** The details of a sample, so that it resembles the receiver's real events. */
export interface Sample {
  readonly endpoint: EndpointId;
  /** A UUID. */
  readonly id: string;
  /** ms since 1970. */
  readonly at: number;
  readonly regions: readonly RegionId[];
  /** The prefix of its key. */
  readonly prefix: string;
  readonly values: boolean;
}

/**
 * The body of a sample event, made by the code that makes real ones. Its only difference is `data.test`, which is true.
 */
export function sampleEvent(type: EventType, sample: Sample): string {
  const body: { readonly data: object } = JSON.parse(textOf(type, sample));
  return JSON.stringify({ ...body, data: { ...body.data, test: true } });
}

function textOf(type: EventType, sample: Sample): string {
  const { at, endpoint, regions } = sample;
  switch (type) {
    case 'write.committed':
      return writeEventText({ ...writeOf(sample), type });
    case 'write.confirmed':
      return writeEventText({
        ...writeOf(sample),
        type,
        regions: Object.fromEntries(regions.map((region, index) => [region, 40 * (index + 1)])),
      });
    case 'write.aborted': {
      const { write, ...rest } = writeOf(sample);
      const record = { ...write.record, transaction: null, sequence: null, part: '' };
      const aborted = { ...write, record, commands: [] };
      return writeEventText({ ...rest, write: aborted, type, reason: 'a check did not hold' });
    }
    case 'endpoint.disabled':
      return disabledEventText(endpoint, 'Every attempt of the last 5 days has failed.', at);
    case 'region.out':
    case 'region.returned':
    case 'region.diverged':
      return regionEventText({ type, change: changeOf(type, sample) });
    default:
      return unreachable(type);
  }
}

function writeOf({ endpoint, id, at, prefix, values }: Sample): Omit<OutboxWriteEvent, 'type'> {
  const key = `${prefix}test`;
  const record = { id: `0-${id}`, transaction: '0.1.1', sequence: 1, part: '[0,"OK"]' };
  const write = { record, keys: [key], callback: null, commands: [['SET', key, 'value']] };
  return { endpoint, id: `test_${id}`, at, write, values };
}

/** Causes and texts as in real events. */
const changes: Readonly<Record<RegionEventType, Pick<MemberChange, 'event' | 'cause' | 'detail'>>> =
  {
    'region.out': { event: 'out', cause: 'silent', detail: 'it did not answer' },
    'region.returned': { event: 'returned', cause: null, detail: '' },
    'region.diverged': {
      event: 'diverged',
      cause: 'diverged',
      detail: 'its result differs from that of most regions',
    },
  };

function changeOf(type: RegionEventType, { at, regions }: Sample): MemberChange {
  const [region = 'region'] = regions;
  return { sequence: 1, at, epoch: 1, region, ...changes[type] };
}
