/** Schemas of the bodies of webhook events, for the OpenAPI document. event-text.ts writes the bodies. */
import { z } from '@hono/zod-openapi';

const timestamp = z.iso.datetime().openapi({ example: '2026-11-30T12:00:00.000Z' });

const test = z
  .literal(true)
  .optional()
  .openapi({ description: 'Only in an event sent by `POST /v1/webhooks/{id}/test`.' });

const writeData = z.object({
  id: z
    .string()
    .openapi({ example: '0-01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2' })
    .describe('The id of the write.'),
  transaction: z
    .string()
    .nullable()
    .openapi({ example: '0.3.1288' })
    .describe('shard.incarnation.sequence; null if the write was given up.'),
  sequence: z
    .int()
    .nullable()
    .openapi({ example: 1041 })
    .describe('The position in the change feed; null if nothing was written.'),
  keys: z
    .array(z.string())
    .openapi({ example: ['stock:42'] })
    .describe('The keys of the write.'),
  keysOmitted: z.literal(true).optional().openapi({
    description: 'The keys are too large to send to every receiver of the write.',
  }),
  test,
});
const writeValues = {
  commands: z
    .array(z.array(z.string()))
    .optional()
    .openapi({ description: 'With `values`: the commands as every region executed them.' }),
  results: z.array(z.unknown()).optional().openapi({ description: 'With `values`.' }),
  valuesOmitted: z
    .literal(true)
    .optional()
    .openapi({ description: 'The values were requested but are too large to send.' }),
};

const regionData = z.object({
  region: z.string().openapi({ example: 'eu-west-1' }),
  sequence: z.int().describe('The position in the change feed.'),
  epoch: z.int().describe('The epoch after the change.'),
  cause: z
    .string()
    .nullable()
    .describe('The reason why the region has no vote; null if it has one.'),
  detail: z.string().nullable().describe('The cause in words.'),
  test,
});

function regionEvent(type: `region.${string}`) {
  return z.object({ type: z.literal(type), timestamp, data: regionData });
}

/** The body of each type of event. */
export const eventSchemas = {
  'write.committed': z.object({
    type: z.literal('write.committed'),
    timestamp,
    data: writeData.extend(writeValues),
  }),
  'write.confirmed': z.object({
    type: z.literal('write.confirmed'),
    timestamp,
    data: writeData.extend({
      regions: z.record(z.string(), z.number().nullable()).openapi({
        description:
          'Per region: ms from the decision to its acknowledgement; null if a restart lies between.',
        example: { 'us-east-1': 3, 'eu-west-1': 71 },
      }),
      ...writeValues,
    }),
  }),
  'write.aborted': z.object({
    type: z.literal('write.aborted'),
    timestamp,
    data: writeData.extend({ reason: z.string() }),
  }),
  'endpoint.disabled': z.object({
    type: z.literal('endpoint.disabled'),
    timestamp,
    data: z.object({ endpoint: z.string(), reason: z.string(), test }),
  }),
  'region.out': regionEvent('region.out'),
  'region.returned': regionEvent('region.returned'),
  'region.diverged': regionEvent('region.diverged'),
} as const;
