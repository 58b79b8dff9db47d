/** Rewriters of stream commands: ids and times come from the coordinator, trimming is exact, nothing blocks. */
import { utf8Length } from '../contracts/bytes.ts';
import type { Operation } from '../contracts/frame.ts';
import { limits } from '../limits.ts';
import type { CheckedCommand, CompileContext } from './compile-context.ts';
import {
  argumentFault,
  disorderFault,
  notIntegerFault,
  parseInteger,
  unsupportedOption,
} from './faults.ts';
import type { CommandFault } from './keys.ts';

/** A stream id, complete or without its sequence number. */
const idPattern = /^\d{1,20}(?:-\d{1,20})?$/;

/**
 * Gives XADD its id from the coordinator's clock, and makes its trimming exact. Wrong arguments are sent to the region
 * unchanged, because Redis refuses them with its own error.
 */
export function rewriteAppend(
  { operation }: CheckedCommand,
  { now }: CompileContext,
): Operation | CommandFault {
  const trimmed = exactTrim(operation.args, true);
  if (trimmed === null) return operation;
  const { args, end, isLimited } = trimmed;
  const fault = entryFault(args.slice(end + 1));
  if (fault !== null) return fault;
  if (args[end] !== '*') return { ...operation, kind: isLimited ? 'trim' : 'write', args };
  return { ...operation, kind: 'append', args: args.with(end, `${now}-*`) };
}

/** Overhead per field and per value of a delivered entry, in bytes; base.lua counts the same. */
const itemBytes = 12;

/** Refuses an entry that is too large to be delivered later: XREADGROUP replies an entry as a whole. */
function entryFault(words: readonly string[]): CommandFault | null {
  const bytes = words.reduce((sum, word) => sum + utf8Length(word) + itemBytes, 0);
  if (bytes <= limits.takenBytes) return null;
  const detail = `the entry has ${bytes} bytes, including ${itemBytes} per field and value; the limit is ${limits.takenBytes}`;
  return { problem: 'too-large', detail };
}

/** Makes XTRIM exact. Wrong arguments are sent unchanged, so that the region refuses them. */
export function rewriteTrim({ operation }: CheckedCommand): Operation {
  const trimmed = exactTrim(operation.args, false);
  if (trimmed === null) return operation;
  return { ...operation, kind: trimmed.isLimited ? 'trim' : 'write', args: trimmed.args };
}

/** Arguments with exact trimming; `end` is the position after the options, at the id of XADD. */
interface Trimmed {
  readonly args: readonly string[];
  readonly end: number;
  /** True if a LIMIT follows the threshold: the region then computes the threshold that trims that many entries. */
  readonly isLimited: boolean;
}

/** Parses the options of XADD and XTRIM as Redis does; null if Redis refuses them. */
function exactTrim(args: readonly string[], isAdd: boolean): Trimmed | null {
  const kept = [...args.slice(0, 2)];
  let strategy: readonly string[] = [];
  let isApproximate = false;
  let limit: string | null = null;
  let at = 2;
  for (; at < args.length; at += 1) {
    const option = (args[at] ?? '').toUpperCase();
    const left = args.length - 1 - at;
    if (isAdd && option === '*') break;
    if ((option === 'MAXLEN' || option === 'MINID') && left >= 1) {
      const mark = args[at + 1] ?? '';
      const isMarked = left >= 2 && (mark === '~' || mark === '=');
      if (strategy.length > 0) return null;
      isApproximate = isMarked && mark === '~';
      at += isMarked ? 2 : 1;
      strategy = [option, '=', args[at] ?? ''];
    } else if (option === 'LIMIT' && left >= 1) {
      at += 1;
      limit = args[at] ?? '';
    } else if (isAdd && option === 'NOMKSTREAM') kept.push(option);
    else if (isAdd) break;
    else return null;
  }
  const isLimitRight = isApproximate && (parseInteger(limit ?? '0') ?? -1) >= 0;
  if (limit !== null && !isLimitRight) return null;
  // A LIMIT of 0 means no limit.
  const isLimited = limit !== null && parseInteger(limit) !== 0;
  const head = [...kept, ...strategy, ...(isLimited ? ['LIMIT', limit ?? ''] : [])];
  return { args: [...head, ...args.slice(at)], end: head.length, isLimited };
}

