import type { Operation } from '../contracts/frame.ts';
import { limits } from '../limits.ts';
import { bytesInUtf8 } from '../protocol/transactions/bytes.ts';
import {
  argumentFault,
  disorderFault,
  notIntegerFault,
  parseInteger,
  unsupportedOption,
} from './faults.ts';
import type { CommandFault } from './keys.ts';
import type { CheckedCommand, CompileContext } from './rewrites.ts';

/** An id of a stream, whole or its ms alone. */
const idPattern = /^\d{1,20}(?:-\d{1,20})?$/;

/**
 * Gives XADD its id, and makes its trimming exact. What is wrong in it goes on to the region as it is: Redis takes none of
 * it either, and has the words for it.
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

/** What an entry takes per field and per value besides their bytes, in what delivers it; base.lua counts the same. */
const itemBytes = 12;

/** An entry that is added can be delivered: XREADGROUP answers it whole. */
function entryFault(words: readonly string[]): CommandFault | null {
  const bytes = words.reduce((sum, word) => sum + bytesInUtf8(word) + itemBytes, 0);
  if (bytes <= limits.takenBytes) return null;
  const detail = `the entry has ${bytes} bytes, ${itemBytes} for each field and value among them; the limit is ${limits.takenBytes}`;
  return { problem: 'too-large', detail };
}

/** Makes XTRIM exact, or leaves it to the region to refuse it. */
export function rewriteTrim({ operation }: CheckedCommand): Operation {
  const trimmed = exactTrim(operation.args, false);
  if (trimmed === null) return operation;
  return { ...operation, kind: trimmed.isLimited ? 'trim' : 'write', args: trimmed.args };
}

/** Arguments with an exact trimming; `end` is where its options end: at the id of XADD. */
interface Trimmed {
  readonly args: readonly string[];
  readonly end: number;
  /** True if a LIMIT stands behind the threshold: the region works out which threshold that comes to. */
  readonly isLimited: boolean;
}

/** Reads the options of XADD and XTRIM as Redis does; null where Redis refuses them. */
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
  // A limit of 0 is none.
  const isLimited = limit !== null && parseInteger(limit) !== 0;
  const head = [...kept, ...strategy, ...(isLimited ? ['LIMIT', limit ?? ''] : [])];
  return { args: [...head, ...args.slice(at)], end: head.length, isLimited };
}

/** What stands before STREAMS, and where that is; null where Redis would not find its way either. */
export function streamOptions(args: readonly string[]): {
  readonly group: readonly string[];
  readonly options: readonly string[];
  /** COUNT and BLOCK with their numbers, as they came. */
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

/** Where the keys of XREAD and XREADGROUP stand; none where they have no such form. */
export function streamKeys(args: readonly string[]): readonly number[] {
  const found = streamOptions(args);
  if (found === null) return [];
  const count = (args.length - found.first) / 2;
  return Number.isInteger(count)
    ? Array.from({ length: count }, (_, index) => found.first + index)
    : [];
}

/** Refuses what has no form, in XREAD, and leaves BLOCK out: nothing waits, as in a transaction of Redis. */
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
 * The options with a COUNT, which changes no reply that could be answered: how many entries a stream has behind an id,
 * nobody knows before they are read.
 */
function boundedOptions(options: readonly string[], most: number): readonly string[] {
  const at = options.lastIndexOf('COUNT') + 1;
  if (at === 0) return [...options, 'COUNT', String(most)];
  const count = parseInteger(options[at] ?? '') ?? 0;
  // To Redis, 0 and less is no bound.
  return count > 0 && count <= most ? options : options.with(at, String(most));
}

/** The operation with another head before its keys, which stood from `first` on. */
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
    // Redis 7.0 has these words for both commands.
    const error =
      "Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.";
    return argumentFault(`${error} One is missing.`, error);
  }
  const hasGroup = found.group.length > 0;
  if (name === 'XREADGROUP' && !hasGroup) {
    return argumentFault("give 'xreadgroup' a GROUP", 'Missing GROUP option for XREADGROUP');
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

/** Redis reads each number before it finds what is wrong behind it. */
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

/** Puts GROUP first, so that a region finds it. */
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
 * Makes the times of XCLAIM and XAUTOCLAIM those of the coordinator. What is wrong in them goes on to the region as it is,
 * since Redis looks for the group before it says so.
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

/** Null where Redis will refuse it. */
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
  // It may claim fewer than COUNT and say where to go on, so a larger count is no fault.
  const bounded = String(Math.min(amount, limits.claimedEntries));
  const options = ['COUNT', bounded, ...(isBrief ? ['JUSTID'] : [])];
  return { ...operation, kind: 'claim', args: [...args.slice(0, 6), ...options] };
}

/** In a write, idle times would differ between regions. */
export function rewritePending({
  operation,
  isSnapshot,
}: CheckedCommand): Operation | CommandFault {
  if (isSnapshot || operation.args.length === 3) return operation;
  return unsupportedOption(
    'XPENDING with a range is not supported in a write: idle times differ by the clocks of regions; use it in POST /v1/reads',
  );
}
