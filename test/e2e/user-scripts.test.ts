/** Tests users' scripts of the Upstash dialect on a stack, against a plain Redis. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { contentOf, sendForm, type UpstashEndpoint, type UpstashForm } from './upstash-forms.ts';
import { patience } from './writes.ts';

let stack: TestStack;
let plain: PlainRedis;
let lockstep: UpstashEndpoint;

beforeAll(async () => {
  [stack, plain] = await Promise.all([startTestStack(), startPlainRedis()]);
  lockstep = { url: stack.url, token: stack.tokens.write };
});

afterAll(async () => {
  await stack?.stop();
  await plain?.stop();
});

const shaOf = (text: string) => createHash('sha1').update(text).digest('hex');
const post = (path: string, body: unknown, headers: UpstashForm['headers'] = {}): UpstashForm => ({
  method: 'POST',
  path,
  body: JSON.stringify(body),
  headers,
});
const get = (path: string): UpstashForm => ({ method: 'GET', path });
const command = (...words: readonly unknown[]) => post('/', words);

const adding = 'return redis.call("INCRBY", KEYS[1], ARGV[1])';
const reading = 'return redis.call("GET", KEYS[1])';
const failing = 'redis.call("GET", KEYS[1]) return redis.call("LPUSH", KEYS[1], 1)';
const unused = 'return "never sent before"';
const none = 'f'.repeat(40);

/** In order: each request runs on the data that those before it have left. */
const forms: readonly (readonly [string, UpstashForm])[] = [
  ['an unknown digest', command('EVALSHA', shaOf(adding), 1, 'n', 2)],
  ['a script that writes', command('EVAL', adding, 1, 'n', 2)],
  ['its digest', command('EVALSHA', shaOf(adding), 1, 'n', 2)],
  ['its digest in capitals', command('EVALSHA', shaOf(adding).toUpperCase(), 1, 'n', 2)],
  ['its digest as a read', command('EVALSHA_RO', shaOf(adding), 1, 'n', 2)],
  ['a script in the path', get(`/eval/${encodeURIComponent(adding)}/1/n/3`)],
  ['a digest in the path', get(`/evalsha/${shaOf(adding)}/1/n/3`)],
  [
    'a script whose last argument is the body',
    { ...command(), path: `/evalsha/${shaOf(adding)}/1/n`, body: '7' },
  ],
  ['a script that reads', command('EVAL', reading, 1, 'n')],
  ['its digest, later', command('EVALSHA', shaOf(reading), 1, 'n')],
  ['a script that reads, by EVAL_RO', command('EVAL_RO', reading, 1, 'n')],
  ['a script that reads another key', command('EVALSHA_RO', shaOf(reading), 1, 'other')],
  ['a script that fails', command('EVAL', failing, 1, 'n')],
  [
    'the reply of SCRIPT EXISTS',
    command('SCRIPT', 'EXISTS', shaOf(adding), none, 'x', shaOf(reading)),
  ],
  ['a script that does not compile', command('EVAL', 'return (', 0)],
  ['the digest of that', command('EVALSHA', shaOf('return ('), 0)],
  ['a script that does not compile, as a read', command('EVAL_RO', 'local = 1', 0)],
  ['loading a text that does not compile', command('SCRIPT', 'LOAD', 'if x then')],
  ['loading a text with unknown flags', command('SCRIPT', 'LOAD', '#!lua flags=nope\nreturn 1')],
  ['loading a text with flags', command('SCRIPT', 'LOAD', '#!lua flags=allow-oom\nreturn 1')],
  [
    'loading a text with flags that does not compile',
    command('SCRIPT', 'LOAD', '#!lua\n\nreturn ('),
  ],
  ['another language', command('SCRIPT', 'LOAD', '#!js\nreturn 1')],
  ['flags alone', command('SCRIPT', 'LOAD', '#!lua')],
  ['flags as a read', command('EVAL_RO', '#!lua\nreturn 1', 0)],
  [
    'flags that promise to read',
    command('EVAL', '#!lua flags=no-writes\nreturn redis.call("DEL", KEYS[1])', 1, 'n'),
  ],
  [
    'flags without a promise',
    command('EVAL', '#!lua flags=allow-oom\nreturn redis.call("GET", KEYS[1])', 1, 'n'),
  ],
  ['an empty script', command('EVAL', '', 0)],
  [
    'values of all kinds',
    command('EVAL', 'return {1, 2.9, "x", true, false, {ok="fine"}, nil, 3}', 0),
  ],
  ['an error', command('EVAL', 'return redis.error_reply("MY own")', 0)],
  ['a status', command('EVAL', 'return redis.status_reply("FINE")', 0)],
  ['an error that is raised', command('EVAL', 'error("oh")', 0)],
  ['an error on its line', command('EVAL', 'local x = 1\nfor i = 1, 2 do\n  y.z = i\nend', 0)],
  [
    'bytes',
    post('/', ['EVAL', 'return {ARGV[1], "\\255\\0", KEYS[1]}', 1, 'é', '✓'], {
      'Upstash-Encoding': 'base64',
    }),
  ],
  ['too many keys', command('EVAL', adding, 3, 'n', 2)],
  ['keys that are not a number', command('EVAL', adding, 'x')],
  ['keys below none', command('EVALSHA_RO', shaOf(reading), -1)],
  ['too few arguments', command('EVAL', adding)],
  ['a write that it may not do', command('EVAL_RO', adding, 1, 'n', 1)],
  ['an unknown command', command('EVAL', 'return redis.pcall("NOSUCH")', 0)],
  [
    'a pipeline',
    post('/pipeline', [
      ['EVALSHA', shaOf(unused), 0],
      ['SCRIPT', 'LOAD', unused],
      ['SCRIPT', 'EXISTS', shaOf(unused)],
      ['EVALSHA', shaOf(unused), 0],
      ['EVAL', adding, 1, 'p', 1],
      ['GET', 'p'],
      ['EVALSHA', shaOf(adding), 1, 'p', 1],
      ['EVAL', 'return redis.call("GET", KEYS[1]) .. "!"', 1, 'p'],
      ['EVALSHA', none, 0],
      ['EVAL', failing, 1, 'p'],
    ]),
  ],
  [
    'a transaction',
    post('/multi-exec', [
      ['SET', 't', 5],
      ['EVALSHA', none, 0],
      ['EVAL', adding, 1, 't', 2],
      ['EVAL', adding, 5],
      ['EVAL', failing, 1, 't'],
      ['GET', 't'],
      ['EVAL_RO', reading, 1, 't'],
    ]),
  ],
  [
    'a transaction that reads',
    post('/multi-exec', [
      ['GET', 't'],
      ['EVAL', reading, 1, 't'],
      ['EVALSHA_RO', shaOf(reading), 1, 't'],
      ['EVALSHA_RO', none, 0],
    ]),
  ],
  ['a transaction of unknown scripts only', post('/multi-exec', [['EVALSHA', none, 0]])],
  [
    'keys that it does not declare',
    command(
      'EVAL',
      'redis.call("SET", "un" .. ARGV[1], 1) return redis.call("GET", "n")',
      0,
      'declared',
    ),
  ],
  [
    'all keys',
    command('EVAL', 'local names = redis.call("KEYS", "un*") table.sort(names) return names', 0),
  ],
  [
    'deleting the keys that it finds',
    command(
      'EVAL',
      'for _, name in ipairs(redis.call("KEYS", "un*")) do redis.call("DEL", name) end',
      0,
    ),
  ],
  ['flushing', command('SCRIPT', 'FLUSH', 'ASYNC')],
  ['a digest after that', command('EVALSHA', shaOf(adding), 1, 'n', 2)],
  ['a read-only digest after that', command('EVALSHA', shaOf(reading), 1, 'n')],
  ['a script after that', command('EVAL', adding, 1, 'n', 2)],
];

