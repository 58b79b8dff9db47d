/** Compares single requests of the Upstash dialect on a stack with a plain Redis behind a gateway. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../simulation/random.ts';
import { type PlainRedis, startPlainRedis } from '../support/stack/plain.ts';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import {
  contentOf,
  inOneOrder,
  randomCommand,
  randomForm,
  sendForm,
  type UpstashEndpoint,
  type UpstashForm,
  unordered,
} from './upstash-forms.ts';
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

const post = (path: string, body: unknown, headers: UpstashForm['headers'] = {}): UpstashForm => ({
  method: 'POST',
  path,
  body: JSON.stringify(body),
  headers,
});
const get = (path: string, headers: UpstashForm['headers'] = {}): UpstashForm => ({
  method: 'GET',
  path,
  headers,
});
/** Bytes that include halves of characters, and text that resembles an escape. */
const someBytes = Uint8Array.from([
  ...[0, 255, 128, 0x5c, 0xc3, 0x28, 0xed, 0xa0, 0x80, 10],
  ...Buffer.from('\\udc80 \\\\udcff "é😀'),
]);
const base64 = { 'Upstash-Encoding': 'base64' };

/** In order: each request runs on the data that those before it have left. */
const forms: readonly (readonly [string, UpstashForm])[] = [
  ['a command in the path', get('/set/path/v')],
  ['a read of it', get('/get/path')],
  ['the method PUT', { method: 'PUT', path: '/', body: '["GET","path"]' }],
  ['lower and upper case', get('/GeT/path')],
  ['percent signs', get('/set/p%20%2F%25/a%2Fb%3F%23')],
  ['a broken escape', get('/set/broken/%zz%4')],
  ['a plus sign', get('/set/plus/a+b')],
  ['an empty argument', get('/set//empty')],
  ['a slash at the end', get('/get/')],
  ['a value as the body', { method: 'POST', path: '/set/body', body: '{"a":[1, 2]}' }],
  ['options in the query', { method: 'POST', path: '/set/body?EX=100&NX', body: 'other' }],
  ['options in the query that apply', { method: 'POST', path: '/set/body?PX=90000', body: 'new' }],
  ['a body without a value', { method: 'POST', path: '/get/body', body: '' }],
  ['a command as JSON', post('/', ['SET', 'json', 'välue'])],
  ['numbers and booleans as arguments', post('/', ['RPUSH', 'list', 1, 2.5, true, false])],
  ['numbers beyond 2^53', { method: 'POST', path: '/', body: '["SET","big",9007199254740993]' }],
  ['an increment to the last integer', post('/', ['INCRBY', 'big', '9214364837600034814'])],
  ['an increment past it', post('/', ['INCR', 'big'])],
  ['half a character', { method: 'POST', path: '/', body: '["ECHO","a\\ud800b"]' }],
  ['a member named __proto__', post('/', ['HSET', 'proto', '__proto__', 'x'])],
  [
    'bytes that are not valid UTF-8 as its body',
    { method: 'POST', path: '/set/bytes', body: someBytes },
  ],
  ['those bytes read as text', get('/get/bytes')],
  ['those bytes read in base64', get('/get/bytes', base64)],
  ['a range of those bytes', get('/getrange/bytes/1/2', base64)],
  ['bytes in its path', get('/rpush/bytelist/%ff/a%fe%00/%C3%A9/%5Cudc80')],
  ['bytes among words', { method: 'POST', path: '/linsert/bytelist/BEFORE/%ff', body: someBytes }],
  ['the list of those', get('/lrange/bytelist/0/-1', base64)],
  ['a search for bytes', get('/lpos/bytelist/a%fe%00')],
  ['an echo of bytes', get('/echo/%fe', base64)],
  ['base64 of a string', get('/get/json', base64)],
  ['base64 of a status', get('/type/json', base64)],
  ['base64 of OK', get('/set/ok/OK', base64)],
  ['base64 of a value that reads OK', get('/get/ok', base64)],
  ['base64 in an array', post('/', ['MGET', 'ok', 'none', 'json'], base64)],
  ['base64 of an integer', get('/strlen/json', base64)],
  ['base64 of an error', get('/incr/json', base64)],
  ['a wrong type', get('/lpush/json/x')],
  ['an unknown command', get('/NOSUCH/a/b')],
  ['an unknown command without arguments', get('/NOSUCH')],
  ['an unknown command with a long argument', get(`/NOSUCH/${'x'.repeat(200)}/y`)],
  ['an unknown command with a line break', get('/NOSUCH/a%0Ab')],
  ['too few arguments', get('/get')],
  ['too many arguments', get('/get/a/b')],
  [
    'a pipeline',
    post('/pipeline', [
      ['SET', 'p', 1],
      ['INCR', 'p'],
      ['LPUSH', 'p', 'x'],
      ['GET', 'p'],
    ]),
  ],
  [
    'a pipeline with base64',
    post(
      '/pipeline',
      [
        ['SET', 'p', 'x'],
        ['GET', 'p'],
        ['INCR', 'p'],
      ],
      base64,
    ),
  ],
  [
    'a pipeline with an unknown command',
    post('/pipeline', [['SET', 'q', 1], ['NOPE'], ['GET', 'q']]),
  ],
  ['a pipeline of reads', post('/pipeline', [['GET', 'q'], ['LLEN', 'q'], ['GET']])],
  [
    'a transaction',
    post('/multi-exec', [
      ['SET', 't', 1],
      ['INCR', 't'],
      ['GET', 't'],
    ]),
  ],
  [
    'a transaction with a command that fails',
    post('/multi-exec', [
      ['SET', 't', 'x'],
      ['INCR', 't'],
      ['APPEND', 't', 'y'],
    ]),
  ],
  ['the key that it left', get('/get/t')],
  [
    'a transaction that fails as it runs',
    post('/multi-exec', [
      ['SET', 't', 1, 'EX', 0],
      ['HSET', 'h', 'f', 'v', 'g'],
      ['GET', 't'],
    ]),
  ],
  ['a transaction with a ping', post('/multi-exec', [['PING'], ['SET', 't', 2], ['ECHO', 'x']])],
  [
    'a transaction of reads',
    post('/multi-exec', [
      ['GET', 't'],
      ['LLEN', 't'],
      ['MGET', 't', 'none'],
    ]),
  ],
  ['no token', get('/get/path', { authorization: '' })],
  ['a wrong token', get('/get/path', { authorization: 'Bearer wrong' })],
  ['a wrong token in the query', get('/get/path?_token=wrong', { authorization: '' })],
  ['an empty command', post('/', [])],
  ['a command that is an object', post('/', { a: 1 })],
  ['an argument that is null', post('/', ['SET', 'null', null])],
  ['an argument that is an array', post('/', ['SET', 'array', []])],
  ['a pipeline that is a command', post('/pipeline', ['SET', 'k', 'v'])],
  ['broken JSON', { method: 'POST', path: '/', body: '["SET"' }],
  ['nothing', { method: 'POST', path: '/', body: '' }],
  ['the method DELETE', { method: 'DELETE', path: '/get/path' }],
  ['the method PATCH', { method: 'PATCH', path: '/get/path' }],
];

