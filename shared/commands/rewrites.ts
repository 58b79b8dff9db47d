/** The rewriters: each turns a checked command into an operation that has the same effect in every region. */
import { assert } from '../assert.ts';
import type { Operation } from '../contracts/frame.ts';
import { limits } from '../limits.ts';
import { everyKey, flushedKey } from '../reserved-keys.ts';
import type { CheckedCommand, CompileContext } from './compile-context.ts';
import { argumentFault as fault, parseInteger, parseLong } from './faults.ts';
import { type CommandFault, channelFault, channelKey } from './keys.ts';
import {
  boundDraws,
  boundReach,
  boundSamples,
  checkSubcommand,
  countTwice,
  noteDistances,
  readWideBits,
  restrictSort,
} from './restrictions.ts';
import type { Rewrite } from './rows.ts';
import { rewriteScript } from './scripts.ts';
import {
  checkStreams,
  rewriteAppend,
  rewriteClaim,
  rewriteDeliver,
  rewritePending,
  rewriteTrim,
} from './streams.ts';

type Rewriter = (command: CheckedCommand, context: CompileContext) => Operation | CommandFault;

/** One function per rewrite of the table; `rewriteNotes` in rows.ts describes their effect. */
export const rewriters: Readonly<Record<Rewrite, Rewriter>> = {
  set: rewriteSet,
  'set-for': rewriteSetFor,
  getex: rewriteGetex,
  expire: rewriteExpire,
  flush: rewriteFlush,
  delete: ({ operation }) => ({ ...operation, kind: 'delete' }),
  pop: rewritePop,
  ttl: ({ operation }) => ({ ...operation, kind: 'ttl' }),
  'one-database': refuseDatabase,
  'wide-bits': readWideBits,
  reach: boundReach,
  draws: boundDraws,
  count: countTwice,
  sort: restrictSort,
  'geo-store': noteDistances,
  append: rewriteAppend,
  trim: rewriteTrim,
  streams: checkStreams,
  deliver: rewriteDeliver,
  claim: rewriteClaim,
  pending: rewritePending,
  subcommand: checkSubcommand,
  memory: boundSamples,
  scan: ({ operation }) => operation,
  script: rewriteScript,
  publish: rewritePublish,
};

/** How to read a time argument: its unit, and whether it counts from now or from the epoch. */
interface Measure {
  readonly unitMs: 1 | 1_000;
  readonly from: 'now' | 'epoch';
}

const measures: ReadonlyMap<string, Measure> = new Map([
  ['EX', { unitMs: 1_000, from: 'now' }],
  ['PX', { unitMs: 1, from: 'now' }],
  ['EXAT', { unitMs: 1_000, from: 'epoch' }],
  ['PXAT', { unitMs: 1, from: 'epoch' }],
  ['SETEX', { unitMs: 1_000, from: 'now' }],
  ['PSETEX', { unitMs: 1, from: 'now' }],
  ['EXPIRE', { unitMs: 1_000, from: 'now' }],
  ['PEXPIRE', { unitMs: 1, from: 'now' }],
  ['EXPIREAT', { unitMs: 1_000, from: 'epoch' }],
  ['PEXPIREAT', { unitMs: 1, from: 'epoch' }],
]);

const expiryOptions: ReadonlySet<string> = new Set(['EX', 'PX', 'EXAT', 'PXAT']);
const conditionsOfExpire: ReadonlySet<string> = new Set(['NX', 'XX', 'GT', 'LT']);

/** The greatest integer of 64 bits. */
const longMaximum = 2n ** 63n - 1n;

/** Replaces every expiry in the past. Every region's clock is later, so no region keeps the key any longer. */
const longAgoMs = 1;

function rewriteSet(command: CheckedCommand, context: CompileContext): Operation | CommandFault {
  const { operation } = command;
  const [, key = '', value = '', ...options] = operation.args;
  const parsed = parseOptions('set', options, ['NX', 'XX', 'GET', 'KEEPTTL']);
  if ('problem' in parsed) return parsed;
  const { flags } = parsed;
  if (flags.has('NX') && flags.has('XX')) return syntaxFault('set');
  const expiry = expiryOf(parsed, 'set', context.now);
  if (expiry !== null && 'problem' in expiry) return expiry;
  if (flags.size === 0) return plainSet(operation, key, value, expiry);
  return withExpiry(operation, ['SET', key, value, ...flags], expiry);
}

