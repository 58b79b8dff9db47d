import { errors, Redis } from '@upstash/redis/cloudflare';
import type { CommandResult, RegionClient } from '../../shared/protocol/round.ts';
import { decodeInspection, decodeRound, decodeSnapshot, silent } from './decoding.ts';
import { encodeInspection, encodeRound, encodeSnapshot, keysOf } from './encoding.ts';
import { digestOf, inspectScript, roundScript, type Script, snapshotScript } from './scripts.ts';

/** Where a region is, and what it asks of its callers. */
export interface RegionAddress {
  readonly id: string;
  /** Of its Redis over the Upstash REST protocol. */
  readonly url: string;
  readonly token: string;
}

/** What came of one use of a script: its reply, or why there is none that can be used. */
type Sent =
  | { readonly kind: 'answered'; readonly reply: unknown }
  | {
      readonly kind: 'silent';
      readonly reason: string;
      readonly code?: string;
      readonly isUnanswered?: true;
    };

/** What one request brought. An `error` is the server's own reply, so the script has not answered. */
type Received = Sent | { readonly kind: 'error'; readonly code: string; readonly message: string };

/** Distinct timeouts are few; more clients than these are not kept. */
const clientsKept = 16;

/** A reason is shown to people; the library puts the whole command into its messages. */
const reasonLength = 300;

/** A client of one region. It sends each round once, and never throws. */
export function connectRegion(address: RegionAddress): RegionClient {
  const clients = new Map<number, Redis>();
  const send = (timeoutMs: number, command: readonly string[]) =>
    request(() => clientFor(address, clients, timeoutMs), command);
  const sendRound = senderOf(roundScript, send);
  const sendSnapshot = senderOf(snapshotScript, send);
  const sendInspection = senderOf(inspectScript, send);
  return {
    async round(round, timeoutMs) {
      const sent = await sendRound(keysOf(round.shard), encodeRound(round), timeoutMs);
      if (sent.kind === 'answered') return decodeRound(sent.reply, round);
      return silent(sent.reason, sent.code);
    },
    async snapshot(request, timeoutMs) {
      const sent = await sendSnapshot(keysOf(request.shard), encodeSnapshot(request), timeoutMs);
      if (sent.kind === 'answered') return decodeSnapshot(sent.reply, request);
      const { reason, isUnanswered } = sent;
      return isUnanswered ? { kind: 'silent', reason, isUnanswered } : silent(reason);
    },
    async inspect(shard, inspection, timeoutMs) {
      const argument = encodeInspection(inspection);
      const sent = await sendInspection(keysOf(shard), argument, timeoutMs);
      return sent.kind === 'silent' ? silent(sent.reason) : decodeInspection(sent.reply);
    },
    async run(command, timeoutMs): Promise<CommandResult> {
      const received = await send(timeoutMs, command);
      return received.kind === 'error' ? { kind: 'error', message: received.message } : received;
    },
  };
}

type Send = (timeoutMs: number, command: readonly string[]) => Promise<Received>;
type SendScript = (keys: readonly string[], argument: string, timeoutMs: number) => Promise<Sent>;

/**
 * Sends a script by EVAL until it was answered once, then by EVALSHA, and by EVAL again where the server has forgotten
 * it. A second request follows only an error that the server gave before it ran anything: the script itself
 * never answers by one.
 */
function senderOf(script: Script, send: Send): SendScript {
  /** The text that this server has run, and its digest; null until then. */
  let known: { readonly text: string; readonly digest: string } | null = null;

  async function evaluate(text: string, tail: readonly string[], timeoutMs: number) {
    const received = await send(timeoutMs, ['EVAL', text, ...tail]);
    if (received.kind === 'answered') known = { text, digest: await digestOf(text) };
    return received;
  }

  async function deliver(tail: readonly string[], timeoutMs: number): Promise<Received> {
    if (known !== null) {
      const received = await send(timeoutMs, ['EVALSHA', known.digest, ...tail]);
      return isError(received, 'NOSCRIPT') ? evaluate(known.text, tail, timeoutMs) : received;
    }
    const received = await evaluate(script.flagged, tail, timeoutMs);
    // A server that knows no flags reads their line as a syntax error.
    return isError(received, 'ERR') ? evaluate(script.plain, tail, timeoutMs) : received;
  }

  return async (keys, argument, timeoutMs) => {
    const received = await deliver([String(keys.length), ...keys, argument], timeoutMs);
    if (received.kind !== 'error') return received;
    return silent(`the server refused: ${received.message}`, received.code);
  };
}

function isError(received: Received, code: string): boolean {
  return received.kind === 'error' && received.code === code;
}

/** One request, made once; whatever goes wrong with it is a value. */
async function request(client: () => Redis, command: readonly string[]): Promise<Received> {
  try {
    const [name = '', ...rest] = command;
    return { kind: 'answered', reply: await client().exec([name, ...rest]) };
  } catch (error) {
    if (error instanceof errors.UpstashError && !(error instanceof errors.UpstashJSONParseError)) {
      return serverError(error.message);
    }
    return { ...silent(reasonOf(error)), isUnanswered: true };
  }
}

/** An error reply begins with its code, as in `NOSCRIPT No matching script`. */
function serverError(message: string): Received {
  const code = /^[A-Z]+(?=\s|$)/.exec(message)?.[0] ?? '';
  const own = message.split(', command was: ', 1)[0] ?? '';
  return { kind: 'error', code, message: own.slice(0, reasonLength) };
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'the request failed';
  if (error.name === 'TimeoutError') return 'no answer in time';
  if (error instanceof errors.UpstashJSONParseError) return 'an answer that is not JSON';
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
  return `the request failed: ${error.message}${cause}`.slice(0, reasonLength);
}

/**
 * The library takes one source of signals a client, so there is one client for each timeout. The signal has to come from a
 * function: the library answers an aborted plain signal with a made-up success.
 */
function clientFor(address: RegionAddress, clients: Map<number, Redis>, timeoutMs: number): Redis {
  const known = clients.get(timeoutMs);
  if (known !== undefined) return known;
  if (clients.size >= clientsKept) clients.clear();
  const client = new Redis({
    url: address.url,
    token: address.token,
    retry: { retries: 0 },
    signal: () => AbortSignal.timeout(timeoutMs),
    automaticDeserialization: false,
    enableAutoPipelining: false,
    responseEncoding: false,
    enableTelemetry: false,
    readYourWrites: false,
  });
  clients.set(timeoutMs, client);
  return client;
}
