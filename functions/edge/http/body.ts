/** Reads request bodies: bounds their size, parses JSON strictly, and checks it against a schema. */
import type { z } from '@hono/zod-openapi';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';

/**
 * Reads a JSON body and checks it against `schema`. Refuses input that a lenient parser would alter: numbers that lose
 * digits, repeated names, lone surrogates, deep nesting.
 */
export async function readBody<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
): Promise<Result<z.infer<Schema>>> {
  const body = await readJson(request);
  return body.ok ? checkShape(body.value, schema) : body;
}

/** As {@link readBody}, for JSON of any shape. */
export async function readJson(request: Request): Promise<Result<unknown>> {
  const type = request.headers.get('content-type') ?? '';
  if (!isJsonType(type)) {
    return failure('unsupported-media-type', 'Send the body with Content-Type: application/json.');
  }
  const bytes = await readBytes(request);
  return bytes.ok ? parseStrictJson(bytes.value) : bytes;
}

/** As {@link readBody}, with `{}` for a request without a body. */
export async function readBodyIfAny<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
): Promise<Result<z.infer<Schema>>> {
  const isEmpty = request.body === null || request.headers.get('content-length') === '0';
  return isEmpty ? checkShape({}, schema) : readBody(request, schema);
}

/**
 * Returns `value` in the shape of `schema`, or the problem `invalid-request` with a pointer to each error, up to ten.
 */
export function checkShape<Schema extends z.ZodType>(
  value: unknown,
  schema: Schema,
): Result<z.infer<Schema>> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return success(parsed.data);
  const errors = parsed.error.issues.slice(0, 10).map((issue) => ({
    pointer: issue.path.map((step) => `/${escapePointer(String(step))}`).join(''),
    detail: issue.message.slice(0, 300),
  }));
  const [first] = errors;
  return failure('invalid-request', `${first?.pointer || 'The request'}: ${first?.detail}.`, {
    errors,
  });
}

/** Parses UTF-8 bytes as JSON without altering a value, or returns the problem `invalid-json`. */
export function parseStrictJson(bytes: Uint8Array): Result<unknown> {
  if (bytes.length === 0) return failure('invalid-json', 'The body is empty: send a JSON object.');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    return failure('invalid-json', 'The body is not valid UTF-8.');
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // V8 quotes the input in its message, and a body may hold secrets that a response must not repeat.
    return failure(
      'invalid-json',
      'The body is not valid JSON: check quotes, commas and brackets.',
    );
  }
  const fault = faultOf(text);
  return fault === null ? success(value) : failure('invalid-json', fault);
}

/**
 * Returns the bytes of a body, or the problem `too-large`. Reads also a body that is too large, up to
 * `limits.bodyDrainedBytes`: a client that is still sending would otherwise see a broken connection instead of the
 * response.
 */
export async function readBytes(request: Request): Promise<Result<Uint8Array>> {
  const length = request.headers.get('content-length');
  // HTTP ends such a body at its announced length, so the runtime can collect it, for much less than a reader costs.
  if (length !== null && Number(length) <= limits.bodyBytes) {
    const bytes = new Uint8Array(await request.arrayBuffer());
    if (bytes.length <= limits.bodyBytes) return success(bytes);
    return bodyTooLarge();
  }
  return readCounted(request, Number(length ?? 0) > limits.bodyBytes);
}

/** Counts the bytes as they arrive: a chunked body announces no length. */
async function readCounted(
  request: Request,
  isAnnouncedTooLarge: boolean,
): Promise<Result<Uint8Array>> {
  let isTooLarge = isAnnouncedTooLarge;
  let chunks: Uint8Array[] = [];
  let length = 0;
  const reader = request.body?.getReader();
  for (;;) {
    const chunk = await reader?.read();
    if (chunk === undefined || chunk.done) break;
    length += chunk.value.length;
    isTooLarge ||= length > limits.bodyBytes;
    if (isTooLarge) chunks = [];
    else chunks.push(chunk.value);
    if (length > limits.bodyDrainedBytes) {
      await reader?.cancel();
      break;
    }
  }
  return isTooLarge ? bodyTooLarge() : success(concatenate(chunks, length));
}

