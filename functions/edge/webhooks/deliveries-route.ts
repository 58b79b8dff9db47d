/** The routes of a webhook's deliveries: test, rotate, enable, list, show and replay; and the public signing keys. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type {
  EndpointId,
  EventType,
  OutboxEvent,
  ReplayQuery,
  SigningKey,
  Subscription,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import {
  deliveriesAnswerSchema,
  deliveriesQuerySchema,
  deliveryAnswerSchema,
  deliveryParams,
  endpointParams,
  isEndpointId,
  replaySchema,
  rotatedSchema,
  rotationSchema,
  testSchema,
  webhookKeysSchema,
  webhookOrCallbackParams,
} from '../../../shared/http/webhook-schemas.ts';
import { sampleEvent } from '../../../shared/webhooks/event-samples.ts';
import { publicKeyText } from '../../../shared/webhooks/signature.ts';
import type { Guard } from '../http/authenticate.ts';
import { checkShape, readBody, readBodyIfAny } from '../http/body.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import { callCourier } from '../http/courier-calls.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { jsonBody, jsonResponse, problemResponses, secured } from '../http/openapi.ts';
import { repeatable, repeatableHeaders, secretOf, uuidOf } from '../http/repeatable.ts';
import {
  answerJson,
  answerProblem,
  type EdgeContext,
  type EdgeEnvironment,
} from '../http/respond.ts';
import { callEach, keeperOf } from '../http/shards.ts';
import { findOwnWebhook, findWebhook, unknownWebhook } from './route.ts';
import { isCallback, isOwn, ownsCallbacks, presentDelivery, presentDetail } from './views.ts';

const tags = ['Webhooks'];
const request = { params: endpointParams };
const anyRequest = { params: webhookOrCallbackParams };

const keysRoute = createRoute({
  method: 'get',
  path: '/v1/webhooks/keys',
  operationId: 'listWebhookKeys',
  security: [],
  tags,
  summary: 'Get the public keys that sign deliveries',
  responses: {
    200: jsonResponse('A public JWK set', webhookKeysSchema),
    ...problemResponses(503),
  },
});

const testRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks/{id}/test',
  operationId: 'testWebhook',
  tags,
  summary: 'Send a test event to the receiver',
  description:
    'It has the format of a real event of its type, with `data.test` true. Its `webhook-id` begins with `test_`.',
  ...secured('write'),
  request: {
    ...request,
    headers: repeatableHeaders,
    body: { ...jsonBody(testSchema), required: false },
  },
  responses: {
    202: jsonResponse('The event is queued; see the deliveries', z.object({ event: z.string() })),
    ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
  },
});

const rotateRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks/{id}/rotate',
  operationId: 'rotateWebhookSecret',
  tags,
  summary: 'Replace the secret; both sign during the overlap',
  ...secured('write'),
  request: { ...request, headers: repeatableHeaders, body: jsonBody(rotationSchema) },
  responses: {
    200: jsonResponse('The new secret, shown only once', rotatedSchema),
    ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
  },
});

const enableRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks/{id}/enable',
  operationId: 'enableWebhook',
  tags,
  summary: 'Enable an endpoint that was disabled',
  ...secured('write'),
  request: { ...anyRequest, headers: repeatableHeaders },
  responses: {
    204: { description: 'Enabled; queued events are sent' },
    ...problemResponses(400, 401, 403, 404, 409, 413, 422, 429, 503),
  },
});

const deliveriesRoute = createRoute({
  method: 'get',
  path: '/v1/webhooks/{id}/deliveries',
  operationId: 'listDeliveries',
  tags,
  summary: 'List deliveries, newest first',
  ...secured('read'),
  request: { ...anyRequest, query: deliveriesQuerySchema },
  responses: {
    200: jsonResponse('A page of the log', deliveriesAnswerSchema),
    ...problemResponses(400, 401, 403, 404, 503),
  },
});

const deliveryRoute = createRoute({
  method: 'get',
  path: '/v1/webhooks/{id}/deliveries/{event}',
  operationId: 'getDelivery',
  tags,
  summary: 'Get one delivery with its payload and attempts',
  description:
    "Only the token that created the webhook, and tokens with the scope admin, see the payload and the receiver's responses.",
  ...secured('read'),
  request: { params: deliveryParams },
  responses: {
    200: jsonResponse('The delivery', deliveryAnswerSchema),
    ...problemResponses(401, 403, 404, 503),
  },
});

const replayRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks/{id}/replay',
  operationId: 'replayDeliveries',
  tags,
  summary: 'Resend deliveries, or recover all events since a date',
  ...secured('write'),
  request: { ...anyRequest, headers: repeatableHeaders, body: jsonBody(replaySchema) },
  responses: {
    200: jsonResponse(
      'The number of deliveries to resend, with their original ids, and of events to deliver again. With `since`, delivered ones are resent only if `delivered` is true',
      z.object({ replayed: z.int(), recovered: z.int() }),
    ),
    ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
  },
});

/** Mounts `/v1/webhooks/:id/…` and `/v1/webhooks/keys`. */
export function mountDeliveries(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  const routes = [
    ...[keysRoute, testRoute, rotateRoute, enableRoute],
    ...[deliveriesRoute, deliveryRoute, replayRoute],
  ];
  for (const route of routes) app.openAPIRegistry.registerPath(route);
  mountWebhookKeys(app, dependencies);
  app.post(testRoute.getRoutingPath(), guard('write'), repeatable(dependencies), (context) =>
    sendTest(context, dependencies),
  );
  app.post(rotateRoute.getRoutingPath(), guard('write'), repeatable(dependencies), (context) =>
    rotate(context, dependencies),
  );
  app.post(enableRoute.getRoutingPath(), guard('write'), repeatable(dependencies), (context) =>
    enable(context, dependencies),
  );
  app.get(deliveriesRoute.getRoutingPath(), guard('read'), (context) =>
    list(context, dependencies),
  );
  app.get(deliveryRoute.getRoutingPath(), guard('read'), (context) => show(context, dependencies));
  app.post(replayRoute.getRoutingPath(), guard('write'), repeatable(dependencies), (context) =>
    replay(context, dependencies),
  );
}

