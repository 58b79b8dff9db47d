/** Idempotency keys of requests other than writes: middleware that executes such a request once per key. */
import { z } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import type { KeptResponse, KeyedRequest, RequestEnd } from '../../../shared/contracts/requests.ts';
import { failure } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import { generateSecret } from '../../../shared/webhooks/signature.ts';
import { readBytes } from './body.ts';
import { callCoordinator } from './coordinator-calls.ts';
import type { EdgeDependencies } from './dependencies.ts';
import { idempotencyKeyOf } from './idempotency.ts';
import { answerProblem, type EdgeContext, type EdgeEnvironment } from './respond.ts';
import { keeperOf } from './shards.ts';

/** For OpenAPI: the headers of a request that can be retried with a key. */
export const repeatableHeaders = z.object({
  'Idempotency-Key': z.string().optional().openapi({
    description:
      'Up to 255 printable ASCII characters. A request with the same key is executed once and gets the same response for a day.',
  }),
});

/** The headers that are stored with a response. */
const keptHeaders = ['Content-Type', 'Location'] as const;

/**
 * Executes a request once per Idempotency-Key of a token, and answers a retry with the stored response. Stores only
 * successful responses: a refused request has changed nothing, so its key is free again. After a failure the outcome is
 * unknown; a retry then derives the same ids and secrets from the stored `seed`, so that it repeats the same effect.
 */
export function repeatable(dependencies: EdgeDependencies): MiddlewareHandler<EdgeEnvironment> {
  return async (context, next) => {
    const brought = idempotencyKeyOf(context);
    if (!brought.ok) return answerProblem(context, brought.problem);
    const key = brought.value;
    if (key === null) return next();
    const body = await readBytes(context.req.raw.clone());
    if (!body.ok) return answerProblem(context, body.problem);
    const request: KeyedRequest = {
      token: context.get('caller').id,
      key,
      digest: await digestOf(context, body.value),
      attempt: dependencies.uuid(),
    };
    const keeper = keeperOf(dependencies);
    const begun = await callCoordinator(dependencies, keeper, 'beginRequest', request);
    if (!begun.ok) return answerProblem(context, begun.problem);
    switch (begun.value.kind) {
      case 'begun':
        context.set('seed', begun.value.seed);
        return carryOut(context, dependencies, request, begun.value.keptUntil, next);
      case 'done':
        return answerAgain(begun.value.response, begun.value.keptUntil);
      default:
        return answerProblem(context, refusals[begun.value.kind]().problem);
    }
  };
}

const refusals = {
  underway: () => {
    const detail = 'The same request is in progress. Retry to get its response.';
    return failure('idempotency-key-in-use', detail, {}, { 'Retry-After': '1' });
  },
  reused: () => {
    const detail =
      'Another request used this Idempotency-Key, with another URL or another body. Use a new key.';
    return failure('idempotency-key-reused', detail);
  },
  full: () => {
    const detail = `This token has ${limits.requestsKeptPerToken} requests with an Idempotency-Key, which are kept for a day. Retry later, or without the key.`;
    return failure('too-many-keys', detail, {}, { 'Retry-After': '60' });
  },
};

async function carryOut(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  request: KeyedRequest,
  keptUntil: number,
  next: () => Promise<void>,
): Promise<void> {
  await next();
  const end = await endOf(context.res);
  // The problem of this call is ignored: a client that got no response retries, and the stored seed makes that safe.
  await callCoordinator(dependencies, keeperOf(dependencies), 'endRequest', request, end);
  if (typeof end === 'object') markKept(context, keptUntil);
}

async function endOf(response: Response): Promise<RequestEnd> {
  const { status } = response;
  if (status >= 500) return 'unknown';
  if (status >= 300) return 'nothing-done';
  const headers = keptHeaders.flatMap((name) => {
    const value = response.headers.get(name);
    return value === null ? [] : [[name, value]];
  });
  const body = await response.clone().text();
  return { status, headers: Object.fromEntries(headers), body };
}

function answerAgain({ status, headers: kept, body }: KeptResponse, keptUntil: number): Response {
  const headers = {
    'Cache-Control': 'no-store',
    ...kept,
    'Idempotency-Replayed': 'true',
    'Idempotency-Kept-Until': new Date(keptUntil).toISOString(),
  };
  return new Response(status === 204 ? null : body, { status, headers });
}

function markKept(context: EdgeContext, keptUntil: number): void {
  context.header('Idempotency-Kept-Until', new Date(keptUntil).toISOString());
}

/** A UUID for the request, the same in each of its attempts under one key. `purpose` separates the ids of one request. */
export async function uuidOf(
  context: EdgeContext,
  { uuid }: Pick<EdgeDependencies, 'uuid'>,
  purpose: string,
): Promise<string> {
  const seed = context.get('seed');
  if (seed === undefined) return uuid();
  const hex = hexOf(await digest(`${seed} ${purpose}`)).slice(0, 32);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** A webhook secret for the request, the same in each of its attempts under one key. */
export async function secretOf(context: EdgeContext, purpose: string): Promise<string> {
  const seed = context.get('seed');
  if (seed === undefined) return generateSecret();
  return `whsec_${btoa(String.fromCharCode(...(await digest(`${seed} ${purpose}`))))}`;
}

/** A hex digest of the method, the path and the body as sent. */
async function digestOf(context: EdgeContext, body: Uint8Array): Promise<string> {
  const { pathname } = new URL(context.req.url);
  const bodyDigest = new Uint8Array(await crypto.subtle.digest('SHA-256', body.slice()));
  return hexOf(await digest(`${context.req.method} ${pathname} ${hexOf(bodyDigest)}`));
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
