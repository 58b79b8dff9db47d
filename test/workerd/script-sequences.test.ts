import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { valuesAmong } from '../../shared/protocol/own-keys.ts';
import { compileWrite } from '../../shared/wire/commands.ts';
import { dumpOf } from '../redis/beside.ts';
import { largeSequences } from '../redis/large.ts';
import { type Step, sequences } from '../redis/sequences.ts';
import { type PlainRedis, startPlainRedis } from '../stack/plain.ts';
import { startTestStack, type TestStack } from '../stack/stack.ts';
import { type Command, isComparable, send } from './sequences.ts';
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

/** Its keys are declared or not, and the command is one that its text does not tell. */
const text = 'return redis.call(unpack(ARGV))';

/** Every third command as it is, every third by a script that declares its keys, and every third by one that does not. */
function scripted(command: Command, position: number): Command {
  // A script of Lockstep cannot flush, which COMMANDS.md says.
  if (position % 3 === 0 || /^FLUSH/.test(command[0] ?? '')) return command;
  const compiled = compileWrite([command], [], { now: Date.now(), seed: () => 1 });
  const keys = compiled.ok && position % 3 === 1 ? valuesAmong(compiled.keys) : [];
  return ['EVAL', text, String(keys.length), ...keys, ...command];
}

async function agree(steps: readonly Step[]): Promise<void> {
  const lockstep = { url: stack.url, token: stack.tokens.write };
  await Promise.all([write(stack, [['FLUSHALL']]), plain.client.flushall()]);
  for (const step of steps) {
    const meant = step.commands.filter(isComparable);
    if (meant.length === 0) continue;
    const commands = meant.map(scripted);
    const [found, expected] = await Promise.all([
      send(lockstep, step, commands, meant),
      send(plain, step, commands, meant),
    ]);
    expect(found, JSON.stringify(commands)).toEqual(expected);
  }
  await write(stack, [['SET', 'end', '1']], { ack: 'confirmed' });
  await plain.client.set('end', '1');
  const expected = await dumpOf(plain.client);
  for (const { id, client } of stack.regions) expect(await dumpOf(client), id).toEqual(expected);
}

const seed = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
const numRuns = Number(process.env.SEQUENCES ?? 100);

describe('random sequences of commands, of which scripts run most', () => {
  it('answer as one plain Redis does, and leave in every region what it has', async () => {
    await fc.assert(fc.asyncProperty(sequences, agree), { numRuns, ...seed });
  }, 300_000);

  it('do so on large collections, which are staged by their elements', async () => {
    await fc.assert(fc.asyncProperty(largeSequences, agree), { numRuns, ...seed });
  }, 300_000);
});
