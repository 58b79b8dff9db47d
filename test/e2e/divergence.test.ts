/** Tests a key whose two regions differ, from the refusal of writes to the repair by an operator. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { ask, expectWhole, untilAllVote } from './members.ts';
import { bodyOf, patience, write } from './writes.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack({ regions: 2 });
});

afterAll(() => stack?.stop(), 60_000);

async function blocked(): Promise<readonly string[]> {
  const { body } = await ask(stack, 'GET', 'in-doubt');
  const doubt = body as { readonly blocked: readonly { readonly key: string }[] };
  return doubt.blocked.map(({ key }) => key);
}

const increment = (key: string) => write(stack, [['INCR', key]], { timeoutMs: 30_000 });

describe('a key that differs without a majority', () => {
  it('refuses writes until an operator names the right region, and other keys take writes', async () => {
    const [, second] = stack.regions;
    await write(stack, [['SET', 'count', '1']], { ack: 'confirmed' });
    await second?.client.set('count', '5');
    const refused = await increment('count');
    expect([refused.status, bodyOf(refused).type]).toEqual([503, '/problems/key-diverged']);
    expect((await increment('other')).status).toBe(200);
    expect(await blocked()).toEqual(['count']);

    // The next life of the coordinator still refuses them.
    await stack.killWorker();
    await stack.restartWorker();
    const still = await write(stack, [['SET', 'count', '9']]);
    expect(bodyOf(still).type).toBe('/problems/key-diverged');
    expect(await stack.everywhere('count')).toEqual(['1', '5']);

    const nobody = await ask(stack, 'POST', 'repair', { keys: ['count'] });
    expect([nobody.status, bodyOf(nobody).type]).toEqual([409, '/problems/order-refused']);
    const named = { keys: ['count'], source: second?.id };
    expect((await ask(stack, 'POST', 'repair', named)).status).toBe(202);
    const same = stack.regions.map(() => '5');
    await expect.poll(() => stack.everywhere('count'), patience).toEqual(same);
    await untilAllVote(stack);
    expect(await blocked()).toEqual([]);
    expect(bodyOf(await increment('count'))).toMatchObject({ results: [6] });
    await expect.poll(() => stack.everywhere('count'), patience).toEqual(['6', '6']);
    await expectWhole(stack);
  });
});
