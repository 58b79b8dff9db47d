import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { MemberOrder, RegionConfiguration } from '../../shared/wire/members.ts';
import {
  addRegionSchema,
  adminRegionsSchema,
  believeSchema,
  orderAnswerSchema,
  outSchema,
  regionParams,
  returnSchema,
} from '../../shared/wire/members-schemas.ts';
import { type Attempt, failure, success } from '../../shared/wire/problems.ts';
import { answerJson, answerProblem, type EdgeContext, type EdgeEnvironment } from './answer.ts';
import type { Guard } from './authenticate.ts';
import { readBody, readBodyIfAny } from './body.ts';
import { askMembers } from './coordinators.ts';
import { type EdgeDependencies, onlyShard } from './dependencies.ts';
import { allRegions } from './directory.ts';
import { jsonBody, jsonResponse, problemResponses, secured } from './documented.ts';
import { askRegions, tellCoordinator, tellRegion, toldRegions } from './regions.ts';
import { repeatable, repeatableHeaders } from './repeatable.ts';

const tags = ['Administration'];
const request = { params: regionParams };
const taken = { 202: jsonResponse('Taken; `detail` says what happens now', orderAnswerSchema) };

const listRoute = createRoute({
  method: 'get',
  path: '/v1/admin/regions',
  operationId: 'listRegionsForOperators',
  tags,
  summary: 'The regions with all that their coordinator knows of them',
  ...secured('admin'),
  responses: {
    200: jsonResponse('Every region, and every shard', adminRegionsSchema),
    ...problemResponses(401, 403, 503),
  },
});

const addRoute = createRoute({
  method: 'post',
  path: '/v1/admin/regions',
  operationId: 'addRegion',
  tags,
  summary: 'Add a region: it is copied, and then it votes',
  description: 'The token is kept by the coordinator and never shown.',
  ...secured('admin'),
  request: { headers: repeatableHeaders, body: jsonBody(addRegionSchema) },
  responses: { ...taken, ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503) },
});

const removeRoute = createRoute({
  method: 'delete',
  path: '/v1/admin/regions/{id}',
  operationId: 'removeRegion',
  tags,
  summary: 'Put a region out and forget it; its data stay where they are',
  ...secured('admin'),
  request,
  responses: { ...taken, ...problemResponses(401, 403, 404, 409, 503) },
});

const outRoute = createRoute({
  method: 'post',
  path: '/v1/admin/regions/{id}/out',
  operationId: 'takeRegionOut',
  tags,
  summary: 'Put a region out until it is told to return',
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
  summary: 'Let a region return: what it lacks is copied first',
  ...secured('admin'),
  request: {
    ...request,
    headers: repeatableHeaders,
    body: { ...jsonBody(returnSchema), required: false },
  },
  responses: { ...taken, ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503) },
});

const believeRoute = createRoute({
  method: 'post',
  path: '/v1/admin/regions/{id}/believe',
  operationId: 'believeRegion',
  tags,
  summary: 'DANGEROUS: take what this region holds for right, and copy it to all others',
  description:
    'For the case that no whole copy is left. The region becomes the only voter; every other one is copied from it. Writes that were answered and are not in this region are LOST, with no way back. `confirm` repeats the id.',
  ...secured('admin'),
  request: { ...request, headers: repeatableHeaders, body: jsonBody(believeSchema) },
  responses: { ...taken, ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503) },
});

