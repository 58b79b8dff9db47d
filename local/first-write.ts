import type { Span } from './gateway.ts';
import type { Stack } from './stack.ts';
import type { RegionStory, WriteStory } from './timeline.ts';

/** The part of an answer to `POST /v1/writes` that is shown. */
interface Told {
  readonly outcome: string;
  readonly ms: number;
  readonly votes: readonly {
    readonly region: string;
    readonly vote: string;
    readonly ms: number | null;
  }[];
}

/** The first write, as made and as seen. */
export interface FirstWrite {
  readonly key: string;
  readonly value: string;
  readonly story: WriteStory;
}

/**
 * Makes a real write through the API, waits until it is confirmed, and watches it at the gateways.
 *
 * @throws Error with the API's own words where it is not committed.
 */
export async function writeFirst(stack: Stack): Promise<FirstWrite> {
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
    body: JSON.stringify({ ops: [['SET', key, value]], ack: 'confirmed' }),
  });
  const text = await response.text();
  const confirmedAtMs = performance.now() - sentAt;
  for (const { end } of watches) end();
  if (response.status !== 200) throw new Error(`The first write failed: ${text}`);
  const told: Told = JSON.parse(text);
  const regions = stack.regions.map(({ place }, index): RegionStory => {
    const vote = told.votes.find(({ region }) => region === place.id);
    const spans = watches[index]?.spans ?? [];
    return {
      region: place.id,
      vote: vote?.vote ?? 'missing',
      voteMs: vote?.ms ?? null,
      requests: spans.map((span) => ({ fromMs: span.fromMs - sentAt, toMs: span.toMs - sentAt })),
    };
  });
  return {
    key,
    value,
    story: { frame: `SET ${key}`, regions, ...milestones(regions, told, confirmedAtMs) },
  };
}

/**
 * The coordinator says how long it took from the frame's arrival there. The way to it is what passed before the first
 * round left; it is long only where the object has just been created.
 */
function milestones(
  regions: readonly RegionStory[],
  told: Told,
  confirmedAtMs: number,
): Pick<WriteStory, 'decidedAtMs' | 'confirmedAtMs'> {
  const firstRequestMs = Math.min(
    ...regions.flatMap(({ requests }) => requests.map(({ fromMs }) => fromMs)),
  );
  const decidedAtMs = Math.min(firstRequestMs + told.ms, confirmedAtMs);
  return { decidedAtMs, confirmedAtMs };
}
