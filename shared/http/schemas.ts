/** Schemas of the requests and responses of writes, reads and keys. */
import { z } from '@hono/zod-openapi';
import type { Check } from '../contracts/frame.ts';
import { limits } from '../limits.ts';
import { problemType } from './problems.ts';
import { callbackSchema } from './webhook-schemas.ts';

/** An argument of a command. The parser of bodies has refused numbers that it would alter. */
const argumentSchema = z
  .union([z.string(), z.number()], { error: 'an argument is a string or a number' })
  .openapi({ description: 'Integers beyond 2^53 must be strings.' });

const commandSchema = z
  .array(argumentSchema)
  .min(1, 'a command has a name')
  .max(limits.argumentsPerOperation);

const keySchema = z.string().openapi({ example: 'stock:42' });
const absentCheck = z.strictObject({ key: keySchema, absent: z.literal(true) });
const existsCheck = z.strictObject({ key: keySchema, exists: z.literal(true) });
const equalsCheck = z.strictObject({ key: keySchema, equals: argumentSchema });
const typeCheck = z.strictObject({
  key: keySchema,
  type: z.enum(['string', 'hash', 'set', 'zset', 'list', 'stream']),
});
const fieldCheck = z.strictObject({ key: keySchema, field: z.string(), equals: argumentSchema });

/** A check in the form in which clients send it. */
export const checkSchema = z
  .union([absentCheck, existsCheck, equalsCheck, typeCheck, fieldCheck], {
    error:
      'a check is {key, absent: true}, {key, exists: true}, {key, equals}, {key, type} or {key, field, equals}',
  })
  .openapi('Check');

/** The body of `POST /v1/writes`. */
export const writeSchema = z
  .strictObject({
    ops: z
      .array(commandSchema)
      .min(1, 'a write has at least one operation')
      .max(limits.operationsPerWrite)
      .openapi({
        description: 'Redis commands, executed in order, all or none.',
        example: [
          ['SET', 'stock:42', 7],
          ['INCR', 'orders'],
        ],
      }),
    checks: z.array(checkSchema).max(limits.checksPerWrite).default([]),
    ack: z.enum(['committed', 'confirmed']).default('committed').openapi({
      description:
        'The time of the response: once the decision is durable, or once every region has applied it.',
    }),
    timeoutMs: z
      .int()
      .min(limits.timeoutMsMinimum)
      .max(limits.timeoutMsMaximum)
      .default(limits.timeoutMsDefault),
    priority: z.int().min(0).max(limits.priorityMaximum).default(0),
    notAfter: z.int().min(0).nullable().default(null).openapi({
      description: 'No attempt starts after this time, in ms since 1970.',
    }),
    callback: callbackSchema.optional(),
  })
  // An example without `callback`: the documentation page would otherwise send events to the example's URL.
  .openapi('Write', {
    example: {
      ops: [
        ['SET', 'stock:42', 7],
        ['INCR', 'orders'],
      ],
    },
  });

const consistencySchema = z.enum(['strong', 'local']).default('strong').openapi({
  description:
    '`strong` reads the newest committed state; `local` reads the state of one region, which may be stale.',
});
const regionSchema = z
  .string()
  .openapi({ description: 'Read from this region instead of the nearest.' });

/** The body of `POST /v1/reads`. */
export const readSchema = z
  .strictObject({
    reads: z
      .array(commandSchema)
      .min(1, 'a snapshot has at least one command')
      .max(limits.readsPerSnapshot)
      .openapi({
        example: [
          ['GET', 'stock:42'],
          ['HGETALL', 'order:7'],
        ],
      }),
    consistency: consistencySchema,
    region: regionSchema.optional(),
  })
  .openapi('Read');

/** The body of `PUT /v1/keys/{key}`. */
export const putSchema = z
  .strictObject({ value: argumentSchema, expiresInMs: z.int().min(1).optional() })
  .openapi('Put', { example: { value: 'seven', expiresInMs: 60_000 } });

/** The query of `GET /v1/keys/{key}`. */
export const keyQuerySchema = z.strictObject({
  consistency: consistencySchema,
  region: regionSchema.optional(),
});

/**
 * Whether a read is of the newest state (`strong`), or of one region's committed and possibly stale state (`local`).
 */
