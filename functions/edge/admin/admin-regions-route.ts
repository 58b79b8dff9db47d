/** The routes by which operators list, add, remove, evict, return and recover regions, and start a shard. */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import type {
  AdminCommand,
  AdminCommandAnswer,
  RegionConfiguration,
} from '../../../shared/contracts/members.ts';
import type { Round } from '../../../shared/contracts/round.ts';
import { counted } from '../../../shared/counted.ts';
import {
  addRegionSchema,
  adminRegionsSchema,
  forceRecoverSchema,
  foundSchema,
  orderAnswerSchema,
  outSchema,
  regionParams,
  returnSchema,
} from '../../../shared/http/admin-schemas.ts';
import { failure, type Problem, type Result, success } from '../../../shared/http/problems.ts';
import type { RegionId, ShardId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { allRegions } from '../cache/region-directory.ts';
import type { Guard } from '../http/authenticate.ts';
import { readBody, readBodyIfAny } from '../http/body.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { jsonBody, jsonResponse, problemResponses, secured } from '../http/openapi.ts';
import { repeatable, repeatableHeaders } from '../http/repeatable.ts';
import {
  answerJson,
  answerProblem,
  type EdgeContext,
  type EdgeEnvironment,
} from '../http/respond.ts';
import { allShards, keeperOf } from '../http/shards.ts';
import { askRegions, presentCoordinator, presentRegion, shownRegions } from './regions-route.ts';

const tags = ['Administration'];
const request = { params: regionParams };
const taken = {
  202: jsonResponse('Accepted; `detail` describes the next step', orderAnswerSchema),
};

const listRoute = createRoute({
  method: 'get',
  path: '/v1/admin/regions',
  operationId: 'listRegionsForOperators',
  tags,
  summary: 'List regions with everything that the coordinator knows about them',
  ...secured('admin'),
  responses: {
    200: jsonResponse('Every region and every shard', adminRegionsSchema),
    ...problemResponses(401, 403, 503),
  },
});

const addRoute = createRoute({
  method: 'post',
  path: '/v1/admin/regions',
  operationId: 'addRegion',
  tags,
  summary: 'Add a region; it votes once all data are copied to it',
  description: 'The coordinator stores the token and never returns it.',
  ...secured('admin'),
  request: { headers: repeatableHeaders, body: jsonBody(addRegionSchema) },
  responses: { ...taken, ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503) },
});

const removeRoute = createRoute({
  method: 'delete',
  path: '/v1/admin/regions/{id}',
  operationId: 'removeRegion',
  tags,
  summary: 'Remove a region; its data are not deleted',
  ...secured('admin'),
  request,
  responses: { ...taken, ...problemResponses(401, 403, 404, 409, 503) },
});

const outRoute = createRoute({
  method: 'post',
  path: '/v1/admin/regions/{id}/out',
  operationId: 'takeRegionOut',
  tags,
  summary: 'Evict a region until an operator lets it return',
  ...secured('admin'),
  request: {
    ...request,
    headers: repeatableHeaders,
    body: { ...jsonBody(outSchema), required: false },
  },
  responses: { ...taken, ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503) },
});

const returnRoute = createRoute({
  method: 'post',
  path: '/v1/admin/regions/{id}/return',
  operationId: 'returnRegion',
  tags,
  summary: 'Let a region return; the writes that it missed are copied to it first',
  ...secured('admin'),
  request: {
    ...request,
    headers: repeatableHeaders,
    body: { ...jsonBody(returnSchema), required: false },
  },
  responses: { ...taken, ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503) },
});

const forceRecoverRoute = createRoute({
  method: 'post',
  path: '/v1/admin/regions/{id}/force-recover',
  operationId: 'forceRecoverRegion',
  tags,
  summary: 'DANGEROUS: declare this region correct and copy it over all others',
  description:
    'Use this only if no complete copy is left. The region becomes the only voter, and every other region is copied from it. Acknowledged writes that this region lacks are LOST and cannot be recovered. `confirm` must repeat the id.',
  ...secured('admin'),
  request: { ...request, headers: repeatableHeaders, body: jsonBody(forceRecoverSchema) },
  responses: { ...taken, ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503) },
});

/** The name of the same route in release 0.1, kept for one release. */
const believeRoute = createRoute({
  ...forceRecoverRoute,
  path: '/v1/admin/regions/{id}/believe',
  operationId: 'believeRegion',
  summary: 'The former name of /v1/admin/regions/{id}/force-recover',
  deprecated: true,
});

