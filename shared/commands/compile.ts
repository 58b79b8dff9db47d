/**
 * Compiles the commands of a write or a snapshot: checks their form, finds their keys and rewrites them, so that every
 * region runs the same deterministic operations. It knows no data: errors that depend on data are the regions' part.
 */
import { list as everyCommand, getKeyIndexes } from '@ioredis/commands';
import { assert } from '../assert.ts';
import { utf8Length } from '../contracts/bytes.ts';
import type { Check, Operation } from '../contracts/frame.ts';
import type { ReadCommand } from '../contracts/round.ts';
import { limits } from '../limits.ts';
import type { CheckedCommand, CompileContext } from './compile-context.ts';
import { type CommandFault, keyFault } from './keys.ts';
import { hasBytes } from './raw-bytes.ts';
import { rewriters } from './rewrites.ts';
import type { CommandRow, ReadRow, WriteRow } from './rows.ts';
import { failing, scriptKeys } from './scripts.ts';
import { streamKeys } from './streams.ts';
import { findCommand } from './table.ts';
import { noScripts, type ScriptLookup } from './user-scripts.ts';

/** Why commands are refused. `detail` names the position of the faulty one, and `reason` is the same without it. */
export interface CompileRefusal extends CommandFault {
  readonly ok: false;
  readonly reason: string;
}

/** A write in the form that every region runs, or the reason for its refusal. */
export type Compiled =
  | {
      readonly ok: true;
      readonly operations: readonly Operation[];
      /** Every key of operations and checks, each once, in order of first appearance. */
      readonly keys: readonly string[];
      /** The size of the operations' arguments and the checks' texts in UTF-8, in bytes. */
      readonly bytes: number;
    }
  | CompileRefusal;

/** The commands of a snapshot, or the reason for their refusal. */
export type CompiledReads =
  | {
      readonly ok: true;
      readonly commands: readonly ReadCommand[];
      /** Every key, each once, in order of first appearance. */
      readonly keys: readonly string[];
    }
  | CompileRefusal;

/** Commands that write only if they name a destination key, each with its read-only form. */
const readForms: ReadonlyMap<string, string> = new Map([
  ['SORT', 'SORT_RO'],
  ['GEORADIUS', 'GEORADIUS_RO'],
  ['GEORADIUSBYMEMBER', 'GEORADIUSBYMEMBER_RO'],
]);

/** Compiling a read needs neither the clock nor random numbers. */
const atNoTime: CompileContext = { now: 0, seed: () => 0 };

/** Every name that @ioredis/commands knows; those that the table lacks came after Redis 7.0. */
const knownNames: ReadonlySet<string> = new Set(everyCommand);

/**
 * Makes a write deterministic: the same commands, checks, clock and seeds give the same operations, and these have the
 * same effect in every region with the same data. A command is an array of strings, its name first, in any case.
 * Refuses a write that is too large, or whose commands or checks have an invalid form. Throws InvariantViolation if the
 * clock or a seed is out of range.
 */
export function compileWrite(
  ops: readonly (readonly string[])[],
  checks: readonly Check[],
  context: CompileContext,
): Compiled {
  assert(Number.isSafeInteger(context.now), 'the clock is a whole number of ms');
  const counted = countFault(ops.length, checks.length);
  if (counted !== null) return refuse(counted);
  const operations: Operation[] = [];
  for (const [position, op] of ops.entries()) {
    const operation = compileOperation(op, context);
    if ('problem' in operation) return refuse(operation, `ops[${position}]`);
    operations.push(operation);
  }
  for (const [position, check] of checks.entries()) {
    const wrong = checkFault(check);
    if (wrong !== null) return refuse(wrong, `checks[${position}]`);
  }
  const keys = distinct([...operations.flatMap(keysOf), ...checks.map((check) => check.key)]);
  const scripts = operations.filter(({ kind }) => kind === 'script').map(({ args }) => args);
  const crowded =
    crowdFault(keys, limits.keysPerWrite) ?? scriptsFault(scripts.map(([, text]) => text));
  if (crowded !== null) return refuse(crowded);
  const texts = [...operations.flatMap((operation) => operation.args), ...checks.flatMap(textsOf)];
  const bytes = texts.reduce((sum, text) => sum + utf8Length(text), 0);
  return { ok: true, operations, keys, bytes };
}

/**
 * The fault for which {@link compileWrite} refuses a write at `now`, or null. The edge asks it, so that a faulty write
 * costs the coordinator nothing. The operations are not handed on: they depend on the coordinator's clock, on its seeds
 * and on the texts of scripts that it keeps.
 */
export function faultOfWrite(
  ops: readonly (readonly string[])[],
  checks: readonly Check[],
  now: number,
  scripts: ScriptLookup,
): CompileRefusal | null {
  const compiled = compileWrite(ops, checks, { now, seed: () => 0, scripts });
  return compiled.ok ? null : compiled;
}

