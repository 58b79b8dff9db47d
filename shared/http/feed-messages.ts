import { assert } from '../assert.ts';
import { parseExact, parsePartOutcome } from '../commands/replies.ts';
import type { MemberChange } from '../contracts/members.ts';
import type { Change } from '../contracts/webhooks-and-feed.ts';
import { valuesAmong } from '../reserved-keys.ts';

/** What a follower's connection was closed with: one of these, or a code of the network. */
export const feedCloseCodes = {
  /** The follower was too slow; the reason is the sequence from which it can go on. */
  slow: 4_008,
  /** Its place lies before the kept log. */
  expired: 4_010,
  /** Its place lies after the newest change, which is the reason. */
  ahead: 4_011,
  /** It has acknowledged what it was not sent. */
  unsent: 4_012,
} as const;

/** A message of the feed to a follower, with the changes in the form in which clients see them. */
export interface FeedMessage {
  readonly changes: readonly ChangeResponse[];
  /** Every change up to it has been looked at. */
  readonly next: number;
  readonly heartbeat: boolean;
}

/** A change as clients see it, in pages and in the feed alike. */
export type ChangeResponse = Readonly<Record<string, unknown>> & { readonly sequence: number };

/** From a change as it is kept to what a client sees; commands and results stand in it where `change` holds them. */
export function presentChange(change: Change): ChangeResponse {
  const { sequence, id, transaction, at, keys, commands, part, member } = change;
  if (member !== undefined) return presentMemberChange(member);
  const told = {
    sequence,
    id,
    transaction,
    at: new Date(at).toISOString(),
    keys: valuesAmong(keys),
  };
  if (part === undefined) return commands === undefined ? told : { ...told, commands };
  const outcome = parsePartOutcome(part);
  assert(outcome.kind === 'done', 'a change was carried out');
  return { ...told, commands, results: outcome.results };
}

/** A change of members as clients see it, in the feed and in the history. */
export function presentMemberChange({ sequence, at, ...member }: MemberChange): ChangeResponse {
  const { region, event, epoch, cause, detail } = member;
  return {
    sequence,
    at: new Date(at).toISOString(),
    member: { region, event, epoch, cause, detail },
  };
}

/** Reads a message of the feed; no integer loses a digit. Throws where it has no such form: both ends are ours. */
export function parseFeedMessage(text: string): FeedMessage {
  const message = parseExact(text);
  assert(typeof message === 'object' && message !== null, 'a message of the feed is an object');
  assert('next' in message && Number.isSafeInteger(message.next), 'a message says where to go on');
  const changes = 'changes' in message ? message.changes : [];
  assert(Array.isArray(changes) && changes.every(isChangeResponse), 'a change has a sequence');
  return { changes, next: Number(message.next), heartbeat: 'heartbeat' in message };
}

function isChangeResponse(value: unknown): value is ChangeResponse {
  return (
    typeof value === 'object' &&
    value !== null &&
    'sequence' in value &&
    Number.isSafeInteger(value.sequence)
  );
}