/** Anyone can call this without a token, so an isolate asks the coordinator only once. */
function mountWebhookKeys(app: OpenAPIHono<EdgeEnvironment>, dependencies: EdgeDependencies): void {
  let keys: readonly unknown[] | null = null;
  app.get(keysRoute.getRoutingPath(), async (context) => {
    if (keys === null) {
      const key = await callCoordinator(dependencies, keeperOf(dependencies), 'signingKey');
      if (!key.ok) return answerProblem(context, key.problem);
      keys = [presentKey(key.value)];
    }
    return answerJson({ keys }, 200, { 'Cache-Control': 'public, max-age=300' });
  });
}

async function sendTest(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBodyIfAny(context.req.raw, testSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const found = await findOwnWebhook(context, dependencies);
  if (!found.ok) return answerProblem(context, found.problem);
  const key = await callCoordinator(dependencies, keeperOf(dependencies), 'signingKey');
  if (!key.ok) return answerProblem(context, key.problem);
  const id = await uuidOf(context, dependencies, 'event');
  const event = testEvent(found.value, body.value.type, id, dependencies);
  const handover = { target: null, signingKey: key.value, events: [event] };
  const sent = await callCourier(dependencies, event.endpoint, 'deliver', event.endpoint, handover);
  if (!sent.ok) return answerProblem(context, sent.problem);
  return answerJson({ event: event.id }, 202);
}

/** A test event of the requested type, otherwise of the first type that the webhook subscribes to. */
function testEvent(
  subscription: Subscription,
  asked: EventType | undefined,
  id: string,
  { now, configuration }: EdgeDependencies,
): OutboxEvent {
  const { endpoint, events, prefixes, values } = subscription;
  const type = asked ?? events[0] ?? 'write.confirmed';
  const regions = configuration.regions.map(({ id }) => id);
  const at = now();
  const body = sampleEvent(type, { endpoint, id, at, regions, prefix: prefixes[0] ?? '', values });
  return { endpoint, id: `test_${id}`, type, at, body };
}

async function rotate(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, rotationSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const found = await findOwnWebhook(context, dependencies);
  if (!found.ok) return answerProblem(context, found.problem);
  const { secret = await secretOf(context, 'secret'), overlapMs } = body.value;
  const rotated = await callCourier(
    dependencies,
    found.value.endpoint,
    'rotate',
    secret,
    overlapMs,
  );
  if (!rotated.ok) return answerProblem(context, rotated.problem);
  return answerJson({ secret, overlapMs });
}

/**
 * Enables the courier first. If the second step fails, events are sent although the list says disabled, until a retry.
 */
async function enable(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const endpoint = await findOwnEndpoint(context, dependencies);
  if (!endpoint.ok) return answerProblem(context, endpoint.problem);
  const enabled = await callCourier(dependencies, endpoint.value, 'enable');
  if (!enabled.ok) return answerProblem(context, enabled.problem);
  if (!isCallback(endpoint.value)) {
    const enabling = { disabled: null };
    const marked = await callEach(dependencies, 'changeSubscription', endpoint.value, enabling);
    if (!marked.ok) return answerProblem(context, marked.problem);
  }
  return context.body(null, 204);
}

async function list(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const query = checkShape(context.req.query(), deliveriesQuerySchema);
  if (!query.ok) return answerProblem(context, query.problem);
  const found = await findSeen(context, dependencies);
  if (!found.ok) return answerProblem(context, found.problem);
  const { endpoint, whole } = found.value;
  const { state = null, before = null, limit } = query.value;
  const page = await callCourier(dependencies, endpoint, 'deliveries', { state, before, limit });
  if (!page.ok) return answerProblem(context, page.problem);
  const deliveries = page.value.deliveries.map((record) => presentDelivery(record, whole));
  return answerJson({ deliveries, before: page.value.before });
}

async function show(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const found = await findSeen(context, dependencies);
  if (!found.ok) return answerProblem(context, found.problem);
  const { endpoint, whole } = found.value;
  const event = context.req.param('event') ?? '';
  const detail = await callCourier(dependencies, endpoint, 'delivery', event);
  if (!detail.ok) return answerProblem(context, detail.problem);
  if (detail.value !== null) return answerJson(presentDetail(detail.value, whole));
  return answerProblem(context, unknownDelivery().problem);
}

function unknownDelivery(): ReturnType<typeof failure> {
  const detail = 'The log has no delivery of this event. It may be older than the log.';
  return failure('delivery-unknown', detail);
}

async function replay(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, replaySchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const endpoint = await findOwnEndpoint(context, dependencies);
  if (!endpoint.ok) return answerProblem(context, endpoint.problem);
  const asked = body.value;
  const what: ReplayQuery =
    'event' in asked
      ? asked
      : { since: new Date(asked.since).getTime(), delivered: asked.delivered };
  const replayed = await callCourier(dependencies, endpoint.value, 'replay', what);
  if (!replayed.ok) return answerProblem(context, replayed.problem);
  if ('event' in what && replayed.value === 0) {
    // Zero replays: the event is queued already, or the log does not have it, which is an error.
    const { event } = what;
    const known = await callCourier(dependencies, endpoint.value, 'delivery', event);
    if (!known.ok) return answerProblem(context, known.problem);
    if (known.value === null) return answerProblem(context, unknownDelivery().problem);
  }
  if (!('since' in what) || isCallback(endpoint.value)) {
    return answerJson({ replayed: replayed.value, recovered: 0 });
  }
  const queued = await callEach(dependencies, 'recover', endpoint.value, what.since);
  if (!queued.ok) return answerProblem(context, queued.problem);
  const recovered = queued.value.reduce<number>((sum, count) => sum + (count ?? 0), 0);
  return answerJson({ replayed: replayed.value, recovered });
}

/** The endpoint of callbacks, or of a subscription that the caller may change. */
async function findOwnEndpoint(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Result<EndpointId>> {
  const id = context.req.param('id') ?? '';
  if (isCallback(id)) return isEndpointId(id) ? success(id) : unknownWebhook();
  const found = await findOwnWebhook(context, dependencies);
  return found.ok ? success(found.value.endpoint) : found;
}

/** An endpoint whose deliveries the caller may list. */
interface Seen {
  readonly endpoint: EndpointId;
  /** True if the caller may see payloads and the responses of the receiver. */
  readonly whole: boolean;
}

/** The endpoint of callbacks or of a subscription, with the extent to which the caller may see it. */
async function findSeen(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Result<Seen>> {
  const id = context.req.param('id') ?? '';
  const caller = context.get('caller');
  if (isCallback(id)) {
    if (!isEndpointId(id)) return unknownWebhook();
    return success({ endpoint: id, whole: ownsCallbacks(caller) });
  }
  const found = await findWebhook(context, dependencies);
  if (!found.ok) return found;
  return success({ endpoint: found.value.endpoint, whole: isOwn(caller, found.value) });
}

/** Returns only the members of the public key: a JWK with a `d` would be the private key. */
function presentKey({ id, publicKey }: SigningKey): Readonly<Record<string, unknown>> {
  const { kty, crv, x }: Readonly<Record<string, unknown>> = JSON.parse(publicKey);
  return { kid: id, kty, crv, x, publicKey: publicKeyText({ publicKey }) };
}
