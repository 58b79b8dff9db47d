/** `/v1/keys/{key}`: reads, sets and deletes single keys, with ETags and conditions. */

import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { bytesOfText } from '../../../shared/contracts/bytes.ts';
import { askedOfKey } from '../../../shared/http/idempotency.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import {
  keyAnswerSchema,
  keyQuerySchema,
  putSchema,
  writeAnswerSchema,
} from '../../../shared/http/schemas.ts';
import type { Guard } from '../http/authenticate.ts';
import { checkShape, readJson } from '../http/body.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { headersOf, jsonBody, jsonResponse, problemResponses, secured } from '../http/openapi.ts';
import { rawTarget } from '../http/raw-target.ts';
import {
  answerJson,
  answerProblem,
  type EdgeContext,
  type EdgeEnvironment,
} from '../http/respond.ts';
import { type RegionReader, readTargetOf } from '../reads/region-reader.ts';
import { snapshotHeaders } from '../reads/route.ts';
import {
  acceptedResponse,
  draftOf,
  sendWrite,
  type WriteParts,
  writeHeaders,
} from '../writes/route.ts';
import type { WriteSender } from '../writes/send-writes.ts';
import { etagOf, parseTags } from './etags.ts';
import {
  conditionsOf,
  mapToPrecondition as mapProblem,
  readPreconditions,
} from './preconditions.ts';
import { readValue } from './values.ts';

const path = '/v1/keys/{key}';
const pattern = '/v1/keys/:key{.+}';
const params = z.object({
  key: z.string().openapi({ description: 'Percent-encoded, slashes as %2F.', example: 'stock:42' }),
});
const conditionHeaders = writeHeaders.extend({
  'If-Match': z.string().optional().openapi({ description: 'The ETag that the key must have.' }),
  'If-None-Match': z.string().optional().openapi({ description: '`*`: the key must not exist.' }),
});

const readHeaders = ['ETag', 'Lockstep-Region', 'Lockstep-Consistency', 'Lockstep-Via'] as const;

const getRoute = createRoute({
  method: 'get',
  path,
  operationId: 'getKey',
  tags: ['Keys'],
  summary: 'Read the value of one key',
  ...secured('read'),
  request: {
    params,
    query: keyQuerySchema,
    headers: z.object({
      'If-None-Match': z
        .string()
        .optional()
        .openapi({ description: 'ETags that the client holds.' }),
    }),
  },
  responses: {
    200: jsonResponse('The value, with a strong ETag', keyAnswerSchema, readHeaders),
    304: {
      description: 'The value still has the ETag that If-None-Match names',
      headers: headersOf(readHeaders),
    },
    ...problemResponses(400, 401, 403, 404, 422, 503, 504),
  },
});

const putRoute = createRoute({
  method: 'put',
  path,
  operationId: 'putKey',
  tags: ['Keys'],
  summary: 'Set one key to a string, in every region or in none',
  ...secured('write'),
  request: { params, headers: conditionHeaders, body: jsonBody(putSchema) },
  responses: {
    200: jsonResponse('Committed in every region', writeAnswerSchema, [
      'ETag',
      'Idempotency-Replayed',
      'Idempotency-Kept-Until',
      'Server-Timing',
    ]),
    202: acceptedResponse,
    ...problemResponses(400, 401, 403, 412, 413, 415, 422, 429, 503, 504, 507),
  },
});

const deleteRoute = createRoute({
  method: 'delete',
  path,
  operationId: 'deleteKey',
  tags: ['Keys'],
  summary: 'Delete one key, in every region or in none',
  ...secured('write'),
  request: { params, headers: conditionHeaders },
  responses: {
    200: jsonResponse('Committed; the result is 0 if there was no such key', writeAnswerSchema, [
      'Idempotency-Replayed',
      'Idempotency-Kept-Until',
      'Server-Timing',
    ]),
    202: acceptedResponse,
    ...problemResponses(400, 401, 403, 412, 422, 429, 503, 504, 507),
  },
});

/** Mounts `GET`, `PUT` and `DELETE /v1/keys/:key`. */
export function mountKeys(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  { reader, sender }: { readonly reader: RegionReader; readonly sender: WriteSender },
  guard: Guard,
): void {
  const parts = { dependencies, sender };
  for (const route of [getRoute, putRoute, deleteRoute]) app.openAPIRegistry.registerPath(route);
  app.get(pattern, guard('read'), (context) => getKey(context, dependencies, reader));
  app.put(pattern, guard('write'), (context) => putKey(context, parts, reader));
  app.delete(pattern, guard('write'), (context) => deleteKey(context, parts, reader));
}

