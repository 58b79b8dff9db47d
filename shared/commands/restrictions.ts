/** Rewriters that restrict a command: limits on its cost, and options that regions could not run alike. */
import { utf8Length } from '../contracts/bytes.ts';
import type { Operation } from '../contracts/frame.ts';
import { limits } from '../limits.ts';
import type { CheckedCommand } from './compile-context.ts';
import { argumentFault, parseInteger, unsupportedOption } from './faults.ts';
import type { CommandFault } from './keys.ts';

/** Lua represents integers of at most this many bits exactly. */
const exactBits = 53;

/** The maximum length of a Redis string, in bits. */
const mostBits = 2 ** 32;

/**
 * Lets a write read fields of more than 53 bits in halves, because Lua would round them. A region then runs the command
 * field by field, so its form is checked here; a wrong form is sent unchanged, and Redis refuses it as a whole.
 * Snapshots cannot read in halves, so wide fields are refused there.
 */
export function readWideBits({
  row,
  operation,
  isSnapshot,
}: CheckedCommand): Operation | CommandFault {
  const reached = row.class === 'write' ? reachOfFields(operation.args.slice(2)) : 0;
  const wrong = reachFault(row.name, reached);
  if (wrong !== null) return wrong;
  const wide = operation.args.slice(2).find((word) => (widthOf(word) ?? 0) > exactBits);
  if (wide === undefined) return operation;
  if (isSnapshot || row.class === 'read') {
    return unsupportedOption(
      `${row.name} of ${wide} is not supported in reads, which are exact up to ${exactBits} bits; use BITFIELD in a write`,
    );
  }
  return areFields(operation.args.slice(2)) ? { ...operation, kind: 'bits' } : operation;
}

/** The number of bits of a type such as i5 or u63, or null if it is not a type. */
function widthOf(word: string): number | null {
  const [, sign, digits] = /^([iu])([1-9]\d?)$/.exec(word) ?? [];
  const width = Number(digits ?? 0);
  return width >= 1 && width <= (sign === 'u' ? 63 : 64) ? width : null;
}

function areFields(words: readonly string[]): boolean {
  for (let at = 0; at < words.length; ) {
    const name = (words[at] ?? '').toUpperCase();
    const [first = '', second = '', third = ''] = words.slice(at + 1);
    if (name === 'OVERFLOW') {
      if (!['WRAP', 'SAT', 'FAIL'].includes(first.toUpperCase())) return false;
      at += 2;
      continue;
    }
    const isGet = name === 'GET';
    if (!isGet && name !== 'SET' && name !== 'INCRBY') return false;
    if (!isField(first, second) || !(isGet || isLong(third))) return false;
    at += isGet ? 3 : 4;
  }
  return true;
}