function rewriteSetFor(command: CheckedCommand, context: CompileContext): Operation | CommandFault {
  const { operation } = command;
  const [name = '', key = '', time = '', value = ''] = operation.args;
  const expiry = momentOf(time, name, name.toLowerCase(), context.now);
  return 'problem' in expiry ? expiry : plainSet(operation, key, value, expiry);
}

/** A SET that depends on no data, as an operation that regions stage without a shadow. */
function plainSet(
  operation: Operation,
  key: string,
  value: string,
  expiry: Expiry | null,
): Operation {
  const args = [key, value, expiry === null ? '' : String(expiry.ms)];
  return { ...operation, kind: 'set', args, writes: [0], ...lifetime(expiry, 2) };
}

/**
 * Rewrites GETEX. Redis looks up the key before it validates the time, and replies nil if there is no key. A wrong time is
 * therefore sent to the region, in a form that every region refuses.
 */
function rewriteGetex(command: CheckedCommand, context: CompileContext): Operation | CommandFault {
  const { operation } = command;
  const [, key = '', ...options] = operation.args;
  const parsed = parseOptions('getex', options, ['PERSIST']);
  if ('problem' in parsed) return parsed;
  const expiry = expiryOf(parsed, 'getex', context.now);
  const args = ['GETEX', key, ...parsed.flags];
  if (expiry === null || !('problem' in expiry)) return withExpiry(operation, args, expiry);
  const time = parseLong(parsed.time ?? '') === null ? 'x' : '0';
  return { ...operation, args: [...args, 'PXAT', time] };
}

/** Rewrites EXPIRE and its variants. Unlike SET, they accept a time in the past, which deletes the key. */
function rewriteExpire(command: CheckedCommand, context: CompileContext): Operation | CommandFault {
  const { operation } = command;
  const [name = '', key = '', time = '', ...options] = operation.args;
  const conditions = new Set(options.map((option) => option.toUpperCase()));
  const wrong = conditionFault(name.toLowerCase(), options, conditions);
  if (wrong !== null) return wrong;
  const expiry = momentOf(time, name, name.toLowerCase(), context.now, true);
  if ('problem' in expiry) return expiry;
  const args = ['PEXPIREAT', key, String(expiry.ms), ...conditions];
  return { ...operation, args, ...lifetime(expiry, 2) };
}

function conditionFault(
  command: string,
  options: readonly string[],
  conditions: ReadonlySet<string>,
): CommandFault | null {
  const unknown = options.find((option) => !conditionsOfExpire.has(option.toUpperCase()));
  if (unknown !== undefined) {
    const detail = `unsupported option in '${command}'; the options are NX, XX, GT and LT`;
    return fault(detail, `Unsupported option ${unknown}`);
  }
  const isMixed = conditions.has('NX') && conditions.size > 1;
  if (!isMixed && !(conditions.has('GT') && conditions.has('LT'))) return null;
  return fault(
    `incompatible options in '${command}'; NX excludes all others, and GT excludes LT`,
    isMixed
      ? 'NX and XX, GT or LT options at the same time are not compatible'
      : 'GT and LT options at the same time are not compatible',
  );
}

function rewritePop(command: CheckedCommand, context: CompileContext): Operation | CommandFault {
  const { operation } = command;
  const [, key = '', count = '', ...rest] = operation.args;
  if (rest.length > 0) {
    return fault("syntax error in 'spop'; it takes a key and an optional count", 'syntax error');
  }
  const single = operation.args.length === 2;
  if (!single && !((parseInteger(count) ?? -1) >= 0)) {
    return fault(
      "value is out of range, must be positive; the count of 'spop' must be an integer of 0 or more",
      'value is out of range, must be positive',
    );
  }
  const seed = context.seed();
  assert(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31, 'a seed is from 0 to 2^31 - 1');
  return { ...operation, kind: 'pop', args: [key, count], writes: [0], seed };
}

function rewritePublish({ operation }: CheckedCommand): Operation | CommandFault {
  const [, channel = '', message = ''] = operation.args;
  const wrong = channelFault(channel);
  if (wrong !== null) return wrong;
  const args = [channelKey(channel), channel, message];
  return { ...operation, kind: 'publish', args, writes: [0] };
}

function rewriteFlush({ operation }: CheckedCommand): Operation | CommandFault {
  const [name = '', ...options] = operation.args;
  const isKnown = options.every((option) => /^a?sync$/i.test(option));
  if (!isKnown || options.length > 1) {
    const detail = `syntax error in '${name.toLowerCase()}'; it takes ASYNC or SYNC`;
    return fault(detail, 'syntax error');
  }
  return { ...operation, kind: 'flush', args: [everyKey, flushedKey], writes: [0, 1] };
}