/** `/v1/admin/regions` and what is ordered of one region. */
export function mountAdminRegions(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  const routes = [listRoute, addRoute, removeRoute, outRoute, returnRoute, believeRoute];
  for (const route of routes) app.openAPIRegistry.registerPath(route);
  app.get(listRoute.getRoutingPath(), guard('admin'), (context) => list(context, dependencies));
  app.post(addRoute.getRoutingPath(), guard('admin'), repeatable(dependencies), (context) =>
    add(context, dependencies),
  );
  app.delete(removeRoute.getRoutingPath(), guard('admin'), (context) =>
    sendOrder(context, dependencies, { kind: 'remove', region: idOf(context) }),
  );
  app.post(outRoute.getRoutingPath(), guard('admin'), repeatable(dependencies), async (context) => {
    const body = await readBodyIfAny(context.req.raw, outSchema);
    if (!body.ok) return answerProblem(context, body.problem);
    const region = idOf(context);
    return sendOrder(context, dependencies, { kind: 'put-out', region, reason: body.value.reason });
  });
  app.post(
    returnRoute.getRoutingPath(),
    guard('admin'),
    repeatable(dependencies),
    async (context) => {
      const body = await readBodyIfAny(context.req.raw, returnSchema);
      if (!body.ok) return answerProblem(context, body.problem);
      const { whole, force } = body.value;
      const region = idOf(context);
      return sendOrder(context, dependencies, { kind: 'return', region, whole, force });
    },
  );
  app.post(believeRoute.getRoutingPath(), guard('admin'), repeatable(dependencies), (context) =>
    believe(context, dependencies),
  );
}

/**
 * Has the coordinator carry out an order, and answers with its words: 202 if it was taken, 409 if
 * it was refused, 404 if it names no region.
 */
export async function sendOrder(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  order: MemberOrder,
  address: RegionConfiguration | null = null,
): Promise<Response> {
  const answer = await askMembers(dependencies, onlyShard, 'write', (members) =>
    members.order(order, address),
  );
  if (!answer.ok) return answerProblem(context, answer.problem);
  const { kind, detail } = answer.value;
  switch (kind) {
    case 'taken':
      return answerJson(context, { detail }, 202);
    case 'refused':
      return answerProblem(context, failure('order-refused', detail).problem);
    case 'unknown-region':
      return answerProblem(context, failure('region-unknown', detail).problem);
  }
}

function idOf(context: EdgeContext): RegionId {
  return context.req.param('id') ?? '';
}

async function list(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const { regions, status, problem } = await askRegions(dependencies);
  const told = toldRegions(regions, status).map((region) => {
    const known = status?.regions.find((one) => one.region === region.id);
    return {
      ...tellRegion(region, status, problem),
      held: known?.held ?? null,
      circuit: known?.circuit ?? 'unknown',
      roundsInFlight: known?.roundsInFlight ?? null,
      oldestUnacknowledgedMs: known?.oldestUnacknowledgedMs ?? null,
    };
  });
  const coordinators = status === null ? [] : [tellCoordinator(status)];
  return answerJson(context, { regions: told, coordinators });
}

async function add(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, addRegionSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const region = body.value;
  const addable = isAddable(region, await allRegions(dependencies));
  if (!addable.ok) return answerProblem(context, addable.problem);
  return sendOrder(context, dependencies, { kind: 'add', region: region.id }, region);
}

/** The same rules that the configuration keeps: two regions on one database would vote twice for one copy. */
function isAddable(
  { id, url }: RegionConfiguration,
  regions: readonly RegionConfiguration[],
): Attempt<null> {
  if (regions.some((known) => known.id === id)) {
    return failure('order-refused', `There is a region ${id} already. Choose another id.`);
  }
  const sameUrl = regions.find((known) => new URL(known.url).href === new URL(url).href);
  if (sameUrl !== undefined) {
    const detail = `The region ${sameUrl.id} has this URL. Give each region a database of its own.`;
    return failure('order-refused', detail);
  }
  if (regions.length >= limits.regions) {
    const detail = `There are ${limits.regions} regions, and can be no more. Remove one first.`;
    return failure('order-refused', detail);
  }
  return success(null);
}

async function believe(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, believeSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const region = idOf(context);
  if (body.value.confirm !== region) {
    const detail = `\`confirm\` has to repeat the id, ${JSON.stringify(region.slice(0, 40))}. This region's data replace those of all others, and what they alone hold is lost.`;
    return answerProblem(context, failure('invalid-request', detail).problem);
  }
  return sendOrder(context, dependencies, { kind: 'believe', region });
}
