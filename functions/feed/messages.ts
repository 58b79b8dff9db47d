import { jsonText } from '../../shared/commands/replies.ts';
import type { Change } from '../../shared/contracts/webhooks-and-feed.ts';
import { presentChange } from '../../shared/http/feed-messages.ts';
import { limits } from '../../shared/limits.ts';
import type { Filter } from '../../shared/protocol/feed/follower.ts';

/** Where a follower begins, or nothing for the newest, and what it wants. */
export interface Following extends Filter {
  readonly since?: number;
}

/** Reads the query of a follower, which the edge has checked; null where it is not understood or too long. */
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

/** Reads what a client says: `{"ack":<sequence>}`; null where it is anything else. */
export function parseAcknowledgement(message: string | ArrayBuffer): number | null {
  const match =
    typeof message === 'string' ? /^\s*\{\s*"ack"\s*:\s*(\d{1,15})\s*\}\s*$/.exec(message) : null;
  return match === null ? null : Number(match[1]);
}

/** A change as one element of a message. */
export function changeText(change: Change, values: boolean): string {
  const { commands, part, ...bare } = change;
  return jsonText(presentChange(values ? change : bare));
}

/** The heartbeat of a follower that stands at `next`. */
export function beatText(next: number): string {
  return JSON.stringify({ heartbeat: true, next });
}
