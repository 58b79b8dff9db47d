/** Building blocks of the OpenAPI document: security, bodies, response headers and problems. */
import type { z } from '@hono/zod-openapi';
import type { Scope } from '../../../shared/config/configuration.ts';
import { problemKinds } from '../../../shared/http/problems.ts';
import { problemSchema } from '../../../shared/http/schemas.ts';

const text = (description: string, example: string) => ({
  description,
  schema: { type: 'string' as const, example },
});

/** The headers of responses, with their descriptions. */
const responseHeaders = {
  'X-Request-Id': text(
    'The id of this request, for bug reports.',
    '5f0c1c1e-8a55-4c0b-9f0e-0a4d2f6c7b11',
  ),
  'Retry-After': text('Seconds to wait before a retry.', '1'),
  ETag: text('Changes with the type or value of the key. Equal in every region.', '"mY9b0…"'),
  Location: text(
    'The URL of the resource that was created or accepted.',
    '/v1/writes/0-01990a5c-…',
  ),
  'Idempotency-Replayed': text(
    '`true` if this is the recorded response of an earlier request with the same Idempotency-Key.',
    'true',
  ),
  'Idempotency-Kept-Until': text(
    'The response is kept for its Idempotency-Key until this time at least.',
    '2026-11-23T09:00:00.000Z',
  ),
  'Preference-Applied': text('`respond-async` if Prefer asked for it.', 'respond-async'),
  'Server-Timing': text('How long each step took, ms.', 'coordinator;dur=72.4'),
  'Lockstep-Region': text('The region that answered.', 'eu-west-1'),
  'Lockstep-Consistency': text('`strong` or `local`.', 'strong'),
  'Lockstep-Via': text('The path of a read: `lease`, `coordinator` or `local`.', 'lease'),
  'Lockstep-Callback': text('The endpoint id of the callback, for its delivery log.', 'cb_…'),
  'Upstash-Sync-Token': text('Changes with each write.', '01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2'),
};

/** A header that a response may carry. */
export type ResponseHeaderName = keyof typeof responseHeaders;

/** Requires a bearer token of this scope, or of a scope that includes it. */
export function secured(scope: Scope) {
  return { security: [{ bearer: [scope as string] }] };
}

/** A required JSON body. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { required: true, content: { 'application/json': { schema } } };
}

/** A JSON response, with its headers besides X-Request-Id. */
export function jsonResponse<Schema extends z.ZodType>(
  description: string,
  schema: Schema,
  headers: readonly ResponseHeaderName[] = [],
) {
  return { description, headers: headersOf(headers), content: { 'application/json': { schema } } };
}

/** These headers, each with its description. */
export function headersOf(names: readonly ResponseHeaderName[]) {
  return Object.fromEntries(names.map((name) => [name, responseHeaders[name]]));
}

/** Per status, a response that lists the problem types of that status. */
export function problemResponses(...statuses: readonly number[]) {
  return Object.fromEntries(statuses.map((status) => [status, problemResponse(status)]));
}

function problemResponse(status: number) {
  const kinds = Object.entries(problemKinds).filter(([, kind]) => kind.status === status);
  const types = kinds.map(([name, { title }]) => `\`/problems/${name}\`: ${title}.`);
  const [first] = kinds;
  const [name, kind] = first ?? ['internal', problemKinds.internal];
  const example = {
    type: `/problems/${name}`,
    title: kind.title,
    status,
    detail: kind.remedy,
    instance: '5f0c1c1e-8a55-4c0b-9f0e-0a4d2f6c7b11',
  };
  const names: readonly ResponseHeaderName[] =
    status === 429 || status === 503 || status === 504
      ? ['X-Request-Id', 'Retry-After']
      : ['X-Request-Id'];
  return {
    description: types.join(' '),
    headers: headersOf(names),
    content: { 'application/problem+json': { schema: problemSchema, example } },
  };
}
