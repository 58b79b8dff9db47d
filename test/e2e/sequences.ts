/** Runs the same random commands on a stack and on a plain Redis, and compares replies and data. */
import { expect } from 'vitest';
import { compileWrite } from '../../shared/commands/compile.ts';
import { parseExact } from '../../shared/commands/replies.ts';
import { findCommand } from '../../shared/commands/table.ts';
import { dumpOf } from '../region/oracle/redis-oracle.ts';
import type { Step } from '../region/oracle/sequences.ts';
import type { PlainRedis } from '../support/stack/plain.ts';
import type { TestStack } from '../support/stack/stack.ts';
import { write } from './writes.ts';

export type Command = readonly string[];

/**
 * Whether a command can be compared from outside: Lockstep does not refuse it by name, it draws nothing at random,
 * takes no time of its own, and its words are text. PFCOUNT of one key caches its result in a plain Redis.
 */
function isComparable(command: Command): boolean {
  if (!command.every((word) => word.isWellFormed())) return false;
  const [name = ''] = command;
  if (['PFCOUNT', 'SPOP'].includes(name) || (name === 'XADD' && command.includes('*')))
    return false;
  const compiled = compileWrite([command], [], { now: Date.now(), seed: () => 1 });
  return compiled.ok || compiled.redis !== undefined;
}

/**
 * Sends the steps to Lockstep and to one plain Redis, both empty at first. Expects equal replies, and the data of the
 * plain Redis in every region at the end. `carried` replaces a command by the one to send.
 */
export async function agree(
  stack: TestStack,
  plain: PlainRedis,
  steps: readonly Step[],
  carried: (command: Command, position: number) => Command = (command) => command,
): Promise<void> {
  const lockstep = { url: stack.url, token: stack.tokens.write };
  await Promise.all([write(stack, [['FLUSHALL']]), plain.client.flushall()]);
  for (const step of steps) {
    const meant = step.commands.filter(isComparable);
    if (meant.length === 0) continue;
    const commands = meant.map(carried);
    const [found, expected] = await Promise.all([
      send(lockstep, step, commands, meant),
      send(plain, step, commands, meant),
    ]);
    expect(found, JSON.stringify(commands)).toEqual(expected);
  }
  // A write that every region has acknowledged comes after all others.
  await write(stack, [['SET', 'end', '1']], { ack: 'confirmed' });
  await plain.client.set('end', '1');
  const expected = await dumpOf(plain.client);
  for (const { id, client } of stack.regions) expect(await dumpOf(client), id).toEqual(expected);
}

/**
 * Sends the commands as a pipeline or as a transaction. Returns the replies, with large integers as bigints. `meant`
 * are the commands that the sent ones stand for.
 */
async function send(
  { url, token }: { readonly url: string; readonly token: string },
  { together }: Step,
  commands: readonly Command[],
  meant: readonly Command[],
): Promise<unknown> {
  const response = await fetch(`${url}/${together ? 'multi-exec' : 'pipeline'}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(commands),
  });
  return { status: response.status, replies: inOrder(parseExact(await response.text()), meant) };
}

/** Sorts unordered replies. Lockstep adds the reason why a transaction was discarded, which Redis reports earlier. */
function inOrder(replies: unknown, commands: readonly Command[]): unknown {
  if (!Array.isArray(replies)) {
    const error =
      typeof replies === 'object' && replies !== null && 'error' in replies
        ? replies.error
        : replies;
    return String(error).replace(/(previous errors\.).*/, '$1');
  }
  return replies.map((element: unknown, at) => {
    const row = findCommand(commands[at]?.[0] ?? '');
    const result =
      typeof element === 'object' && element !== null && 'result' in element
        ? element.result
        : null;
    const isUnordered = row?.class !== 'refused' && ['members', 'pairs'].includes(row?.reply ?? '');
    return isUnordered && Array.isArray(result) ? result.map(String).sort() : element;
  });
}
