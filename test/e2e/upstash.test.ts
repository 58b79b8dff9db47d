/** Runs the Upstash SDK against a stack and a plain Redis, and compares the results. */
import { Redis, type RedisConfigNodejs } from '@upstash/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { preparesOf } from './rounds.ts';
import { families, outcomes } from './upstash-families.ts';
import { sendForm } from './upstash-forms.ts';
import { patience } from './writes.ts';

let stack: TestStack;
let plain: PlainRedis;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
});

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
});

type Settings = Omit<Partial<RedisConfigNodejs>, 'url' | 'token'>;

/** The SDK with default settings, except for `settings`, pointed at Lockstep. */
function lockstep(settings: Settings = {}): Redis {
  return new Redis({ url: stack.url, token: stack.tokens.write, ...settings });
}

/** The same, pointed at one plain Redis behind a plain gateway. */
function ordinary(settings: Settings = {}): Redis {
  return new Redis({ url: plain.url, token: plain.token, ...settings });
}

const clients: readonly (readonly [string, Settings])[] = [
  ['with default settings', {}],
  ['without base64', { responseEncoding: false }],
  ['without its own JSON', { automaticDeserialization: false, enableAutoPipelining: false }],
];

describe.each(clients)('the SDK of Upstash %s', (_name, settings) => {
  it.each(Object.keys(families))(
    'has the same results for %s as on one plain Redis',
    async (family) => {
      const run = families[family];
      if (run === undefined) throw new Error('every family has a run');
      await plain.client.flushall();
      const keys = await stack.regions[0]?.client.keys('*');
      const names = keys?.filter((key) => !key.startsWith('lockstep:')) ?? [];
      await lockstep().del('none', ...names);
      expect(await run(lockstep(settings))).toEqual(await run(ordinary(settings)));
    },
  );
});

describe('a command that regions do not know', () => {
  it('is refused by name, as a write, a read and in a transaction, and changes nothing', async () => {
    const redis = lockstep();
    await expect(redis.json.set('doc', '$', { a: 1 })).rejects.toThrow(
      /does not know JSON\.SET: its server is older, or lacks a module/,
    );
    await expect(redis.json.get('doc')).rejects.toThrow(/unknown command 'JSON\.GET'/);
    const multi = redis.multi();
    multi.set('beside', 'x');
    multi.json.set('doc', '$', { a: 1 });
    await expect(multi.exec()).rejects.toThrow(/JSON\.SET/);
    expect(await redis.get('beside')).toBeNull();
    const status = await stack.send('GET', '/v1/regions', undefined, { scope: 'read' });
    expect(JSON.stringify(status.body)).not.toContain('"out"');
  });
});

describe('calls of the SDK at the same time', () => {
  it('each get their own answer, and read the values that were written before them', async () => {
    const redis = lockstep();
    const calls = Array.from({ length: 50 }, (_, index) => redis.set(`auto:${index}`, index));
    expect(await Promise.all(calls)).toEqual(Array(50).fill('OK'));
    const reads = Array.from({ length: 50 }, (_, index) => redis.get(`auto:${index}`));
    expect(await Promise.all(reads)).toEqual(Array.from({ length: 50 }, (_, index) => index));
    const increments = await Promise.all(Array.from({ length: 50 }, () => redis.incr('auto')));
    expect(increments).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });
});

describe('a pipeline of the SDK', () => {
  it('of a hundred writes to different keys, and to one, is prepared in one round', async () => {
    const seen: boolean[] = [];
    const [region] = stack.regions;
    const first = preparesOf('round:0');
    const last = preparesOf('round:99');
    const watch = region?.gateway.faults.add({
      fault: { kind: 'slow', ms: 0 },
      matches: (request) => {
        if (first(request) || last(request)) seen.push(first(request) && last(request));
        return false;
      },
    });
    expect(watch).toBeDefined();
    const pipeline = lockstep().pipeline();
    for (let index = 0; index < 100; index += 1) pipeline.set(`round:${index}`, index);
    for (let index = 0; index < 100; index += 1) pipeline.incr('round:0');
    const results = await pipeline.exec();
    stack.heal();
    expect(results.slice(0, 100)).toEqual(Array(100).fill('OK'));
    expect(results.slice(100)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
    expect(seen).toEqual([true]);
    for (const { client } of stack.regions) {
      await expect.poll(() => client.get('round:0'), patience).toBe('100');
    }
  });
});

describe('a request with an idempotency key', () => {
  it.each([
    ['/', ['INCR', 'once:command'], { result: 1 }],
    [
      '/pipeline',
      [
        ['INCR', 'once:p'],
        ['INCR', 'once:p'],
      ],
      [{ result: 1 }, { result: 2 }],
    ],
    [
      '/multi-exec',
      [
        ['INCR', 'once:m'],
        ['GET', 'once:m'],
      ],
      [{ result: 1 }, { result: '1' }],
    ],
  ])('to %s is carried out once if it is sent twice', async (path, commands, body) => {
    const headers = { 'Idempotency-Key': `key of ${path}` };
    const form = { method: 'POST', path, body: JSON.stringify(commands), headers };
    const endpoint = { url: stack.url, token: stack.tokens.write };
    const answers = [await sendForm(endpoint, form), await sendForm(endpoint, form)];
    expect(answers).toEqual([
      { status: 200, body },
      { status: 200, body },
    ]);
    const other = { ...form, body: form.body.replaceAll('once', 'twice') };
    expect(JSON.stringify(await sendForm(endpoint, other))).toContain('Another request used');
  });
});

describe('an operation that Lockstep does not support', () => {
  it('fails in the SDK with the name of the command and a reason', async () => {
    const redis = lockstep();
    expect(
      await outcomes(
        () => redis.exec(['FCALL', 'f', 0]),
        () => redis.multi().set('never', 1).scriptFlush().exec(),
        () => redis.get('lockstep:0:state'),
      ),
    ).toEqual([
      expect.stringContaining('ERR FCALL is not supported'),
      expect.stringContaining(
        'EXECABORT Transaction discarded because of previous errors. ERR SCRIPT',
      ),
      expect.stringContaining('which is reserved'),
    ]);
    expect(await redis.get('never')).toBeNull();
  });

  it('fails in the SDK if its token only reads', async () => {
    const redis = new Redis({ url: stack.url, token: stack.tokens.read });
    expect(await redis.get('none')).toBeNull();
    await expect(redis.set('never', 1)).rejects.toThrow('NOPERM');
    const nobody = new Redis({ url: stack.url, token: 'wrong' });
    await expect(nobody.get('none')).rejects.toThrow('WRONGPASS');
  });
});
