/** Runs the cases of cases.json on whole stacks, with and without round trips. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { type Case, cases, filled, filledRight, type TogetherCase } from './cases.ts';

/** Sends a request to the Upstash endpoint, and returns the JSON of the response. */
async function ask(
  stack: TestStack,
  path: string,
  body: unknown,
  scope: 'read' | 'write' = 'write',
): Promise<unknown> {
  const answer = await stack.send('POST', path, body, { scope });
  return answer.body;
}

/** The result in a response, or the response if it has none. */
function resultOf(answer: unknown): unknown {
  return typeof answer === 'object' && answer !== null && 'result' in answer
    ? answer.result
    : answer;
}

/** Sends the commands of a case once, in its form. */
async function send(stack: TestStack, one: Case, client: number): Promise<unknown> {
  const commands = one.commands.map((command) => filled(command, client));
  const isSingle = one.form === 'single' || one.form === 'together';
  if (isSingle) return resultOf(await ask(stack, '/', commands[0]));
  if (one.form === 'in-turn') {
    const replies: unknown[] = [];
    for (const command of commands) {
      // A plain read needs no more than a token that reads.
      const scope = /^(?:MGET|STRLEN|EXISTS)$/.test(command[0] ?? '') ? 'read' : 'write';
      replies.push(resultOf(await ask(stack, '/', command, scope)));
    }
    return replies;
  }
  const answer = await ask(stack, `/${one.form}`, commands);
  return Array.isArray(answer) ? answer.map(resultOf) : answer;
}

/**
 * The replies, with the expected value in place of each number within its bounds and each list of the expected
 * length.
 */
function compared(found: unknown, right: unknown): unknown {
  if (Array.isArray(right) && Array.isArray(found)) {
    return found.map((reply, index) => compared(reply, right[index]));
  }
  if (typeof right !== 'object' || right === null) return found;
  if ('from' in right && 'to' in right && typeof found === 'number') {
    return found >= Number(right.from) && found <= Number(right.to) ? right : found;
  }
  if ('length' in right && Array.isArray(found)) return { length: found.length };
  if ('error' in right && typeof found === 'object' && found !== null && 'error' in found) {
    return String(found.error).includes(String(right.error)) ? right : found;
  }
  return found;
}

/**
 * Sends one command for many clients concurrently. The duration bounds the number of times that the key may have
 * expired.
 */
async function agreeTogether(stack: TestStack, one: TogetherCase): Promise<void> {
  const { right, repeat } = one;
  const key = 'holds' in right ? right.holds : right.keeps;
  const values = Array.from({ length: repeat }, (_, client) => filled(['$client'], client)[0]);
  const sentAt = performance.now();
  const replies = await Promise.all(values.map((_, client) => send(stack, one, client)));
  const left = resultOf(await ask(stack, '/', ['GET', key]));
  const passed = Math.floor((performance.now() - sentAt) / right.forMs);
  const taken = values.filter((_, client) => replies[client] === 'OK');
  if ('holds' in right) {
    expect(taken.length).toBeGreaterThanOrEqual(1);
    expect(taken.length).toBeLessThanOrEqual(1 + passed);
    expect(replies.filter((reply) => reply !== 'OK')).toEqual(
      Array.from({ length: repeat - taken.length }, () => null),
    );
  } else expect(taken).toEqual(values);
  expect([...taken, ...(passed > 0 ? [null] : [])]).toContain(left);
}

async function agree(stack: TestStack, one: Case): Promise<void> {
  await ask(stack, '/', ['FLUSHALL']);
  if (one.form === 'together') return agreeTogether(stack, one);
  const { repeat } = one;
  const right = filledRight(one.right);
  if (repeat === undefined) {
    expect(compared(await send(stack, one, 0), right)).toEqual(right);
    return;
  }
  const found: unknown[] = [];
  for (let time = 0; time < repeat; time += 1) found.push(await send(stack, one, time));
  expect(compared(found, right)).toEqual(right);
}

/** No voter has fallen silent. */
async function expectAllVote(stack: TestStack): Promise<void> {
  const { body } = await stack.send('GET', '/v1/admin/regions', undefined, { scope: 'admin' });
  const listed = JSON.stringify(body);
  expect(listed.match(/"state":"voter"/g)).toHaveLength(stack.regions.length);
  expect(listed).not.toMatch(/"state":"(?:out|copying)"/);
}

describe.each([
  ['without round trips', 'none'],
  ['with the round trips of three continents', 'aws'],
] as const)('a case %s', (_, roundTrips) => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startTestStack({ roundTrips });
  });
  afterAll(() => stack?.stop());

  it.each(cases.map((one) => [one.topic, one.name, one] as const))(
    'of %s: %s',
    async (_topic, _name, one) => {
      await agree(stack, one);
      await expectAllVote(stack);
    },
  );
});