/** Errors with the gateway's own text, which are no replies of Redis. */
const ownWords =
  /^(?:ERR (?:failed|the body|an argument|empty|a command)|Unauthorized|WRONGPASS|Method|ERR method)/;

function comparable(body: unknown): unknown {
  const isError = typeof body === 'object' && body !== null && 'error' in body;
  return isError && ownWords.test(String(body.error)) ? 'an error of the gateway' : body;
}

describe('a request of the Upstash dialect', () => {
  it.each(forms)('with %s gets the same response as from one plain Redis', async (_name, form) => {
    const expected = await sendForm(plain, form);
    const answer = await sendForm(lockstep, form);
    // The plain gateway accepts two methods; Upstash, and therefore Lockstep, a third.
    if (form.method === 'PUT') expect(answer.status).toBe(200);
    else {
      expect(answer.status).toBe(expected.status);
      expect(comparable(answer.body)).toEqual(comparable(expected.body));
    }
  });

  it('accepts its token in the query', async () => {
    const path = `/get/path?_token=${lockstep.token}`;
    expect(await sendForm(lockstep, get(path, { authorization: '' }))).toEqual({
      status: 200,
      body: { result: 'v' },
    });
  });

  it('discards a transaction at a command that cannot be queued, as Redis does, and names the reason', async () => {
    const form = post('/multi-exec', [['SET', 'discarded', 1], ['NOPE', 'x'], ['GET']]);
    const expected = await sendForm(plain, form);
    const answer = await sendForm(lockstep, form);
    const reason = " ERR unknown command 'NOPE', with args beginning with: 'x' ";
    expect(expected.body).toEqual({
      error: 'EXECABORT Transaction discarded because of previous errors.',
    });
    expect(answer).toEqual({
      status: expected.status,
      body: { error: `EXECABORT Transaction discarded because of previous errors.${reason}` },
    });
    expect(await sendForm(lockstep, get('/get/discarded'))).toMatchObject({
      body: { result: null },
    });
  });

  it('in RESP2 gets the same bytes as from the same Redis over its own protocol', async () => {
    const headers = { 'Upstash-Response-Format': 'resp2' };
    await plain.client.flushall();
    const gone = await stack.regions[0]?.client.keys('*');
    const names = gone?.filter((key) => !key.startsWith('lockstep:')) ?? [];
    await sendForm(lockstep, post('/', ['DEL', 'none', ...names]));
    for (let seed = 1; seed <= 60; seed += 1) {
      const random = new Random(seed);
      const commands = Array.from({ length: 10 }, () => randomCommand(random)).filter(
        ([name = '']) => !unordered.test(name),
      );
      const answer = await sendForm(lockstep, post('/pipeline', commands, headers));
      const shown = `seed ${seed}: ${JSON.stringify(commands)}`;
      expect({ shown, text: answer.body }).toEqual({ shown, text: await plain.say(commands) });
    }
  });

  it('gets the same response as from one plain Redis for random requests of every form', async () => {
    for (let seed = 1; seed <= 400; seed += 1) {
      const { form, commands } = randomForm(new Random(seed));
      const expected = inOneOrder(await sendForm(plain, form), commands);
      const answer = inOneOrder(await sendForm(lockstep, form), commands);
      const isDiscarded = JSON.stringify(expected.body).includes('EXECABORT');
      const shown = `seed ${seed}: ${JSON.stringify(commands)}`;
      if (isDiscarded) expect(JSON.stringify(answer.body), shown).toContain('EXECABORT');
      else expect({ shown, ...answer }).toEqual({ shown, ...expected });
    }
    const expected = await contentOf(plain.client);
    for (const { client } of stack.regions) {
      await expect.poll(() => contentOf(client), patience).toEqual(expected);
    }
  });
});