export type Consistency = z.infer<typeof readSchema>['consistency'];

/** A command with its numbers as texts. */
export function textsOf(command: readonly (string | number)[]): readonly string[] {
  return command.map(String);
}

/** A check in the form that the coordinator takes. */
export function checkOf(check: z.infer<typeof checkSchema>): Check {
  const { key } = check;
  if ('absent' in check) return { kind: 'absent', key };
  if ('exists' in check) return { kind: 'exists', key };
  if ('type' in check) return { kind: 'type', key, type: check.type };
  const value = String(check.equals);
  return 'field' in check
    ? { kind: 'field', key, field: check.field, value }
    : { kind: 'equals', key, value };
}

const resultSchema = z.unknown().openapi({
  description:
    'A string, an integer, null, or an array of these. An integer beyond 2^53 is a string of its digits.',
});

const voteSchema = z.object({
  region: z.string(),
  vote: z.enum(['yes', 'no', 'missing']),
  ms: z.number().nullable(),
  reason: z.string().optional(),
});

/** The response to a committed write. */
export const writeAnswerSchema = z
  .object({
    id: z.string().openapi({ example: '0-01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2' }),
    outcome: z.enum(['committed', 'confirmed']),
    confirmed: z.boolean(),
    transaction: z.string().openapi({ example: '0.3.1288' }),
    sequence: z.int().openapi({ example: 1041 }),
    results: z.array(resultSchema).openapi({ example: ['OK', 8] }),
    votes: z.array(voteSchema).openapi({
      example: [
        { region: 'us-east-1', vote: 'yes', ms: 2 },
        { region: 'eu-west-1', vote: 'yes', ms: 72 },
      ],
    }),
    attempts: z.int().openapi({ example: 1 }),
    ms: z.number().openapi({ example: 73, description: 'From arrival to decision, ms.' }),
    replayed: z.boolean().openapi({
      description: 'True if this is the response of an earlier request with this Idempotency-Key.',
    }),
    keptUntil: z.iso.datetime().optional().openapi({
      description: 'The response is kept for its Idempotency-Key until this time at least.',
    }),
  })
  .openapi('WriteAnswer');

/** The recorded outcome of a write. */
export const writeStatusSchema = z
  .object({
    id: z.string(),
    outcome: z.enum(['pending', 'committed', 'confirmed', 'rejected', 'unavailable']),
    confirmed: z.boolean().optional(),
    transaction: z.string().optional(),
    sequence: z.int().optional(),
    results: z.array(resultSchema).optional(),
    rejection: z.record(z.string(), z.unknown()).optional(),
    votes: z.array(voteSchema).optional(),
    appliedIn: z.array(z.string()).optional(),
    decidedAt: z.string().optional(),
    attempts: z.int().optional(),
    ms: z.number().optional(),
    type: z.string().optional(),
    reason: z.string().optional(),
    regions: z.array(z.object({ region: z.string(), reason: z.string() })).optional(),
  })
  .openapi('WriteStatus');

/** The response to `POST /v1/reads`. */
export const readAnswerSchema = z
  .object({
    results: z.array(resultSchema).openapi({ example: ['7', ['total', '12']] }),
    region: z.string().openapi({ example: 'eu-west-1' }),
    consistency: z.enum(['strong', 'local']),
    via: z.enum(['lease', 'coordinator', 'local']).openapi({
      description:
        'The path of the read: with a lease, through the coordinator, or a local read without either.',
    }),
    attempts: z.int().openapi({ example: 1 }),
  })
  .openapi('ReadAnswer');

/** The response to `GET /v1/keys/{key}`. */
export const keyAnswerSchema = z
  .object({
    key: keySchema,
    type: z.enum(['string', 'hash', 'set', 'zset', 'list']),
    value: z.unknown().openapi({
      description:
        'A string; an array of elements (list, set); or an array of [field, value] (hash) or [member, score] (zset).',
      example: '7',
    }),
  })
  .openapi('Key');

/** A problem of RFC 9457. */
export const problemSchema = z
  .looseObject({
    type: z.string().openapi({ example: problemType('check-failed') }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string().openapi({ description: 'The id of the request.' }),
  })
  .openapi('Problem');
