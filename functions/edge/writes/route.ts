/** The routes of writes, and `sendWrite`, by which the routes of keys send writes as well. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { faultOfWrite } from '../../../shared/commands/compile.ts';
import { anyScript } from '../../../shared/commands/user-scripts.ts';
import type { PlacedAnswer, WriteRequest } from '../../../shared/contracts/coordinator.ts';
import { askedByWrite } from '../../../shared/http/idempotency.ts';
import { failure, type Problem, type Result, success } from '../../../shared/http/problems.ts';
import {
  checkOf,
  textsOf,
  writeAnswerSchema,
  writeSchema,
  writeStatusSchema,
} from '../../../shared/http/schemas.ts';
import { shardOfWriteId, writeIdOf } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { type Guard, scriptsFault } from '../http/authenticate.ts';
import { checkShape, readJson } from '../http/body.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import {
  type ClientKey,
  clientKeyOf,
  keptHeaders,
  keptUnder,
  recall,
} from '../http/idempotency.ts';
import { jsonBody, jsonResponse, problemResponses, secured } from '../http/openapi.ts';
import {
  answerJson,
  answerProblem,
  type EdgeContext,
  type EdgeEnvironment,
} from '../http/respond.ts';
import { allShards, keeperOf } from '../http/shards.ts';
import { callbackOf } from '../webhooks/targets.ts';
import { presentAnswer, presentStatus } from './present.ts';
import type { WriteSender } from './send-writes.ts';

/** For OpenAPI: the headers of a write. */
export const writeHeaders = z.object({
  'Idempotency-Key': z.string().optional().openapi({
    description:
      'Up to 255 printable ASCII characters. A request with the same key is executed once and gets the same response.',
  }),
  Prefer: z.string().optional().openapi({
    description:
      '`respond-async`: respond at once with 202 and the URL of the outcome in Location, before the write is executed.',
    example: 'respond-async',
  }),
});

/** For OpenAPI: the response to a write that is executed after its response. */
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
  summary: 'Execute operations in every region or in none',
  ...secured('write'),
  request: { headers: writeHeaders, body: jsonBody(writeSchema) },
  responses: {
    200: jsonResponse('Committed in every region', writeAnswerSchema, [
      'Idempotency-Replayed',
      'Idempotency-Kept-Until',
      'Lockstep-Callback',
      'Server-Timing',
    ]),
    202: acceptedResponse,
    ...problemResponses(400, 401, 403, 412, 413, 415, 422, 429, 503, 507),
  },
});

const getRoute = createRoute({
  method: 'get',
  path: '/v1/writes/{id}',
  operationId: 'getWrite',
  tags: ['Writes'],
  summary: 'Get the outcome of a write, and the regions that have applied it',
  ...secured('read'),
  request: {
    params: z.object({
      id: z.string().openapi({ description: 'The id that the write returned.' }),
    }),
  },
  responses: {
    200: jsonResponse('The recorded outcome, or `pending`', writeStatusSchema),
    ...problemResponses(401, 403, 404, 503),
  },
});

/** A write without its id and its Idempotency-Key. */
export type WriteDraft = Omit<WriteRequest, 'id' | 'idempotency' | 'again'>;

/** `POST /v1/writes` and `GET /v1/writes/:id`. */
export function mountWrites(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  sender: WriteSender,
  guard: Guard,
): void {
  app.openAPIRegistry.registerPath(postRoute);
  app.post(postRoute.getRoutingPath(), guard('write'), async (context) => {
    const startedAt = dependencies.now();
    const body = await readJson(context.req.raw);
    if (!body.ok) return answerProblem(context, body.problem);
    const draft = await draftFrom(body.value, dependencies, context);
    const askedOf = () => askedByWrite(body.value);
    return sendWrite(context, { dependencies, sender }, askedOf, draft, startedAt);
  });

  app.openAPIRegistry.registerPath(getRoute);
  app.get(getRoute.getRoutingPath(), guard('read'), async (context) => {
    const id = context.req.param('id') ?? '';
    const shard = shardOfWriteId(id);
    const known = await allShards(dependencies);
    if (shard === null || !known.includes(shard)) {
      const detail = 'This is not a write id. Use the id that POST /v1/writes returned.';
      return answerProblem(context, failure('write-unknown', detail).problem);
    }
    const status = await callCoordinator(dependencies, shard, 'status', id);
    const presented = status.ok ? presentStatus(id, status.value) : status;
    return presented.ok ? answerJson(presented.value) : answerProblem(context, presented.problem);
  });
}

/** Changes to the response to a write: `headers` are added on success, `mapProblem` replaces a problem. */
export interface ResponseChanges {
  readonly headers?: Readonly<Record<string, string>>;
  readonly mapProblem?: (problem: Problem) => Problem;
}

/** The parts of the edge that send a write. */
export interface WriteParts {
  readonly dependencies: EdgeDependencies;
  readonly sender: WriteSender;
}

