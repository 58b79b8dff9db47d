/** Commands of a snapshot that are sent in another form, and the conversion of their replies. */
import { parseLong } from '../../shared/commands/faults.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import { limits } from '../../shared/limits.ts';
import { boundedRead } from './bounded-reads.ts';

/**
 * Deliveries of streams are recorded at the coordinator's time minus the allowance for clock skew, because a region whose
 * clock is behind would replace a future time by its own. Replies that show delivery times get the allowance added back.
 * lua/user-scripts/read-host.lua does the same.
 */

const longMaximum = 2n ** 63n - 1n;

/** Returns the command in the form that the server supports. */
export function sentForm(args: readonly string[]): readonly string[] {
  switch (args[0]) {
    case 'HSCAN': {
      // NOVALUES came with Redis 7.4; the values are removed from the reply instead.
      const at = valuelessAt(args);
      return boundedRead(at === null ? args : args.filter((_, index) => index !== at));
    }
    case 'XPENDING': {
      const least = args[3]?.toUpperCase() === 'IDLE' ? parseLong(args[4] ?? '') : null;
      if (least === null || least <= 0n) return boundedRead(args);
      const put = least + BigInt(limits.clockSkewMs);
      return boundedRead(args.with(4, String(put > longMaximum ? longMaximum : put)));
    }
    default:
      return boundedRead(args);
  }
}

/** Converts the reply to {@link sentForm} to the reply of the command that the client sent. */
export function askedForm(args: readonly string[], reply: RawReply): RawReply {
  const items = itemsOf(reply);
  if (items === null) return reply;
  switch (args[0]) {
    case 'HSCAN':
      return valuelessAt(args) === null ? reply : items.map(withoutValues);
    case 'XPENDING':
      return args.length > 3 ? items.map((item) => shifted(item, 2, -limits.clockSkewMs)) : reply;
    case 'XINFO':
      return args[3]?.toUpperCase() === 'FULL' ? deliveredIn(items) : reply;
    default:
      return reply;
  }
}

/** The position of the option NOVALUES of HSCAN, or null. The value of another option does not count. */
function valuelessAt(args: readonly string[]): number | null {
  for (let at = 3; at < args.length; at += 1) {
    const option = (args[at] ?? '').toUpperCase();
    if (option === 'NOVALUES') return at;
    if (option === 'MATCH' || option === 'COUNT') at += 1;
  }
  return null;
}

/** Reduces a cursor with pairs to the cursor and the first item of each pair. */
function withoutValues(item: RawReply): RawReply {
  return itemsOf(item)?.filter((_, index) => index % 2 === 0) ?? item;
}

/** Adjusts names with values at all levels: the lists named `pending` contain delivered entries. */
function deliveredIn(items: readonly RawReply[]): RawReply {
  return items.map((item, index) => {
    const inner = itemsOf(item);
    if (inner === null) return item;
    if (items[index - 1] !== 'pending') return deliveredIn(inner);
    // Entries of a group have the consumer's name after the id; entries of a consumer do not.
    return inner.map((entry) =>
      shifted(entry, (itemsOf(entry)?.length ?? 0) - 2, limits.clockSkewMs),
    );
  });
}

/** Shifts one number of the list, but not below 0. A time of 0 was given by a client and stays. */
function shifted(item: RawReply, at: number, ms: number): RawReply {
  const items = itemsOf(item);
  const number = items?.[at];
  if (items === null || typeof number !== 'number' || number === 0) return item;
  return items.with(at, Math.max(number + ms, 0));
}

function itemsOf(reply: RawReply | undefined): readonly RawReply[] | null {
  return Array.isArray(reply) ? reply : null;
}
