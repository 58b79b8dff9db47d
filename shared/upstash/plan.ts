/** Plans the commands of Upstash requests: which are answered here, refused, read, or written. */
import {
  type CompileRefusal,
  compileReads,
  faultOfWrite,
  isRead,
  isReadOfWrites,
} from '../commands/compile.ts';
import { bytesWithin } from '../commands/raw-bytes.ts';
import { findCommand } from '../commands/table.ts';
import {
  anyScript,
  noScripts,
  type ScriptLookup,
  type UserScript,
} from '../commands/user-scripts.ts';
import type { Scope } from '../config/configuration.ts';
import type { RawReply } from '../contracts/reply.ts';
import type { ReadCommand } from '../contracts/round.ts';
import type { UpstashCommand } from './request.ts';
import { orderOf, type ScriptOrder } from './script-commands.ts';

/** The plan for one command. */
export type UpstashPlan =
  /** Answered without a region. */
  | { readonly kind: 'answered'; readonly reply: RawReply }
  /** Refused. `whenQueued`: a transaction that contains the command is discarded, with `error` as the reason. */
  | {
      readonly kind: 'refused';
      readonly error: string;
      readonly whenQueued: boolean;
      /** The status, if not 400. */
      readonly status?: number;
    }
  /** A read. `mayBeFrame`: it can be part of a write, and then sees the effects of the commands before it. */
  | {
      readonly kind: 'read';
      readonly command: ReadCommand;
      readonly keys: readonly string[];
      readonly mayBeFrame: boolean;
      /** True if it is sent as a write if a region finds that it writes. */
      readonly mayWrite: boolean;
      /** The script of an EVAL, which later EVALSHAs may name after a region has run it. */
      readonly brings?: UserScript;
    }
  | { readonly kind: 'write' }
  /** A user's script, which is a read or a write by its text. `readsOnly`: it is refused when it tries to write. */
  | {
      readonly kind: 'script';
      readonly readsOnly: boolean;
      readonly mayBeKept: boolean;
      /** The script of an EVAL; null if the command has a digest. */
      readonly script: UserScript | null;
    }
  | { readonly kind: 'order'; readonly order: ScriptOrder };

type Refused = Extract<UpstashPlan, { kind: 'refused' }>;

/** The bytes of an unknown command that Redis quotes in its error. */
const quotedBytes = 128;

/** The permissions of the caller. */
export interface Permissions {
  readonly scope: Scope;
  readonly scripts: boolean;
}

/** Plans `command`, sent at `now` (ms) by a caller with these permissions. `lookup` has to accept every digest. */
export function planOf(
  command: UpstashCommand,
  now: number,
  { scope, scripts }: Permissions,
  lookup: ScriptLookup = anyScript,
): UpstashPlan {
  const [name = '', ...rest] = command;
  const own = answerHere(name.toUpperCase(), rest, now);
  if (own !== null) return own;
  if (/^(?:EVAL(?:SHA)?(?:_RO)?|SCRIPT)$/i.test(name) && !scripts) return notPermitted(name);
  if (name.toUpperCase() === 'SCRIPT') return planOfOrder(rest, scope);
  const row = findCommand(name);
  if (row === null) return refuse(unknownError(name, rest));
  // The reason names the command as the table does, so the client's spelling is not repeated.
  if (row.class === 'refused') return refuse(`ERR ${row.name} is not supported: ${row.reason}`);
  if (row.rewrite === 'script') return planOfScript(command, now, scope, lookup);
  if (row.class === 'write' && !isRead(command)) {
    if (scope === 'read') return notPermitted(name);
    const fault = faultOfWrite([command], [], now, noScripts);
    return fault === null ? { kind: 'write' } : refusalOf(fault);
  }
  const compiled = compileReads([command]);
  if (!compiled.ok) return refusalOf(compiled);
  const [read] = compiled.commands;
  if (read === undefined) return refuse('ERR empty command');
  const { keys } = compiled;
  const mayBeFrame = isReadOfWrites(command, keys, now);
  return { kind: 'read', command: read, keys, mayBeFrame, mayWrite: false };
}

