/** Sends the writes and reads of a torture run, and classifies the responses. */
import type { StackTokens } from '../../local/stack/stack.ts';
import type { SentCommand } from './commands.ts';
import { isJournal, kindOf } from './commands.ts';
import type { KeyText, TortureRead, WriteReceipt } from './history.ts';
import { clock } from './recorder.ts';

/** The address of the Worker, which may change, and its tokens. */
export interface TortureTarget {
  readonly url: string;
  readonly tokens: StackTokens;
}

/** The end of one attempt to write. */
export type WriteAttempt =
  | { readonly kind: 'committed'; readonly receipt: WriteReceipt; readonly isReplayed: boolean }
  | { readonly kind: 'rejected'; readonly actual: KeyText }
  /** Nothing was written. */
  | { readonly kind: 'refused' }
  | { readonly kind: 'unknown' }
  /** A response that no fault explains. */
  | { readonly kind: 'strange'; readonly text: string };

/** Problems of writes that say: nothing was written. */
const refusals = new Set([
  'region-unavailable',
  'not-decided',
  'too-few-voters',
  'too-many-writes',
  'not-founded',
]);

/** Problems of writes that leave the outcome open. */
const unknowns = new Set(['coordinator-unavailable', 'idempotency-key-in-use']);

/** Problems of reads during faults. */
const unread = new Set([
  'region-unavailable',
  'read-contended',
  'read-unanswered',
  'coordinator-unavailable',
  'too-few-voters',
  'not-founded',
]);

/** The time after which a client gives up, in ms. It says nothing about the write. */
const patienceMs = 10_000;

interface Responded {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Sends JSON. Null if no whole response came. */
export async function post(
  { url, tokens }: TortureTarget,
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Responded | null> {
  try {
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${tokens.write}`,
        'content-type': 'application/json',
        ...headers,
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(patienceMs),
    });
    const parsed: Responded['body'] = JSON.parse(await response.text());
    return { status: response.status, headers: response.headers, body: parsed };
  } catch {
    return null;
  }
}

/** A write, in the form in which it is sent each time. */
export interface SentWrite {
  readonly name: string;
  readonly commands: readonly SentCommand[];
  readonly check: { readonly key: string; readonly equals: string } | null;
  readonly isKeyed: boolean;
  readonly timeoutMs: number;
  readonly priority: number;
  readonly ack: 'committed' | 'confirmed';
}

/** Sends a write once. */
export async function attemptWrite(target: TortureTarget, write: SentWrite): Promise<WriteAttempt> {
  const { name, commands, check, timeoutMs, priority, ack } = write;
  const body = {
    ops: commands,
    timeoutMs,
    priority,
    ack,
    ...(check === null ? {} : { checks: [check] }),
  };
  const key = write.isKeyed ? { 'idempotency-key': name } : {};
  const response = await post(target, '/v1/writes', body, key);
  if (response === null) return { kind: 'unknown' };
  return classified(response);
}

function classified({ status, body }: Responded): WriteAttempt {
  if (status === 200) {
    const { id, transaction, sequence, results, replayed } = body;
    const receipt: WriteReceipt = {
      at: clock(),
      id: String(id),
      transaction: String(transaction),
      sequence: Number(sequence),
      results: Array.isArray(results) ? results : [],
    };
    return { kind: 'committed', receipt, isReplayed: replayed === true };
  }
  const problem = problemOf(body);
  if (problem === 'check-failed') {
    return { kind: 'rejected', actual: typeof body.actual === 'string' ? body.actual : null };
  }
  if (refusals.has(problem)) return { kind: 'refused' };
  if (unknowns.has(problem)) return { kind: 'unknown' };
  return { kind: 'strange', text: `a write got ${status} ${JSON.stringify(body).slice(0, 400)}` };
}

function problemOf({ type }: Responded['body']): string {
  return String(type).replace('/problems/', '');
}

/** The command that reads the text of a key. */
function readingOf(key: string): readonly string[] {
  return kindOf(key) === 'list' ? ['LRANGE', key, '0', '-1'] : ['GET', key];
}

/** The text of a reply to the reading of a key: names in a list as in a string, each followed by `;`. */
export function textOfReply(key: string, reply: unknown): KeyText {
  if (!Array.isArray(reply)) return reply === null || reply === undefined ? null : String(reply);
  if (!isJournal(key) || reply.length === 0) return null;
  return `${reply.join(';')};`;
}

/** The commands that read these keys. */
export function readingsOf(keys: readonly string[]): readonly (readonly string[])[] {
  return keys.map(readingOf);
}

/** Reads keys strongly: in the named region, or in the one nearest to the location. */
export async function strongRead(
  target: TortureTarget,
  keys: readonly string[],
  at: { readonly region: string } | { readonly location: readonly [number, number] },
): Promise<TortureRead | string | null> {
  const startedAt = clock();
  const pinned = 'region' in at ? { region: at.region } : {};
  const [latitude, longitude] = 'location' in at ? at.location.map(String) : [];
  const headers: Readonly<Record<string, string>> =
    'location' in at ? { 'cf-blob': JSON.stringify({ latitude, longitude }) } : {};
  const query = { reads: readingsOf(keys), consistency: 'strong', ...pinned };
  const response = await post(target, '/v1/reads', query, headers);
  if (response === null) return null;
  const { status, body } = response;
  if (status !== 200) {
    if (unread.has(problemOf(body))) return null;
    return `a read got ${status} ${JSON.stringify(body).slice(0, 400)}`;
  }
  const results = Array.isArray(body.results) ? body.results : [];
  return {
    kind: 'read',
    consistency: 'strong',
    region: String(response.headers.get('lockstep-region')),
    via: String(response.headers.get('lockstep-via')),
    startedAt,
    endedAt: clock(),
    values: keys.map((key, index) => [key, textOfReply(key, results[index])]),
  };
}