describe('a script sent in the Upstash dialect', () => {
  it.each(forms)('gets the same response as from one plain Redis: %s', async (_name, form) => {
    const expected = await sendForm(plain, form);
    expect(await sendForm(lockstep, form)).toEqual(expected);
    const content = await contentOf(plain.client);
    for (const { client } of stack.regions) {
      await expect.poll(() => contentOf(client), patience).toEqual(content);
    }
  });
});

describe('a script', () => {
  it('that fails half-way has changed nothing, unlike in Redis, which keeps the first half', async () => {
    const text = 'redis.call("SET", KEYS[1], "half") return redis.call("LPUSH", KEYS[1], 1)';
    const form = command('EVAL', text, 1, 'half');
    expect(await sendForm(lockstep, form)).toEqual(await sendForm(plain, form));
    expect(await stack.everywhere('half')).toEqual([null, null, null]);
    expect(await plain.client.get('half')).toBe('half');
  });

  it.each([
    ['that never ends', 'pcall(type, 1)', 'goes on for too long'],
    ['that allocates without end', 'pcall(function() end)', 'takes too much memory'],
  ])('%s is ended, and has changed nothing', async (_what, step, reason) => {
    const text = `redis.call("SET", KEYS[1], 1) while true do ${step} end`;
    const { status, body } = await sendForm(lockstep, command('EVAL', text, 1, 'endless'));
    expect([status, body]).toEqual([400, { error: expect.stringContaining(reason) }]);
    expect(await stack.everywhere('endless')).toEqual([null, null, null]);
    await expect.poll(() => stack.locks(), patience).toEqual([]);
  });

  it('draws the same and gets the same time in every region', async () => {
    const text =
      'redis.call("SET", KEYS[1], math.random() .. ":" .. table.concat(redis.call("TIME"), "."))';
    await sendForm(lockstep, command('EVAL', text, 1, 'drawn'));
    await expect.poll(async () => new Set(await stack.everywhere('drawn')).size, patience).toBe(1);
  });

  it('is carried out once for one idempotency key', async () => {
    const headers = { 'Idempotency-Key': 'a script' };
    const form = post('/', ['EVAL', adding, 1, 'once', 1], headers);
    const answers = [await sendForm(lockstep, form), await sendForm(lockstep, form)];
    expect(answers.map(({ body }) => body)).toEqual([{ result: 1 }, { result: 1 }]);
  });

  it('may be an operation of a write with checks, and a command of a snapshot', async () => {
    const ops = [
      ['EVAL', adding, 1, 'op', 5],
      ['GET', 'op'],
    ];
    const checks = [{ key: 'op', absent: true }];
    const written = await stack.send('POST', '/v1/writes', { ops, checks });
    expect(written).toMatchObject({ status: 200, body: { results: [5, '5'] } });
    const again = await stack.send('POST', '/v1/writes', { ops, checks });
    expect(again.status).toBe(412);
    const reads = [['EVAL_RO', reading, 1, 'op']];
    expect(await stack.send('POST', '/v1/reads', { reads })).toMatchObject({
      status: 200,
      body: { results: ['5'] },
    });
    const changes = await stack.send('GET', '/v1/changes?since=0&values=true&prefix=op');
    expect(JSON.stringify(changes.body)).toContain(`["EVALSHA","${shaOf(adding)}","1","op","5"]`);
  });

  it('that reads runs in the nearest region by its lease, even by its digest', async () => {
    for (const words of [
      ['EVAL', reading, 1, 'op'],
      ['EVALSHA', shaOf(reading), 1, 'op'],
    ]) {
      await expect
        .poll(async () => {
          const answer = await stack.send('POST', '/', words);
          expect(answer.body).toEqual({ result: '5' });
          return answer.headers.get('lockstep-via');
        }, patience)
        .toBe('lease');
    }
  });

  it('is refused for a token that only reads, unless its entry allows scripts', async () => {
    const reader: UpstashEndpoint = { url: stack.url, token: stack.tokens.read };
    for (const words of [
      ['EVAL', reading, 1, 'op'],
      ['EVAL_RO', reading, 1, 'op'],
      ['EVALSHA_RO', shaOf(reading), 1, 'op'],
      ['SCRIPT', 'FLUSH'],
    ] as const) {
      const refused = await sendForm(reader, command(...words));
      expect(refused.body).toEqual({ error: expect.stringContaining('NOPERM') });
    }
    const reads = [['EVAL_RO', reading, 1, 'op']];
    const response = await stack.send('POST', '/v1/reads', { reads }, { scope: 'read' });
    expect(response).toMatchObject({ status: 403, body: { needs: 'scripts' } });
    expect(await stack.everywhere('op')).toEqual(['5', '5', '5']);
  });

  it('reaches no key of Lockstep, by any name', async () => {
    for (const text of [
      'return redis.call("HGETALL", "lockstep:0:state")',
      'return redis.call("DEL", "lockstep:0:lock")',
      'return redis.call("HSET", KEYS[1] .. ":0:lock", "a", "b")',
    ]) {
      const answer = await sendForm(lockstep, command('EVAL', text, 1, 'lockstep'));
      expect(JSON.stringify(answer.body)).toContain('reserved');
    }
    const named = await sendForm(lockstep, command('EVAL', 'return redis.call("KEYS", "*")', 0));
    expect(JSON.stringify(named.body)).not.toContain('lockstep:');
  });

  it('is known after a restart, by EVAL and by SCRIPT LOAD', async () => {
    const loaded = 'return redis.call("APPEND", KEYS[1], "x")';
    await sendForm(lockstep, command('SCRIPT', 'LOAD', loaded));
    await sendForm(lockstep, command('EVAL', adding, 1, 'kept', 1));
    await stack.killWorker();
    await stack.restartWorker();
    const exists = command('SCRIPT', 'EXISTS', shaOf(loaded), shaOf(adding), none);
    expect((await sendForm(lockstep, exists)).body).toEqual({ result: [1, 1, 0] });
    const added = await sendForm(lockstep, command('EVALSHA', shaOf(adding), 1, 'kept', 1));
    expect(added.body).toEqual({ result: 2 });
  });
});