/** The keys that a write names, in order of first appearance; none if it is refused, which its coordinator explains. */
export function keysOfWrite(
  ops: readonly (readonly string[])[],
  checks: readonly Check[],
  scripts: ScriptLookup,
): readonly string[] {
  const compiled = compileWrite(ops, checks, {
    now: 0,
    seed: () => 0,
    scripts,
    continueOnError: true,
  });
  return compiled.ok ? compiled.keys : [];
}

/** True if `command`, which is compiled as a read of `keys`, may also be one of the operations of a write at `now`. */
export function isReadOfWrites(
  command: readonly string[],
  keys: readonly string[],
  now: number,
  scripts: ScriptLookup = noScripts,
): boolean {
  const row = findCommand(command[0] ?? '');
  if (row?.class === 'read') {
    if (row.refusedInWrites !== null) return false;
    // Without a rewrite it runs in a write as it does in a snapshot, and only the bound on its keys differs.
    if (row.rewrite === null) return keys.length <= limits.keysPerWrite;
  }
  return faultOfWrite([command], [], now, scripts) === null;
}

/**
 * Compiles the read commands of a snapshot. They run as given, with the name in upper case; scripts run as EVAL_RO, with
 * the digest before the text. Refuses commands that write, and too many commands or keys.
 */
export function compileReads(
  commands: readonly (readonly string[])[],
  scripts: ScriptLookup = noScripts,
): CompiledReads {
  if (commands.length === 0) return refuse(invalid('a snapshot needs at least one command'));
  if (commands.length > limits.readsPerSnapshot) {
    return refuse(tooMany('read commands', commands.length, limits.readsPerSnapshot));
  }
  const compiled: ReadCommand[] = [];
  for (const [position, command] of commands.entries()) {
    const readCommand = compileRead(command, { ...atNoTime, scripts });
    if ('problem' in readCommand) return refuse(readCommand, `reads[${position}]`);
    compiled.push(readCommand);
  }
  const keys = distinct(compiled.flatMap(({ args, reads }) => textsAt(args, reads)));
  const texts = compiled.map(({ args }) => (args[0] === 'EVAL_RO' ? args[2] : ''));
  const crowded = crowdFault(keys, limits.keysPerSnapshot) ?? scriptsFault(texts);
  return crowded === null ? { ok: true, commands: compiled, keys } : refuse(crowded);
}

function compileOperation(
  op: readonly string[],
  context: CompileContext,
): Operation | CommandFault {
  const command = checkCommand(op, false);
  if ('problem' in command) return command;
  const { row, operation } = command;
  if (row.class === 'read' && row.refusedInWrites !== null) {
    return unsupported(`${row.name} is not supported in a write: ${row.refusedInWrites}`);
  }
  if (row.rewrite === null) return operation;
  const rewritten = rewriters[row.rewrite](command, context);
  // Redis reports this error only when it runs the command, and still runs the others of the transaction.
  const isAlone = 'problem' in rewritten && context.continueOnError === true;
  const error = isAlone && rewritten.redis?.whenQueued === false ? rewritten.redis.error : null;
  return error === null ? rewritten : failing(error);
}

function compileRead(
  command: readonly string[],
  context: CompileContext,
): ReadCommand | CommandFault {
  const checked = checkCommand(command, true);
  if ('problem' in checked) return checked;
  const { row } = checked;
  if (row.class === 'write') {
    return invalid(`${row.name} may change data; send it to POST /v1/writes`);
  }
  const operation =
    row.rewrite === null ? checked.operation : rewriters[row.rewrite](checked, context);
  if ('problem' in operation) return operation;
  // A single region answers a snapshot, so no order has to be agreed on.
  return { args: operation.args, reads: operation.reads, reply: null };
}

/** True if the command only reads, directly or in its read-only form. */
export function isRead([given = '', ...rest]: readonly string[]): boolean {
  const row = findCommand(given);
  if (row === null || row.class === 'refused') return false;
  return readFormOf(row, [row.name, ...rest]).class === 'read';
}

/** The row that applies to the command in a snapshot. */
function readFormOf(row: WriteRow | ReadRow, args: readonly string[]): WriteRow | ReadRow {
  const other = findCommand(readForms.get(row.name) ?? '');
  if (other?.class !== 'read' || storePosition(args).length > 0) return row;
  return other;
}