function bodyTooLarge(): ReturnType<typeof failure> {
  const detail = `A body may have at most ${limits.bodyBytes} bytes. Split it into several requests.`;
  return failure('too-large', detail);
}

function concatenate(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = chunks;
  if (only !== undefined && chunks.length === 1) return only;
  const all = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

function isJsonType(type: string): boolean {
  const [name = '', ...parameters] = type.toLowerCase().split(';');
  const charset = parameters.map((text) => text.trim()).find((text) => text.startsWith('charset='));
  const isUtf8 = charset === undefined || /^charset="?utf-?8"?$/.test(charset);
  return isUtf8 && /^application\/(?:[a-z0-9.!#$&^_-]+\+)?json$/.test(name.trim());
}

/** The reason to refuse a text that JSON.parse accepts, or null. One pass over its tokens. */
function faultOf(text: string): string | null {
  /** Per open bracket: the names seen in the object, or null for an array. */
  const open: (Set<string> | null)[] = [];
  const token = /"(?:[^"\\]|\\.)*"|[{}[\]:]|-?\d[\d.eE+-]*/g;
  let string = '';
  for (const [piece] of text.matchAll(token)) {
    const fault = faultOfPiece(piece, string, open);
    if (fault !== null) return fault;
    if (piece.startsWith('"')) string = piece;
  }
  return null;
}

function faultOfPiece(piece: string, before: string, open: (Set<string> | null)[]): string | null {
  switch (piece[0]) {
    case '{':
    case '[':
      open.push(piece === '{' ? new Set() : null);
      return open.length <= limits.jsonDepth
        ? null
        : `The body is nested deeper than ${limits.jsonDepth} levels.`;
    case '}':
    case ']':
      open.pop();
      return null;
    case '"':
      // In valid UTF-8 only an escape can spell half of a surrogate pair.
      return piece.includes('\\') && !unquoted(piece).isWellFormed()
        ? 'A string holds a lone surrogate (\\ud800 to \\udfff): it has no bytes in UTF-8.'
        : null;
    case ':':
      // A colon outside a string always follows the name of a member.
      return faultOfName(unquoted(before), open.at(-1));
    default:
      return faultOfNumber(piece);
  }
}

function faultOfName(name: string, seen: Set<string> | null | undefined): string | null {
  if (name === '__proto__') return 'An object has a member named __proto__: remove it.';
  if (seen?.has(name))
    return `An object has the member ${JSON.stringify(name.slice(0, 64))} twice.`;
  seen?.add(name);
  return null;
}

/** Refuses a number that the parser would alter: a counter would be wrong without any error. */
function faultOfNumber(source: string): string | null {
  const value = Number(source);
  if (isExactInteger(source, value) || isExactDecimal(source, value)) return null;
  return `The number ${source.slice(0, 40)} cannot be kept exactly: send it as a string, "${source.slice(0, 40)}".`;
}

function isExactInteger(source: string, value: number): boolean {
  return /^-?\d+$/.test(source) && Number.isSafeInteger(value);
}

function isExactDecimal(source: string, value: number): boolean {
  if (/^-?\d+$/.test(source) || !Number.isFinite(value)) return false;
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return false;
  const digits = source
    .replace(/[eE].*$/, '')
    .replace(/\D/g, '')
    .replace(/^0+/, '');
  // A double keeps any fifteen digits. A value too close to zero for a double has become zero.
  return (digits.length <= 15 && (value !== 0 || digits === '')) || String(value) === source;
}

function unquoted(piece: string): string {
  return piece.includes('\\') ? String(JSON.parse(piece)) : piece.slice(1, -1);
}

function escapePointer(step: string): string {
  return step.slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1');
}
