import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { shardOfWriteId, writeIdOf } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { WriteAnswer, WriteRequest } from '../../shared/wire/answers.ts';
import { compileWrite } from '../../shared/wire/commands.ts';
import type { Callback } from '../../shared/wire/confirmations.ts';
import { type Attempt, failure, type Problem, success } from '../../shared/wire/problems.ts';
import {
  checkOf,
  textsOf,
  writeAnswerSchema,
  writeSchema,
  writeStatusSchema,
} from '../../shared/wire/schemas.ts';
import { anyScript } from '../../shared/wire/user-scripts.ts';
import { answerJson, answerProblem, type EdgeContext, type EdgeEnvironment } from './answer.ts';
import type { Guard } from './authenticate.ts';
import { readBody } from './body.ts';
import { askCoordinator } from './coordinators.ts';
import { type EdgeDependencies, onlyShard } from './dependencies.ts';
import { jsonBody, jsonResponse, problemResponses, secured } from './documented.ts';
import { tellAnswer, tellStatus } from './outcomes.ts';
import { callbackOf } from './targets.ts';

const writeHeaders = z.object({
  'Idempotency-Key': z.string().optional().openapi({
    description:
      'Up to 255 printable ASCII characters. The same request under the same key is carried out once, and answered alike.',
  }),
  Prefer: z.string().optional().openapi({ example: 'respond-async' }),
});

/** For OpenAPI: a write that is carried out after its response. */
export const acceptedResponse = jsonResponse(
  'Accepted (Prefer: respond-async); see Location',
  writeStatusSchema,
  ['Location', 'Preference-Applied', 'Lockstep-Callback'],
);

const postRoute = createRoute({
  method: 'post',
  path: '/v1/writes',
  operationId: 'write',
  tags: ['Writes'],
  summary: 'Carry out operations in every region, or in none',
  ...secured('write'),
  request: { headers: writeHeaders, body: jsonBody(writeSchema) },
  responses: {
    200: jsonResponse('Committed in every region', writeAnswerSchema, [
      'Idempotency-Replayed',
      'Lockstep-Callback',
      'Server-Timing',
    ]),
    202: acceptedResponse,
    ...problemResponses(400, 401, 403, 412, 413, 415, 422, 429, 503),
  },
});

const getRoute = createRoute({
  method: 'get',
  path: '/v1/writes/{id}',
  operationId: 'getWrite',
  tags: ['Writes'],
  summary: 'What became of a write, and which regions have applied it',
  ...secured('read'),
  request: { params: z.object({ id: z.string() }) },
  responses: {
    200: jsonResponse('What is recorded, or that it is pending', writeStatusSchema),
    ...problemResponses(401, 403, 404, 503),
  },
});

/** A write before it has an id and a key. `asked` is what an idempotency key stands for. */
export type WriteDraft = Omit<WriteRequest, 'id' | 'idempotency'> & { readonly asked: unknown };

/** `POST /v1/writes` and `GET /v1/writes/:id`. */
export function mountWrites(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  app.openAPIRegistry.registerPath(postRoute);
  app.post(postRoute.getRoutingPath(), guard('write'), async (context) => {
    const startedAt = dependencies.now();
    const body = await readBody(context.req.raw, writeSchema);
    if (!body.ok) return answerProblem(context, body.problem);
    const ops = body.value.ops.map(textsOf);
    const checks = body.value.checks.map(checkOf);
    const callback = await callbackOf(body.value.callback, dependencies, context);
    if (!callback.ok) return answerProblem(context, callback.problem);
    const asked = [ops, checks, ...askedOf(callback.value)];
    const given = { ...body.value, keepsGoing: false, callback: callback.value };
    const draft = { ...given, ops, checks, asked };
    return sendWrite(context, dependencies, draft, startedAt);
  });

  app.openAPIRegistry.registerPath(getRoute);
  app.get(getRoute.getRoutingPath(), guard('read'), async (context) => {
    const id = context.req.param('id') ?? '';
    if (shardOfWriteId(id) !== onlyShard) {
      const detail = 'This is no id of a write. Use the id that POST /v1/writes answered.';
      return answerProblem(context, failure('write-unknown', detail).problem);
    }
    const status = await askCoordinator(dependencies, onlyShard, 'read', (coordinator) =>
      coordinator.status(id),
    );
    const told = status.ok ? tellStatus(id, status.value) : status;
    return told.ok ? answerJson(context, told.value) : answerProblem(context, told.problem);
  });
}

