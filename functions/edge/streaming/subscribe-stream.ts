/** Streams the messages of a subscription from a region to the client. */
import type { RegionFault } from '../../../shared/contracts/coordinator.ts';
import { EventLines } from '../../../shared/http/sse.ts';
import type { RegionId } from '../../../shared/ids.ts';
import { isShown } from '../../../shared/upstash/streams.ts';
import type { RegionStreamResult, RegionSubscription } from '../../region/subscribe.ts';
import { type Background, type RegionDirectory, statusOf } from '../cache/region-directory.ts';
import type { EdgeDependencies, Location } from '../http/dependencies.ts';
import { byDistance } from '../reads/nearest.ts';
import { beating, type SseChunk } from './sse-stream.ts';
import type { OpenStream } from './stream-limit.ts';

type Open = Extract<RegionStreamResult, { kind: 'open' }>;

/** The result of the search for a region that can stream. */
export type Found =
  | { readonly kind: 'open'; readonly region: RegionId; readonly stream: Open }
  | { readonly kind: 'none'; readonly faults: readonly RegionFault[] };

/** The dependencies of a stream, and the client's location. */
export interface StreamOrigin {
  readonly dependencies: EdgeDependencies;
  readonly directory: RegionDirectory;
  readonly location: Location | null;
  readonly background: Background;
}

/** Subscribes in the nearest voter that answers. Only a voter applies every write, and so publishes every message. */
export async function findStream(
  origin: StreamOrigin,
  subscription: RegionSubscription,
): Promise<Found> {
  const { dependencies, directory, location, background } = origin;
  const known = await directory.current(background, true);
  if (!known.ok) return { kind: 'none', faults: [] };
  const faults: RegionFault[] = [];
  for (const region of byDistance(known.value.regions, location)) {
    if (statusOf(known.value, region.id)?.state !== 'voter') {
      faults.push({ region: region.id, reason: 'it has no vote' });
      continue;
    }
    const stream = await dependencies.subscribe(region, subscription);
    if (stream.kind === 'open') return { kind: 'open', region: region.id, stream };
    faults.push({ region: region.id, reason: stream.reason });
  }
  return { kind: 'none', faults };
}

/**
 * Forwards a region's stream. It ends if the region's stream ends or the region loses its vote: the client then
 * reconnects, to another region.
 */
export function messageStream(
  origin: StreamOrigin,
  subscription: RegionSubscription,
  { region, stream: { first, rest } }: Extract<Found, { kind: 'open' }>,
  open: OpenStream,
): ReadableStream<Uint8Array> {
  const lines = new EventLines((line) => isShown(line, subscription));
  let begun = false;
  const next = async (): Promise<SseChunk> => {
    const { done, value } = begun ? await rest.read() : { done: false, value: first };
    begun = true;
    const text = done || value === undefined ? null : lines.pass(value);
    return text === null ? { kind: 'ended' } : { kind: 'text', text };
  };
  const goesOn = async () => {
    const known = await origin.directory.current(origin.background, true);
    return !known.ok || statusOf(known.value, region)?.state === 'voter';
  };
  // Cancelling fails if the stream has ended already.
  const stop = () => void rest.cancel().catch(() => {});
  return beating({ dependencies: origin.dependencies, open, next, goesOn, stop });
}