const foundRoute = createRoute({
  method: 'post',
  path: '/v1/admin/found',
  operationId: 'foundShard',
  tags,
  summary: 'Start with regions that already hold data',
  description:
    'Lockstep starts by itself if the regions are empty or hold the same data. In every other case it waits for this command. `source` names the region whose data are copied to all others (use it to adopt an existing database); `replace` must give the number of keys that each other region would lose. `agree` declares that all regions hold the same data. With neither, the coordinator counts the regions again.',
  ...secured('admin'),
  request: { headers: repeatableHeaders, body: { ...jsonBody(foundSchema), required: false } },
  responses: { ...taken, ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503) },
});

/** Mounts `/v1/admin/regions`, the commands on a region, and `/v1/admin/found`. */
export function mountAdminRegions(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  const routes = [
    listRoute,
    addRoute,
    removeRoute,
    outRoute,
    returnRoute,
    forceRecoverRoute,
    believeRoute,
    foundRoute,
  ];
  for (const route of routes) app.openAPIRegistry.registerPath(route);
  app.get(listRoute.getRoutingPath(), guard('admin'), () => list(dependencies));
  app.post(addRoute.getRoutingPath(), guard('admin'), repeatable(dependencies), (context) =>
    add(context, dependencies),
  );
  app.delete(removeRoute.getRoutingPath(), guard('admin'), (context) =>
    sendCommand(context, dependencies, { kind: 'remove', region: idOf(context) }),
  );
  app.post(outRoute.getRoutingPath(), guard('admin'), repeatable(dependencies), async (context) => {
    const body = await readBodyIfAny(context.req.raw, outSchema);
    if (!body.ok) return answerProblem(context, body.problem);
    const region = idOf(context);
    return sendCommand(context, dependencies, {
      kind: 'put-out',
      region,
      reason: body.value.reason,
    });
  });
  app.post(
    returnRoute.getRoutingPath(),
    guard('admin'),
    repeatable(dependencies),
    async (context) => {
      const body = await readBodyIfAny(context.req.raw, returnSchema);
      if (!body.ok) return answerProblem(context, body.problem);
      const { whole, force, replace } = body.value;
      const region = idOf(context);
      return sendCommand(context, dependencies, { kind: 'return', region, whole, force, replace });
    },
  );
  app.post(
    foundRoute.getRoutingPath(),
    guard('admin'),
    repeatable(dependencies),
    async (context) => {
      const body = await readBodyIfAny(context.req.raw, foundSchema);
      if (!body.ok) return answerProblem(context, body.problem);
      const { source = null, agree, replace } = body.value;
      return sendCommand(context, dependencies, { kind: 'found', source, agree, replace });
    },
  );
  for (const route of [forceRecoverRoute, believeRoute]) {
    app.post(route.getRoutingPath(), guard('admin'), repeatable(dependencies), (context) =>
      forceRecover(context, dependencies),
    );
  }
}

/**
 * Sends an operator's command to the coordinator of every shard, and answers with their details: 202 if it was accepted,
 * 409 if it was refused, 404 if it names no region.
 */
export async function sendCommand(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  command: AdminCommand,
  address: RegionConfiguration | null = null,
): Promise<Response> {
  const shards = await allShards(dependencies);
  return sendToShards(context, dependencies, shards, command, address);
}

/**
 * As {@link sendCommand}, to these shards, one after the other. A shard that does not accept ends that. If others have
 * accepted before, that stays, so the response has the details of all.
 */
export async function sendToShards(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  shards: readonly ShardId[],
  command: AdminCommand,
  address: RegionConfiguration | null = null,
): Promise<Response> {
  const details: string[] = [];
  for (const shard of shards) {
    const answer = await callCoordinator(dependencies, shard, 'order', command, address);
    const problem = answer.ok ? problemOf(answer.value) : answer.problem;
    if (problem !== null && details.length === 0) return answerProblem(context, problem);
    const { detail } = problem ?? (answer.ok ? answer.value : answer.problem);
    const named = shards.length === 1 ? detail : `shard ${shard}: ${detail}`;
    details.push(problem === null ? named : `Not accepted by ${named} Retry.`);
    if (problem !== null) break;
  }
  return answerJson({ detail: details.join(' ') }, 202);
}

