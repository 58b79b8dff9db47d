/**
 * The paths of the Upstash REST protocol, and those that need no token, for the OpenAPI document. They are written by
 * hand because no route parses them by a schema.
 */

const json = (schema: object, example?: unknown) => ({
  'application/json': { schema, ...(example === undefined ? {} : { example }) },
});

const command = { type: 'array', minItems: 1, items: { type: ['string', 'number', 'boolean'] } };
const commands = { type: 'array', minItems: 1, items: command };
const result = {
  type: 'object',
  description: 'The Redis reply to the command, or its error.',
  properties: { result: {}, error: { type: 'string' } },
};

const encodingHeaders = [
  {
    name: 'Upstash-Encoding',
    in: 'header',
    description: '`base64`: every string of the response is base64-encoded.',
    schema: { type: 'string', enum: ['base64'] },
  },
  {
    name: 'Upstash-Response-Format',
    in: 'header',
    description: '`resp2`: the response is in the Redis protocol format.',
    schema: { type: 'string', enum: ['json', 'resp2'] },
  },
  {
    name: 'Lockstep-Consistency',
    in: 'header',
    description: '`local`: reads return the committed data of one region, which may be stale.',
    schema: { type: 'string', enum: ['strong', 'local'], default: 'strong' },
  },
  {
    name: 'Idempotency-Key',
    in: 'header',
    description: 'A request with the same key is executed once.',
    schema: { type: 'string' },
  },
];

const syncToken = {
  'Upstash-Sync-Token': {
    description: 'Changes with each write. Strong reads do not need it.',
    schema: { type: 'string' },
  },
};

const refusals = {
  400: { description: 'The error of Redis, or of the request', content: json(result) },
  401: { description: 'No valid token', content: json(result) },
  413: { description: 'The request exceeds a limit', content: json(result) },
  429: { description: 'Too many writes are waiting', content: json(result) },
  503: { description: 'Nothing was written, or the outcome is unknown', content: json(result) },
};

const bearer = [{ bearer: ['read'] }];

function operation(operationId: string, summary: string, rest: object) {
  return { operationId, summary, tags: ['Upstash'], security: bearer, ...rest };
}

function posted(operationId: string, summary: string, schema: object, example: unknown) {
  return operation(operationId, summary, {
    parameters: encodingHeaders,
    requestBody: { required: true, content: json(schema, example) },
    responses: {
      200: {
        description: 'The result, or one per command',
        headers: syncToken,
        content: json(schema === command ? result : { type: 'array', items: result }),
      },
      ...refusals,
    },
  });
}

const nameParameter = (name: string, description: string, example: string) => ({
  name,
  in: 'path',
  required: true,
  description,
  schema: { type: 'string' },
  example,
});

const events = {
  200: { description: 'Server-sent events', content: { 'text/event-stream': { schema: {} } } },
  ...refusals,
};

/** The paths of the Upstash REST protocol. */
export const upstashPaths = {
  '/': {
    post: posted('runCommand', 'One Redis command', command, ['SET', 'greeting', 'hello']),
  },
  '/pipeline': {
    post: posted('runPipeline', 'Several commands in order, each on its own', commands, [
      ['SET', 'a', '1'],
      ['GET', 'a'],
    ]),
  },
  '/multi-exec': {
    post: posted('runTransaction', 'Several commands as one transaction', commands, [
      ['INCR', 'a'],
      ['INCR', 'b'],
    ]),
  },
  '/{command}/{arguments}': {
    get: operation('runCommandOfPath', 'One Redis command in the URL', {
      description:
        'Further arguments follow, separated by slashes; a POST body is appended as the last argument, then the query parameters.',
      parameters: [
        nameParameter('command', 'Its name', 'get'),
        nameParameter('arguments', 'Percent-encoded', 'greeting'),
        ...encodingHeaders,
      ],
      responses: {
        200: { description: 'The result', headers: syncToken, content: json(result) },
        ...refusals,
      },
    }),
  },
  '/subscribe/{channel}': {
    get: operation('subscribe', 'Subscribe to channels, as server-sent events', {
      parameters: [nameParameter('channel', 'One or more, separated by slashes', 'news')],
      responses: events,
    }),
  },
  '/psubscribe/{pattern}': {
    get: operation('subscribeToPattern', 'Subscribe to channel patterns, as server-sent events', {
      parameters: [nameParameter('pattern', 'One or more, separated by slashes', 'news.*')],
      responses: events,
    }),
  },
  '/monitor': {
    get: operation('monitor', 'Monitor committed writes, as server-sent events', {
      responses: events,
    }),
  },
};

/** Paths that need no token. */
export const openPaths = {
  '/healthz': {
    get: {
      operationId: 'getHealth',
      summary: 'Check that the Worker runs; contacts nothing else',
      tags: ['Open'],
      security: [],
      responses: {
        200: {
          description: 'It runs',
          content: json({ type: 'object', properties: { ok: { type: 'boolean' } } }),
        },
        503: { description: 'The configuration is invalid' },
      },
    },
  },
  '/problems/{name}': {
    get: {
      operationId: 'getProblem',
      summary: 'Explain a problem type and its remedy',
      tags: ['Open'],
      security: [],
      parameters: [nameParameter('name', "The last part of a problem's `type`", 'check-failed')],
      responses: {
        200: {
          description: 'The problem type',
          content: json({
            type: 'object',
            required: ['type', 'title', 'status', 'remedy'],
            properties: {
              type: { type: 'string' },
              title: { type: 'string' },
              status: { type: 'integer' },
              remedy: { type: 'string' },
            },
          }),
        },
        404: { description: 'There is no such problem type' },
      },
    },
  },
};
