/** The messages of the change feed, and the form in which clients see changes. */
import { assert } from '../assert.ts';
import { parseExact, parsePartOutcome } from '../commands/replies.ts';
import type { MemberChange } from '../contracts/members.ts';
import type { Change } from '../contracts/webhooks-and-feed.ts';
import { valuesAmong } from '../reserved-keys.ts';

/** The codes with which the feed closes a connection. */
export const feedCloseCodes = {
  /** The follower was too slow. The reason is the sequence from which it can continue. */
  slow: 4_008,
  /** The log no longer has the changes after its position. */
  expired: 4_010,
  /** Its position is beyond the newest change, whose sequence is the reason. */
  ahead: 4_011,
  /** It has acknowledged a change that it was never sent. */
  unsent: 4_012,
} as const;

/** A message of the feed to a follower. */
export interface FeedMessage {
  readonly changes: readonly ChangeResponse[];
  /**
   * The position of the follower after this message: every change up to here is in a message, or outside its filter.
   */
  readonly next: number;
  readonly heartbeat: boolean;
}

/** A change as clients see it, in pages and in the feed. */
export type ChangeResponse = Readonly<Record<string, unknown>> & { readonly sequence: number };

/** Presents a stored change to clients, with commands and results if `change` has them. */
export function presentChange(change: Change): ChangeResponse {
  const { sequence, id, transaction, at, keys, commands, part, member } = change;
  if (member !== undefined) return presentMemberChange(member);
  const presented = {
    sequence,
    id,
    transaction,
    at: new Date(at).toISOString(),
    keys: valuesAmong(keys),
  };
  if (part === undefined) return commands === undefined ? presented : { ...presented, commands };
  const outcome = parsePartOutcome(part);
  assert(outcome.kind === 'done', 'a change was carried out');
  return { ...presented, commands, results: outcome.results };
}

/** Presents a membership change to clients, in the feed and in the history. */
export function presentMemberChange({ sequence, at, ...member }: MemberChange): ChangeResponse {
  const { region, event, epoch, cause, detail } = member;
  return {
    sequence,
    at: new Date(at).toISOString(),
    member: { region, event, epoch, cause, detail },
  };
}

/**
 * Parses a message of the feed, keeping every digit of integers. Throws if it is malformed, since both ends are ours.
 */
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
