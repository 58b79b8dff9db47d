import { z } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import type { KeptResponse, KeyedRequest, RequestEnd } from '../../../shared/contracts/requests.ts';
import { failure } from '../../../shared/http/problems.ts';
import { limits } from '../../../shared/limits.ts';
import { generateSecret } from '../../../shared/webhooks/signature.ts';
import { readBytes } from './body.ts';
import { askRequests } from './coordinator-calls.ts';
import { type EdgeDependencies, onlyShard } from './dependencies.ts';
import { idempotencyKeyOf } from './idempotency.ts';
import { answerProblem, type EdgeContext, type EdgeEnvironment } from './respond.ts';

/** For OpenAPI: the headers of a request that may be sent again under a key. */
export const repeatableHeaders = z.object({
  'Idempotency-Key': z.string().optional().openapi({
    description:
      'Up to 255 printable ASCII characters. A request with the same key is executed once and gets the same response for a day.',
  }),
});

/** The headers that belong to a response and are kept with it. */
const keptHeaders = ['Content-Type', 'Location'] as const;

/**
 * Carries a request that creates or triggers something out once per Idempotency-Key of a token, and answers the same again.
 * Only responses of success are kept. A refusal has done nothing, so the key is free again; after a failure nobody knows,
 * and the next attempt makes the same ids and secrets as the one before (`seed`), so that it has the same effect.
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
    const begun = await askRequests(dependencies, onlyShard, (requests) =>
      requests.beginRequest(request),
    );
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
  // Whoever gets no answer sends it again, and finds the seed.
  await askRequests(dependencies, onlyShard, (requests) => requests.endRequest(request, end));
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

/** A UUID that the request makes: under a key the same in each attempt. `what` names what it is for. */
export async function uuidOf(
  context: EdgeContext,
  { uuid }: Pick<EdgeDependencies, 'uuid'>,
  what: string,
): Promise<string> {
  const seed = context.get('seed');
  if (seed === undefined) return uuid();
  const hex = hexOf(await digest(`${seed} ${what}`)).slice(0, 32);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** A secret that the request makes: under a key the same in each attempt. */
export async function secretOf(context: EdgeContext, what: string): Promise<string> {
  const seed = context.get('seed');
  if (seed === undefined) return generateSecret();
  return `whsec_${btoa(String.fromCharCode(...(await digest(`${seed} ${what}`))))}`;
}

/** Of the method, the address and the body as it was sent. */
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
