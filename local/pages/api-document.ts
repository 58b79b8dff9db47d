/** Reads the OpenAPI document without a Worker, since it depends only on the routes. */
import { z } from 'zod';
import type { EdgeDependencies } from '../../functions/edge/http/dependencies.ts';
import { initialMap } from '../../shared/shards/shard-map.ts';

/** The part of a JSON Schema that the page shows. */
export interface JsonSchema {
  readonly type?: string | readonly string[] | undefined;
  readonly enum?: readonly (string | number | boolean | null)[] | undefined;
  readonly items?: JsonSchema | undefined;
  readonly anyOf?: readonly JsonSchema[] | undefined;
  readonly allOf?: readonly JsonSchema[] | undefined;
  readonly properties?: Readonly<Record<string, JsonSchema>> | undefined;
  readonly additionalProperties?: boolean | JsonSchema | undefined;
  readonly required?: readonly string[] | undefined;
  readonly description?: string | undefined;
  readonly minimum?: number | undefined;
  readonly maximum?: number | undefined;
  readonly maxItems?: number | undefined;
  readonly maxLength?: number | undefined;
  readonly $ref?: string | undefined;
}

const jsonSchema: z.ZodType<JsonSchema> = z.lazy(() =>
  z.object({
    type: z.union([z.string(), z.array(z.string())]).optional(),
    enum: z.array(z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
    items: jsonSchema.optional(),
    anyOf: z.array(jsonSchema).optional(),
    allOf: z.array(jsonSchema).optional(),
    properties: z.record(z.string(), jsonSchema).optional(),
    additionalProperties: z.union([z.boolean(), jsonSchema]).optional(),
    required: z.array(z.string()).optional(),
    description: z.string().optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    maxItems: z.number().optional(),
    maxLength: z.number().optional(),
    $ref: z.string().optional(),
  }),
);

const contentSchema = z.record(z.string(), z.object({ schema: jsonSchema.optional() }));

const operationSchema = z.object({
  summary: z.string(),
  description: z.string().optional(),
  tags: z.array(z.string()),
  security: z.array(z.record(z.string(), z.array(z.string()))),
  parameters: z
    .array(
      z.object({
        name: z.string(),
        in: z.enum(['path', 'query', 'header']),
        required: z.boolean().optional(),
        description: z.string().optional(),
        schema: jsonSchema,
      }),
    )
    .default([]),
  requestBody: z.object({ required: z.boolean().optional(), content: contentSchema }).optional(),
  responses: z.record(
    z.string(),
    z.object({
      description: z.string(),
      headers: z.record(z.string(), z.object({ description: z.string() })).default({}),
      content: contentSchema.default({}),
    }),
  ),
});

const documentSchema = z.object({
  info: z.object({ description: z.string() }),
  tags: z.array(z.object({ name: z.string(), description: z.string() })),
  components: z.object({ schemas: z.record(z.string(), jsonSchema) }),
  paths: z.record(z.string(), z.record(z.string(), operationSchema)),
  webhooks: z.record(z.string(), z.record(z.string(), operationSchema)),
});

/** One method of a path, or one event of webhooks. */
export type ApiOperation = z.infer<typeof operationSchema>;

/** The part of the OpenAPI document that the page shows. */
export type ApiDocument = z.infer<typeof documentSchema>;

/** The document that `GET /openapi.json` returns. */
export async function readApiDocument(): Promise<ApiDocument> {
  // The app imports the scripts of regions, which Node can load only after this import.
  await import('./lua-imports.ts');
  const { createApp } = await import('../../functions/edge/app.ts');
  const response = await createApp(unusedDependencies).request('/openapi.json');
  return documentSchema.parse(await response.json());
}

function unused(): never {
  throw new Error('GET /openapi.json calls no dependency');
}

const unusedDependencies: EdgeDependencies = {
  configuration: {
    shards: 1,
    regions: [],
    tokens: [],
    coordinatorLocation: null,
    voteDeadlineMs: 0,
    roundTimeoutMs: 0,
    readTimeoutMs: 0,
    source: null,
    minVoters: 0,
    outAfterMs: 0,
    retention: { keptMs: 0, keptWrites: 0, keptBytes: 0, keysKeptMs: 0 },
  },
  targetPolicy: { allowLoopback: false, ownHosts: [], allowedHosts: [] },
  shards: { now: initialMap(1), given: unused, renewed: unused },
  coordinatorOf: unused,
  courierOf: unused,
  feedOf: unused,
  regionOf: unused,
  subscribe: unused,
  locate: unused,
  inBackground: unused,
  pause: unused,
  withTimeout: unused,
  asset: unused,
  now: () => 0,
  uuid: unused,
  log: (message, details) => {
    throw new Error(`${message}: ${JSON.stringify(details)}`);
  },
};
