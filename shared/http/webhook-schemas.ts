/** Schemas of the requests and responses of webhooks and the change feed. */
import { z } from '@hono/zod-openapi';
import { eventTypes } from '../contracts/webhooks-and-feed.ts';
import { limits } from '../limits.ts';
import { isSecret } from '../webhooks/signature.ts';
import { memberSchema } from './admin-schemas.ts';
import { flag, pageCursor, pageSize, positionMaximum, wholeNumber } from './query-schemas.ts';

const endpointPattern = /^(?:ep_[0-9a-f]{32}|cb_[A-Za-z0-9_-]{22})$/;
const example = 'ep_01990a5c7d3e7c1a9b642f0d8a51c7e2';

const urlSchema = z
  .string()
  .min(1, 'a target has a URL')
  .refine((url) => new TextEncoder().encode(url).length <= limits.urlBytes, {
    message: `a URL has up to ${limits.urlBytes} bytes`,
  })
  .openapi({ example: 'https://example.com/hooks/lockstep' });

const secretSchema = z
  .string()
  .refine(isSecret, { message: 'a secret is whsec_ and the base64 of 24 to 64 bytes' })
  .openapi({ example: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' });

const eventSchema = z.enum(eventTypes);
const prefixSchema = z
  .string()
  .min(1, 'a prefix has at least one character')
  .max(limits.keyBytes)
  .refine((prefix) => prefix.isWellFormed(), { message: 'a prefix is valid Unicode text' });

const prefixesSchema = z
  .array(prefixSchema)
  .max(limits.prefixesPerSubscription)
  .openapi({
    description:
      'Deliver only writes that touch a key with one of these prefixes. If empty, every write. Aborts and region events are always delivered.',
    example: ['order:'],
  });

const eventsSchema = z.array(eventSchema).min(1, 'name at least one event').transform(distinct);

const valuesSchema = z.boolean().openapi({
  description: 'True adds the commands and their results to the payload.',
});

const descriptionSchema = z.string().max(limits.descriptionCharacters);

/** The `callback` of a write: the receiver of its outcome. */
export const callbackSchema = z
  .strictObject({
    url: urlSchema.describe('The URL of the receiver.'),
    secret: secretSchema
      .optional()
      .describe(
        'The secret that signs the event, `whsec_` and base64. If omitted, only the public key signs.',
      ),
    events: z
      .array(eventSchema.extract(['write.committed', 'write.confirmed', 'write.aborted']))
      .min(1, 'name at least one event')
      .default(['write.confirmed'])
      .transform(distinct),
    values: valuesSchema.default(false),
  })
  .openapi('Callback');

/** The body of `POST /v1/webhooks`. */
export const webhookSchema = z
  .strictObject({
    url: urlSchema.describe('The URL of the receiver.'),
    events: eventsSchema.default([...eventTypes]),
    prefixes: prefixesSchema.default([]),
    values: valuesSchema.default(false),
    description: descriptionSchema.default('').describe('A note for operators.'),
    secret: secretSchema
      .optional()
      .describe(
        'The secret that signs events, `whsec_` and base64. If omitted, Lockstep makes one.',
      ),
  })
  .openapi('NewWebhook', { example: { url: 'https://example.com/hooks', prefixes: ['order:'] } });

/** The body of `PATCH /v1/webhooks/{id}`. */
export const webhookPatchSchema = z
  .strictObject({
    url: urlSchema.optional(),
    events: eventsSchema.optional(),
    prefixes: prefixesSchema.optional(),
    values: valuesSchema.optional(),
    description: descriptionSchema.optional(),
  })
  .openapi('WebhookPatch');

/** The body of `POST /v1/webhooks/{id}/rotate`. */
export const rotationSchema = z
  .strictObject({
    secret: secretSchema.optional().describe('The new secret. If omitted, Lockstep makes one.'),
    overlapMs: z
      .int()
      .min(0)
      .max(limits.secretOverlapMsMaximum)
      .default(limits.secretOverlapMsDefault)
      .openapi({ description: 'The time during which both secrets sign, ms.' }),
  })
  .openapi('Rotation');

/** The body of `POST /v1/webhooks/{id}/test`. */
export const testSchema = z
  .strictObject({
    type: eventSchema.optional().openapi({
      description: 'If omitted, the first event type of the webhook.',
    }),
  })
  .openapi('TestEvent');

/** The body of `POST /v1/webhooks/{id}/replay`. */
export const replaySchema = z
  .union(
    [
      z.strictObject({
        event: z.string().min(1).max(limits.eventIdCharacters).describe('Resend this event.'),
      }),
      z.strictObject({
        since: z
          .union([z.int().min(0), z.iso.datetime({ offset: true })])
          .describe('Resend events since this time.'),
        delivered: z.boolean().default(false).openapi({
          description: 'True also resends events that were delivered.',
        }),
      }),
    ],
    { error: 'a replay names {event}, or {since} as an ISO 8601 time or ms since 1970' },
  )
  .openapi('Replay');

/** The query of `GET /v1/webhooks/{id}/deliveries`. */
export const deliveriesQuerySchema = z.strictObject({
  state: z
    .enum(['waiting', 'delivered', 'failed'])
    .optional()
    .openapi({ description: 'Only deliveries in this state.' }),
  before: pageCursor(),
  limit: pageSize(limits.deliveriesPerPage, limits.deliveriesPerPage),
});

/** The query of `GET /v1/changes`; `prefix` may be repeated. */
export const changesQuerySchema = z.strictObject({
  since: wholeNumber(0, positionMaximum).optional().openapi({
    description:
      'Changes after this sequence; 0 means from the first. If omitted, changes from now on.',
  }),
  limit: pageSize(limits.changesPerPage, limits.changesPerPageDefault),
  prefix: z.array(prefixSchema).max(limits.prefixesPerSubscription).default([]).openapi({
    description: 'Only writes that touch a key with this prefix. May be repeated.',
  }),
  values: flag().openapi({
    description: 'True adds the commands of each write and their results.',
  }),
  members: flag().openapi({
    description: 'True adds membership changes, regardless of the prefixes, in the field `member`.',
  }),
});

/** The path of the routes of one webhook. */
export const endpointParams = z.object({
  id: z.string().openapi({ description: 'The id of the webhook.', example }),
});

/** The path of the routes that also serve callbacks. */
export const webhookOrCallbackParams = z.object({
  id: z.string().openapi({
    description: 'The id of the webhook, or the endpoint id of callbacks from Lockstep-Callback.',
    example,
  }),
});

/** The path of one delivery. */
export const deliveryParams = webhookOrCallbackParams.extend({
  event: z.string().openapi({
    description: 'The id of the event, which its delivery has in the header webhook-id.',
    example: '0-01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2.write.confirmed',
  }),
});

/** A subscription as clients see it. */
export const webhookAnswerSchema = z
  .object({
    id: z.string().openapi({ example }),
    url: z.string().openapi({
      description:
        'The full URL for the token that created the webhook and for the scope admin; other tokens see its origin.',
    }),
    events: z.array(eventSchema),
    prefixes: z.array(z.string()),
    values: z.boolean(),
    description: z.string(),
    disabled: z
      .object({ at: z.string(), reason: z.string() })
      .nullable()
      .describe('The time and the reason if the endpoint is disabled; otherwise null.'),
    createdAt: z.string().openapi({ example: '2026-11-22T09:00:00.000Z' }),
  })
  .openapi('Webhook');

/** A new subscription with its secret, which is shown only in this response. */
export const createdWebhookSchema = webhookAnswerSchema
  .extend({ secret: secretSchema })
  .openapi('CreatedWebhook');

/** The response to `GET /v1/webhooks`. */
export const webhooksAnswerSchema = z
  .object({ webhooks: z.array(webhookAnswerSchema) })
  .openapi('Webhooks');

/** The response to a rotation. */
export const rotatedSchema = z
  .object({ secret: secretSchema, overlapMs: z.int() })
  .openapi('Rotated');

const answerSchema = z.string().nullable().openapi({
  description:
    "The beginning of the receiver's response, or the reason for its absence; null if the token may not see it.",
});

const deliverySchema = z.object({
  event: z.string().describe('The id of the event.'),
  type: eventSchema,
  state: z.enum(['waiting', 'delivered', 'failed']),
  attempts: z.int().describe('The number of attempts so far.'),
  status: z
    .int()
    .nullable()
    .describe('The HTTP status of the last attempt; null without a response.'),
  ms: z.number().nullable().describe('The duration of the last attempt, ms.'),
  answer: answerSchema,
  at: z.string().describe('The time of the event.'),
  lastAttemptAt: z.string().nullable(),
  nextAttemptAt: z
    .string()
    .nullable()
    .describe('The time of the next attempt; null if none is due.'),
});

/** One delivery with its attempts and payload. */
export const deliveryAnswerSchema = deliverySchema
  .extend({
    history: z
      .array(
        z.object({
          at: z.string().describe('The end of the attempt.'),
          status: z.int().nullable().describe('The HTTP status; null without a response.'),
          ms: z.number(),
          answer: answerSchema,
        }),
      )
      .openapi({
        description: `The newest ${limits.attemptsKeptPerDelivery} attempts, oldest first.`,
      }),
    payload: z.string().nullable().openapi({
      description: 'The JSON text of the delivery; null if the token may not see it.',
    }),
  })
  .openapi('Delivery');

/** A page of the delivery log, newest first. */
export const deliveriesAnswerSchema = z
  .object({
    deliveries: z.array(deliverySchema),
    before: z
      .int()
      .nullable()
      .openapi({ description: 'The cursor of the next page; null at the end.' }),
  })
  .openapi('Deliveries');

/** The public keys as a JWK set. `publicKey` is the same key in the format of Standard Webhooks. */
export const webhookKeysSchema = z
  .object({
    keys: z.array(
      z.object({
        kid: z.string(),
        kty: z.literal('OKP'),
        crv: z.literal('Ed25519'),
        x: z.string(),
        publicKey: z
          .string()
          .openapi({ example: 'whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=' })
          .describe('The key in the format of Standard Webhooks.'),
      }),
    ),
  })
  .openapi('WebhookKeys');

/** A page of the change feed. */
export const changesAnswerSchema = z
  .object({
    changes: z.array(
      z.object({
        sequence: z.int().openapi({ example: 1041 }).describe('The position in the change feed.'),
        at: z.string().describe('The time of the decision.'),
        id: z.string().optional().describe('The id of the write.'),
        transaction: z.string().optional().describe('shard.incarnation.sequence.'),
        keys: z.array(z.string()).optional().describe('The keys of the write.'),
        member: memberSchema.optional().describe('A membership change, with `members=true`.'),
        commands: z
          .array(z.array(z.string()))
          .optional()
          .describe('With `values=true`: the commands as every region executed them.'),
        results: z
          .array(z.unknown())
          .optional()
          .describe('With `values=true`: one result per command.'),
      }),
    ),
    next: z.int().openapi({ description: 'The `since` of the next request.' }),
    newest: z.int().describe('The sequence of the newest change.'),
  })
  .openapi('Changes');

/** True if `id` has the form of an endpoint id. */
export function isEndpointId(id: string): boolean {
  return endpointPattern.test(id);
}

function distinct<Item>(items: readonly Item[]): readonly Item[] {
  return [...new Set(items)];
}
