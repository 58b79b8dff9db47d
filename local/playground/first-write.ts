import { problemIn } from '../command-line.ts';
import type { Span } from '../gateway/gateway.ts';
import type { Stack } from '../stack/stack.ts';
import type { RegionStory, WriteStory } from './timeline.ts';

/** The part of an answer to `POST /v1/writes` that is shown. */
interface FirstWriteResponse {
  readonly id: string;
  readonly votes: readonly {
    readonly region: string;
    readonly vote: string;
    readonly ms: number | null;
  }[];
}

/** The first write, as made and as seen. */
export interface FirstWrite {
  readonly kind: 'confirmed';
  readonly id: string;
  readonly key: string;
  readonly value: string;
  readonly story: WriteStory;
}

/** A first write that the API refused, as over data that were there before. */
export interface RefusedWrite {
  readonly kind: 'refused';
  readonly reason: string;
}

/**
 * Makes a real write through the API, waits until it is confirmed, and watches it at the gateways.
 *
 * @param callback who is told of it, too.
 * @returns the write, or the API's own words if it was refused.
 * @throws Error if the API gives no answer.
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
  const told: FirstWriteResponse = JSON.parse(text);
  const regions = stack.regions.map(({ place }, index): RegionStory => {
    const vote = told.votes.find(({ region }) => region === place.id);
    // A coordinator that has just started may still be busy with rounds of its own.
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
    id: told.id,
    key,
    value,
    story: { frame: `SET ${key}`, regions, decidedAtMs, confirmedAtMs },
  };
}

/**
 * The clocks of this process and the Worker's are not compared. A confirmed write ends with a commit in each region, and the
 * first of these leaves at the moment of the decision.
 */
function decisionOf(regions: readonly RegionStory[], confirmedAtMs: number): number {
  const commits = regions.flatMap(({ requests }) => requests.slice(-1));
  return Math.min(confirmedAtMs, ...commits.map(({ fromMs }) => fromMs));
}