/** The options of XREAD and XREADGROUP before STREAMS; null if Redis would refuse their syntax as well. */
export function streamOptions(args: readonly string[]): {
  readonly group: readonly string[];
  readonly options: readonly string[];
  /** COUNT and BLOCK with their numbers, as given. */
  readonly numbers: readonly string[];
  /** The position of the first key. */
  readonly first: number;
} | null {
  let group: readonly string[] = [];
  const options: string[] = [];
  const numbers: string[] = [];
  for (let at = 1; at < args.length; at += 1) {
    const option = (args[at] ?? '').toUpperCase();
    const left = args.length - 1 - at;
    if (option === 'STREAMS' && left >= 1) return { group, options, numbers, first: at + 1 };
    if (option === 'GROUP' && left >= 2) {
      group = args.slice(at + 1, at + 3);
      at += 2;
    } else if (option === 'BLOCK' && left >= 1) {
      numbers.push(option, args[at + 1] ?? '');
      at += 1;
    } else if (option === 'COUNT' && left >= 1) {
      options.push(option, args[at + 1] ?? '');
      numbers.push(option, args[at + 1] ?? '');
      at += 1;
    } else if (option === 'NOACK') {
      options.push(option);
    } else return null;
  }
  return null;
}

/** The positions of the keys of XREAD and XREADGROUP; empty if their form is wrong. */
export function streamKeys(args: readonly string[]): readonly number[] {
  const found = streamOptions(args);
  if (found === null) return [];
  const count = (args.length - found.first) / 2;
  return Number.isInteger(count)
    ? Array.from({ length: count }, (_, index) => found.first + index)
    : [];
}

/** Checks the form of XREAD, limits COUNT and removes BLOCK: nothing waits, as in a transaction of Redis. */
export function checkStreams({ operation, isSnapshot }: CheckedCommand): Operation | CommandFault {
  const { args } = operation;
  const wrong = streamFault(args);
  if (wrong !== null) return wrong;
  const found = streamOptions(args);
  if (found === null) return operation;
  const options = boundedOptions(
    found.options,
    isSnapshot ? limits.entriesPerRead : limits.entriesPerWrite,
  );
  return moved(operation, ['XREAD', ...options, 'STREAMS'], found.first);
}

/**
 * Returns the options with a COUNT of at most `most`. A reply of more entries would be refused anyway, but the number of
 * entries after an id is only known when they are read.
 */
function boundedOptions(options: readonly string[], most: number): readonly string[] {
  const at = options.lastIndexOf('COUNT') + 1;
  if (at === 0) return [...options, 'COUNT', String(most)];
  const count = parseInteger(options[at] ?? '') ?? 0;
  // In Redis, a COUNT of 0 or less means no limit.
  return count > 0 && count <= most ? options : options.with(at, String(most));
}

/** Replaces the arguments before the keys, which began at position `first`, with `head`. */
function moved(operation: Operation, head: readonly string[], first: number): Operation {
  const shift = (position: number) => position + head.length - first;
  return {
    ...operation,
    args: [...head, ...operation.args.slice(first)],
    writes: operation.writes.map(shift),
    reads: operation.reads.map(shift),
  };
}

function streamFault(args: readonly string[]): CommandFault | null {
  const name = args[0] ?? '';
  const command = name.toLowerCase();
  const found = streamOptions(args);
  const wrongNumber = numberFault(found?.numbers ?? args, command);
  if (wrongNumber !== null) return wrongNumber;
  if (found === null) return disorderFault(command);
  if ((args.length - found.first) % 2 !== 0) {
    // Redis 7.0 uses this text for both commands.
    const error =
      "Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.";
    return argumentFault(`${error} One is missing.`, error);
  }
  const hasGroup = found.group.length > 0;
  if (name === 'XREADGROUP' && !hasGroup) {
    return argumentFault(
      "'xreadgroup' needs a GROUP option",
      'Missing GROUP option for XREADGROUP',
    );
  }
  if (name === 'XREAD' && hasGroup) {
    const error = 'The GROUP option is only supported by XREADGROUP. You called XREAD instead.';
    return argumentFault(error, error);
  }
  return null;
}

function blockFault(block: string): CommandFault | null {
  const timeout = parseInteger(block);
  if (timeout !== null && timeout >= 0) return null;
  const error =
    timeout === null ? 'timeout is not an integer or out of range' : 'timeout is negative';
  return argumentFault(error, error);
}

