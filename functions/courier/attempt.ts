import { limits } from '../../shared/limits.ts';
import type { AttemptOutcome } from '../../shared/webhooks/retry-policy.ts';
import type { WebhookSigner } from '../../shared/webhooks/signature.ts';
import { checkTarget, type TargetPolicy, webhookHeader } from '../../shared/webhooks/target.ts';

/** What is sent, where, and under which bounds. */
export interface Attempt {
  readonly id: string;
  readonly body: string;
  readonly url: string;
  readonly signer: () => Promise<WebhookSigner>;
  readonly policy: TargetPolicy;
  readonly timeoutMs: number;
}

/** The endpoint was not called, or gave no full answer. Its message is shown to people. */
class Unanswered extends Error {}

/** Makes one attempt. Never throws: whatever goes wrong is an outcome. */
export async function makeAttempt(attempt: Attempt): Promise<AttemptOutcome> {
  const startedAt = Date.now();
  const controller = new AbortController();
  const { signal } = controller;
  // Cleared in the end: a timer that still runs keeps the object in memory, which is billed.
  const timer = setTimeout(() => controller.abort(), attempt.timeoutMs);
  try {
    const answered = await send(attempt, startedAt, signal);
    return { kind: 'answered', ...answered, ms: Date.now() - startedAt };
  } catch (error) {
    const reason = signal.aborted
      ? `No complete response within ${attempt.timeoutMs} ms.`
      : reasonOf(error);
    return { kind: 'unanswered', reason, ms: Date.now() - startedAt };
  } finally {
    clearTimeout(timer);
  }
}

async function send(
  { id, body, url, signer, policy }: Attempt,
  startedAt: number,
  signal: AbortSignal,
) {
  // What was safe when the endpoint was set may have become unsafe by a change of the rules.
  const target = checkTarget(url, policy);
  if (!target.ok) throw new Unanswered(target.reason);
  const headers = await signedHeaders(signer, id, Math.floor(startedAt / 1_000), body);
  const response = await fetch(target.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'user-agent': 'Lockstep-Webhooks',
      [webhookHeader]: '1',
      ...headers,
    },
    body,
    // A redirect leads to where nobody has checked.
    redirect: 'manual',
    signal,
  });
  const answer = await beginningOf(response, signal);
  return {
    status: response.status,
    retryAfterMs: retryAfterMs(response.headers.get('retry-after'), Date.now()),
    answer,
  };
}

async function signedHeaders(
  signer: () => Promise<WebhookSigner>,
  id: string,
  timestamp: number,
  body: string,
) {
  try {
    return await (await signer()).sign(id, timestamp, body);
  } catch {
    // The error may hold what it could not read, which is a secret.
    throw new Unanswered('The secret or the signing key is unusable. Rotate the secret.');
  }
}

/** The first bytes of an answer as text. The rest is never read: an endpoint may send without end. */
async function beginningOf(response: Response, signal: AbortSignal): Promise<string> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const chunks: Uint8Array[] = [];
  let missing: number = limits.deliveryAnswerBytes;
  // The signal of a request need not reach a read that already waits.
  const aborted = new Promise<never>((_, reject) => {
    const fail = () => reject(signal.reason);
    if (signal.aborted) fail();
    signal.addEventListener('abort', fail, { once: true });
  });
  aborted.catch(() => {});
  try {
    while (missing > 0) {
      const { done, value } = await Promise.race([reader.read(), aborted]);
      if (done) break;
      const bytes: Uint8Array = value;
      chunks.push(bytes.subarray(0, missing));
      missing -= bytes.length;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  return textOf(chunks);
}

/** A character that the bound cuts in two is left out, and so is what a terminal would obey. */
function textOf(chunks: readonly Uint8Array[]): string {
  const decoder = new TextDecoder();
  const text = chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join('');
  return text.replaceAll(/\p{Cc}+/gu, ' ').trim();
}

/** What Retry-After asks for, in seconds or as a date, as ms from `now`; null where there is none that can be read. */
export function retryAfterMs(header: string | null, now: number): number | null {
  if (header === null) return null;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  // Only the form of HTTP: the parser would take a bare year for a date as well.
  if (!/^[A-Z][a-z]+, .* GMT$/.test(text)) return null;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max(0, at - now);
}

function reasonOf(error: unknown): string {
  if (error instanceof Unanswered) return error.message;
  const detail = error instanceof Error ? error.message : '';
  return `The receiver could not be reached. ${detail}`.trim().slice(0, limits.deliveryAnswerBytes);
}