/** The end of the farthest field that BITFIELD changes, in bytes; invalid fields are ignored. */
function reachOfFields(words: readonly string[]): number {
  let bits = 0;
  for (const [at, word] of words.entries()) {
    if (!/^(?:SET|INCRBY)$/i.test(word)) continue;
    const width = widthOf(words[at + 1] ?? '') ?? 0;
    const [, mark, digits] = /^(#?)(0|[1-9]\d{0,10})$/.exec(words[at + 2] ?? '') ?? [];
    if (digits !== undefined)
      bits = Math.max(bits, Number(digits) * (mark === '#' ? width : 1) + width);
  }
  return bits / 8;
}

function isField(type: string, offset: string): boolean {
  const width = widthOf(type);
  const [, mark, digits] = /^(#?)(0|[1-9]\d{0,9})$/.exec(offset) ?? [];
  if (width === null || digits === undefined) return false;
  return Number(digits) * (mark === '#' ? width : 1) + width <= mostBits;
}

/** An integer of 64 bits. */
function isLong(text: string): boolean {
  return parseInteger(text) !== null && BigInt.asIntN(64, BigInt(text)) === BigInt(text);
}

/**
 * Limits the offsets of SETBIT, SETRANGE and BITFIELD: a short command would otherwise make every region allocate half a
 * gigabyte and block meanwhile. Offsets that Redis itself refuses are sent to it, for its error message.
 */
export function boundReach({ row, operation }: CheckedCommand): Operation | CommandFault {
  const [, , offset = '', value = ''] = operation.args;
  const at = parseInteger(offset);
  if (at === null || at < 0) return operation;
  const bytes =
    row.name === 'SETBIT' ? Math.floor(at / 8) + 1 : at + (value === '' ? -at : utf8Length(value));
  return reachFault(row.name, bytes) ?? operation;
}

/** Null also beyond the maximum length of a string, which Redis refuses without allocating memory. */
function reachFault(name: string, bytes: number): CommandFault | null {
  if (bytes <= limits.reachedBytes || bytes > mostBits / 8) return null;
  const detail = `${name} extends the value to ${Math.ceil(bytes)} bytes; the limit is ${limits.reachedBytes}`;
  return { problem: 'too-large', detail };
}

/** Limits the reply of a random choice with repetition (a negative count), in elements. */
export function boundDraws({ row, operation }: CheckedCommand): Operation | CommandFault {
  const count = parseInteger(operation.args[2] ?? '') ?? 0;
  if (count >= -limits.drawsPerCall) return operation;
  const detail = `${row.name} draws ${-count} elements; the limit is ${limits.drawsPerCall}`;
  return { problem: 'too-large', detail };
}

/** Repeats the key of a PFCOUNT of one key, which would otherwise cache its result in the key of that region alone. */
export function countTwice({ operation }: CheckedCommand): Operation {
  const { args, reads } = operation;
  if (reads.length !== 1) return operation;
  const [name = '', key = ''] = args;
  return { ...operation, args: [name, key, key], reads: [1, 2] };
}

/** Refuses a SORT that reads further keys or depends on a locale. Syntax errors are left to Redis. */
export function restrictSort({
  row,
  operation,
  isSnapshot,
}: CheckedCommand): Operation | CommandFault {
  const { args } = operation;
  const seen = new Set<string>();
  for (let at = 2; at < args.length; at += 1) {
    const option = (args[at] ?? '').toUpperCase();
    const left = args.length - 1 - at;
    seen.add(option);
    if (option === 'ASC' || option === 'DESC' || option === 'ALPHA') continue;
    if (option === 'LIMIT' && left >= 2) {
      at += 2;
      continue;
    }
    const takesOne = ['BY', 'GET', row.name === 'SORT' ? 'STORE' : 'BY'].includes(option);
    if (!takesOne || left < 1) return operation;
    at += 1;
    if (option !== 'STORE' && (args[at] ?? '').includes('*')) {
      return unsupportedOption(
        `${option} with a pattern is not supported: it reads keys that the command does not name; read those keys and sort in the client`,
      );
    }
  }
  const hasOrder = seen.has('STORE') || !(seen.has('ALPHA') || seen.has('BY'));
  if (isSnapshot || hasOrder) return operation;
  return unsupportedOption(
    `${row.name} with ALPHA or BY needs STORE in a write: otherwise its order follows the locale of the server; use SORT_RO in POST /v1/reads`,
  );
}

/**
 * Makes stored distances part of the vote: servers compute them with their C libraries, whose last digits may differ, and
 * the reply of the command does not show them.
 */
export function noteDistances({ operation }: CheckedCommand): Operation {
  const named = operation.args.slice(4).some((word) => word.toUpperCase() === 'STOREDIST');
  return named && operation.writes.length > 0 ? { ...operation, kind: 'distances' } : operation;
}

/** Checks the subcommand of a container command, as Redis does before it runs the command. */
export function checkSubcommand({ row, operation }: CheckedCommand): Operation | CommandFault {
  const [name = '', given = '', ...rest] = operation.args;
  const subcommand = given.toUpperCase();
  if (subcommand === 'HELP')
    return unsupportedOption(`${name} HELP is not supported; see the documentation of Redis`);
  const arity = Object.entries(row.subcommands ?? {}).find(([known]) => known === subcommand)?.[1];
  if (arity === undefined) {
    const error = `unknown subcommand '${given.slice(0, 128)}'. Try ${name} HELP.`;
    return {
      problem: 'invalid-command',
      detail: error,
      redis: { error: `ERR ${error}`, whenQueued: true },
    };
  }
  const count = rest.length + 2;
  if (arity > 0 ? count === arity : count >= -arity) {
    return { ...operation, args: [name, subcommand, ...rest] };
  }
  const full = `${name}|${subcommand}`.toLowerCase();
  const { problem, detail } = argumentFault(`wrong number of arguments for '${full}' command`, '');
  return { problem, detail, redis: { error: `ERR ${detail}`, whenQueued: true } };
}

/** Accepts MEMORY USAGE only, and limits its SAMPLES; in Redis, 0 samples all elements. */
export function boundSamples(command: CheckedCommand): Operation | CommandFault {
  const subcommand = (command.operation.args[1] ?? '').toUpperCase();
  if (['DOCTOR', 'MALLOC-STATS', 'PURGE', 'STATS'].includes(subcommand)) {
    return unsupportedOption(
      `MEMORY ${subcommand} is not supported: it administers a single server; connect to that region directly`,
    );
  }
  const operation = checkSubcommand(command);
  if ('problem' in operation) return operation;
  const samples = parseInteger(operation.args[4] ?? '');
  const isSmall = samples !== null && samples !== 0 && samples <= limits.memorySamples;
  if (samples === null || samples < 0 || isSmall) return operation;
  return { ...operation, args: operation.args.with(4, String(limits.memorySamples)) };
}
