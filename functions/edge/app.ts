/** The route table of the HTTP API, its common headers, and the responses to requests that match no route. */
import { OpenAPIHono } from '@hono/zod-openapi';
import type { HonoRequest } from 'hono';
import { cors } from 'hono/cors';
import { requestId } from 'hono/request-id';
import { secureHeaders } from 'hono/secure-headers';
import type { ConfigurationResult } from '../../shared/config/configuration.ts';
import { failure } from '../../shared/http/problems.ts';
import { webhookHeader } from '../../shared/webhooks/target.ts';
import { mountAdminRegions } from './admin/admin-regions-route.ts';
import { mountAdminDoubt } from './admin/in-doubt-route.ts';
import { mountRegions } from './admin/regions-route.ts';
import { mountAdminVerify } from './admin/verify-route.ts';
import { EdgeScripts } from './cache/script-cache.ts';
import { mountChanges } from './changes/route.ts';
import { mountDoctor } from './doctor/route.ts';
import { createAuthenticate, createGuard } from './http/authenticate.ts';
import type { EdgeDependencies } from './http/dependencies.ts';
import { mountDocs } from './http/docs.ts';
import { answerJson, answerProblem, type EdgeEnvironment } from './http/respond.ts';
import { mountKeys } from './keys/route.ts';
import { RegionReader } from './reads/region-reader.ts';
import { mountReads } from './reads/route.ts';
import { serveUpstash } from './upstash/route.ts';
import { mountDeliveries } from './webhooks/deliveries-route.ts';
import { mountWebhooks } from './webhooks/route.ts';
import { mountWrites } from './writes/route.ts';
import { WriteSender } from './writes/send-writes.ts';

/** The HTTP API, with each route registered for its OpenAPI document. */
export type EdgeApp = OpenAPIHono<EdgeEnvironment>;

const exposedHeaders = [
  'ETag',
  'Idempotency-Kept-Until',
  'Idempotency-Replayed',
  'Location',
  'Lockstep-Callback',
  'Lockstep-Consistency',
  'Lockstep-Region',
  'Lockstep-Via',
  'Preference-Applied',
  'Retry-After',
  'Server-Timing',
  'Upstash-Sync-Token',
  'X-Request-Id',
];
const acceptedHeaders = [
  'Authorization',
  'Cache-Control',
  'Content-Type',
  'Idempotency-Key',
  'If-Match',
  'If-None-Match',
  'Last-Event-ID',
  'Lockstep-Consistency',
  'Prefer',
  'Upstash-Encoding',
  'Upstash-Response-Format',
  'Upstash-Sync-Token',
  'Upstash-Telemetry-Platform',
  'Upstash-Telemetry-Retry',
  'Upstash-Telemetry-Runtime',
  'Upstash-Telemetry-Sdk',
  'X-Request-Id',
];

/** Methods that a browser sends without `Origin`, or before it asks for more. */
const readingMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Builds the API from its dependencies. One app serves an isolate for its whole life. */
export function createApp(dependencies: EdgeDependencies): EdgeApp {
  const app = createBareApp(dependencies.log);
  const authenticate = createAuthenticate(dependencies.configuration.tokens);
  const guard = createGuard(authenticate);
  const reader = new RegionReader(dependencies);
  const scripts = new EdgeScripts(dependencies);
  const sender = new WriteSender(dependencies);
  const upstash = serveUpstash(dependencies, { reader, scripts, sender }, authenticate);
  app.get('/healthz', () => answerJson({ ok: true }));
  mountDocs(app, dependencies);
  mountWrites(app, dependencies, sender, guard);
  mountReads(app, dependencies, { reader, scripts }, guard);
  mountKeys(app, dependencies, { reader, sender }, guard);
  mountChanges(app, dependencies, guard);
  // Before the routes of `/v1/webhooks/{id}`, which would take the `keys` of /v1/webhooks/keys for an id.
  mountDeliveries(app, dependencies, guard);
  mountWebhooks(app, dependencies, guard);
  mountRegions(app, dependencies, guard);
  mountAdminRegions(app, dependencies, guard);
  mountAdminDoubt(app, dependencies, guard);
  mountAdminVerify(app, dependencies, guard);
  mountDoctor(app, dependencies, guard);
  // Clients of Upstash send commands to `/` by POST or PUT; a GET is a person's, and is redirected to the docs.
  app.on(['POST', 'PUT'], '/', upstash);
  refuseOtherMethods(app);
  app.all('*', upstash);
  return app;
}

