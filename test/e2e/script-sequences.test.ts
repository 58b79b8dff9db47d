/** Compares random sequences of commands, most of them in scripts, on a stack with a plain Redis. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { compileWrite } from '../../shared/commands/compile.ts';
import { valuesAmong } from '../../shared/reserved-keys.ts';
import { largeSequences } from '../region/oracle/large.ts';
import { runCountOf } from '../region/oracle/run-count.ts';
import { sequences } from '../region/oracle/sequences.ts';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { agree, type Command } from './sequences.ts';

let stack: TestStack;
let plain: PlainRedis;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
});

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
});

/** Its keys are declared or not, and its text does not show the command. */
const text = 'return redis.call(unpack(ARGV))';

/** A third of the commands plain, a third by a script that declares its keys, and a third by one that does not. */
function scripted(command: Command, position: number): Command {
  // A script of Lockstep cannot flush (docs/reference/commands.md).
  if (position % 3 === 0 || /^FLUSH/.test(command[0] ?? '')) return command;
  const compiled = compileWrite([command], [], { now: Date.now(), seed: () => 1 });
  const keys = compiled.ok && position % 3 === 1 ? valuesAmong(compiled.keys) : [];
  return ['EVAL', text, String(keys.length), ...keys, ...command];
}

describe('random sequences of commands, most of which run by scripts', () => {
  it('have the same replies as in one plain Redis, and leave the same data in every region', async () => {
    const property = fc.asyncProperty(sequences, (steps) => agree(stack, plain, steps, scripted));
    await fc.assert(property, runCountOf(100));
  });

  it('do so on large collections, which are staged by their elements', async () => {
    const property = fc.asyncProperty(largeSequences, (steps) =>
      agree(stack, plain, steps, scripted),
    );
    await fc.assert(property, runCountOf(100));
  });
});
