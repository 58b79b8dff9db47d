import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type {
  DeliveryRecord,
  EndpointId,
  OwedEvent,
  SigningKey,
  Subscription,
} from '../../shared/wire/confirmations.ts';
import {
  deliveriesAnswerSchema,
  deliveriesQuerySchema,
  endpointParams,
  isEndpointId,
  replaySchema,
  rotatedSchema,
  rotationSchema,
  webhookKeysSchema,
} from '../../shared/wire/hook-schemas.ts';
import { type Attempt, success } from '../../shared/wire/problems.ts';
import { generateSecret, publicKeyText } from '../../shared/wire/webhook-signature.ts';
import { answerJson, answerProblem, type EdgeContext, type EdgeEnvironment } from './answer.ts';
import type { Guard } from './authenticate.ts';
import { checkShape, readBody } from './body.ts';
import { askHooks } from './coordinators.ts';
import { askCourier } from './couriers.ts';
import { type EdgeDependencies, onlyShard } from './dependencies.ts';
import { jsonBody, jsonResponse, problemResponses, secured } from './documented.ts';
import { findWebhook, unknownWebhook } from './webhooks.ts';

const tags = ['Webhooks'];
const request = { params: endpointParams };

const keysRoute = createRoute({
  method: 'get',
  path: '/v1/webhooks/keys',
  operationId: 'listWebhookKeys',
  security: [],
  tags,
  summary: 'The public keys with which deliveries are signed',
  responses: {
    200: jsonResponse('A JWK set; for everyone', webhookKeysSchema),
    ...problemResponses(503),
  },
});

const testRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks/{id}/test',
  operationId: 'testWebhook',
  tags,
  summary: 'Send an event to try the receiver',
  ...secured('write'),
  request,
  responses: {
    202: jsonResponse('It is on its way; see the deliveries', z.object({ event: z.string() })),
    ...problemResponses(401, 403, 404, 503),
  },
});

const rotateRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks/{id}/rotate',
  operationId: 'rotateWebhookSecret',
  tags,
  summary: 'Replace the secret; for a while both sign',
  ...secured('write'),
  request: { ...request, body: jsonBody(rotationSchema) },
  responses: {
    200: jsonResponse('The new secret, shown this once', rotatedSchema),
    ...problemResponses(400, 401, 403, 404, 413, 415, 503),
  },
});

const enableRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks/{id}/enable',
  operationId: 'enableWebhook',
  tags,
  summary: 'Go on after the endpoint was disabled',
  ...secured('write'),
  request,
  responses: {
    204: { description: 'Enabled; what is owed is sent' },
    ...problemResponses(401, 403, 404, 503),
  },
});

const deliveriesRoute = createRoute({
  method: 'get',
  path: '/v1/webhooks/{id}/deliveries',
  operationId: 'listDeliveries',
  tags,
  summary: 'The log of deliveries, the newest first',
  ...secured('read'),
  request: { ...request, query: deliveriesQuerySchema },
  responses: {
    200: jsonResponse('A page of the log', deliveriesAnswerSchema),
    ...problemResponses(400, 401, 403, 404, 503),
  },
});

const replayRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks/{id}/replay',
  operationId: 'replayDeliveries',
  tags,
  summary: 'Send failed deliveries again, or recover since a date',
  ...secured('write'),
  request: { ...request, body: jsonBody(replaySchema) },
  responses: {
    200: jsonResponse(
      'How many failed deliveries are sent again, and how many events since then are owed once more; those that were delivered are not sent again',
      z.object({ replayed: z.int(), recovered: z.int() }),
    ),
    ...problemResponses(400, 401, 403, 404, 413, 415, 503),
  },
});

/** What is done with an endpoint besides changing it: `/v1/webhooks/:id/…`, and `/v1/webhooks/keys`. */
export function mountDeliveries(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  const routes = [keysRoute, testRoute, rotateRoute, enableRoute, deliveriesRoute, replayRoute];
  for (const route of routes) app.openAPIRegistry.registerPath(route);
  mountWebhookKeys(app, dependencies);
  app.post(testRoute.getRoutingPath(), guard('write'), (context) =>
    sendTest(context, dependencies),
  );
  app.post(rotateRoute.getRoutingPath(), guard('write'), (context) =>
    rotate(context, dependencies),
  );
  app.post(enableRoute.getRoutingPath(), guard('write'), (context) =>
    enable(context, dependencies),
  );
  app.get(deliveriesRoute.getRoutingPath(), guard('read'), (context) =>
    list(context, dependencies),
  );
  app.post(replayRoute.getRoutingPath(), guard('write'), (context) =>
    replay(context, dependencies),
  );
}

/** Public, so the coordinator is asked once an isolate, however often anyone asks here. */
function mountWebhookKeys(app: OpenAPIHono<EdgeEnvironment>, dependencies: EdgeDependencies): void {
  let keys: readonly unknown[] | null = null;
  app.get(keysRoute.getRoutingPath(), async (context) => {
    if (keys === null) {
      const key = await askHooks(dependencies, onlyShard, 'read', (hooks) => hooks.signingKey());
      if (!key.ok) return answerProblem(context, key.problem);
      keys = [tellKey(key.value)];
    }
    return answerJson(context, { keys }, 200, { 'Cache-Control': 'public, max-age=300' });
  });
}