/** Checks only the form of the command: whether it writes depends on a text that may not be known yet. */
function planOfScript(
  command: UpstashCommand,
  now: number,
  scope: Scope,
  lookup: ScriptLookup,
): UpstashPlan {
  const readsOnly = scope === 'read' || /_RO$/i.test(command[0] ?? '');
  // Kept in the plan, because the analysis of a text takes longer than everything else here.
  const evaluated: UserScript[] = [];
  const scripts: ScriptLookup = {
    ...lookup,
    evaluated(text) {
      const script = lookup.evaluated(text);
      evaluated.push(script);
      return script;
    },
  };
  const fault = readsOnly
    ? faultOfReads([asReadOnly(command)], scripts)
    : faultOfWrite([command], [], now, scripts);
  if (fault !== null) return refusalOf(fault);
  const [script = null] = evaluated;
  // A caller with only read access stores nothing, and so cannot fill the script store.
  return { kind: 'script', readsOnly, mayBeKept: scope !== 'read', script };
}

function faultOfReads(
  commands: readonly UpstashCommand[],
  scripts: ScriptLookup,
): CompileRefusal | null {
  const compiled = compileReads(commands, scripts);
  return compiled.ok ? null : compiled;
}

/** The read-only form of a script command. */
export function asReadOnly([name = '', ...rest]: UpstashCommand): UpstashCommand {
  return [name.toUpperCase().replace(/(?:_RO)?$/, '_RO'), ...rest];
}

function planOfOrder(rest: readonly string[], scope: Scope): UpstashPlan {
  const order = orderOf(rest);
  if ('error' in order) return { kind: 'refused', ...order };
  if (scope !== 'read' || order.kind === 'exists') return { kind: 'order', order };
  return notPermitted(`script|${order.kind}`);
}

/** The error of Redis. */
function notPermitted(name: string): Refused {
  return refuse(`NOPERM this user has no permissions to run the '${name.toLowerCase()}' command`);
}

/** Answers commands about the connection, which concern no region. Null for all others. */
function answerHere(name: string, rest: readonly string[], now: number): UpstashPlan | null {
  const [first] = rest;
  switch (name) {
    case 'PING':
      // Redis finds this fault only on execution, not when the command is queued.
      if (rest.length > 1) return { ...wrongArity('ping'), whenQueued: false };
      return answer(first === undefined ? { status: 'PONG' } : bytesWithin(first));
    case 'ECHO':
      return first === undefined || rest.length > 1
        ? wrongArity('echo')
        : answer(bytesWithin(first));
    case 'TIME':
      if (rest.length > 0) return wrongArity('time');
      return answer([String(Math.floor(now / 1_000)), String((now % 1_000) * 1_000)]);
    default:
      return null;
  }
}

function answer(reply: RawReply): UpstashPlan {
  return { kind: 'answered', reply };
}

function wrongArity(name: string): Refused {
  return refuse(`ERR wrong number of arguments for '${name}' command`);
}

function refuse(error: string): Refused {
  return { kind: 'refused', error, whenQueued: true };
}

/** The plan of a command that the compiler refused. A command has no position here, so the reason is without one. */
export function refusalOf({ reason, redis }: CompileRefusal): Refused {
  return redis === undefined ? refuse(`ERR ${reason}`) : { kind: 'refused', ...redis };
}

/** The error of Redis, which quotes the start of the arguments and is one line. */
function unknownError(name: string, args: readonly string[]): string {
  let quoted = '';
  for (const argument of args) {
    if (quoted.length >= quotedBytes) break;
    quoted += `'${Array.from(argument)
      .slice(0, quotedBytes - quoted.length)
      .join('')}' `;
  }
  const shown = Array.from(name).slice(0, quotedBytes).join('');
  const error = `ERR unknown command '${shown}', with args beginning with: ${quoted}`;
  return error.replaceAll(/[\r\n]/g, ' ').toWellFormed();
}
