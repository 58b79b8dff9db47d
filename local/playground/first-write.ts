/** Makes a first write, and records its requests to each region. */
import { problemIn } from '../command-line.ts';
import type { Span } from '../gateway/gateway.ts';
import type { Stack } from '../stack/stack.ts';
import type { RegionStory, WriteStory } from './timeline.ts';

/** The part of the response to `POST /v1/writes` that is shown. */
interface FirstWriteResponse {
  readonly id: string;
  readonly votes: readonly {
    readonly region: string;
    readonly vote: string;
    readonly ms: number | null;
  }[];
}

/** The first write, with its timeline. */
export interface FirstWrite {
  readonly kind: 'confirmed';
  readonly id: string;
  readonly key: string;
  readonly value: string;
  readonly story: WriteStory;
}

/** A first write that the API refused, as happens if regions hold earlier data. */
export interface RefusedWrite {
  readonly kind: 'refused';
  readonly reason: string;
}

/**
 * Makes a real write through the API, waits until it is confirmed, and observes it at the gateways.
 *
 * @param callback the receiver of its confirmation.
 *
 * @returns the write, or the API's reason to refuse it.
 *
 * @throws Error if the API does not respond.
 */
export async function writeFirst(
  stack: Stack,
  callback: { readonly url: string; readonly secret: string },
): Promise<FirstWrite | RefusedWrite> {
  const key = 'hello';
  const value = `in every region or in none, ${new Date().toISOString()}`;
  const watches = stack.regions.map(({ gateway }) => {
    const spans: Span[] = [];
    const observer = (span: Span) => spans.push(span);
    gateway.observers.add(observer);
    return { spans, end: () => gateway.observers.delete(observer) };
  });
  const sentAt = performance.now();
  const response = await fetch(`${stack.url}/v1/writes`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${stack.tokens.write}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ ops: [['SET', key, value]], ack: 'confirmed', callback }),
  });
  const text = await response.text();
  const confirmedAtMs = performance.now() - sentAt;
  for (const { end } of watches) end();
  if (response.status !== 200) return { kind: 'refused', reason: problemIn(text) };
  const answer: FirstWriteResponse = JSON.parse(text);
  const regions = stack.regions.map(({ place }, index): RegionStory => {
    const vote = answer.votes.find(({ region }) => region === place.id);
    // A coordinator that has just started may still send rounds of its own.
    const spans = watches[index]?.spans.filter(({ fromMs }) => fromMs >= sentAt) ?? [];
    return {
      region: place.id,
      vote: vote?.vote ?? 'missing',
      voteMs: vote?.ms ?? null,
      requests: spans.map((span) => ({ fromMs: span.fromMs - sentAt, toMs: span.toMs - sentAt })),
    };
  });
  const decidedAtMs = decisionOf(regions, confirmedAtMs);
  return {
    kind: 'confirmed',
    id: answer.id,
    key,
    value,
    story: { frame: `SET ${key}`, regions, decidedAtMs, confirmedAtMs },
  };
}

/**
 * The time of the decision, without comparing the clocks of this process and the Worker: a confirmed write ends with a
 * commit in each region, the first of which is sent at the decision.
 */
function decisionOf(regions: readonly RegionStory[], confirmedAtMs: number): number {
  const commits = regions.flatMap(({ requests }) => requests.slice(-1));
  return Math.min(confirmedAtMs, ...commits.map(({ fromMs }) => fromMs));
}
