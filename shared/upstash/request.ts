/** Parses requests of the Upstash REST protocol: bodies, and commands in URLs. */
import { textWithBytes } from '../commands/raw-bytes.ts';
import { limits } from '../limits.ts';

/** A Redis command, its name first. */
export type UpstashCommand = readonly string[];

/** The commands of a request, and how they belong together. */
export type UpstashAsked =
  | { readonly kind: 'command'; readonly commands: readonly [UpstashCommand] }
  | { readonly kind: 'pipeline'; readonly commands: readonly UpstashCommand[] }
  | { readonly kind: 'transaction'; readonly commands: readonly UpstashCommand[] };

/** The status and the `error` of a request that is refused. */
export interface UpstashRefusal {
  readonly status: 400 | 401 | 404 | 405 | 413 | 429 | 503;
  readonly error: string;
}

/** An unparsed request. `target` is the raw URL from its path on. */
export interface UpstashSent {
  readonly method: string;
  readonly target: string;
  readonly body: Uint8Array;
}

/** The accepted methods. HEAD is a GET whose response has no body. */
const methods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT']);

/** The form of a first path segment that may be a command. Other URLs are not part of the protocol. */
const commandName = /^[a-z][a-z._|-]*$/i;

/** The first path segments of Lockstep's own URLs. `v1` is missing, because no command's name has a digit. */
const ownNames: ReadonlySet<string> = new Set(['docs', 'healthz', 'openapi.json', 'problems']);

/** True if the path belongs to the protocol: `/`, `/pipeline`, `/multi-exec`, or a command with arguments. */
export function isUpstashPath(path: string): boolean {
  if (path === '/') return true;
  const [, first = ''] = path.split('/', 2);
  return commandName.test(first) && !ownNames.has(first);
}

/** Parses a request, or returns its refusal. */
export function parseUpstash({ method, target, body }: UpstashSent): UpstashAsked | UpstashRefusal {
  if (!methods.has(method)) {
    return { status: 405, error: `ERR method ${method} is not allowed, use GET or POST` };
  }
  const [path, query] = splitOnce(target, '?');
  switch (path) {
    case '/': {
      const command = commandOf(parseJson(body));
      return 'error' in command ? command : { kind: 'command', commands: [command] };
    }
    case '/pipeline':
      return listOf('pipeline', body);
    case '/multi-exec':
      return listOf('transaction', body);
    default: {
      const command = commandOfPath(path, query ?? '', method === 'GET' ? null : body);
      return { kind: 'command', commands: [command] };
    }
  }
}

/** The token in `?_token=`, or null. */
export function tokenInQuery(target: string): string | null {
  const [, query = ''] = splitOnce(target, '?');
  for (const pair of query.split('&')) {
    const [name, value] = splitOnce(pair, '=');
    if (name === '_token') return textWithBytes(percentDecode(value ?? ''));
  }
  return null;
}

function listOf(kind: 'pipeline' | 'transaction', body: Uint8Array): UpstashAsked | UpstashRefusal {
  const value = parseJson(body);
  if (!Array.isArray(value)) {
    return bad('failed to parse the request: the body is not an array of commands');
  }
  if (value.length === 0) return bad('empty pipeline request');
  if (value.length > limits.commandsPerPipeline) {
    return bad(`too many commands in one request: the limit is ${limits.commandsPerPipeline}`);
  }
  const commands: UpstashCommand[] = [];
  for (const item of value) {
    const command = commandOf(item);
    if ('error' in command) return command;
    commands.push(command);
  }
  return { kind, commands };
}

/** The command of a URL such as `/set/key/value?EX=100`: the path, the body, and then the query, such as options of SET. */
function commandOfPath(path: string, query: string, body: Uint8Array | null): UpstashCommand {
  const parts: Uint8Array[] = path.slice(1).split('/').map(percentDecode);
  if (body !== null && body.length > 0) parts.push(body);
  for (const pair of query.split('&')) {
    const [name, value] = splitOnce(pair, '=');
    if (name === '' || name === '_token') continue;
    parts.push(percentDecode(name));
    if (value !== undefined && value !== '') parts.push(percentDecode(value));
  }
  return parts.map(textWithBytes);
}

function commandOf(value: unknown): UpstashCommand | UpstashRefusal {
  if (!Array.isArray(value)) return bad('failed to parse command: it is not an array of strings');
  if (value.length === 0) return bad('empty command');
  const command: string[] = [];
  for (const argument of value) {
    const text = argumentOf(argument);
    if (text === null) {
      return bad('failed to parse command: an argument is a string, a number or a boolean');
    }
    command.push(text);
  }
  return command[0] === '' ? bad('empty command') : command;
}

function argumentOf(value: unknown): string | null {
  // Half of a surrogate pair has no bytes. As decoders of JSON into UTF-8 do, it is replaced by U+FFFD.
  if (typeof value === 'string') return value.toWellFormed();
  if (value instanceof Digits) return value.text;
  return typeof value === 'boolean' ? String(value) : null;
}

/** The digits of a JSON number: a number of JavaScript would round integers beyond 2^53. */
class Digits {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/**
 * The JSON value of a body, with numbers as digits. Undefined if it is not JSON, or not an array of the expected depth.
 */
function parseJson(body: Uint8Array): unknown {
  const text = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(body);
  try {
    // Parsed twice: the parser with a reviver recurses into each level, so the depth is checked first.
    const plain: unknown = JSON.parse(text);
    if (!isShallow(plain)) return undefined;
    return JSON.parse(text, (_name, value: unknown, context?: { readonly source?: string }) =>
      typeof value === 'number' ? new Digits(context?.source ?? String(value)) : value,
    );
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return undefined;
    throw error;
  }
}

/** True for an array of plain values, or of arrays of plain values. */
function isShallow(value: unknown): boolean {
  const isPlain = (item: unknown) => typeof item !== 'object' || item === null;
  const isFlat = (item: unknown) => isPlain(item) || (Array.isArray(item) && item.every(isPlain));
  return Array.isArray(value) && value.every(isFlat);
}

/** Percent-decodes into bytes. Malformed escapes and plus signs stay unchanged. */
export function percentDecode(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  if (!text.includes('%')) return bytes;
  const decoded = new Uint8Array(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const escaped = bytes[at] === 0x25 ? hexOf(bytes[at + 1], bytes[at + 2]) : null;
    decoded[length] = escaped ?? bytes[at] ?? 0;
    length += 1;
    if (escaped !== null) at += 2;
  }
  return decoded.subarray(0, length);
}

function hexOf(high: number | undefined, low: number | undefined): number | null {
  const text = String.fromCharCode(high ?? 0, low ?? 0);
  return /^[0-9a-fA-F]{2}$/.test(text) ? Number.parseInt(text, 16) : null;
}

function splitOnce(text: string, separator: string): readonly [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

function bad(words: string): UpstashRefusal {
  return { status: 400, error: `ERR ${words}` };
}
