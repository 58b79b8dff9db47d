import type { Operation } from '../contracts/frame.ts';
import { limits } from '../limits.ts';
import { argumentFault, parseInteger, unsupportedOption } from './faults.ts';
import { type CommandFault, utf8Length } from './keys.ts';
import type { CheckedCommand } from './rewrites.ts';

/** Scripts see numbers of so many bits exactly. */
const exactBits = 53;

/** A string of Redis ends before this bit. */
const mostBits = 2 ** 32;

/**
 * Fields of more bits than scripts see exactly are read back in halves. A region runs such a command field by field, so
 * its form is checked here; what is wrong in it goes on as it is, to be refused whole. Snapshots have no such way.
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
      `${row.name} of ${wide} is not supported: scripts see numbers of at most ${exactBits} bits; use BITFIELD in a write`,
    );
  }
  return areFields(operation.args.slice(2)) ? { ...operation, kind: 'bits' } : operation;
}

/** The bits of a type such as i5 or u63, or null. */
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

/** The byte that the farthest field ends in which BITFIELD changes; what is no field counts for nothing. */
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
 * Bounds how far SETBIT, SETRANGE and BITFIELD may reach: a few words would otherwise have every region allocate half a
 * gigabyte, and do nothing else meanwhile. What Redis itself refuses goes on to it, for its words.
 */
export function boundReach({ row, operation }: CheckedCommand): Operation | CommandFault {
  const [, , offset = '', value = ''] = operation.args;
  const at = parseInteger(offset);
  if (at === null || at < 0) return operation;
  const bytes =
    row.name === 'SETBIT' ? Math.floor(at / 8) + 1 : at + (value === '' ? -at : utf8Length(value));
  return reachFault(row.name, bytes) ?? operation;
}

/** Null also beyond the longest string of Redis, which refuses that without allocating anything. */
function reachFault(name: string, bytes: number): CommandFault | null {
  if (bytes <= limits.reachedBytes || bytes > mostBits / 8) return null;
  const detail = `${name} reaches to byte ${Math.ceil(bytes)}; the limit is ${limits.reachedBytes}`;
  return { problem: 'too-large', detail };
}

/** Bounds how many elements a random choice that may repeat some of them replies. */
export function boundDraws({ row, operation }: CheckedCommand): Operation | CommandFault {
  const count = parseInteger(operation.args[2] ?? '') ?? 0;
  if (count >= -limits.drawsPerCall) return operation;
  const detail = `${row.name} draws ${-count} elements; the limit is ${limits.drawsPerCall}`;
  return { problem: 'too-large', detail };
}

/** PFCOUNT of one key keeps its result in the key, in the one region that is asked. Of two it does not. */
export function countTwice({ operation }: CheckedCommand): Operation {
  const { args, reads } = operation;
  if (reads.length !== 1) return operation;
  const [name = '', key = ''] = args;
  return { ...operation, args: [name, key, key], reads: [1, 2] };
}

/** Takes of SORT what depends on its own key alone, and on no locale. What Redis refuses is left to it. */
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
        `${option} with a pattern is not supported: it reads keys that the command does not name; read them and sort`,
      );
    }
  }
  const hasOrder = seen.has('STORE') || !(seen.has('ALPHA') || seen.has('BY'));
  if (isSnapshot || hasOrder) return operation;
  return unsupportedOption(
    `${row.name} with ALPHA or BY needs STORE in a write: otherwise it follows the locale of the server; use SORT_RO in POST /v1/reads`,
  );
}

/**
 * Stored distances go into the vote: servers compute them with the functions of their C libraries, whose last digits may
 * differ, and the reply does not say so.
 */
export function noteDistances({ operation }: CheckedCommand): Operation {
  const named = operation.args.slice(4).some((word) => word.toUpperCase() === 'STOREDIST');
  return named && operation.writes.length > 0 ? { ...operation, kind: 'distances' } : operation;
}

/** Checks the subcommand of a container, as Redis does before it runs it. */
export function checkSubcommand({ row, operation }: CheckedCommand): Operation | CommandFault {
  const [name = '', given = '', ...rest] = operation.args;
  const subcommand = given.toUpperCase();
  if (subcommand === 'HELP')
    return unsupportedOption(`${name} HELP is not supported: see the documentation`);
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

/** Takes MEMORY USAGE, and bounds how many elements it looks at; 0 stands for all of them. */
export function boundSamples(command: CheckedCommand): Operation | CommandFault {
  const subcommand = (command.operation.args[1] ?? '').toUpperCase();
  if (['DOCTOR', 'MALLOC-STATS', 'PURGE', 'STATS'].includes(subcommand)) {
    return unsupportedOption(
      `MEMORY ${subcommand} is not supported: it administers a single server; connect to that region itself`,
    );
  }
  const operation = checkSubcommand(command);
  if ('problem' in operation) return operation;
  const samples = parseInteger(operation.args[4] ?? '');
  const isSmall = samples !== null && samples !== 0 && samples <= limits.memorySamples;
  if (samples === null || samples < 0 || isSmall) return operation;
  return { ...operation, args: operation.args.with(4, String(limits.memorySamples)) };
}