async function getKey(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  reader: RegionReader,
): Promise<Response> {
  const key = keyOf(context);
  if (!key.ok) return answerProblem(context, key.problem);
  const query = checkShape(context.req.query(), keyQuerySchema);
  if (!query.ok) return answerProblem(context, query.problem);
  const { consistency } = query.value;
  const target = readTargetOf(context, dependencies, query.value);
  const read = await readValue(reader, key.value, target);
  if (!read.ok) return answerProblem(context, read.problem);
  const { snapshot, found } = read.value;
  const headers = {
    ...snapshotHeaders(snapshot, consistency),
    'Cache-Control': 'private, no-cache',
  };
  if (found === null) {
    const absent = failure('key-absent', 'The key does not exist.', { key: key.value }, headers);
    return answerProblem(context, absent.problem);
  }
  const etag = await etagOf(found.type, found.raw);
  const tags = parseTags(context.req.header('if-none-match') ?? '');
  // If-None-Match compares weakly (RFC 9110): a proxy may have weakened the ETag.
  if (tags === 'any' || tags?.some((tag) => tag.replace(/^W\//, '') === etag)) {
    return context.body(null, 304, { ...headers, ETag: etag });
  }
  const answer = { key: key.value, type: found.type, value: found.value };
  return answerJson(answer, 200, { ...headers, ETag: etag });
}

async function putKey(
  context: EdgeContext,
  parts: WriteParts,
  reader: RegionReader,
): Promise<Response> {
  const { dependencies } = parts;
  const startedAt = dependencies.now();
  const key = writtenKeyOf(context);
  if (!key.ok) return answerProblem(context, key.problem);
  const body = await readJson(context.req.raw);
  if (!body.ok) return answerProblem(context, body.problem);
  const askedOf = () => askedOfKey(key.value, body.value, conditionsOf(context));
  const shaped = checkShape(body.value, putSchema);
  if (!shaped.ok) return sendWrite(context, parts, askedOf, shaped, startedAt, { mapProblem });
  const value = String(shaped.value.value);
  const { expiresInMs } = shaped.value;
  const expiry = expiresInMs === undefined ? [] : ['PX', String(expiresInMs)];
  const checks = await readPreconditions(context, dependencies, reader, key.value);
  const draft = checks.ok
    ? success(draftOf([['SET', key.value, value, ...expiry]], checks.value))
    : checks;
  const etag = await etagOf('string', bytesOfText(value));
  const changes = { headers: { ETag: etag }, mapProblem };
  return sendWrite(context, parts, askedOf, draft, startedAt, changes);
}

async function deleteKey(
  context: EdgeContext,
  parts: WriteParts,
  reader: RegionReader,
): Promise<Response> {
  const { dependencies } = parts;
  const startedAt = dependencies.now();
  const key = writtenKeyOf(context);
  if (!key.ok) return answerProblem(context, key.problem);
  const askedOf = () => askedOfKey(key.value, null, conditionsOf(context));
  const checks = await readPreconditions(context, dependencies, reader, key.value);
  const draft = checks.ok ? success(draftOf([['DEL', key.value]], checks.value)) : checks;
  return sendWrite(context, parts, askedOf, draft, startedAt, { mapProblem });
}

/** The key of a write. Refuses a query: it may be the rest of an unescaped key, or be meant for the body. */
function writtenKeyOf(context: EdgeContext): Result<string> {
  if (!rawTarget(context.req.url).includes('?')) return keyOf(context);
  const detail =
    'A key write takes no query. If the question mark belongs to the key, send it as %3F; put an expiry into the body.';
  return failure('invalid-request', detail);
}

/**
 * The key in the URL: everything after the third slash of the raw target, so that the keys `.` and `a/../b` are
 * possible. The router has matched the segments before it.
 */
function keyOf(context: EdgeContext): Result<string> {
  const [path = ''] = rawTarget(context.req.url).split('?', 1);
  const encoded = path.split('/').slice(3).join('/');
  if (encoded === '') {
    return failure('invalid-request', 'The URL names no key: use /v1/keys/<key>.');
  }
  try {
    return success(decodeURIComponent(encoded));
  } catch {
    const detail = 'The key in the URL is not valid percent-encoded UTF-8.';
    return failure('invalid-request', detail);
  }
}
