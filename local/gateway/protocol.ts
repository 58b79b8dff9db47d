/** Parses requests of the Upstash REST protocol, and writes its replies. It does no I/O. */

/** An argument of a command. Bytes are from paths and bodies, text is from JSON. */
export type Argument = string | Buffer;

/** A Redis command, its name first. */
export type RespCommand = readonly Argument[];

/** The commands of a request. A transaction runs between MULTI and EXEC. */
export type Asked =
  | { readonly kind: 'command'; readonly commands: readonly [RespCommand] }
  | { readonly kind: 'pipeline'; readonly commands: readonly RespCommand[] }
  | { readonly kind: 'transaction'; readonly commands: readonly RespCommand[] };

/** A malformed request. The client gets `message`. */
export class BadRequest extends Error {
  readonly status: 400 | 401 | 405 | 413;

  constructor(status: 400 | 401 | 405 | 413, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * A reply from the client library with `returnBuffers` and `stringNumbers`: strings are buffers, integers are text with
 * every digit, errors are errors.
 */
export type RedisReply = Buffer | string | null | Error | readonly RedisReply[];

/** The reply to one command of a pipeline or transaction. */
export type ElementReply = { readonly result: RedisReply } | { readonly error: string };

/**
 * Commands that change the connection or block it. All requests of a gateway share one connection, so one of these
 * would affect the others. (XREAD and XREADGROUP that block get a connection of their own.)
 */
const refusedCommands: ReadonlySet<string> = new Set([
  ...['auth', 'client', 'discard', 'exec', 'hello', 'monitor', 'multi', 'psubscribe', 'quit'],
  ...['punsubscribe', 'reset', 'select', 'ssubscribe', 'subscribe', 'sunsubscribe', 'unsubscribe'],
  ...['unwatch', 'wait', 'waitaof', 'watch', 'blmove', 'blmpop', 'blpop', 'brpop', 'brpoplpush'],
  ...['bzmpop', 'bzpopmax', 'bzpopmin', 'shutdown', 'replicaof', 'slaveof', 'sync', 'psync'],
]);

/**
 * Parses a request.
 *
 * @throws BadRequest if it is malformed or names a command that a gateway cannot run.
 */
export function parseRequest(method: string, url: URL, body: Buffer): Asked {
  if (method !== 'GET' && method !== 'POST') {
    throw new BadRequest(405, `Method ${method} is not allowed, use GET or POST`);
  }
  const asked = parseAsked(method, url, body);
  for (const command of asked.commands) refuseUnusable(command);
  return asked;
}

/** True for a command that waits for data. In a transaction, Redis does not wait. */
export function waits([name = '', ...args]: RespCommand): boolean {
  if (!/^XREAD(?:GROUP)?$/i.test(String(name))) return false;
  const words = args.map((argument) => String(argument).toUpperCase());
  const streams = words.indexOf('STREAMS');
  return words.slice(0, streams < 0 ? words.length : streams).includes('BLOCK');
}

function parseAsked(method: string, url: URL, body: Buffer): Asked {
  switch (url.pathname) {
    case '/':
      return { kind: 'command', commands: [commandOf(parseBody(body))] };
    case '/pipeline':
      return { kind: 'pipeline', commands: commandsOf(parseBody(body)) };
    case '/multi-exec':
      return { kind: 'transaction', commands: commandsOf(parseBody(body)) };
    default:
      return { kind: 'command', commands: [commandOfPath(method, url, body)] };
  }
}

function refuseUnusable(command: RespCommand): void {
  const name = String(command[0] ?? '');
  if (name === '') throw new BadRequest(400, 'ERR empty command');
  if (refusedCommands.has(name.toLowerCase())) {
    throw new BadRequest(400, `ERR Command is not available: '${name.toUpperCase()}'`);
  }
}

/** The command of a URL such as `/set/key/value?EX=100`: the path, the body of a POST, and then the query. */
function commandOfPath(method: string, url: URL, body: Buffer): RespCommand {
  const command: Argument[] = url.pathname.slice(1).split('/').map(percentDecode);
  if (method === 'POST' && body.length > 0) command.push(body);
  for (const pair of url.search.slice(1).split('&')) {
    const [name = '', value] = splitOnce(pair, '=');
    if (name === '' || name === '_token') continue;
    command.push(percentDecode(name));
    if (value !== undefined && value !== '') command.push(percentDecode(value));
  }
  return command;
}

function splitOnce(text: string, separator: string): readonly [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

/** Percent-decodes into bytes, since keys and values need not be UTF-8, as `decodeURIComponent` requires. */
export function percentDecode(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const decoded: number[] = [];
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    const hex = byte === 0x25 ? bytes.toString('latin1', at + 1, at + 3) : '';
    const escaped = /^[0-9a-fA-F]{2}$/.test(hex);
    decoded.push(escaped ? Number.parseInt(hex, 16) : byte);
    if (escaped) at += 2;
  }
  return Buffer.from(decoded);
}

/** The digits of a JSON number: `JSON.parse` would round integers beyond 2^53. */
class Digits {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Reviver = (key: string, value: unknown, context?: { readonly source?: string }) => unknown;

function parseBody(body: Buffer): unknown {
  const reviver: Reviver = (_key, value, context) =>
    typeof value === 'number' ? new Digits(context?.source ?? String(value)) : value;
  try {
    return JSON.parse(body.toString('utf8'), reviver);
  } catch {
    throw new BadRequest(400, 'ERR failed to parse pipeline request: the body is not JSON');
  }
}

function commandsOf(value: unknown): readonly RespCommand[] {
  if (!Array.isArray(value)) throw new BadRequest(400, 'ERR the body is not an array of commands');
  return value.map(commandOf);
}

function commandOf(value: unknown): RespCommand {
  if (!Array.isArray(value)) throw new BadRequest(400, 'ERR a command is an array of strings');
  return value.map(argumentOf);
}

function argumentOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value instanceof Digits) return value.text;
  if (typeof value === 'boolean') return String(value);
  throw new BadRequest(400, 'ERR an argument of a command is a string, a number or a boolean');
}

/** The JSON `{"result": …}` of one command. */
export function encodeResult(reply: RedisReply, base64: boolean): string {
  // OK is never encoded. It is not valid base64, so clients cannot mistake it for encoded text.
  const isOk = Buffer.isBuffer(reply) && reply.length === 2 && reply.toString('latin1') === 'OK';
  return `{"result":${isOk ? '"OK"' : encodeReply(reply, base64)}}`;
}

/** The JSON of a pipeline's or transaction's replies. */
export function encodeElements(elements: readonly ElementReply[], base64: boolean): string {
  const encoded = elements.map((element) =>
    'error' in element ? encodeError(element.error) : encodeResult(element.result, base64),
  );
  return `[${encoded.join(',')}]`;
}

/** The JSON `{"error": …}`. */
export function encodeError(message: string): string {
  return JSON.stringify({ error: message });
}

function encodeReply(reply: RedisReply, base64: boolean): string {
  if (reply === null) return 'null';
  // Every digit: a number of JavaScript does not hold all 64 bits.
  if (typeof reply === 'string') return reply;
  if (reply instanceof Error) return encodeText(Buffer.from(reply.message), base64);
  if (Buffer.isBuffer(reply)) return encodeText(reply, base64);
  return `[${reply.map((element) => encodeReply(element, base64)).join(',')}]`;
}

function encodeText(bytes: Buffer, base64: boolean): string {
  return JSON.stringify(bytes.toString(base64 ? 'base64' : 'utf8'));
}