async function sendTest(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const found = await findWebhook(context, dependencies);
  if (!found.ok) return answerProblem(context, found.problem);
  const key = await askHooks(dependencies, onlyShard, 'read', (hooks) => hooks.signingKey());
  if (!key.ok) return answerProblem(context, key.problem);
  const event = testEvent(found.value, `test_${dependencies.uuid()}`, dependencies.now());
  const handover = { target: null, signingKey: key.value, events: [event] };
  const sent = await askCourier(dependencies, event.endpoint, (courier) =>
    courier.deliver(event.endpoint, handover),
  );
  if (!sent.ok) return answerProblem(context, sent.problem);
  return answerJson(context, { event: event.id }, 202);
}

/** Of a type that the receiver expects, about a write that says of itself that it never was. */
function testEvent({ endpoint, events }: Subscription, id: string, at: number): OwedEvent {
  const [type = 'write.confirmed'] = events;
  const data = { test: true, id, transaction: null, sequence: null, keys: [] };
  const body = JSON.stringify({ type, timestamp: new Date(at).toISOString(), data });
  return { endpoint, id, type, at, body };
}

async function rotate(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, rotationSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const found = await findWebhook(context, dependencies);
  if (!found.ok) return answerProblem(context, found.problem);
  const { secret = generateSecret(), overlapMs } = body.value;
  const rotated = await askCourier(dependencies, found.value.endpoint, (courier) =>
    courier.rotate(secret, overlapMs),
  );
  if (!rotated.ok) return answerProblem(context, rotated.problem);
  return answerJson(context, { secret, overlapMs });
}

/** The courier first: while it sends and is still listed as disabled, a repetition puts that right. */
async function enable(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const endpoint = await findEndpoint(context, dependencies);
  if (!endpoint.ok) return answerProblem(context, endpoint.problem);
  const enabled = await askCourier(dependencies, endpoint.value, (courier) => courier.enable());
  if (!enabled.ok) return answerProblem(context, enabled.problem);
  if (!isCallback(endpoint.value)) {
    const marked = await askHooks(dependencies, onlyShard, 'read', (hooks) =>
      hooks.changeSubscription(endpoint.value, { disabled: null }),
    );
    if (!marked.ok) return answerProblem(context, marked.problem);
  }
  return context.body(null, 204);
}

async function list(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const query = checkShape(context.req.query(), deliveriesQuerySchema);
  if (!query.ok) return answerProblem(context, query.problem);
  const endpoint = await findEndpoint(context, dependencies);
  if (!endpoint.ok) return answerProblem(context, endpoint.problem);
  const { state = null, before = null, limit } = query.value;
  const page = await askCourier(dependencies, endpoint.value, (courier) =>
    courier.deliveries({ state, before, limit }),
  );
  if (!page.ok) return answerProblem(context, page.problem);
  const deliveries = page.value.deliveries.map(tellDelivery);
  return answerJson(context, { deliveries, before: page.value.before });
}

async function replay(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, replaySchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const endpoint = await findEndpoint(context, dependencies);
  if (!endpoint.ok) return answerProblem(context, endpoint.problem);
  const asked = body.value;
  const what = 'event' in asked ? asked : { since: new Date(asked.since).getTime() };
  const replayed = await askCourier(dependencies, endpoint.value, (courier) =>
    courier.replay(what),
  );
  if (!replayed.ok) return answerProblem(context, replayed.problem);
  if (!('since' in what) || isCallback(endpoint.value)) {
    return answerJson(context, { replayed: replayed.value, recovered: 0 });
  }
  const recovered = await askHooks(dependencies, onlyShard, 'write', (hooks) =>
    hooks.recover(endpoint.value, what.since),
  );
  if (!recovered.ok) return answerProblem(context, recovered.problem);
  return answerJson(context, { replayed: replayed.value, recovered: recovered.value ?? 0 });
}

/** The endpoint of a subscription or of callbacks. Nobody lists the latter, so their courier alone knows of them. */
async function findEndpoint(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Attempt<EndpointId>> {
  const id = context.req.param('id') ?? '';
  if (isCallback(id)) return isEndpointId(id) ? success(id) : unknownWebhook();
  const found = await findWebhook(context, dependencies);
  return found.ok ? success(found.value.endpoint) : found;
}

function isCallback(endpoint: EndpointId): boolean {
  return endpoint.startsWith('cb_');
}

function tellDelivery(record: DeliveryRecord): Readonly<Record<string, unknown>> {
  const { event, type, state, attempts, status, ms, answer } = record;
  const iso = (at: number | null) => (at === null ? null : new Date(at).toISOString());
  return {
    event,
    type,
    state,
    attempts,
    status,
    ms,
    answer,
    at: iso(record.at),
    lastAttemptAt: iso(record.lastAttemptAt),
    nextAttemptAt: iso(record.nextAttemptAt),
  };
}

/** The public half alone, member by member: a JWK with a `d` would be the private key. */
function tellKey({ id, publicKey }: SigningKey): Readonly<Record<string, unknown>> {
  const { kty, crv, x }: Readonly<Record<string, unknown>> = JSON.parse(publicKey);
  return { kid: id, kty, crv, x, publicKey: publicKeyText({ publicKey }) };
}