function refuseDatabase({ operation }: CheckedCommand): Operation | CommandFault {
  const named = operation.args.slice(3).some((option) => option.toUpperCase() === 'DB');
  if (!named) return operation;
  const detail = 'the option DB is not supported: a region is one database; leave it out';
  return { problem: 'unsupported-command', detail };
}

/** The expiry of a key: a time in ms since the epoch, or a lifetime in ms that starts at the transaction's `now`. */
interface Expiry {
  readonly ms: number;
  readonly isLifetime: boolean;
}

interface ParsedOptions {
  /** In upper case, each once, in the order given. */
  readonly flags: ReadonlySet<string>;
  /** The expiry option such as PX, or null; `time` is its value as given. */
  readonly measure: string | null;
  readonly time: string | null;
}

/** Parses the options of SET and GETEX as Redis does: in any order, with one expiry option or one flag that excludes it. */
function parseOptions(
  command: string,
  options: readonly string[],
  allowed: readonly string[],
): ParsedOptions | CommandFault {
  const flags = new Set<string>();
  let measure: string | null = null;
  let time: string | null = null;
  for (let position = 0; position < options.length; position += 1) {
    const option = (options[position] ?? '').toUpperCase();
    if (allowed.includes(option)) {
      flags.add(option);
      continue;
    }
    const given = options[position + 1];
    // The same option may be repeated, and the last one counts; two different ones contradict each other.
    const contradicts = measure !== null && measure !== option;
    if (!expiryOptions.has(option) || given === undefined || contradicts)
      return syntaxFault(command);
    [measure, time] = [option, given];
    position += 1;
  }
  const lasting = flags.has('KEEPTTL') || flags.has('PERSIST');
  return lasting && measure !== null ? syntaxFault(command) : { flags, measure, time };
}

/** The expiry that the options give, or null. */
function expiryOf(
  { measure, time }: ParsedOptions,
  command: string,
  now: number,
): Expiry | null | CommandFault {
  return measure === null || time === null ? null : momentOf(time, measure, command, now);
}

function withExpiry(
  operation: Operation,
  args: readonly string[],
  expiry: Expiry | null,
): Operation {
  if (expiry === null) return { ...operation, args };
  const all = [...args, 'PXAT', String(expiry.ms)];
  return { ...operation, args: all, ...lifetime(expiry, all.length - 1) };
}

/** Marks the position of a lifetime, which starts when the transaction begins and not when it is compiled. */
function lifetime(expiry: Expiry | null, position: number): Pick<Operation, 'lifetimeAt'> {
  return expiry?.isLifetime === true ? { lifetimeAt: position } : {};
}

/**
 * Parses `time` by the rules of Redis for 64-bit integers; `measure` is the option or command that determines its unit.
 * An expiry in the past by the coordinator's clock is in the past in every region, by any clock of a region, and so is a
 * lifetime of 0 or less. A time beyond `limits.expiryMsMaximum` (ms) is reduced to that limit.
 */
function momentOf(
  time: string,
  measure: string,
  command: string,
  now: number,
  mayHavePassed = false,
): Expiry | CommandFault {
  const amount = parseLong(time);
  if (amount === null) {
    const error = 'value is not an integer or out of range';
    return fault(`${error}: the time of '${command}' must be an integer`, error);
  }
  const { unitMs, from } = measures.get(measure) ?? { unitMs: 1, from: 'epoch' };
  const base = from === 'now' ? BigInt(now) : 0n;
  const ms = amount * BigInt(unitMs);
  const isOutOfRange = BigInt.asIntN(64, ms) !== ms || ms > longMaximum - base;
  if (isOutOfRange || (amount <= 0n && !mayHavePassed)) {
    return fault(
      `invalid expire time in '${command}' command; give ${mayHavePassed ? 'an' : 'a positive'} ` +
        'integer whose value in ms fits in 64 bits',
      `invalid expire time in '${command}' command`,
    );
  }
  if (ms + base <= BigInt(now)) return { ms: longAgoMs, isLifetime: false };
  if (ms + base > limits.expiryMsMaximum) return { ms: limits.expiryMsMaximum, isLifetime: false };
  return { ms: Number(ms), isLifetime: from === 'now' };
}

function syntaxFault(command: string): CommandFault {
  const time = 'EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds';
  const form = command === 'set' ? `[NX | XX] [GET] [${time} | KEEPTTL]` : `[${time} | PERSIST]`;
  const detail = `syntax error in the options of '${command}'; Redis 7.0 takes ${form}`;
  return fault(detail, 'syntax error');
}