/** Checks the form of a command and finds its keys. */
function checkCommand(op: readonly string[], isSnapshot: boolean): CheckedCommand | CommandFault {
  const [given, ...rest] = op;
  if (given === undefined) return invalid('a command needs a name as its first element');
  if (op.length > limits.argumentsPerOperation) {
    return tooMany('elements in a command', op.length, limits.argumentsPerOperation);
  }
  const named = findCommand(given);
  if (named === null) return unknownFault(given);
  if (named.class === 'refused') {
    return unsupported(`${named.name} is not supported: ${named.reason}`);
  }
  const asNamed = [named.name, ...rest];
  // Error messages show the name that the client gave, not the read-only form.
  const wrong =
    arityFault(named, asNamed.length) ?? textFault(asNamed) ?? keyCountFault(named, asNamed);
  if (wrong !== null) return wrong;
  const row = isSnapshot ? readFormOf(named, asNamed) : named;
  const args = [row.name, ...rest];
  const positions = keyPositions(row, args);
  for (const key of textsAt(args, positions)) {
    const forbidden = keyFault(key);
    if (forbidden !== null) return forbidden;
  }
  return { row, operation: operationOf(row, args, positions), isSnapshot };
}

function operationOf(
  row: WriteRow | ReadRow,
  args: readonly string[],
  positions: readonly number[],
): Operation {
  const isWritten = (index: number): boolean => {
    if (row.class === 'read') return false;
    if (row.written === 'first') return index === 0;
    if (row.written === 'second') return index === 1;
    return row.written === 'all' || index === positions.length - 1;
  };
  return {
    kind: row.class,
    args,
    writes: positions.filter((_, index) => isWritten(index)),
    reads: positions.filter((_, index) => !isWritten(index)),
    reply: row.reply,
    seed: null,
  };
}

/** The positions of the keys; the name is position 0. The package counts from the first argument. */
function keyPositions(row: WriteRow | ReadRow, args: readonly string[]): readonly number[] {
  switch (row.keysAt) {
    case 'streams':
      return streamKeys(args);
    case 'counted':
      return scriptKeys(args);
    case 'second':
      return args.length > 2 ? [2] : [];
    case 'first':
      return [1];
    case 'all-but-last':
      return args.slice(1, -1).map((_, index) => index + 1);
    case 'every-third':
      return args.flatMap((_, index) => (index % 3 === 1 ? [index] : []));
    case 'store':
      return [1, ...storePosition(args)];
    case null:
      return getKeyIndexes(row.name.toLowerCase(), args.slice(1)).map((index) => index + 1);
  }
}

/** The position of the destination key of SORT or GEORADIUS (STORE, STOREDIST); the last option counts. Empty if none. */
function storePosition(args: readonly string[]): readonly number[] {
  const isSort = args[0] === 'SORT';
  // The value of an option is not an option, even if it is spelt like one. Options of GEORADIUS take numbers only.
  const taken: Readonly<Record<string, number>> = isSort ? { LIMIT: 2, GET: 1, BY: 1 } : {};
  let found: readonly number[] = [];
  for (let at = isSort ? 2 : 5; at < args.length; at += 1) {
    const option = (args[at] ?? '').toUpperCase();
    const stores = option === 'STORE' || (option === 'STOREDIST' && !isSort);
    if (stores && at + 1 < args.length) {
      found = [at + 1];
      at += 1;
    } else at += new Map(Object.entries(taken)).get(option) ?? 0;
  }
  return found;
}

function unknownFault(name: string): CommandFault {
  if (!name.isWellFormed()) return invalid('the name of a command is not valid Unicode text');
  if (knownNames.has(name.toLowerCase())) {
    return unsupported(
      `${name.toUpperCase()} is newer than Redis 7.0, which regions may be running`,
    );
  }
  const shown =
    name.length > 64 ? `${Array.from(name.slice(0, 128)).slice(0, 64).join('')}…` : name;
  return invalid(`unknown command '${shown}'; use a command of Redis 7.0`);
}

function arityFault(
  row: Exclude<CommandRow, { class: 'refused' }>,
  count: number,
): CommandFault | null {
  const least = Math.abs(row.arity);
  const isPaired = row.pairsFrom === null || (count - row.pairsFrom) % 2 === 0;
  if (isPaired && (row.arity > 0 ? count === least : count >= least)) return null;
  const some = `${row.arity > 0 ? 'exactly' : 'at least'} ${least - 1} after its name`;
  const pairs = row.pairsFrom === null ? '' : ', in pairs';
  const words = `wrong number of arguments for '${row.name.toLowerCase()}' command`;
  // Redis reports arguments that do not come in pairs only when it runs the command.
  const whenQueued = row.arity > 0 ? count !== least : count < least;
  const redis = { error: `ERR ${words}`, whenQueued };
  return { ...invalid(`${words}; it takes ${some}${pairs}`), redis };
}

