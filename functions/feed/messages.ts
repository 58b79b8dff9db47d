/** Parses the messages of followers, and writes the feed's own. */
import { jsonText } from '../../shared/commands/replies.ts';
import type { Change } from '../../shared/contracts/webhooks-and-feed.ts';
import { presentChange } from '../../shared/http/feed-messages.ts';
import { limits } from '../../shared/limits.ts';
import type { Filter } from '../../shared/protocol/feed/follower.ts';

/** The position at which a follower starts, undefined for the newest change, and its filter. */
export interface Following extends Filter {
  readonly since?: number;
}

/** Parses the query of a follower. Null if it is malformed or its filter is too long; the edge checks both before. */
export function parseFollowing(query: URLSearchParams): Following | null {
  const since = query.get('since');
  const filter = {
    prefixes: query.getAll('prefix'),
    values: query.get('values') === 'true',
    members: query.get('members') === 'true',
  };
  if (JSON.stringify(filter).length > limits.followerFilterBytes) return null;
  if (since === null || since === '') return filter;
  return /^\d{1,15}$/.test(since) ? { ...filter, since: Number(since) } : null;
}

/** Parses a client's message, `{"ack":<sequence>}`. Null if it has another form. */
export function parseAcknowledgement(message: string | ArrayBuffer): number | null {
  const match =
    typeof message === 'string' ? /^\s*\{\s*"ack"\s*:\s*(\d{1,15})\s*\}\s*$/.exec(message) : null;
  return match === null ? null : Number(match[1]);
}

/** The JSON of a change in a message. */
export function changeText(change: Change, values: boolean): string {
  const { commands, part, ...bare } = change;
  return jsonText(presentChange(values ? change : bare));
}

/** The heartbeat for a follower at the position `next`. */
export function beatText(next: number): string {
  return JSON.stringify({ heartbeat: true, next });
}
