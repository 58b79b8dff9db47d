/** Requests of the Upstash dialect, random ones too, and their comparable responses. */
import type { Redis } from 'ioredis';
import type { Random } from '../simulation/random.ts';

/** A request of Upstash's REST protocol. */
export interface UpstashForm {
  readonly method: string;
  readonly path: string;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The response to a form. `body` is the parsed JSON, or the bytes as text if it is not JSON. */
export interface FormAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** The target of a request. */
export interface UpstashEndpoint {
  readonly url: string;
  readonly token: string;
}

/** Sends a request with the endpoint's token, unless its own headers have another. */
export async function sendForm(endpoint: UpstashEndpoint, form: UpstashForm): Promise<FormAnswer> {
  const response = await fetch(`${endpoint.url}${form.path}`, {
    method: form.method,
    headers: { authorization: `Bearer ${endpoint.token}`, ...form.headers },
    ...(form.body === undefined ? {} : { body: form.body }),
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const isJson = response.headers.get('content-type')?.includes('json') === true;
  const isShown = isJson && form.method !== 'HEAD';
  return {
    status: response.status,
    body: isShown ? JSON.parse(bytes.toString('utf8')) : bytes.toString('latin1'),
  };
}

/** Commands whose replies have no order of their own: Lockstep may order them differently from Redis. */
export const unordered = /^(?:HGETALL|HKEYS|HVALS|SMEMBERS|SDIFF|SINTER|SUNION)$/i;

/** Random commands over a few keys, valid and invalid ones. A command often finds a key of another type. */
export function randomCommand(random: Random): readonly string[] {
  const key = () => `k${random.between(1, 5)}`;
  const value = () =>
    random.pick(['', '1', '-7', 'v', 'é✓', 'a b', '9007199254740993', '3.5', '"\\']);
  const templates: readonly (() => readonly string[])[] = [
    () => ['SET', key(), value()],
    () => ['SET', key(), value(), 'NX', 'GET'],
    () => [
      'SET',
      key(),
      value(),
      random.pick(['EX', 'PX', 'EXAT', 'FOO', 'XX']),
      random.pick(['0', 'x', '100000']),
    ],
    () => ['GET', key()],
    () => ['GETSET', key(), value()],
    () => ['GETDEL', key()],
    () => ['INCRBY', key(), value()],
    () => ['INCRBYFLOAT', key(), '0.5'],
    () => ['APPEND', key(), value()],
    () => ['GETRANGE', key(), '0', '2'],
    () => ['SETRANGE', key(), '2', value()],
    () => ['MSET', key(), value(), key(), value()],
    () => ['MSET', key(), value(), key()],
    () => ['MGET', key(), key()],
    () => ['DEL', key(), key()],
    () => ['EXISTS', key(), key(), key()],
    () => ['TYPE', key()],
    () => ['RENAME', key(), key()],
    () => ['COPY', key(), key(), 'REPLACE'],
    () => [
      'EXPIRE',
      key(),
      random.pick(['1000', 'x', '-1']),
      ...random.pick([[], ['NX'], ['XX'], ['FOO'], ['NX', 'XX'], ['GT', 'LT']]),
    ],
    () => ['PERSIST', key()],
    () => ['HSET', key(), 'f', value(), 'g', value()],
    () => ['HSET', key(), 'f'],
    () => ['HSET', key(), 'f', value(), 'g'],
    () => ['HGETALL', key()],
    () => ['HINCRBY', key(), 'f', value()],
    () => ['HDEL', key(), 'f'],
    () => ['HMGET', key(), 'f', 'none'],
    () => ['LPUSH', key(), value(), value()],
    () => ['RPOP', key()],
    () => ['LPOP', key(), random.pick(['2', '0', '-1'])],
    () => ['LRANGE', key(), '0', '-1'],
    () => ['LMPOP', random.pick(['1', '0', '9', 'x']), key(), 'LEFT'],
    () => ['LSET', key(), '0', value()],
    () => ['SADD', key(), value(), value()],
    () => ['SREM', key(), value()],
    () => ['SMEMBERS', key()],
    () => ['SUNION', key(), key()],
    () => ['SINTERCARD', random.pick(['1', '0', '9', 'x']), key()],
    () => ['SPOP', key(), random.pick(['0', '-1', 'x'])],
    () => ['ZADD', key(), random.pick(['1', '2.5', 'x', '-inf']), value()],
    () => ['ZINCRBY', key(), '1.5', value()],
    () => ['ZRANGE', key(), '0', '-1', 'WITHSCORES'],
    () => ['ZUNION', random.pick(['1', '0', '9', 'x']), key()],
    () => ['ZPOPMIN', key()],
    () => ['ZRANGEBYSCORE', key(), random.pick(['-inf', 'x']), '+inf'],
    () => ['BITCOUNT', key()],
    () => ['SETBIT', key(), '7', random.pick(['1', '2'])],
    () => ['PING'],
    () => ['ECHO', value()],
    () => ['NOSUCH', value(), key()],
    () => ['GET'],
    () => ['GET', key(), key()],
    () => ['PING', 'a', 'b'],
  ];
  return random.pick(templates)();
}

/** A request with random commands in a random form, and those commands. */
export function randomForm(random: Random): {
  readonly form: UpstashForm;
  readonly commands: readonly (readonly string[])[];
} {
  const headers = random.chance(0.4) ? { 'Upstash-Encoding': 'base64' } : {};
  const kind = random.pick(['path', 'body', 'json', 'pipeline', 'multi-exec']);
  if (kind === 'pipeline' || kind === 'multi-exec') {
    const commands = Array.from({ length: random.between(1, 6) }, () => randomCommand(random));
    return {
      form: { method: 'POST', path: `/${kind}`, body: JSON.stringify(commands), headers },
      commands,
    };
  }
  const command = randomCommand(random);
  const commands = [command];
  if (kind === 'json') {
    return {
      form: { method: 'POST', path: '/', body: JSON.stringify(command), headers },
      commands,
    };
  }
  const last = command.at(-1) ?? '';
  const inBody = kind === 'body' && command.length > 1 && last !== '';
  const steps = (inBody ? command.slice(0, -1) : command).map(encodeURIComponent);
  const path = `/${steps.join('/')}`;
  const form = inBody
    ? { method: 'POST', path, body: last, headers }
    : { method: 'GET', path, headers };
  return { form, commands };
}

/** The answer with its unordered replies sorted. */
export function inOneOrder(
  answer: FormAnswer,
  commands: readonly (readonly string[])[],
): FormAnswer {
  const sorted = (element: unknown, command: readonly string[] | undefined): unknown => {
    const isUnordered = unordered.test(command?.[0] ?? '');
    const hasArray = typeof element === 'object' && element !== null && 'result' in element;
    if (!isUnordered || !hasArray || !Array.isArray(element.result)) return element;
    const isPairs = /^HGETALL$/i.test(command?.[0] ?? '');
    return { result: isPairs ? pairsOf(element.result) : element.result.map(String).toSorted() };
  };
  const { status, body } = answer;
  if (!Array.isArray(body)) return { status, body: sorted(body, commands[0]) };
  return { status, body: body.map((element, index) => sorted(element, commands[index])) };
}

function pairsOf(flat: readonly unknown[]): readonly string[] {
  const pairs: string[] = [];
  for (let at = 0; at < flat.length; at += 2) pairs.push(JSON.stringify([flat[at], flat[at + 1]]));
  return pairs.toSorted();
}

/** Every key of a user with its value in a database. */
export async function contentOf(client: Redis): Promise<readonly unknown[]> {
  const keys = (await client.keys('*')).filter((key) => !key.startsWith('lockstep:')).toSorted();
  return Promise.all(
    keys.map(async (key) => [key, await client.type(key), await readValue(client, key)]),
  );
}

async function readValue(client: Redis, key: string): Promise<unknown> {
  switch (await client.type(key)) {
    case 'string':
      return client.get(key);
    case 'hash':
      return Object.entries(await client.hgetall(key)).toSorted();
    case 'list':
      return client.lrange(key, 0, -1);
    case 'set':
      return (await client.smembers(key)).toSorted();
    case 'zset':
      return client.zrange(key, '0', '-1', 'WITHSCORES');
    default:
      return null;
  }
}
