/** Opens a stream of published messages in one region. */
import { streamPath } from '../../shared/upstash/streams.ts';
import type { RegionAddress } from './client.ts';

/** The channel or pattern of a subscription. */
export interface RegionSubscription {
  readonly kind: 'subscribe' | 'psubscribe';
  readonly names: readonly string[];
}

/** A region's stream of messages with its first chunk, or the reason why there is none. */
export type RegionStreamResult =
  | {
      readonly kind: 'open';
      readonly first: Uint8Array;
      readonly rest: ReadableStreamDefaultReader<Uint8Array>;
    }
  | { readonly kind: 'silent'; readonly reason: string };

/** The maximum length of a reason, in characters. */
const reasonLength = 300;

/** Subscribes at the endpoint of a region. The stream is open after its first chunk, which must arrive in `timeoutMs`. */
export async function subscribeIn(
  { url, token }: RegionAddress,
  { kind, names }: RegionSubscription,
  timeoutMs: number,
): Promise<RegionStreamResult> {
  const controller = new AbortController();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    controller.abort();
  }, timeoutMs);
  try {
    const response = await fetch(`${url.replace(/\/$/, '')}${streamPath(kind, names)}`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}`, Accept: 'text/event-stream' },
      redirect: 'manual',
      signal: controller.signal,
    });
    const isStream = response.headers.get('content-type')?.includes('text/event-stream') === true;
    if (response.status !== 200 || !isStream || response.body === null) {
      // The body of an error is for people.
      const text = response.status === 200 ? 'no stream' : await response.text();
      controller.abort();
      return silent(`it answered ${response.status}: ${text}`.slice(0, reasonLength));
    }
    const rest: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
    const { done, value } = await rest.read();
    return done ? silent('it ended the stream at once') : { kind: 'open', first: value, rest };
  } catch (error) {
    if (isLate) return silent('no answer in time');
    return silent(`the request failed: ${String(error)}`.slice(0, reasonLength));
  } finally {
    clearTimeout(timer);
  }
}

function silent(reason: string): RegionStreamResult {
  return { kind: 'silent', reason };
}
