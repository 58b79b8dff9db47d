/**
 * Compares the yes votes of all voters on a transaction: the regions agree, or hold different data (PROTOCOL.md,
 * Agreement).
 */

import type { Bytes } from '../../contracts/bytes.ts';
import type { RegionId } from '../../ids.ts';
import { everyKey } from '../../reserved-keys.ts';

/** A yes vote with the region that gave it. */
export interface YesVote {
  readonly region: RegionId;
  /** One per part (PartOutcomeTag). */
  readonly outcomes: readonly Bytes[];
  readonly fingerprints: readonly string[];
}

/** The result of comparing the yes votes of all voters. */
export type Agreement =
  | { readonly kind: 'agreed'; readonly parts: readonly Bytes[] }
  /** A region saw a key expire that another still holds: nothing is decided before `retryAt`, ms. */
  | { readonly kind: 'expiring'; readonly retryAt: number }
  /** The regions hold different data. `parts` are the positions of the parts that show it. */
  | {
      readonly kind: 'diverged';
      readonly parts: readonly number[];
      /** The positions of the keys that show it. */
      readonly keys: readonly number[];
      /** The regions that differ from the majority; empty if there is no majority. */
      readonly minority: readonly RegionId[];
      readonly detail: string;
    };

type PartsOfKey = (position: number) => readonly number[];

/**
 * Compares the votes of all voters. `partsOfKey` gives the positions of the parts that touch the key at a position,
 * `keys` the keys themselves. By no region's clock can it be later than `latest` (ms): a key whose expiry lies after it
 * has not expired anywhere.
 *
 * A part ends at its first failed check, so a region that saw a key expire may not have looked at the keys that come
 * after it. That is why expiries are compared before results, and a base that a region did not look at comes last.
 */
export function agreementOf(
  votes: readonly YesVote[],
  keys: readonly string[],
  partsOfKey: PartsOfKey,
  latest = Number.POSITIVE_INFINITY,
): Agreement {
  const [first] = votes;
  if (first === undefined) return { kind: 'agreed', parts: [] };
  return (
    compareBases(votes, keys, partsOfKey, latest) ??
    compareOutcomes(votes, first, keys, partsOfKey) ??
    compareAttention(votes, keys, partsOfKey) ??
    compareEffects(votes, first, keys) ?? {
      kind: 'agreed',
      parts: first.outcomes,
    }
  );
}

/** The bases that mattered: alike in every region that looked, or an expiry that only some have seen. */
function compareBases(
  votes: readonly YesVote[],
  keys: readonly string[],
  partsOfKey: PartsOfKey,
  latest: number,
): Agreement | null {
  let retryAt = 0;
  for (let position = 0; position < keys.length; position++) {
    const seen = fingerprintsAt(votes, position);
    seen.delete('');
    if (seen.size <= 1) continue;
    if (keys[position] === everyKey) {
      retryAt = Math.max(retryAt, ...[...seen].map(latestOf));
      continue;
    }
    const expiries = [...seen].filter((fingerprint) => fingerprint !== 'absent').map(Number);
    const expiry = expiries.length === 1 ? expiries[0] : undefined;
    const isExpiry = expiry !== undefined && Number.isSafeInteger(expiry) && expiry <= latest;
    if (!seen.has('absent') || !isExpiry) {
      return divergedAt(position, votes, keys, partsOfKey);
    }
    retryAt = Math.max(retryAt, expiry + 1);
  }
  return retryAt > 0 ? { kind: 'expiring', retryAt } : null;
}

/**
 * A script that looks at all keys has in its fingerprint those that expire soon: the latest of them, their number, and
 * a sum of their expiries. If regions differ in it, some have seen keys expire, which does not mean that their data
 * differ.
 */
function latestOf(fingerprint: string): number {
  return fingerprint === 'absent' ? 0 : Number(fingerprint.split('.', 1)[0]) + 1;
}

function compareOutcomes(
  votes: readonly YesVote[],
  first: YesVote,
  keys: readonly string[],
  partsOfKey: PartsOfKey,
): Agreement | null {
  const dissenting = votes.filter((vote) => sayingOf(vote) !== sayingOf(first));
  if (dissenting.length === 0) return null;
  const different = new Set<number>();
  for (const { outcomes } of dissenting) {
    first.outcomes.forEach((text, position) => {
      if (outcomes[position] !== text) different.add(position);
    });
  }
  const regions = [first, ...dissenting].map((vote) => vote.region).join(', ');
  return {
    kind: 'diverged',
    parts: [...different],
    keys: keys.flatMap((_, position) =>
      partsOfKey(position).some((part) => different.has(part)) ? [position] : [],
    ),
    minority: minorityOf(votes, sayingOf),
    detail: `the regions ${regions} computed different results for the same operations`,
  };
}

/** With the same results, a base that mattered to one region mattered to all. */
function compareAttention(
  votes: readonly YesVote[],
  keys: readonly string[],
  partsOfKey: PartsOfKey,
): Agreement | null {
  const position = keys.findIndex((_, at) => fingerprintsAt(votes, at).size > 1);
  return position < 0 ? null : divergedAt(position, votes, keys, partsOfKey);
}

/**
 * Compares the writes of scripts, which their results need not show. Their digest follows the fingerprints of the keys.
 */
function compareEffects(
  votes: readonly YesVote[],
  first: YesVote,
  keys: readonly string[],
): Agreement | null {
  const written = (vote: YesVote) => vote.fingerprints[keys.length] ?? '';
  if (votes.every((vote) => written(vote) === written(first))) return null;
  return {
    kind: 'diverged',
    parts: first.outcomes.map((_, part) => part),
    keys: keys.map((_, position) => position),
    minority: minorityOf(votes, written),
    detail: 'a script wrote other values in some regions, with the same results',
  };
}

/** All outcomes as one text: each contains its own length. */
function sayingOf({ outcomes }: YesVote): Bytes {
  return outcomes.join('');
}

function fingerprintsAt(votes: readonly YesVote[], position: number): Set<string> {
  return new Set(votes.map((vote) => vote.fingerprints[position] ?? ''));
}

function divergedAt(
  position: number,
  votes: readonly YesVote[],
  keys: readonly string[],
  partsOfKey: PartsOfKey,
): Agreement {
  const said = votes.map(
    (vote) => `${vote.region}: ${vote.fingerprints[position] || 'not looked at'}`,
  );
  return {
    kind: 'diverged',
    parts: partsOfKey(position),
    keys: [position],
    minority: minorityOf(votes, (vote) => vote.fingerprints[position] ?? ''),
    detail: `the key ${JSON.stringify(keys[position])} differs between regions (${said.join(', ')})`,
  };
}

/** The regions that differ from more than half of all; none if no such majority agrees. */
function minorityOf(votes: readonly YesVote[], saying: (vote: YesVote) => string): RegionId[] {
  const counts = new Map<string, number>();
  for (const vote of votes) counts.set(saying(vote), (counts.get(saying(vote)) ?? 0) + 1);
  const [majority] = [...counts].filter(([, count]) => count * 2 > votes.length);
  if (majority === undefined) return [];
  return votes.filter((vote) => saying(vote) !== majority[0]).map(({ region }) => region);
}
