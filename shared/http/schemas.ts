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
    checks: z
      .array(checkSchema)
      .max(limits.checksPerWrite)
      .default([])
      .describe('Conditions that must hold, or nothing is written.'),
    ack: z.enum(['committed', 'confirmed']).default('committed').openapi({
      description:
        'The time of the response: once the decision is durable, or once every region has applied it.',
    }),
    timeoutMs: z
      .int()
      .min(limits.timeoutMsMinimum)
      .max(limits.timeoutMsMaximum)
      .default(limits.timeoutMsDefault)
      .describe('The time after which an undecided write is given up, ms.'),
    priority: z
      .int()
      .min(0)
      .max(limits.priorityMaximum)
      .default(0)
      .describe('Writes with a higher priority go first if writes wait.'),
    notAfter: z.int().min(0).nullable().default(null).openapi({
      description: 'No attempt starts after this time, in ms since 1970.',
    }),
    callback: callbackSchema.optional().describe('A webhook with the outcome of this write.'),
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
      })
      .describe('Read commands, executed in order as one snapshot.'),
    consistency: consistencySchema,
    region: regionSchema.optional(),
  })
  .openapi('Read');

/** The body of `PUT /v1/keys/{key}`. */
export const putSchema = z
  .strictObject({
    value: argumentSchema.describe('Stored as a string.'),
    expiresInMs: z
      .int()
      .min(1)
      .optional()
      .describe('The lifetime of the key, ms. If omitted, the key does not expire.'),
  })
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
  vote: z.enum(['yes', 'no', 'missing']).describe('`missing`: it did not arrive in time.'),
  ms: z
    .number()
    .nullable()
    .describe('The time from the request to the vote, ms; null without a vote.'),
  reason: z.string().optional().describe('The reason for a vote other than `yes`.'),
});

/** The response to a committed write. */
export const writeAnswerSchema = z
  .object({
    id: z
      .string()
      .openapi({ example: '0-01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2' })
      .describe('The id of the write, for GET /v1/writes/{id}.'),
    outcome: z
      .enum(['committed', 'confirmed'])
      .describe('`confirmed` if every voter has applied it, otherwise `committed`.'),
    confirmed: z.boolean().describe('True if every voter has applied it.'),
    transaction: z
      .string()
      .openapi({ example: '0.3.1288' })
      .describe('The transaction that carried it: shard.incarnation.sequence.'),
    sequence: z.int().openapi({ example: 1041 }).describe('Its position in the change feed.'),
    results: z
      .array(resultSchema)
      .openapi({ example: ['OK', 8] })
      .describe('One result per operation.'),
    votes: z
      .array(voteSchema)
      .openapi({
        example: [
          { region: 'us-east-1', vote: 'yes', ms: 2 },
          { region: 'eu-west-1', vote: 'yes', ms: 72 },
        ],
      })
      .describe('The votes of the regions in the last attempt.'),
    attempts: z.int().openapi({ example: 1 }).describe('The number of attempts that it took.'),
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
    outcome: z
      .enum(['pending', 'committed', 'confirmed', 'rejected', 'unavailable'])
      .describe(
        '`rejected`: a check or a command failed. `unavailable`: it was not decided in time. In both cases, nothing was written.',
      ),
    confirmed: z.boolean().optional().describe('True if every voter has applied it.'),
    transaction: z
      .string()
      .optional()
      .describe('The transaction that carried it: shard.incarnation.sequence.'),
    sequence: z.int().optional().describe('Its position in the change feed.'),
    results: z.array(resultSchema).optional().describe('One result per operation.'),
    rejection: z
      .record(z.string(), z.unknown())
      .optional()
      .describe('The failed check or command.'),
    votes: z.array(voteSchema).optional().describe('The votes of the regions in the last attempt.'),
    appliedIn: z.array(z.string()).optional().describe('The regions that have applied it.'),
    decidedAt: z.string().optional(),
    attempts: z.int().optional().describe('The number of attempts that it took.'),
    ms: z.number().optional().describe('From arrival to decision, ms.'),
    type: z
      .string()
      .optional()
      .describe('If `unavailable`: the problem that must be solved first.'),
    reason: z.string().optional().describe('If `unavailable`: the reason.'),
    regions: z
      .array(z.object({ region: z.string(), reason: z.string() }))
      .optional()
      .describe('If `unavailable`: the regions at fault, with the reasons.'),
  })
  .openapi('WriteStatus');

/** The response to `POST /v1/reads`. */
export const readAnswerSchema = z
  .object({
    results: z
      .array(resultSchema)
      .openapi({ example: ['7', ['total', '12']] })
      .describe('One result per command.'),
    region: z.string().openapi({ example: 'eu-west-1' }).describe('The region that answered.'),
    consistency: z.enum(['strong', 'local']),
    via: z.enum(['lease', 'coordinator', 'local']).openapi({
      description:
        'The path of the read: with a lease, through the coordinator, or a local read without either.',
    }),
    attempts: z
      .int()
      .openapi({ example: 1 })
      .describe('The number of snapshots that it took, since each may meet a write.'),
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
    type: z
      .string()
      .openapi({ example: problemType('check-failed') })
      .describe('The problem type. It is stable, and can be opened.'),
    title: z.string().describe('The problem in general.'),
    status: z.int().describe('The HTTP status.'),
    detail: z.string().describe('The cause and the remedy for this request.'),
    instance: z.string().openapi({ description: 'The id of the request.' }),
  })
  .openapi('Problem');
