/** Bounds the work of reads of whole hashes and sets that leave a region natively. */
import type { RawReply } from '../../shared/contracts/reply.ts';
import { limits } from '../../shared/limits.ts';
import { itemBytes } from './reply-shape.ts';

/**
 * Such a read is sent as a draw of distinct elements, by more than one beyond the maximum: a draw of more elements than
 * there are returns them all. If the reply has more elements than the maximum, the collection is longer: its length is
 * read, and then the collection itself, unless its reply would be too large in any case. HVALS begins with the length: its
 * draw would bring the fields as well.
 *
 * Measured with redis-server 7.0.15, in CPU time of the server: a draw costs 0.8 to 1.1 of the native command for replies
 * of 10 kB to 1 MB, of any encoding, but 1.6 in place of HVALS; HSCAN and SSCAN would cost 2 to 3. Of a collection of 10 million elements, the native command takes 5 to 6 s, and a draw of 100,000 takes 0.2 s, or
 * 1 s while the server resizes its table. The replies have the order of the native command.
 */
interface WholeRead {
  /** Null if there is no cheap draw. */
  readonly draw: readonly [name: string, ...options: readonly string[]] | null;
  readonly length: string;
  /** The items of the draw's reply per element, and those among them that the read itself returns. */
  readonly drawn: number;
  readonly kept: readonly number[];
}

const wholeReads: ReadonlyMap<string, WholeRead> = new Map<string, WholeRead>([
  ['HGETALL', { draw: ['HRANDFIELD', 'WITHVALUES'], length: 'HLEN', drawn: 2, kept: [0, 1] }],
  ['HKEYS', { draw: ['HRANDFIELD'], length: 'HLEN', drawn: 1, kept: [0] }],
  ['HVALS', { draw: null, length: 'HLEN', drawn: 1, kept: [0] }],
  ['SMEMBERS', { draw: ['SRANDMEMBER'], length: 'SCARD', drawn: 1, kept: [0] }],
]);

/** Returns the maximum of elements for each read of a whole collection: `commands` share the limit of a snapshot. */
export function drawMaximum(commands: readonly (readonly string[])[]): number {
  const count = commands.filter(([name = '']) => wholeReads.get(name)?.draw).length;
  return Math.floor(limits.elementsReadUnmeasured / Math.max(count, 1));
}

/** True for a read that begins with the length of its collection. */
export function beginsWithLength([name = '']: readonly string[]): boolean {
  return wholeReads.get(name)?.draw === null;
}

/** Returns the draw or the length that stands for a read of a whole collection; any other command as it is. */
export function drawOf(args: readonly string[], maximum: number): readonly string[] {
  const [name = '', key = ''] = args;
  const read = wholeReads.get(name);
  if (read === undefined) return args;
  if (read.draw === null) return lengthOf(args);
  const [draw, ...options] = read.draw;
  return [draw, key, String(maximum + 1), ...options];
}

/**
 * Converts the reply to {@link drawOf} to that of the command; null if the collection has more elements than `maximum`,
 * or more than none if only its length was read.
 */
export function wholeOf(
  [name = '']: readonly string[],
  reply: RawReply,
  maximum: number,
): RawReply | null {
  const read = wholeReads.get(name);
  if (read?.draw === null && typeof reply === 'number') return reply === 0 ? [] : null;
  if (read === undefined || !Array.isArray(reply)) return reply;
  const items: readonly RawReply[] = reply;
  if (items.length > maximum * read.drawn) return null;
  return items.filter((_, at) => read.kept.includes(at % read.drawn));
}

/** Returns the command that reads the length of the collection of a {@link drawOf}. */
export function lengthOf([name = '', key = '']: readonly string[]): readonly string[] {
  return [wholeReads.get(name)?.length ?? 'EXISTS', key];
}

/**
 * Returns which of the reads, whose collections have these lengths, to omit, because the replies together would exceed
 * the limit. A read whose own values make it too large counts too, so that the work is bounded as well.
 */
export function withoutRoom(
  reads: readonly (readonly string[])[],
  lengths: readonly RawReply[],
): readonly boolean[] {
  let left: number = limits.snapshotBytes;
  return reads.map(([name = ''], at) => {
    const length = lengths[at];
    const items = wholeReads.get(name)?.kept.length ?? 0;
    const bytes = typeof length === 'number' ? length * items * itemBytes : 0;
    if (bytes > left) return true;
    left -= bytes;
    return false;
  });
}
