/** Rewrites EVAL and its relatives into operations that carry the text and digest of the script. */
import type { Operation } from '../contracts/frame.ts';
import type { CheckedCommand, CompileContext } from './compile-context.ts';
import { parseInteger } from './faults.ts';
import type { CommandFault } from './keys.ts';
import { mayWriteByFlags } from './lua-text.ts';
import {
  digestFrom,
  noScripts,
  type ScriptFault,
  type UserScript,
  unknownScriptError,
} from './user-scripts.ts';

/** The positions of the keys of EVAL and its relatives; empty if numkeys is wrong. */
export function scriptKeys(args: readonly string[]): readonly number[] {
  const count = parseInteger(args[2] ?? '') ?? 0;
  if (count < 0 || count > args.length - 3) return [];
  return Array.from({ length: count }, (_, index) => 3 + index);
}

/**
 * Puts the script's digest and text before its keys: in a write as an operation of kind `script`, in a snapshot as
 * EVAL_RO, with the number of keys after the text.
 */
export function rewriteScript(
  { row, operation, isSnapshot }: CheckedCommand,
  context: CompileContext,
): Operation | CommandFault {
  const [name = '', given = '', count = '', ...rest] = operation.args;
  const script = scriptIn(name, given, count, rest.length, context);
  if ('problem' in script) return script;
  const { sha, text, counted, fault, readsOnly } = script;
  if (fault !== null) return scriptFault(fault);
  const keys = scriptKeys(operation.args);
  if (isSnapshot) {
    const args = ['EVAL_RO', sha, counted, count, ...rest];
    return { ...operation, args, writes: [], reads: keys.map((position) => position + 1) };
  }
  if (row.class === 'read' && mayWriteByFlags(text)) {
    return redisFault('ERR Can not execute a script with write flag using *_ro command.');
  }
  if (row.class === 'read' && !readsOnly) {
    const detail = `${name} is supported in writes only if the script’s text shows that it only reads; use ${name.replace('_RO', '')}`;
    return { problem: 'unsupported-command', detail };
  }
  const writes = keys.map((position) => position - 1);
  const args = [sha, counted, ...rest];
  return { ...operation, kind: 'script', args, writes, reads: [], seed: context.seed() };
}

/** The script of a command, or the error of Redis. Redis checks the digest first and then the number of keys. */
function scriptIn(
  name: string,
  given: string,
  count: string,
  most: number,
  { scripts = noScripts }: CompileContext,
): UserScript | CommandFault {
  const isByDigest = name.startsWith('EVALSHA');
  const sha = isByDigest ? digestFrom(given) : '';
  if (sha === null) return redisFault(unknownScriptError);
  const keys = parseInteger(count);
  if (keys === null || !Number.isSafeInteger(keys)) {
    return redisFault('ERR value is not an integer or out of range');
  }
  if (keys > most) return redisFault("ERR Number of keys can't be greater than number of args");
  if (keys < 0) return redisFault("ERR Number of keys can't be negative");
  if (!isByDigest) return scripts.evaluated(given);
  return scripts.find(sha) ?? redisFault(unknownScriptError);
}

/** An error that Redis reports only when it runs the command, so that the transaction continues. */
function redisFault(error: string): CommandFault {
  const redis = { error, whenQueued: false };
  return { problem: 'invalid-command', detail: error.replace(/^ERR /, ''), redis };
}

function scriptFault(fault: ScriptFault): CommandFault {
  return { ...fault, redis: { error: `ERR ${fault.detail}`, whenQueued: false } };
}

/** An operation whose reply is `error`, for a failing command in a transaction that continues. */
export function failing(error: string): Operation {
  return { kind: 'fail', args: [error], writes: [], reads: [], reply: null, seed: null };
}
