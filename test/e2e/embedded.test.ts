/** Tests a stack with an embedded region, which supports neither DUMP nor persistence. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Listener } from '../support/stack/listener.ts';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import { contentOf, eventsOf, expectWhole, newestChange } from './members.ts';
import { patience, write } from './writes.ts';

let stack: TestStack;
let forgetful: TestRegion;

beforeAll(async () => {
  stack = await startTestStack({ redis: 'embedded' });
  forgetful = stack.region('eu-west-1');
});

afterAll(() => stack?.stop(), 60_000);

describe('a region in this process, which loses its data when it restarts', {
  timeout: 300_000,
}, () => {
  it('is copied without DUMP and RESTORE: each type, each expiry, and a value of many steps', async () => {
    const since = await newestChange(stack);
    const ops = [
      ['SET', 'string', 'a \u0000 b é 💾'],
      ['SET', 'volatile', 'v', 'PX', '3600000'],
      ['HSET', 'hash', 'one', '1', 'two', ''],
      ['RPUSH', 'list', 'x', 'y', 'x'],
      ['SADD', 'set', 'p', 'q', '3'],
      ['ZADD', 'sorted', '1.5', 'm', '-inf', 'n', '0.1', 'o'],
      ['PEXPIRE', 'hash', '7200000'],
    ];
    expect((await write(stack, ops, { ack: 'confirmed' })).status).toBe(200);
    const many = Array.from({ length: 4_000 }, (_, number) => `member:${number}`);
    for (let from = 0; from < many.length; from += 1_000) {
      const some = many.slice(from, from + 1_000);
      await write(stack, [['SADD', 'large', ...some]], { ack: 'confirmed' });
    }
    // The test writes the streams directly, since Lockstep does not write any yet.
    for (const { client } of stack.regions) {
      await client.xadd('stream', '1-1', 'field', 'value');
      await client.xadd('stream', '2-1', 'field', 'other');
      await client.xgroup('CREATE', 'stream', 'group', '1-1');
    }
    const before = await contentOf(forgetful);
    await forgetful.redis.restart();
    expect((await write(stack, [['SET', 'after', '1']], { timeoutMs: 30_000 })).status).toBe(200);
    await expect.poll(() => eventsOf(stack, forgetful.id, since), patience).toContain('returned');
    await expectWhole(stack);
    const after = await contentOf(forgetful);
    expect(after).toEqual(await contentOf(stack.region('us-east-1')));
    expect(after).toEqual(expect.arrayContaining(before as unknown[]));
  });

  it('publishes messages, and streams them', async () => {
    const endpoint = { url: stack.url, token: stack.tokens.write };
    const listener = await Listener.open(endpoint, '/psubscribe/n*');
    expect(await listener.lines(1)).toEqual(['data: psubscribe,n*,1']);
    expect((await write(stack, [['PUBLISH', 'news', 'a é \u0000']])).status).toBe(200);
    expect(await listener.lines(1)).toEqual(['data: pmessage,n*,news,a é \u0000']);
    listener.leave();
  });
});
