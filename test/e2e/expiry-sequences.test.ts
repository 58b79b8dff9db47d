/** Compares random transactions with short expiries on a stack with a Redis whose clock stands still. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { translated } from '../region/oracle/expiry-oracle.ts';
import { timelessCommands } from '../region/oracle/expiry-sequences.ts';
import type { OracleReply } from '../region/oracle/redis-oracle.ts';
import { runCountOf } from '../region/oracle/run-count.ts';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { write } from './writes.ts';

type Commands = readonly (readonly string[])[];

const keys = ['a', 'b', 'c'];
/** Makes its keys new to the transaction, so that nothing depends on the duration of the last step. */
const clearing = ['DEL', ...keys];

let stack: TestStack;
let plain: PlainRedis;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
});

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
});

/** Lockstep's replies to the commands after the first. */
async function found(path: '/pipeline' | '/multi-exec', commands: Commands): Promise<unknown> {
  const { body } = await stack.send('POST', path, [clearing, ...commands]);
  if (!Array.isArray(body)) throw new Error(JSON.stringify(body));
  return body.slice(1).map((element: unknown) => {
    const isDone = typeof element === 'object' && element !== null && 'result' in element;
    return isDone ? element.result : 'an error';
  });
}

/** The replies of one Redis in one MULTI, at any time. */
async function expected(commands: Commands): Promise<unknown> {
  const asked = [clearing, ...commands].map((words) => translated(words, Date.now()));
  const multi = plain.client.multi();
  for (const { words } of asked) {
    const [name = '', ...rest] = words;
    multi.callBuffer(name, ...rest);
  }
  const replies = (await multi.exec()) ?? [];
  return asked.slice(1).map(({ replyOf }, index) => {
    const [error, reply] = replies[index + 1] ?? [];
    return error ? 'an error' : asJson(replyOf(reply));
  });
}

function asJson(reply: OracleReply): unknown {
  if (typeof reply === 'bigint') return Number(reply);
  return Array.isArray(reply) ? reply.map(asJson) : reply;
}

/** Each key that has not expired yet, with its expiry and type. */
async function left(client: TestStack['regions'][number]['client']) {
  const entries = keys.map(async (key) => {
    const [expiry, type] = await Promise.all([client.pexpiretime(key), client.type(key)]);
    return [key, expiry, type] as const;
  });
  return (await Promise.all(entries)).filter(
    ([, expiry, type]) => expiry !== -2 && type !== 'none',
  );
}

/** Lasting keys are in every region, and an expiring key has the same expiry in every region that still has it. */
async function agreeEverywhere(): Promise<void> {
  await write(stack, [['SET', 'end', '1']], { ack: 'confirmed' });
  const all = await Promise.all(stack.regions.map(({ client }) => left(client)));
  const lasting = all.map((entries) => entries.filter(([, expiry]) => expiry === -1));
  for (const entries of lasting) expect(entries).toEqual(lasting[0]);
  for (const key of keys) {
    const expiries = all.flatMap((entries) =>
      entries.flatMap(([name, expiry]) => (name === key ? [expiry] : [])),
    );
    expect(new Set(expiries).size, `${key}: ${expiries.join(', ')}`).toBeLessThanOrEqual(1);
  }
}

describe('random transactions and pipelines that set short expiries', () => {
  it.each(['/multi-exec', '/pipeline'] as const)(
    'by %s have the same replies as one Redis whose clock stands still, and leave the same data in every region',
    async (path) => {
      const property = fc.asyncProperty(timelessCommands, async (commands) => {
        expect(await found(path, commands), JSON.stringify(commands)).toEqual(
          await expected(commands),
        );
        await agreeEverywhere();
      });
      await fc.assert(property, runCountOf(100));
    },
  );
});