/** Serves while the configuration is invalid: every response names the variable and says how to correct it. */
export function createMisconfiguredApp(
  { variable, detail }: Extract<ConfigurationResult, { ok: false }>,
  log: EdgeDependencies['log'],
): EdgeApp {
  log('configuration is invalid', { variable, detail });
  const app = createBareApp(log);
  // Clients of Upstash read `error`.
  const problem = failure('configuration-invalid', detail, { variable, error: `ERR ${detail}` });
  app.all('*', (context) => answerProblem(context, problem.problem));
  return app;
}

/**
 * Adds the headers that browsers heed. Each costs CPU, and most requests are writes and reads by servers, so the answer
 * to a server has only those that matter for any client.
 */
function mountCommonHeaders(app: EdgeApp): void {
  // No page may frame the API. Pages of other origins may call it, with a token of their user.
  const common = {
    xFrameOptions: 'DENY',
    crossOriginResourcePolicy: false,
    contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    overwrite: false,
  };
  const toBrowsers = secureHeaders(common);
  const toServers = secureHeaders({
    ...common,
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  });
  // Tokens travel in a header and never in a cookie, so a page of any origin can use only the token that its user gave
  // it.
  const allowOrigins = cors({
    origin: '*',
    allowHeaders: acceptedHeaders,
    exposeHeaders: exposedHeaders,
  });
  app.use((context, next) =>
    isFromServer(context.req) ? toServers(context, next) : toBrowsers(context, next),
  );
  app.use(async (context, next) => {
    if (!isFromServer(context.req)) return allowOrigins(context, next);
    await next();
    // hono adds its id only to responses that it makes itself, or if a header was set before.
    context.res.headers.set('X-Request-Id', context.get('requestId'));
  });
}

/**
 * True if no browser sent the request: with any method that may change something, a browser sends `Origin`
 * (https://fetch.spec.whatwg.org/#origin-header).
 */
function isFromServer(request: HonoRequest): boolean {
  return !readingMethods.has(request.method) && request.header('Origin') === undefined;
}

function createBareApp(log: EdgeDependencies['log']): EdgeApp {
  const app: EdgeApp = new OpenAPIHono<EdgeEnvironment>();
  app.use(requestId());
  mountCommonHeaders(app);
  // A receiver that forwards a webhook to Lockstep could cause another webhook, and so on without end.
  app.use(async (context, next) => {
    if (context.req.header(webhookHeader) === undefined) return next();
    const detail = `A request with the header ${webhookHeader} comes from a webhook of Lockstep.`;
    const problem = failure('webhook-loop', detail, { error: `ERR ${detail}` });
    return answerProblem(context, problem.problem);
  });
  app.notFound((context) => {
    const detail = 'There is no resource at this URL. See /openapi.json.';
    return answerProblem(context, failure('not-found', detail).problem);
  });
  app.onError((error, context) => {
    const id = context.get('requestId');
    log('request failed', { requestId: id, error: error.stack ?? String(error) });
    const detail = `This is a bug in Lockstep. Report it with the request id ${id}.`;
    return answerProblem(context, failure('internal', detail).problem);
  });
  return app;
}

/** Answers 405, with `Allow`, to every method that a known URL does not support. */
function refuseOtherMethods(app: EdgeApp): void {
  const methods = new Map<string, Set<string>>();
  for (const { path, method } of app.routes) {
    if (method === 'ALL') continue;
    const known = methods.get(path) ?? new Set(['OPTIONS']);
    known.add(method);
    if (method === 'GET') known.add('HEAD');
    methods.set(path, known);
  }
  for (const [path, known] of methods) {
    const allow = [...known].sort().join(', ');
    app.all(path, (context) => {
      const detail = `This URL supports ${allow}.`;
      const refused = failure('method-not-allowed', detail, {}, { Allow: allow });
      return answerProblem(context, refused.problem);
    });
  }
}
