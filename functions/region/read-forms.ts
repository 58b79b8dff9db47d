import { parseLong } from '../../shared/commands/faults.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import { limits } from '../../shared/limits.ts';
import { boundedRead } from './bounded-reads.ts';

/**
 * Reads whose reply a server words otherwise than the client asked for. Deliveries of streams are recorded at the
 * coordinator's moment less the allowance for clocks, since a region whose clock is behind would take its own moment
 * instead of one to come: what tells of them has the allowance put back. user-scripts/in-snapshots.lua does the same.
 */

const longMaximum = 2n ** 63n - 1n;

/** The command as its server takes it. */
export function sentForm(args: readonly string[]): readonly string[] {
  switch (args[0]) {
    case 'HSCAN': {
      // It came with Redis 7.4; the values are left out of the reply instead.
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

/** The reply to {@link sentForm} as the client asked for it. */
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

/** Where HSCAN has its option NOVALUES, or null. What an option takes is no option. */
function valuelessAt(args: readonly string[]): number | null {
  for (let at = 3; at < args.length; at += 1) {
    const option = (args[at] ?? '').toUpperCase();
    if (option === 'NOVALUES') return at;
    if (option === 'MATCH' || option === 'COUNT') at += 1;
  }
  return null;
}

/** Of a cursor and pairs, the cursor and the first of each pair. */
function withoutValues(item: RawReply): RawReply {
  return itemsOf(item)?.filter((_, index) => index % 2 === 0) ?? item;
}

/** Names with values, at all levels: those named `pending` list entries that were delivered. */
function deliveredIn(items: readonly RawReply[]): RawReply {
  return items.map((item, index) => {
    const inner = itemsOf(item);
    if (inner === null) return item;
    if (items[index - 1] !== 'pending') return deliveredIn(inner);
    // Of a group with the consumer's name behind the id, of a consumer without.
    return inner.map((entry) =>
      shifted(entry, (itemsOf(entry)?.length ?? 0) - 2, limits.clockSkewMs),
    );
  });
}

/** The list with one of its numbers moved by so much, to 0 at least. A moment of 0 is one that a client gave. */
function shifted(item: RawReply, at: number, ms: number): RawReply {
  const items = itemsOf(item);
  const number = items?.[at];
  if (items === null || typeof number !== 'number' || number === 0) return item;
  return items.with(at, Math.max(number + ms, 0));
}

function itemsOf(reply: RawReply | undefined): readonly RawReply[] | null {
  return Array.isArray(reply) ? reply : null;
}