/** How the answer to a write is told: `headers` go with one that is no problem, `retell` rewords one that is. */
export interface Telling {
  readonly headers?: Readonly<Record<string, string>>;
  readonly retell?: (problem: Problem) => Problem;
}

/** Has a write carried out and answers it. */
export async function sendWrite(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  { asked, ...draft }: WriteDraft,
  startedAt: number,
  { headers = {}, retell = (problem) => problem }: Telling = {},
): Promise<Response> {
  const idempotency = await idempotencyOf(context, asked);
  if (!idempotency.ok) return answerProblem(context, idempotency.problem);
  // The coordinator compiles it again with its own clock. A faulty command is refused here, before it costs others time.
  const compiled = compileWrite(draft.ops, draft.checks, {
    now: dependencies.now(),
    seed: () => 0,
    scripts: anyScript,
  });
  if (!compiled.ok) {
    return answerProblem(context, failure(compiled.problem, compiled.detail).problem);
  }
  const id = writeIdOf(onlyShard, dependencies.uuid());
  const request: WriteRequest = { ...draft, id, idempotency: idempotency.value };
  const isAsync = prefersAsync(context.req.header('prefer'));
  // Its log of deliveries is found by this id alone, also where the write is aborted or its answer is a problem.
  if (draft.callback !== null) context.header('Lockstep-Callback', draft.callback.endpoint);
  const sentAt = dependencies.now();
  const answer = await askCoordinator(dependencies, onlyShard, 'write', (coordinator) =>
    isAsync ? coordinator.accept(request) : coordinator.write(request),
  );
  if (!answer.ok) return answerProblem(context, answer.problem);
  const timing = serverTiming(answer.value, sentAt - startedAt, dependencies.now() - sentAt);
  context.header('Server-Timing', timing);
  if (isReplayed(answer.value)) context.header('Idempotency-Replayed', 'true');
  const told = tellAnswer(answer.value, request);
  if (!told.ok) return answerProblem(context, retell(told.problem));
  if (isAsync) context.header('Preference-Applied', 'respond-async');
  if (answer.value.kind !== 'accepted') return answerJson(context, told.value, 200, headers);
  return answerJson(context, told.value, 202, { Location: `/v1/writes/${told.value.id}` });
}

/** A write with the default options. */
export function draftOf(
  ops: WriteDraft['ops'],
  checks: WriteDraft['checks'],
  asked: unknown,
): WriteDraft {
  const timeoutMs = limits.timeoutMsDefault;
  const options = { timeoutMs, keepsGoing: false, priority: 0, notAfter: null, callback: null };
  return { ops, checks, ack: 'committed', ...options, asked };
}

/** Of a callback, what makes a request another one: a repetition may come with a rotated secret. */
function askedOf(callback: Callback | null): readonly unknown[] {
  return callback === null ? [] : [[callback.url, callback.events, callback.values]];
}

/** The Idempotency-Key of a request with a digest of what it asks for, or null where it brings none. */
export async function idempotencyOf(
  context: EdgeContext,
  asked: unknown,
): Promise<Attempt<WriteRequest['idempotency']>> {
  const key = context.req.header('idempotency-key');
  if (key === undefined) return success(null);
  if (!/^[\x20-\x7e]+$/.test(key) || key.length > limits.idempotencyKeyBytes) {
    const detail = `An Idempotency-Key has 1 to ${limits.idempotencyKeyBytes} printable ASCII characters.`;
    return failure('invalid-request', detail);
  }
  const bytes = new TextEncoder().encode(JSON.stringify(asked));
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return success({ key, digest: hex });
}

function prefersAsync(header: string | undefined): boolean {
  return (header ?? '').split(',').some((part) => /^\s*respond-async\s*(?:;|$)/i.test(part));
}

function isReplayed(answer: WriteAnswer): boolean {
  return answer.kind === 'decided' && answer.replayed;
}

function serverTiming(answer: WriteAnswer, parseMs: number, coordinatorMs: number): string {
  const votes = 'record' in answer ? answer.record.votes : [];
  const entries = [
    `parse;dur=${rounded(parseMs)}`,
    `coordinator;dur=${rounded(coordinatorMs)}`,
    ...votes.flatMap(({ region, ms }) =>
      ms === null ? [] : [`vote;desc="${region}";dur=${rounded(ms)}`],
    ),
  ];
  return entries.join(', ');
}

function rounded(ms: number): string {
  return String(Math.round(ms * 10) / 10);
}