/** The fault of an argument that no server could store unchanged or that is too long, or null. */
function textFault(args: readonly string[]): CommandFault | null {
  for (const [position, text] of args.entries()) {
    if (!hasBytes(text)) return invalid(`argument ${position} is not valid Unicode text`);
    // A UTF-16 code unit has at most three bytes in UTF-8, so most texts need not be measured.
    if (3 * text.length <= limits.valueBytes) continue;
    const bytes = utf8Length(text);
    if (bytes <= limits.valueBytes) continue;
    const detail = `argument ${position} has ${bytes} bytes; the limit is ${limits.valueBytes}`;
    return { problem: 'too-large', detail };
  }
  return null;
}

/** Commands such as ZUNION give the number of their keys. It is checked before anything loops up to it. */
function keyCountFault(row: WriteRow | ReadRow, args: readonly string[]): CommandFault | null {
  if (row.keyCountAt === null) return null;
  const count = args[row.keyCountAt] ?? '';
  const most = args.length - 1 - row.keyCountAt;
  if (/^[1-9]\d{0,4}$/.test(count) && Number(count) <= most) return null;
  const name = row.name.toLowerCase();
  const redis = { error: keyCountError(row.name, count), whenQueued: false };
  const detail = `numkeys of '${name}' must be the number of keys that follow, here from 1 to ${most}`;
  return { ...invalid(detail), redis };
}

/** The error of Redis for a numkeys that is not a positive integer, or exceeds the number of arguments. */
function keyCountError(name: string, count: string): string {
  const isInteger = /^(?:0|-?[1-9]\d{0,17})$/.test(count);
  const isTooSmall = !isInteger || count === '0' || count.startsWith('-');
  if (['LMPOP', 'ZMPOP', 'SINTERCARD'].includes(name)) {
    if (isTooSmall) return 'ERR numkeys should be greater than 0';
    return name === 'SINTERCARD'
      ? "ERR Number of keys can't be greater than number of args"
      : 'ERR syntax error';
  }
  if (!isInteger) return 'ERR value is not an integer or out of range';
  if (!isTooSmall) return 'ERR syntax error';
  return `ERR at least 1 input key is needed for '${name.toLowerCase()}' command`;
}

function countFault(operations: number, checks: number): CommandFault | null {
  if (operations === 0 && checks === 0) {
    return invalid('a write needs at least one operation or check');
  }
  if (operations > limits.operationsPerWrite) {
    return tooMany('operations in a write', operations, limits.operationsPerWrite);
  }
  if (checks > limits.checksPerWrite) {
    return tooMany('checks in a write', checks, limits.checksPerWrite);
  }
  return null;
}

function checkFault(check: Check): CommandFault | null {
  const forbidden = keyFault(check.key);
  if (forbidden !== null) return forbidden;
  const wrong = textsOf(check).find((text) => !text.isWellFormed());
  if (wrong !== undefined) return invalid('a text of this check is not valid Unicode text');
  const bytes = Math.max(...textsOf(check).map(utf8Length));
  if (bytes <= limits.valueBytes) return null;
  const detail = `a text of this check has ${bytes} bytes; the limit is ${limits.valueBytes}`;
  return { problem: 'too-large', detail };
}

function crowdFault(keys: readonly string[], limit: number): CommandFault | null {
  return keys.length <= limit ? null : tooMany('different keys', keys.length, limit);
}

function scriptsFault(texts: readonly (string | undefined)[]): CommandFault | null {
  const bytes = texts.reduce((sum, text) => sum + utf8Length(text ?? ''), 0);
  if (bytes <= limits.scriptBytesPerWrite) return null;
  const detail = `the scripts have ${bytes} bytes in total; the limit is ${limits.scriptBytesPerWrite}`;
  return { problem: 'too-large', detail };
}

/** The texts of a check that the client chose, its key first. */
function textsOf(check: Check): readonly string[] {
  if (check.kind === 'equals') return [check.key, check.value];
  return check.kind === 'field' ? [check.key, check.field, check.value] : [check.key];
}

function keysOf({ args, writes, reads }: Operation): readonly string[] {
  const positions = [...writes, ...reads].sort((a, b) => a - b);
  return textsAt(args, positions);
}

function textsAt(args: readonly string[], positions: readonly number[]): readonly string[] {
  return positions.map((position) => args[position] ?? '');
}

function distinct(keys: readonly string[]): readonly string[] {
  return [...new Set(keys)];
}

function refuse(fault: CommandFault, place?: string): CompileRefusal {
  const { detail: reason } = fault;
  const detail = place === undefined ? reason : `${place}: ${reason}`;
  return { ok: false, ...fault, reason, detail };
}

function invalid(detail: string): CommandFault {
  return { problem: 'invalid-command', detail };
}

function unsupported(detail: string): CommandFault {
  return { problem: 'unsupported-command', detail };
}

function tooMany(what: string, count: number, limit: number): CommandFault {
  return { problem: 'too-large', detail: `${count} ${what}; the limit is ${limit}` };
}
