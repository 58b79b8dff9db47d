/** The OpenAPI document: the routes with their schemas, the paths without a route, and the events of webhooks. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { jsonText } from '../../../shared/commands/replies.ts';
import { eventSchemas } from '../../../shared/webhooks/event-schemas.ts';
import { headersOf } from './openapi.ts';
import { openPaths, upstashPaths } from './openapi-upstash.ts';
import type { EdgeEnvironment } from './respond.ts';

const description = `One write lands in every region's Redis, or in none.

Errors are problems of RFC 9457: \`type\` is stable and can be opened, \`detail\` says how to proceed. Every response carries
\`X-Request-Id\`. The name behind \`bearer\` is the scope that the token needs; \`admin\` includes \`write\`, which
includes \`read\`.`;

const tags: Readonly<Record<string, string>> = {
  Writes: 'Transactions across all regions.',
  Reads: 'Snapshots of several keys, in the nearest region.',
  Keys: 'Single keys, with ETags.',
  Changes: 'The change feed.',
  Webhooks: 'Event subscriptions and their deliveries.',
  Regions: 'The state of the regions.',
  Administration: 'Commands for operators.',
  Upstash: 'The REST protocol of Upstash.',
  Open: 'Endpoints that need no token.',
};

/**
 * Returns a function that makes the text of the document on its first call, since all routes are mounted only by then.
 */
export function openApiOf(app: OpenAPIHono<EdgeEnvironment>): () => string {
  registerEvents(app);
  let text: string | null = null;
  return () => {
    text ??= jsonText(documentOf(app));
    return text;
  };
}

function registerEvents(app: OpenAPIHono<EdgeEnvironment>): void {
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
  });
  for (const [type, schema] of Object.entries(eventSchemas)) {
    app.openAPIRegistry.registerWebhook({
      method: 'post',
      path: type,
      operationId: `on:${type}`,
      summary: `The event ${type}`,
      tags: ['Webhooks'],
      description:
        'Signed according to Standard Webhooks, in the headers webhook-id, webhook-timestamp and webhook-signature. The same event may arrive twice, with the same webhook-id.',
      security: [],
      request: { body: { required: true, content: { 'application/json': { schema } } } },
      responses: {
        '2XX': { description: 'Delivered' },
        410: { description: 'The receiver wants no further calls' },
      },
    });
  }
}

function documentOf(app: OpenAPIHono<EdgeEnvironment>): unknown {
  const document = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Lockstep',
      version: '0.1.0',
      description,
      license: { name: 'MIT', url: 'https://opensource.org/license/mit' },
    },
    servers: [{ url: '/' }],
    tags: Object.entries(tags).map(([name, meaning]) => ({ name, description: meaning })),
  });
  const paths: unknown = { ...document.paths, ...upstashPaths, ...openPaths };
  return withoutDefaults(withRequestIds({ ...document, paths }), true);
}

/** Adds `X-Request-Id` to the headers of every response. */
function withRequestIds(document: Readonly<Record<string, unknown>>): unknown {
  return mapMembers(document, 'paths', (paths) =>
    mapAll(paths, (item) =>
      mapAll(item, (operation) =>
        mapMembers(operation, 'responses', (responses) =>
          mapAll(responses, (response) =>
            mapMembers(response, 'headers', (headers) => ({
              ...headersOf(['X-Request-Id']),
              ...(isObject(headers) ? headers : {}),
            })),
          ),
        ),
      ),
    ),
  );
}

/**
 * Moves the default of a member into its description. A generator of clients would take a member with `default` for one
 * that is always present, and require it in requests as well.
 */
function withoutDefaults(value: unknown, isRoot = false): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutDefaults(item));
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([name, member]) => {
    // The value of an example is data, even if one of its members is called `default`.
    const isData = !isRoot && (name === 'example' || name === 'examples');
    return [name, isData ? member : withoutDefaults(member)] as const;
  });
  const copy = Object.fromEntries(entries);
  if (!('default' in copy) || !('type' in copy || 'enum' in copy || 'anyOf' in copy)) return copy;
  const { default: initial, ...rest } = copy;
  const spoken = `Default: ${JSON.stringify(initial)}.`;
  const extended = typeof rest.description === 'string' ? `${rest.description} ${spoken}` : spoken;
  return { ...rest, description: extended };
}

type Members = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function mapAll(value: unknown, change: (member: unknown) => unknown): unknown {
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, change(member)]));
}

function mapMembers(value: unknown, name: string, change: (member: unknown) => unknown): unknown {
  return isObject(value) ? { ...value, [name]: change(value[name]) } : value;
}
