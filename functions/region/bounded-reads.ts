/** Bounds reads that leave a region natively by the number of elements that they name. */
import { parseInteger } from '../../shared/commands/faults.ts';
import { limits } from '../../shared/limits.ts';

/**
 * Reads that leave a region natively are not measured before. Of those that can name a number, each is sent with the
 * greatest one whose reply could still be answered: a longer reply would be refused, after the work for it was done.
 */

const scans: ReadonlySet<string> = new Set(['HSCAN', 'SCAN', 'SSCAN', 'ZSCAN']);
const byBounds: ReadonlySet<string> = new Set([
  ...['ZRANGEBYLEX', 'ZRANGEBYSCORE', 'ZREVRANGEBYLEX', 'ZREVRANGEBYSCORE'],
]);
const byIndex: ReadonlySet<string> = new Set(['LRANGE', 'ZRANGE', 'ZREVRANGE']);

/** Returns the command with the number of elements that it reads bounded, if it is too great for any reply. */
export function boundedRead(args: readonly string[]): readonly string[] {
  const [name = ''] = args;
  if (name === 'XRANGE' || name === 'XREVRANGE') {
    if (args.length === 4) return [...args, 'COUNT', String(limits.entriesPerRead)];
    // To Redis, a negative number is 0 here, and nothing is read.
    const count = parseInteger(args[5] ?? '') ?? 0;
    return count > limits.entriesPerRead ? args.with(5, String(limits.entriesPerRead)) : args;
  }
  if (name === 'XPENDING') return boundedPending(args);
  if (name === 'XINFO') return boundedInfo(args);
  if (scans.has(name)) return boundedScan(args);
  if (byBounds.has(name) || isRangeBy(args)) return boundedLimit(args);
  return byIndex.has(name) ? boundedIndices(args) : args;
}

/** True if only the sizes of its values bound the work of the command, so that a script has to read them first. */
export function needsMeasure(args: readonly string[]): boolean {
  const [name = ''] = args;
  if (name === 'XREAD') {
    const first = args.findIndex((word, at) => at > 0 && word.toUpperCase() === 'STREAMS') + 1;
    return (args.length - first) / 2 > limits.streamsReadUnmeasured;
  }
  if (!byIndex.has(name) || isRangeBy(args)) return false;
  const [first, last] = indicesOf(args);
  if (first === null || last === null) return false;
  // From the one end to the other one: how much lies between depends on the length.
  if (first >= 0 && last < 0) return last !== -1;
  if (first < 0 && last >= 0) return Math.min(-first, last) > limits.rangePerRead;
  return false;
}

function indicesOf(args: readonly string[]): readonly [number | null, number | null] {
  return [parseInteger(args[2] ?? ''), parseInteger(args[3] ?? '')];
}

function isRangeBy(args: readonly string[]): boolean {
  return args[0] === 'ZRANGE' && args.slice(4).some((word) => /^by(?:score|lex)$/i.test(word));
}

function boundedIndices(args: readonly string[]): readonly string[] {
  const [first, last] = indicesOf(args);
  if (first === null || last === null) return args;
  const farthest = first + limits.rangePerRead;
  const isToEnd = first >= 0 && last === -1;
  const isBeyond = first >= 0 === last >= 0 && last > farthest;
  // An index from the end must not pass it.
  const isMade = isToEnd || (isBeyond && (first >= 0 || farthest < 0));
  return isMade && Number.isSafeInteger(farthest) ? args.with(3, String(farthest)) : args;
}

function boundedLimit(args: readonly string[]): readonly string[] {
  const at = args.findLastIndex((word, index) => index > 3 && word.toUpperCase() === 'LIMIT');
  if (at < 0) return [...args, 'LIMIT', '0', String(limits.rangePerRead)];
  const amount = parseInteger(args[at + 2] ?? '');
  // A negative number is none.
  const isBounded = amount === null || (amount >= 0 && amount <= limits.rangePerRead);
  return isBounded ? args : args.with(at + 2, String(limits.rangePerRead));
}

/** Its count stands behind the two ids, with IDLE before them or not. */
function boundedPending(args: readonly string[]): readonly string[] {
  const at = /^idle$/i.test(args[3] ?? '') ? 7 : 5;
  const count = parseInteger(args[at] ?? '') ?? 0;
  return count > limits.entriesPerRead ? args.with(at, String(limits.entriesPerRead)) : args;
}

/** XINFO STREAM key FULL COUNT count, of which 0 is all. */
function boundedInfo(args: readonly string[]): readonly string[] {
  if (args.length !== 6 || !/^count$/i.test(args[4] ?? '')) return args;
  const count = parseInteger(args[5] ?? '');
  const isBounded = count === null || (count !== 0 && count <= limits.entriesPerRead);
  return isBounded ? args : args.with(5, String(limits.entriesPerRead));
}

function boundedScan(args: readonly string[]): readonly string[] {
  const first = args[0] === 'SCAN' ? 2 : 3;
  return args.reduce((bounded, word, at) => {
    const isCount = at > first && (args[at - 1] ?? '').toUpperCase() === 'COUNT';
    const amount = isCount ? parseInteger(word) : null;
    const isMore = amount !== null && amount > limits.scannedPerCommand;
    return isMore ? bounded.with(at, String(limits.scannedPerCommand)) : bounded;
  }, args);
}
