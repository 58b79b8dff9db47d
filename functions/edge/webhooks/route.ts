/** The routes of webhook subscriptions: create, list, get, change and delete. */
import { createRoute, type OpenAPIHono, type z } from '@hono/zod-openapi';
import type { Subscription } from '../../../shared/contracts/webhooks-and-feed.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import {
  createdWebhookSchema,
  endpointParams,
  isEndpointId,
  webhookAnswerSchema,
  webhookPatchSchema,
  webhookSchema,
  webhooksAnswerSchema,
} from '../../../shared/http/webhook-schemas.ts';
import type { Guard } from '../http/authenticate.ts';
import { readBody } from '../http/body.ts';
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
import { targetOf } from './targets.ts';
import { ownedBy, presentWebhook } from './views.ts';

const tags = ['Webhooks'];

const postRoute = createRoute({
  method: 'post',
  path: '/v1/webhooks',
  operationId: 'createWebhook',
  tags,
  summary: 'Subscribe a URL to events',
  ...secured('write'),
  request: { headers: repeatableHeaders, body: jsonBody(webhookSchema) },
  responses: {
    200: jsonResponse(
      'This token already has an identical webhook; its secret is unchanged',
      webhookAnswerSchema,
    ),
    201: jsonResponse('Created. The secret is shown only once', createdWebhookSchema),
    ...problemResponses(400, 401, 403, 409, 413, 415, 422, 429, 503),
  },
});

const listRoute = createRoute({
  method: 'get',
  path: '/v1/webhooks',
  operationId: 'listWebhooks',
  tags,
  summary:
    'List subscriptions without secrets; those of other tokens show only the origin of the URL',
  ...secured('read'),
  responses: {
    200: jsonResponse('The subscriptions, oldest first', webhooksAnswerSchema),
    ...problemResponses(401, 403, 503),
  },
});

const getRoute = createRoute({
  method: 'get',
  path: '/v1/webhooks/{id}',
  operationId: 'getWebhook',
  tags,
  summary: 'Get one subscription, without its secret',
  ...secured('read'),
  request: { params: endpointParams },
  responses: {
    200: jsonResponse('The subscription', webhookAnswerSchema),
    ...problemResponses(401, 403, 404, 503),
  },
});

const patchRoute = createRoute({
  method: 'patch',
  path: '/v1/webhooks/{id}',
  operationId: 'changeWebhook',
  tags,
  summary: 'Change a subscription; omitted fields keep their values',
  ...secured('write'),
  request: { params: endpointParams, body: jsonBody(webhookPatchSchema) },
  responses: {
    200: jsonResponse('The updated subscription', webhookAnswerSchema),
    ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 503),
  },
});

const deleteRoute = createRoute({
  method: 'delete',
  path: '/v1/webhooks/{id}',
  operationId: 'deleteWebhook',
  tags,
  summary: 'Delete a subscription and its deliveries',
  ...secured('write'),
  request: { params: endpointParams },
  responses: { 204: { description: 'Gone' }, ...problemResponses(401, 403, 404, 503) },
});

/** Mounts `/v1/webhooks` and `/v1/webhooks/:id`. */
export function mountWebhooks(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  const routes = [postRoute, listRoute, getRoute, patchRoute, deleteRoute];
  for (const route of routes) app.openAPIRegistry.registerPath(route);
  const [all, one] = [postRoute.getRoutingPath(), getRoute.getRoutingPath()];
  app.post(all, guard('write'), repeatable(dependencies), (context) =>
    createWebhook(context, dependencies),
  );
  app.get(all, guard('read'), (context) => listWebhooks(context, dependencies));
  app.get(one, guard('read'), (context) => getWebhook(context, dependencies));
  app.patch(one, guard('write'), (context) => changeWebhook(context, dependencies));
  app.delete(one, guard('write'), (context) => deleteWebhook(context, dependencies));
}

