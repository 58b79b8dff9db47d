/** Tests on a stack that commands with too much work are refused, and leave the regions voting. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { membersOf } from './members.ts';
import { sendForm } from './upstash-forms.ts';
import { patience } from './writes.ts';

/** A command of 7,000 words that names it takes more than a billion steps. */
const members = 200_000;

/** A set or hash of this length is larger than all replies of a snapshot. */
const tooMany = Math.floor(limits.snapshotBytes / 12) + 1;

describe('a command that would take a region minutes', () => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startTestStack();
    const fill = `for i = 1, ${members} do redis.call('SADD', KEYS[1], i) redis.call('ZADD', KEYS[2], i, i) end`;
    const asFounded = await sendForm(
      { url: stack.url, token: stack.tokens.write },
      post('SET', 'n', '1'),
    );
    expect(asFounded.status).toBe(200);
    await Promise.all(stack.regions.map(({ client }) => client.eval(fill, 2, 'big', 'ranked')));
    const fillWhole = `for i = 1, ${tooMany} do redis.call('SADD', KEYS[1], i) redis.call('HSET', KEYS[2], i, i) end`;
    await Promise.all(stack.regions.map(({ client }) => client.eval(fillWhole, 2, 'set', 'hash')));
  });
  afterAll(() => stack?.stop(), 60_000);

  const post = (...words: readonly string[]) => ({
    method: 'POST',
    path: '/',
    body: JSON.stringify(words),
  });
  const many = (key: string) => Array.from({ length: 6_000 }, () => key);

  it.each([
    ['SUNION', ['SUNION', ...many('big')]],
    ['ZUNION', ['ZUNION', '6000', ...many('ranked')]],
    [
      'SORT',
      [
        'SORT',
        'big',
        ...many('GET')
          .flatMap((word) => [word, '#'])
          .slice(0, 6_000),
      ],
    ],
  ])('is refused to a reader: %s', async (_name, words) => {
    const reader = { url: stack.url, token: stack.tokens.read };
    const response = await sendForm(reader, post(...words));
    expect(response).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('takes too long') },
    });
  });

  it.each([
    ['SMEMBERS', 'set', 'scard'],
    ['HGETALL', 'hash', 'hlen'],
    ['HKEYS', 'hash', 'hlen'],
    ['HVALS', 'hash', 'hlen'],
  ])('is not run for a reader of a whole collection: %s', async (name, key, length) => {
    const reader = { url: stack.url, token: stack.tokens.read };
    const reset = stack.regions.map(({ client }) => client.config('RESETSTAT'));
    await Promise.all(reset);
    const told = await sendForm(reader, post(name, key));
    expect(told).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('too large') },
    });
    const stats = await Promise.all(stack.regions.map(({ client }) => client.info('commandstats')));
    const callsOf = (command: string) =>
      stats.filter((text) => text.includes(`cmdstat_${command}:`)).length;
    expect([callsOf(length), callsOf(name.toLowerCase())]).toEqual([1, 0]);
  });

  it.each([
    ['SUNIONSTORE', ['SUNIONSTORE', 'other', ...many('big')]],
    ['ZUNIONSTORE', ['ZUNIONSTORE', 'other', '6000', ...many('ranked')]],
    ['a script', ['EVAL', "return redis.call('SUNION', unpack(ARGV))", '0', ...many('big')]],
  ])('is refused to a writer, in every region alike: %s', async (_name, words) => {
    const writer = { url: stack.url, token: stack.tokens.write };
    const response = await sendForm(writer, post(...words));
    expect(response).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('takes too long') },
    });
  });

  it('leaves every region a voter that answers', async () => {
    expect((await membersOf(stack)).map(({ state }) => state)).toEqual(
      stack.regions.map(() => 'voter'),
    );
    const writer = { url: stack.url, token: stack.tokens.write };
    expect((await sendForm(writer, post('SCARD', 'big'))).body).toEqual({ result: members });
    expect((await sendForm(writer, post('INCR', 'n'))).body).toEqual({ result: 2 });
    await expect.poll(() => stack.everywhere('n'), patience).toEqual(stack.regions.map(() => '2'));
  });
});
