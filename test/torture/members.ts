/** Reads the states of the regions, and the changes of them, during a torture run. */
import { z } from 'zod';
import type { StackTokens } from '../../local/stack/stack.ts';
import type { RegionSpan } from './history.ts';

const membersSchema = z.object({
  regions: z.array(z.object({ id: z.string(), state: z.string(), cause: z.string().nullable() })),
});

const pageSchema = z.object({
  changes: z.array(
    z.object({
      at: z.string(),
      member: z
        .object({ region: z.string(), event: z.string(), cause: z.string().nullable() })
        .optional(),
    }),
  ),
  next: z.number(),
  newest: z.number(),
});

/** The time after which a question is given up, in ms. */
const patienceMs = 5_000;

async function ask(url: string, token: string): Promise<unknown> {
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(patienceMs),
  });
  return JSON.parse(await response.text());
}

/** The regions that do not vote, or are to leave, with their states; null if nobody answers. */
export async function regionsNotVoting(
  url: string,
  tokens: StackTokens,
): Promise<readonly string[] | null> {
  try {
    const { regions } = membersSchema.parse(await ask(`${url}/v1/admin/regions`, tokens.admin));
    const absent = regions.filter(({ state, cause }) => state !== 'voter' || cause !== null);
    return absent.map(({ id, state, cause }) => `${id} is ${state} (${cause})`);
  } catch {
    return null;
  }
}

/** The sequence of the newest change; null if nobody answers. */
export async function newestSequence(url: string, tokens: StackTokens): Promise<number | null> {
  try {
    return pageSchema.parse(await ask(`${url}/v1/changes?limit=1`, tokens.read)).newest;
  } catch {
    return null;
  }
}

/** Clocks of processes may differ by a little. */
const marginMs = 1_000;

/** The changes of members that the checker needs. */
export interface SeenMembers {
  /** The times in which regions were copied. A copy that fails ends with the next one. */
  readonly copies: readonly RegionSpan[];
  /** Regions whose results differed from those of the others, which no fault explains. */
  readonly divergences: readonly string[];
}

/** Reads all changes of members. */
export async function membersSeen(url: string, tokens: StackTokens): Promise<SeenMembers> {
  const divergences: string[] = [];
  const begun = new Map<string, number>();
  const spans: RegionSpan[] = [];
  for (let next = 0; ; ) {
    // A prefix that no write has leaves the changes of members alone.
    const query = `since=${next}&members=true&prefix=no-such-key&limit=1000`;
    const page = pageSchema.parse(await ask(`${url}/v1/changes?${query}`, tokens.read));
    for (const { at, member } of page.changes) {
      if (member === undefined) continue;
      const time = Date.parse(at);
      const { region, event, cause } = member;
      if (cause === 'diverged' || event === 'diverged') {
        divergences.push(`${region} diverged (${event}) at ${at}`);
      }
      if (event === 'copying' && !begun.has(region)) begun.set(region, time - marginMs);
      const from = begun.get(region);
      if (event !== 'returned' || from === undefined) continue;
      spans.push({ region, from, to: time + marginMs });
      begun.delete(region);
    }
    if (page.next >= page.newest) break;
    next = page.next;
  }
  for (const [region, from] of begun) spans.push({ region, from, to: Number.POSITIVE_INFINITY });
  return { copies: spans, divergences };
}