async function draftFrom(
  body: unknown,
  dependencies: EdgeDependencies,
  context: EdgeContext,
): Promise<Result<WriteDraft>> {
  const shaped = checkShape(body, writeSchema);
  if (!shaped.ok) return shaped;
  const ops = shaped.value.ops.map(textsOf);
  const forbidden = scriptsFault(context.get('caller'), ops);
  if (forbidden !== null) return forbidden;
  const checks = shaped.value.checks.map(checkOf);
  const callback = await callbackOf(shaped.value.callback, dependencies, context);
  if (!callback.ok) return callback;
  return success({
    ...shaped.value,
    ops,
    checks,
    continueOnError: false,
    callback: callback.value,
  });
}

/**
 * Sends a write to the coordinator and answers with its outcome. `askedOf` returns the meaning of the request, which
 * its Idempotency-Key must match. If the draft is refused, a kept response comes first: a write that was executed once gets
 * the same response while its key is kept, even if this release would refuse it.
 */
export async function sendWrite(
  context: EdgeContext,
  { dependencies, sender }: WriteParts,
  askedOf: () => unknown,
  draft: Result<WriteDraft>,
  startedAt: number,
  changes: ResponseChanges = {},
): Promise<Response> {
  const key = await clientKeyOf(context, askedOf);
  if (!key.ok) return answerProblem(context, key.problem);
  const sound = draft.ok ? checked(draft.value, dependencies) : draft;
  if (!sound.ok) return presentFirst(context, dependencies, key.value, sound.problem, changes);
  const id = writeIdOf(keeperOf(dependencies), dependencies.uuid());
  const idempotency = keptUnder(key.value, null);
  const request: WriteRequest = { ...sound.value, id, idempotency, again: false };
  const isAsync = prefersAsync(context.req.header('prefer'));
  // Set before the outcome: the delivery log of the callback is found only by this id, also if the write fails.
  const headers: Record<string, string> = {};
  if (request.callback !== null) headers['Lockstep-Callback'] = request.callback.endpoint;
  const sentAt = dependencies.now();
  const background = (work: Promise<void>) => dependencies.inBackground(context, work);
  const answer = await (isAsync ? sender.accept(request) : sender.send(request, background));
  if (!answer.ok) return answerProblem(context, answer.problem, headers);
  const waitedMs = dependencies.now() - sentAt;
  headers['Server-Timing'] = serverTiming(answer.value, sentAt - startedAt, waitedMs);
  if (isAsync) headers['Preference-Applied'] = 'respond-async';
  return present(context, answer.value, request, changes, headers);
}

function present(
  context: EdgeContext,
  answer: PlacedAnswer,
  request: Pick<WriteRequest, 'ops' | 'checks' | 'ack'>,
  { headers = {}, mapProblem = (problem) => problem }: ResponseChanges,
  ofAll: Readonly<Record<string, string>> = {},
): Response {
  const named = { ...ofAll, ...keptHeaders([answer]) };
  if (isReplayed(answer)) named['Idempotency-Replayed'] = 'true';
  const presented = presentAnswer(answer, request);
  if (!presented.ok) return answerProblem(context, mapProblem(presented.problem), named);
  if (answer.kind !== 'accepted') {
    return answerJson(presented.value, 200, { ...named, ...headers });
  }
  const location = { Location: `/v1/writes/${presented.value.id}` };
  return answerJson(presented.value, 202, { ...named, ...location });
}

/** The kept response to a write that this release refuses, or the refusal. */
async function presentFirst(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  key: ClientKey | null,
  refusal: Problem,
  changes: ResponseChanges,
): Promise<Response> {
  const recalled = key === null ? success([]) : await recall(dependencies, key, [null]);
  if (!recalled.ok) return answerProblem(context, recalled.problem);
  const [first = null] = recalled.value;
  if (first === null) return answerProblem(context, refusal);
  return present(context, first, { ops: [], checks: [], ack: 'committed' }, changes);
}

/** Refuses a faulty write before it costs the coordinator time, which compiles it itself: see `frameOf` there. */
function checked(draft: WriteDraft, dependencies: EdgeDependencies): Result<WriteDraft> {
  const fault = faultOfWrite(draft.ops, draft.checks, dependencies.now(), anyScript);
  return fault === null ? success(draft) : failure(fault.problem, fault.detail);
}

/** A write of `ops` and `checks` with the default options. */
export function draftOf(ops: WriteDraft['ops'], checks: WriteDraft['checks']): WriteDraft {
  const timeoutMs = limits.timeoutMsDefault;
  const options = {
    timeoutMs,
    continueOnError: false,
    priority: 0,
    notAfter: null,
    callback: null,
  };
  return { ops, checks, ack: 'committed', ...options };
}

function prefersAsync(header: string | undefined): boolean {
  return (header ?? '').split(',').some((part) => /^\s*respond-async\s*(?:;|$)/i.test(part));
}

function isReplayed(answer: PlacedAnswer): boolean {
  return answer.kind === 'decided' && answer.replayed;
}

function serverTiming(answer: PlacedAnswer, parseMs: number, coordinatorMs: number): string {
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
