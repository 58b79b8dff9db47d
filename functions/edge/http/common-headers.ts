/** The headers of every response: its request id, and those that browsers need. One middleware, since all pay for it. */
import type { MiddlewareHandler } from 'hono';
import type { EdgeEnvironment } from './respond.ts';

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

/**
 * Tokens travel in a header and never in a cookie, so a page of any origin can use only the token that its user gave it.
 * No page may frame the API.
 */
const fixedHeaders = Object.entries({
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Expose-Headers': exposedHeaders.join(','),
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Origin-Agent-Cluster': '?1',
  'Referrer-Policy': 'no-referrer',
  'Strict-Transport-Security': 'max-age=15552000; includeSubDomains',
  'X-Content-Type-Options': 'nosniff',
  'X-DNS-Prefetch-Control': 'off',
  'X-Download-Options': 'noopen',
  'X-Frame-Options': 'DENY',
  'X-Permitted-Cross-Domain-Policies': 'none',
  'X-XSS-Protection': '0',
});

/** A page of the documentation has a policy of its own. */
const policy = ['Content-Security-Policy', "default-src 'none'; frame-ancestors 'none'"] as const;

/** The response to a browser that asks, before it sends a request from a page, whether it may. */
const preflightHeaders = {
  'Access-Control-Allow-Methods': 'GET,HEAD,PUT,POST,DELETE,PATCH,QUERY',
  'Access-Control-Allow-Headers': acceptedHeaders.join(','),
  Vary: 'Access-Control-Request-Headers',
};

/** Gives the request an id, that of its client if it has one, and its response the headers that all have. */
export const commonHeaders: MiddlewareHandler<EdgeEnvironment> = async (context, next) => {
  const id = requestIdOf(context.req.header('x-request-id'));
  context.set('requestId', id);
  if (context.req.method === 'OPTIONS') {
    context.res = new Response(null, { status: 204, headers: preflightHeaders });
  } else await next();
  if (!complete(context.res.headers, id)) {
    // A response of another service: its headers cannot be changed.
    const { res } = context;
    context.res = undefined;
    context.res = new Response(res.body, res);
    complete(context.res.headers, id);
  }
};

function requestIdOf(given: string | undefined): string {
  const isUsable = given !== undefined && given.length <= 255 && /^[\w\-=]+$/.test(given);
  return isUsable ? given : crypto.randomUUID();
}

/** Adds the headers; false if they cannot be changed. */
function complete(headers: Headers, id: string): boolean {
  try {
    headers.set('X-Request-Id', id);
  } catch {
    return false;
  }
  for (const [name, value] of fixedHeaders) headers.set(name, value);
  if (!headers.has(policy[0])) headers.set(policy[0], policy[1]);
  return true;
}