/** Redis parses each number before it reports a fault after it, so numbers are checked first. */
function numberFault(args: readonly string[], command: string): CommandFault | null {
  for (const [at, word] of args.entries()) {
    const option = word.toUpperCase();
    if (option === 'BLOCK') {
      const wrong = blockFault(args[at + 1] ?? '0');
      if (wrong !== null) return wrong;
    } else if (option === 'COUNT' && parseInteger(args[at + 1] ?? '0') === null) {
      return notIntegerFault(command);
    }
  }
  return null;
}

/** Rewrites XREADGROUP: GROUP goes first, so that a region finds it. */
export function rewriteDeliver({ operation }: CheckedCommand): Operation | CommandFault {
  const { args } = operation;
  const wrong = streamFault(args);
  if (wrong !== null) return wrong;
  const found = streamOptions(args);
  if (found === null) return disorderFault('xreadgroup');
  const options = boundedOptions(found.options, limits.entriesPerWrite);
  const head = ['XREADGROUP', 'GROUP', ...found.group, ...options, 'STREAMS'];
  return { ...moved(operation, head, found.first), kind: 'deliver' };
}

/**
 * Makes XCLAIM and XAUTOCLAIM use the coordinator's time. Wrong arguments are sent to the region unchanged, because Redis
 * looks up the group before it reports them.
 */
export function rewriteClaim(
  command: CheckedCommand,
  context: CompileContext,
): Operation | CommandFault {
  const { operation, row } = command;
  if (parseInteger(operation.args[4] ?? '') === null) return operation;
  if (row.name === 'XAUTOCLAIM') return rewriteAutoclaim(operation);
  return rewriteXclaim(operation, context.now) ?? operation;
}

/** Returns null if Redis will refuse the command. */
function rewriteXclaim(operation: Operation, now: number): Operation | null {
  const { args } = operation;
  const behind = args.slice(5).findIndex((id) => !idPattern.test(id));
  const end = behind < 0 ? args.length : 5 + behind;
  if (end === 5) return null;
  let delivered = now;
  const kept: string[] = [];
  for (let at = end; at < args.length; at += 1) {
    const option = (args[at] ?? '').toUpperCase();
    const value = args[at + 1];
    if (option === 'FORCE' || option === 'JUSTID') kept.push(option);
    else if (option === 'IDLE' || option === 'TIME') {
      const amount = parseInteger(value ?? '');
      if (amount === null) return null;
      delivered = option === 'TIME' ? amount : now - amount;
      at += 1;
    } else if ((option === 'RETRYCOUNT' || option === 'LASTID') && value !== undefined) {
      kept.push(option, value);
      at += 1;
    } else return null;
  }
  const time = delivered < 0 || delivered > now ? now : delivered;
  const rest = ['TIME', String(time), ...kept];
  return { ...operation, kind: 'claim', args: [...args.slice(0, end), ...rest] };
}

function rewriteAutoclaim(operation: Operation): Operation | CommandFault {
  const { args } = operation;
  let count = '100';
  let isBrief = false;
  for (let at = 6; at < args.length; at += 1) {
    const option = (args[at] ?? '').toUpperCase();
    if (option === 'JUSTID') isBrief = true;
    else if (option === 'COUNT' && at + 1 < args.length) {
      at += 1;
      count = args[at] ?? '';
    } else return operation;
  }
  const amount = parseInteger(count);
  if (amount === null || amount < 1) return operation;
  // XAUTOCLAIM may claim fewer than COUNT and return a cursor, so a larger count is not a fault.
  const bounded = String(Math.min(amount, limits.claimedEntries));
  const options = ['COUNT', bounded, ...(isBrief ? ['JUSTID'] : [])];
  return { ...operation, kind: 'claim', args: [...args.slice(0, 6), ...options] };
}

/** Refuses the extended form of XPENDING in a write: its idle times would differ between regions. */
export function rewritePending({
  operation,
  isSnapshot,
}: CheckedCommand): Operation | CommandFault {
  if (isSnapshot || operation.args.length === 3) return operation;
  return unsupportedOption(
    'XPENDING with a range is not supported in a write: idle times depend on the clocks of the regions; use it in POST /v1/reads',
  );
}
