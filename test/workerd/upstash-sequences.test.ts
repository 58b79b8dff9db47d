import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dumpOf } from '../redis/beside.ts';
import { type Step, sequences } from '../redis/sequences.ts';
import { type PlainRedis, startPlainRedis } from '../stack/plain.ts';
import { startTestStack, type TestStack } from '../stack/stack.ts';
import { isComparable, send } from './sequences.ts';
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
