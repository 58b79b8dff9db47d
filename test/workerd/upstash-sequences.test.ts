import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findCommand } from '../../shared/wire/command-table.ts';
import { compileWrite } from '../../shared/wire/commands.ts';
import { parseExact } from '../../shared/wire/replies.ts';
import { dumpOf } from '../redis/beside.ts';
import { type Step, sequences } from '../redis/sequences.ts';
import { type PlainRedis, startPlainRedis } from '../stack/plain.ts';
import { startTestStack, type TestStack } from '../stack/stack.ts';
import { write } from './writes.ts';

let stack: TestStack;
let plain: PlainRedis;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
}, 120_000);

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
}, 60_000);

type Command = readonly string[];

/**
 * What can be compared from outside: a command that Lockstep does not refuse by name, that draws nothing at random and
 * takes no time of its own, and whose words are text. PFCOUNT of one key keeps its result in a plain Redis.
 */
function isComparable(command: Command): boolean {
  if (!command.every((word) => word.isWellFormed())) return false;
  const [name = ''] = command;
  if (['PFCOUNT', 'SPOP'].includes(name) || (name === 'XADD' && command.includes('*')))
    return false;
  const compiled = compileWrite([command], [], { now: Date.now(), seed: () => 1 });
  return compiled.ok || compiled.redis !== undefined;
}

/** Sends the commands as a pipeline or as a transaction; the replies with their integers as bigints where they are large. */
async function send(
  { url, token }: { readonly url: string; readonly token: string },
  { together }: Step,
  commands: readonly Command[],
): Promise<unknown> {
  const response = await fetch(`${url}/${together ? 'multi-exec' : 'pipeline'}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(commands),
  });
  return { status: response.status, told: inOrder(parseExact(await response.text()), commands) };
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

async function agree(steps: readonly Step[]): Promise<void> {
  const lockstep = { url: stack.url, token: stack.tokens.write };
  await Promise.all([write(stack, [['FLUSHALL']]), plain.client.flushall()]);
  for (const step of steps) {
    const commands = step.commands.filter(isComparable);
    if (commands.length === 0) continue;
    const [found, expected] = await Promise.all([
      send(lockstep, step, commands),
      send(plain, step, commands),
    ]);
    expect(found, JSON.stringify(commands)).toEqual(expected);
  }
  // A write that every region has acknowledged comes behind all others.
  await write(stack, [['SET', 'end', '1']], { ack: 'confirmed' });
  await plain.client.set('end', '1');
  const expected = await dumpOf(plain.client);
  for (const { id, client } of stack.regions) expect(await dumpOf(client), id).toEqual(expected);
}

describe('random sequences of pipelines and transactions', () => {
  it('answer as one plain Redis does, and leave in every region what it has', async () => {
    const numRuns = Number(process.env.SEQUENCES ?? 250);
    const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
    await fc.assert(fc.asyncProperty(sequences, agree), { numRuns, ...seed });
  }, 300_000);
});
