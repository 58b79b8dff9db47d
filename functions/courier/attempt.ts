/** Makes one attempt to deliver an event: checks the target, signs, sends, and reads the start of the response. */
import { limits } from '../../shared/limits.ts';
import type { AttemptOutcome } from '../../shared/webhooks/retry-policy.ts';
import type { WebhookSigner } from '../../shared/webhooks/signature.ts';
import { checkTarget, type TargetPolicy, webhookHeader } from '../../shared/webhooks/target.ts';

/** A signed request to make, and its limits. */
export interface Attempt {
  readonly id: string;
  readonly body: string;
  readonly url: string;
  readonly signer: () => Promise<WebhookSigner>;
  readonly policy: TargetPolicy;
  readonly timeoutMs: number;
}

/** The target was not called, or gave no complete response. The message is shown to operators. */
class Unanswered extends Error {}

/** Makes one attempt. Never rejects: every failure is an outcome. */
export async function makeAttempt(attempt: Attempt): Promise<AttemptOutcome> {
  const startedAt = Date.now();
  const controller = new AbortController();
  const { signal } = controller;
  // Cleared at the end: a running timer keeps the object in memory, which is billed.
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
  // The rules for targets may have changed since the endpoint was set.
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
    // A redirect may lead to a target that was never checked.
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
    // The original error may quote its input, which is a secret.
    throw new Unanswered('The secret or the signing key is unusable. Rotate the secret.');
  }
}

/** The first bytes of a response as text. The rest is not read, since an endpoint may send without end. */
async function beginningOf(response: Response, signal: AbortSignal): Promise<string> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const chunks: Uint8Array[] = [];
  let missing: number = limits.deliveryAnswerBytes;
  // The abort signal of a request does not always end a read that is pending.
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

/** Drops a character that the limit cuts in two, and control characters, which a terminal would obey. */
function textOf(chunks: readonly Uint8Array[]): string {
  const decoder = new TextDecoder();
  const text = chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join('');
  return text.replaceAll(/\p{Cc}+/gu, ' ').trim();
}

/**
 * The pause that Retry-After requests, in seconds or as a date, in ms from `now`. Null if it is missing or malformed.
 */
export function retryAfterMs(header: string | null, now: number): number | null {
  if (header === null) return null;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  // Only the date format of HTTP: Date.parse would also accept a bare year.
  if (!/^[A-Z][a-z]+, .* GMT$/.test(text)) return null;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max(0, at - now);
}

function reasonOf(error: unknown): string {
  if (error instanceof Unanswered) return error.message;
  const detail = error instanceof Error ? error.message : '';
  return `The receiver could not be reached. ${detail}`.trim().slice(0, limits.deliveryAnswerBytes);
}
