import { compileReads, compileWrite, isRead } from '../commands/compile.ts';
import type { CommandFault } from '../commands/keys.ts';
import { bytesWithin } from '../commands/raw-bytes.ts';
import { findCommand } from '../commands/table.ts';
import { anyScript, type UserScript } from '../commands/user-scripts.ts';
import type { Scope } from '../config/configuration.ts';
import type { RawReply } from '../contracts/reply.ts';
import type { ReadCommand } from '../contracts/round.ts';
import type { UpstashCommand } from './request.ts';
import { orderOf, type ScriptOrder } from './script-commands.ts';

/** What becomes of one command. */
export type UpstashPlan =
  /** Answered without a region. */
  | { readonly kind: 'answered'; readonly reply: RawReply }
  /** `whenQueued`: a transaction that holds it is not carried out; `error` is then the reason. */
  | {
      readonly kind: 'refused';
      readonly error: string;
      readonly whenQueued: boolean;
      /** Where it is not 400. */
      readonly status?: number;
    }
  /** `mayBeFrame`: it can stand among writes, and then sees what is before it. */
  | {
      readonly kind: 'read';
      readonly command: ReadCommand;
      readonly keys: readonly string[];
      readonly mayBeFrame: boolean;
      /** It goes among writes where a region finds that it writes after all. */
      readonly mayWrite: boolean;
      /** The script that EVAL brings, to be known by its digest once a region has run it. */
      readonly brings?: UserScript;
    }
  | { readonly kind: 'write' }
  /** A user's script: a write, or a read, as its text says. `readsOnly`: it is to be refused as soon as it writes. */
  | { readonly kind: 'script'; readonly readsOnly: boolean; readonly mayBeKept: boolean }
  | { readonly kind: 'order'; readonly order: ScriptOrder };

type Refused = Extract<UpstashPlan, { kind: 'refused' }>;

/** How much Redis quotes of a command that it does not know, in bytes. */
const quotedBytes = 128;

/** What whoever sends a command may do. */
export interface Permissions {
  readonly scope: Scope;
  readonly scripts: boolean;
}

/** What becomes of `command`, sent at `now` (ms) by somebody with these permissions. */
export function planOf(
  command: UpstashCommand,
  now: number,
  { scope, scripts }: Permissions,
): UpstashPlan {
  const [name = '', ...rest] = command;
  const own = answerHere(name.toUpperCase(), rest, now);
  if (own !== null) return own;
  if (/^(?:EVAL(?:SHA)?(?:_RO)?|SCRIPT)$/i.test(name) && !scripts) return notPermitted(name);
  if (name.toUpperCase() === 'SCRIPT') return planOfOrder(rest, scope);
  const row = findCommand(name);
  if (row === null) return refuse(unknownError(name, rest));
  // The reason comes with its own name for the command, which is the table's and not the client's.
  if (row.class === 'refused') return refuse(`ERR ${row.name} is not supported: ${row.reason}`);
  if (row.rewrite === 'script') return planOfScript(command, now, scope);
  if (row.class === 'write' && !isRead(command)) {
    if (scope === 'read') return notPermitted(name);
    const compiled = compileWrite([command], [], { now, seed: () => 0 });
    return compiled.ok ? { kind: 'write' } : refusalOf(compiled);
  }
  const compiled = compileReads([command]);
  if (!compiled.ok) return refusalOf(compiled);
  const [read] = compiled.commands;
  if (read === undefined) return refuse('ERR empty command');
  const mayBeFrame = compileWrite([command], [], { now, seed: () => 0 }).ok;
  return { kind: 'read', command: read, keys: compiled.keys, mayBeFrame, mayWrite: false };
}

/** Its form alone is looked at: what it does depends on a text that may have to be asked for. */
function planOfScript(command: UpstashCommand, now: number, scope: Scope): UpstashPlan {
  const readsOnly = scope === 'read' || /_RO$/i.test(command[0] ?? '');
  const compiled = readsOnly
    ? compileReads([asReadOnly(command)], anyScript)
    : compileWrite([command], [], { now, seed: () => 0, scripts: anyScript });
  // Who may only read leaves nothing behind, and so does not fill the store either.
  return compiled.ok
    ? { kind: 'script', readsOnly, mayBeKept: scope !== 'read' }
    : refusalOf(compiled);
}

/** The command of a script as its read-only form. */
export function asReadOnly([name = '', ...rest]: UpstashCommand): UpstashCommand {
  return [name.toUpperCase().replace(/(?:_RO)?$/, '_RO'), ...rest];
}

function planOfOrder(rest: readonly string[], scope: Scope): UpstashPlan {
  const order = orderOf(rest);
  if ('error' in order) return { kind: 'refused', ...order };
  if (scope !== 'read' || order.kind === 'exists') return { kind: 'order', order };
  return notPermitted(`script|${order.kind}`);
}

/** Redis's own words. */
function notPermitted(name: string): Refused {
  return refuse(`NOPERM this user has no permissions to run the '${name.toLowerCase()}' command`);
}

/** Commands about the connection: there is one to Lockstep, though none to a single region. */
function answerHere(name: string, rest: readonly string[], now: number): UpstashPlan | null {
  const [first] = rest;
  switch (name) {
    case 'PING':
      // Redis finds this one only as it runs it.
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

/** What a client is told of a command that was refused as it was compiled alone. */
export function refusalOf({ detail, redis }: CommandFault): Refused {
  if (redis !== undefined) return { kind: 'refused', ...redis };
  // It was compiled alone, so that its place among others says nothing.
  return refuse(`ERR ${detail.replace(/^(?:ops|reads)\[0\]: /, '')}`);
}

/** Redis's own words, which quote the beginning of the arguments. Its errors are one line. */
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
