import { findCommand } from '../../shared/wire/command-table.ts';
import { compileWrite } from '../../shared/wire/commands.ts';
import { parseExact } from '../../shared/wire/replies.ts';
import type { Step } from '../redis/sequences.ts';

export type Command = readonly string[];

/**
 * What can be compared from outside: a command that Lockstep does not refuse by name, that draws nothing at random and
 * takes no time of its own, and whose words are text. PFCOUNT of one key keeps its result in a plain Redis.
 */
export function isComparable(command: Command): boolean {
  if (!command.every((word) => word.isWellFormed())) return false;
  const [name = ''] = command;
  if (['PFCOUNT', 'SPOP'].includes(name) || (name === 'XADD' && command.includes('*')))
    return false;
  const compiled = compileWrite([command], [], { now: Date.now(), seed: () => 1 });
  return compiled.ok || compiled.redis !== undefined;
}

/**
 * Sends the commands as a pipeline or as a transaction; the replies with their integers as bigints where they are large.
 * `meant` are the commands whose replies come, where others carry them.
 */
export async function send(
  { url, token }: { readonly url: string; readonly token: string },
  { together }: Step,
  commands: readonly Command[],
  meant: readonly Command[] = commands,
): Promise<unknown> {
  const response = await fetch(`${url}/${together ? 'multi-exec' : 'pipeline'}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(commands),
  });
  return { status: response.status, told: inOrder(parseExact(await response.text()), meant) };
}

/** Unordered replies sorted. Lockstep says why a transaction was discarded, which Redis told before. */
function inOrder(told: unknown, commands: readonly Command[]): unknown {
  if (!Array.isArray(told)) {
    const error = typeof told === 'object' && told !== null && 'error' in told ? told.error : told;
    return String(error).replace(/(previous errors\.).*/, '$1');
  }
  return told.map((element: unknown, at) => {
    const row = findCommand(commands[at]?.[0] ?? '');
    const result =
      typeof element === 'object' && element !== null && 'result' in element
        ? element.result
        : null;
    const isUnordered = row?.class !== 'refused' && ['members', 'pairs'].includes(row?.reply ?? '');
    return isUnordered && Array.isArray(result) ? result.map(String).sort() : element;
  });
}