/** The problem of a command that was not accepted; null if it was. */
function problemOf(answer: AdminCommandAnswer): Problem | null {
  const { kind, detail } = answer;
  switch (kind) {
    case 'taken':
      return null;
    case 'refused':
      return failure('order-refused', detail, answer.keys && { keys: answer.keys }).problem;
    case 'unknown-region':
      return failure('region-unknown', detail).problem;
  }
}

function idOf(context: EdgeContext): RegionId {
  return context.req.param('id') ?? '';
}

async function list(dependencies: EdgeDependencies): Promise<Response> {
  const { regions, status, problem, statuses } = await askRegions(dependencies);
  const presented = shownRegions(regions, status).map((region) => {
    const known = status?.regions.find((one) => one.region === region.id);
    return {
      ...presentRegion(region, status, problem),
      held: known?.held ?? null,
      circuit: known?.circuit ?? 'unknown',
      roundsInFlight: known?.roundsInFlight ?? null,
      oldestUnacknowledgedMs: known?.oldestUnacknowledgedMs ?? null,
    };
  });
  return answerJson({ regions: presented, coordinators: statuses.map(presentCoordinator) });
}

async function add(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, addRegionSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const { replace, ...region } = body.value;
  const addable = isAddable(region, await allRegions(dependencies));
  if (!addable.ok) return answerProblem(context, addable.problem);
  const strangers = await strangersIn(dependencies, region, replace);
  if (!strangers.ok) return answerProblem(context, strangers.problem);
  return sendCommand(context, dependencies, { kind: 'add', region: region.id, replace }, region);
}

/** Applies the rules of the configuration: two regions with one database would vote twice for one copy. */
function isAddable(
  { id, url }: RegionConfiguration,
  regions: readonly RegionConfiguration[],
): Result<null> {
  if (regions.some((known) => known.id === id)) {
    return failure('order-refused', `A region ${id} exists already. Choose another id.`);
  }
  const sameUrl = regions.find((known) => new URL(known.url).href === new URL(url).href);
  if (sameUrl !== undefined) {
    const detail = `The region ${sameUrl.id} has this URL. Give each region its own database.`;
    return failure('order-refused', detail);
  }
  if (regions.length >= limits.regions) {
    const detail = `There are ${limits.regions} regions, which is the maximum. Remove one first.`;
    return failure('order-refused', detail);
  }
  return success(null);
}

/**
 * Refuses a region that holds more foreign keys than `replace` allows to delete. If the region does not answer now, or
 * gets its keys later, the coordinator finds them, and does not copy over them either (R45).
 */
async function strangersIn(
  dependencies: EdgeDependencies,
  region: RegionConfiguration,
  replace: number,
): Promise<Result<null>> {
  const question = questionOf(keeperOf(dependencies));
  const result = await dependencies.regionOf(region).round(question, limits.doctorTimeoutMs);
  if (result.kind !== 'refused' || result.refusal.kind !== 'generation') return success(null);
  const { has, keys } = result.refusal;
  // The region has the state of a Lockstep. Only the coordinator knows whether it is its own.
  if (has !== 0 || keys <= replace) return success(null);
  const detail = `The database of ${region.id} holds ${counted(keys, 'key')} not written by Lockstep, which a copy would delete. To accept the loss, send "replace": ${keys}.`;
  return failure('order-refused', detail, { keys: { [region.id]: keys } });
}

/**
 * A round of an impossible generation. Every region refuses it, and its refusal says how many keys it holds, without the
 * records of this shard.
 */
const questionOf = (shard: ShardId): Round => ({
  shard,
  generation: -1,
  role: 'out',
  epoch: 0,
  incarnation: 0,
  begin: false,
  takes: 0,
  askOlder: false,
  lowWatermark: [0, 0],
  lastAcknowledged: null,
  nonce: 'question',
  decisions: [],
  prepares: [],
  lease: null,
  copy: null,
});

async function forceRecover(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Response> {
  const body = await readBody(context.req.raw, forceRecoverSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const region = idOf(context);
  if (body.value.confirm !== region) {
    const detail = `\`confirm\` must repeat the id, ${JSON.stringify(region.slice(0, 40))}. This region's data replace those of all other regions, and data that only they hold are lost.`;
    return answerProblem(context, failure('invalid-request', detail).problem);
  }
  return sendCommand(context, dependencies, { kind: 'believe', region });
}