/** The subscription that the URL names, or the problem `webhook-unknown`. */
export async function findWebhook(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Result<Subscription>> {
  const id = context.req.param('id') ?? '';
  if (!isEndpointId(id)) return unknownWebhook();
  const subscriptions = await callCoordinator(
    dependencies,
    keeperOf(dependencies),
    'subscriptions',
  );
  if (!subscriptions.ok) return subscriptions;
  const found = subscriptions.value.find(({ endpoint }) => endpoint === id);
  return found === undefined ? unknownWebhook() : success(found);
}

/** The subscription that the URL names, if the caller may change it. */
export async function findOwnWebhook(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Result<Subscription>> {
  const found = await findWebhook(context, dependencies);
  return found.ok ? ownedBy(context.get('caller'), found.value) : found;
}

/** The problem of an id without a webhook. */
export function unknownWebhook(): ReturnType<typeof failure> {
  return failure('webhook-unknown', 'No webhook has this id. GET /v1/webhooks lists them.');
}

async function createWebhook(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Response> {
  const body = await readBody(context.req.raw, webhookSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const { secret = await secretOf(context, 'secret'), ...asked } = body.value;
  const url = targetOf(asked.url, dependencies, context);
  if (!url.ok) return answerProblem(context, url.problem);
  const subscription: Subscription = {
    ...asked,
    endpoint: `ep_${(await uuidOf(context, dependencies, 'endpoint')).replaceAll('-', '')}`,
    url: url.value,
    owner: context.get('caller').id,
    disabled: null,
    createdAt: dependencies.now(),
  };
  const created = await subscribe(dependencies, subscription, secret);
  if (!created.ok) return answerProblem(context, created.problem);
  const known = created.value;
  const headers = { Location: `/v1/webhooks/${known?.endpoint ?? subscription.endpoint}` };
  const caller = context.get('caller');
  if (known !== null) return answerJson(presentWebhook(known, caller), 200, headers);
  return answerJson({ ...presentWebhook(subscription, caller), secret }, 201, headers);
}

/**
 * Creates a subscription and returns null, or returns the identical subscription that exists. Its courier is configured
 * first: after a crash in between, it exists but receives no events, and so sends nothing.
 */
async function subscribe(
  dependencies: EdgeDependencies,
  subscription: Subscription,
  secret: string,
): Promise<Result<Subscription | null>> {
  const { endpoint, url } = subscription;
  const signingKey = await callCoordinator(dependencies, keeperOf(dependencies), 'signingKey');
  if (!signingKey.ok) return signingKey;
  const target = { endpoint, url, secret, signingKey: signingKey.value };
  const configured = await callCourier(dependencies, endpoint, 'configure', target);
  if (!configured.ok) return configured;
  const result = await callEach(dependencies, 'subscribe', subscription);
  if (!result.ok) return result;
  // Every shard has the same subscriptions, each for the events of its writes.
  const [subscribed] = result.value;
  if (subscribed.kind === 'created') return success(null);
  await callCourier(dependencies, endpoint, 'remove');
  return subscribed.kind === 'known'
    ? success(subscribed.subscription)
    : tooManyWebhooks(subscribed.detail);
}

function tooManyWebhooks(detail: string): ReturnType<typeof failure> {
  const remedy = 'Delete a webhook that is no longer needed, or change one with PATCH.';
  return failure('too-many-webhooks', `${detail} ${remedy}`);
}

async function listWebhooks(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Response> {
  const subscriptions = await callCoordinator(
    dependencies,
    keeperOf(dependencies),
    'subscriptions',
  );
  if (!subscriptions.ok) return answerProblem(context, subscriptions.problem);
  const caller = context.get('caller');
  const webhooks = subscriptions.value.map((one) => presentWebhook(one, caller));
  return answerJson({ webhooks });
}

async function getWebhook(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const found = await findWebhook(context, dependencies);
  if (!found.ok) return answerProblem(context, found.problem);
  return answerJson(presentWebhook(found.value, context.get('caller')));
}

async function changeWebhook(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Response> {
  const body = await readBody(context.req.raw, webhookPatchSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const found = await findOwnWebhook(context, dependencies);
  if (!found.ok) return answerProblem(context, found.problem);
  const changed = await change(context, dependencies, found.value, body.value);
  if (!changed.ok) return answerProblem(context, changed.problem);
  return answerJson(presentWebhook(changed.value, context.get('caller')));
}

async function change(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  { endpoint, url: present }: Subscription,
  { url: asked, ...rest }: z.infer<typeof webhookPatchSchema>,
): Promise<Result<Subscription>> {
  const url = targetOf(asked ?? present, dependencies, context);
  if (!url.ok) return url;
  const patch = { ...defined(rest), url: url.value };
  // The change is idempotent, so a call that failed may be repeated.
  const answers = await callEach(dependencies, 'changeSubscription', endpoint, patch);
  if (!answers.ok) return answers;
  const [changed] = answers.value;
  if (changed.kind === 'unknown') return unknownWebhook();
  if (changed.kind === 'full') return tooManyWebhooks(changed.detail);
  // Done even if the URL is unchanged: a crash may have come between the subscription and its courier.
  if (asked !== undefined) {
    const moved = await moveCourier(dependencies, endpoint, url.value);
    if (!moved.ok) return moved;
  }
  return success(changed.subscription);
}

async function moveCourier(
  dependencies: EdgeDependencies,
  endpoint: string,
  url: string,
): Promise<Result<void>> {
  const signingKey = await callCoordinator(dependencies, keeperOf(dependencies), 'signingKey');
  if (!signingKey.ok) return signingKey;
  const target = { endpoint, url, secret: null, signingKey: signingKey.value };
  return callCourier(dependencies, endpoint, 'configure', target);
}

/**
 * Unsubscribes first, so that the courier gets no further events when it is removed. A retry completes a deletion that
 * a crash interrupted.
 */
async function deleteWebhook(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Response> {
  const id = context.req.param('id') ?? '';
  if (!/^ep_/.test(id) || !isEndpointId(id))
    return answerProblem(context, unknownWebhook().problem);
  // An id that is not listed may still have a courier, left by a crash. It has no owner, so any caller may delete it.
  const found = await findOwnWebhook(context, dependencies);
  if (!found.ok && found.problem.name !== 'webhook-unknown') {
    return answerProblem(context, found.problem);
  }
  const removed = await callEach(dependencies, 'unsubscribe', id);
  if (!removed.ok) return answerProblem(context, removed.problem);
  const forgotten = await callCourier(dependencies, id, 'remove');
  if (!forgotten.ok) return answerProblem(context, forgotten.problem);
  if (!removed.value.includes(true)) return answerProblem(context, unknownWebhook().problem);
  return context.body(null, 204);
}

type Defined<Type> = { [Name in keyof Type]?: Exclude<Type[Name], undefined> };

/** Omits members that are undefined: a patch would take them for values. */
function defined<Type extends object>(all: Type): Defined<Type> {
  const entries = Object.entries(all).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Defined<Type>;
}
