/** A client of the REST endpoint of a region's Redis, with bounded responses and exact bytes. */
import { parseExact } from '../../shared/commands/replies.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import { limits } from '../../shared/limits.ts';

/** The REST endpoint of a region's Redis (Upstash's protocol), and its token. */
export interface RestAddress {
  readonly url: string;
  readonly token: string;
}

/** The result of one command; an `error` is the server's own, with its code, e.g. NOSCRIPT. */
export type Element =
  | { readonly kind: 'answered'; readonly reply: RawReply }
  | { readonly kind: 'error'; readonly code: string; readonly message: string };

/** There is no usable response: the request may or may not have run. */
export type Silence = {
  readonly kind: 'silent';
  readonly reason: string;
  /** The code of the server's error, if it refused the request. */
  readonly code?: string;
  /** True if the request was sent without a response, so the region may still run it. */
  readonly isUnanswered?: true;
};

/** The response exceeds `answerBytes`; the rest of it was not read. */
export type TooLarge = { readonly kind: 'too-large' };

/** The result of a transaction: one element per command, or one error for all. */
export type Elements =
  | { readonly kind: 'elements'; readonly elements: readonly Element[] }
  | Extract<Element, { kind: 'error' }>
  | Silence
  | TooLarge;

/** Sends commands to one region, each request once, and never throws. */
export interface RestClient {
  send(command: readonly string[], timeoutMs: number): Promise<Element | Silence | TooLarge>;
  /** Runs the commands atomically, as MULTI and EXEC do. */
  sendAll(commands: readonly (readonly string[])[], timeoutMs: number): Promise<Elements>;
}

/** The maximum length of a reason, in characters. */
const reasonLength = 300;

type Body =
  | { readonly kind: 'body'; readonly status: number; readonly value: unknown }
  | Silence
  | TooLarge;

/**
 * Returns a client of the endpoint. It is not built on the Upstash SDK, which loses invalid UTF-8 and integers beyond
 * 2^53, and reads a response of any size whole.
 */
export function connectRest({ url, token }: RestAddress): RestClient {
  const post = (path: string, body: unknown, timeoutMs: number) =>
    received(`${url.replace(/\/+$/, '')}${path}`, token, JSON.stringify(body), timeoutMs);
  return {
    async send(command, timeoutMs) {
      const body = await post('/', command, timeoutMs);
      return body.kind === 'body' ? elementOf(body.value, body.status) : body;
    },
    async sendAll(commands, timeoutMs) {
      const body = await post('/multi-exec', commands, timeoutMs);
      if (body.kind !== 'body') return body;
      const { value, status } = body;
      if (!Array.isArray(value)) {
        const element = elementOf(value, status);
        return element.kind === 'answered' ? notUsable : element;
      }
      const elements: Element[] = [];
      for (const item of value) {
        const element = elementOf(item, status);
        if (element.kind === 'silent') return element;
        elements.push(element);
      }
      return elements.length === commands.length ? { kind: 'elements', elements } : notUsable;
    },
  };
}

const notUsable: Silence = { kind: 'silent', reason: 'an answer that is none of its endpoint' };

async function received(
  url: string,
  token: string,
  body: string,
  timeoutMs: number,
): Promise<Body> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        Authorization: `Bearer ${token}`,
        'Content-Type': 'application/json',
        // The server encodes strings at every depth in base64, so that no byte is lost.
        'Upstash-Encoding': 'base64',
      },
      body,
      // A redirect does not come from the region, and the round must not be sent twice.
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    });
    const text = await boundedText(response);
    if (text === null) return { kind: 'too-large' };
    return { kind: 'body', status: response.status, value: parseExact(text) };
  } catch (error) {
    return { kind: 'silent', reason: reasonOf(error), isUnanswered: true };
  }
}

/** Reads the body; null if it is larger than the limit. */
async function boundedText(response: Response): Promise<string | null> {
  if (response.body === null) return '';
  // A body of an announced length ends there, and costs much less without a reader.
  const length = response.headers.get('content-length');
  if (length !== null && response.headers.get('content-encoding') === null) {
    if (Number(length) <= limits.answerBytes) return response.text();
  }
  const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
  const decoder = new TextDecoder();
  const pieces: string[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return pieces.join('') + decoder.decode();
    bytes += value.length;
    if (bytes > limits.answerBytes) {
      await reader.cancel();
      return null;
    }
    pieces.push(decoder.decode(value, { stream: true }));
  }
}

function elementOf(value: unknown, status: number): Element | Silence {
  if (typeof value !== 'object' || value === null) return notUsable;
  if ('error' in value && typeof value.error === 'string') return errorOf(value.error);
  if (status !== 200 || !('result' in value)) return notUsable;
  // `OK` is not valid base64, and servers may send it unencoded.
  if (value.result === 'OK') return { kind: 'answered', reply: 'OK' };
  try {
    return { kind: 'answered', reply: bytesWithin(value.result) };
  } catch {
    return notUsable;
  }
}

/** An error begins with its code, e.g. `NOSCRIPT No matching script`. */
function errorOf(message: string): Element {
  const code = /^[A-Z]+(?=\s|$)/.exec(message)?.[0] ?? '';
  return { kind: 'error', code, message };
}

/** Decodes a reply whose strings are base64. Throws if it is not one. */
function bytesWithin(value: unknown): RawReply {
  if (value === null || typeof value === 'number' || typeof value === 'bigint') return value;
  if (typeof value === 'string') return atob(value);
  if (Array.isArray(value)) return value.map(bytesWithin);
  throw new TypeError('a reply is null, a number, a text or an array');
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'the request failed';
  if (error.name === 'TimeoutError') return 'no answer in time';
  if (error instanceof SyntaxError) return 'an answer that is not JSON';
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
  return `the request failed: ${error.message}${cause}`.slice(0, reasonLength);
}
