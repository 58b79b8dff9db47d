/** Schemas of the requests and responses of operators' routes. */
import { z } from '@hono/zod-openapi';
import { regionEntrySchema, regionTokenSchema } from '../config/configuration.ts';
import type { MemberEvent, OutCause } from '../contracts/members.ts';
import { parseTransactionId } from '../ids.ts';
import { limits } from '../limits.ts';
import { pageCursor, pageSize } from './query-schemas.ts';

const outCauses = [
  'new',
  'silent',
  'refusing',
  'lost',
  'foreign',
  'diverged',
  'ordered',
  'believed',
  'repair',
  'removed',
] as const satisfies readonly OutCause[];

const memberEvents = [
  'added',
  'leaving',
  'stayed',
  'out',
  'copying',
  'returned',
  'removed',
  'believed',
  'founded',
  'diverged',
] as const satisfies readonly MemberEvent[];

const regionSchema = z.string().openapi({ example: 'eu-west-1' });
const keySchema = z.string().max(limits.keyBytes).openapi({ example: 'stock:42' });
const replaceSchema = z.int().min(0);
const replaceText =
  'The number of keys not written by Lockstep that this region may lose. If it holds more, nothing is copied to it.';
const causeSchema = z.enum(outCauses).nullable();

/** A membership change, as in the feed and in the history. */
export const memberSchema = z
  .object({
    region: regionSchema,
    event: z
      .enum(memberEvents)
      .describe(
        'The change: `leaving` and `stayed` announce and revoke a departure; `founded` starts the shard.',
      ),
    epoch: z.int().describe('The epoch after the change.'),
    cause: causeSchema.describe('The reason why the region has no vote; null if it has one.'),
    detail: z.string().describe('The cause in words.'),
  })
  .openapi('MemberChange');

/** A region in `GET /v1/regions`. Of its URL, only the host is shown. */
export const regionSchemaOfAll = z.object({
  id: regionSchema,
  host: z.string().nullable().describe('Null for a region that is being removed and still votes.'),
  location: z
    .array(z.number())
    .nullable()
    .openapi({ example: [53.3, -6.3] })
    .describe('Latitude and longitude in degrees.'),
  state: z
    .enum(['voter', 'out', 'copying', 'unknown'])
    .describe(
      '`voter` takes part in every write; `out` does not; `copying` gets the keys that it lacks.',
    ),
  since: z.string().nullable().describe('The time at which it entered this state.'),
  cause: causeSchema,
  health: z
    .enum(['answering', 'refusing', 'silent', 'foreign', 'lost', 'unknown'])
    .describe(
      'Its latest responses. `refusing`: its server refuses writes. `foreign`: it holds data of another origin. `lost`: it lost acknowledged writes.',
    ),
  detail: z.string().nullable().describe('The fault in words; null without one.'),
  generation: z
    .int()
    .nullable()
    .describe('The generation of its data. A copy of all keys begins a new one.'),
  leaseMs: z.number().nullable().openapi({
    description: 'The remaining time of its lease for strong reads, ms; 0 without a lease.',
  }),
  roundTripMs: z.number().nullable().describe('The smoothed duration of a round, ms.'),
  unacknowledged: z
    .int()
    .nullable()
    .describe('The number of decisions that it has not applied yet.'),
  missedKeys: z.int().nullable().openapi({
    description: 'The number of keys to copy before it votes again; null means all keys.',
  }),
  copy: z
    .object({
      whole: z
        .boolean()
        .describe('True if all keys are copied, false if only those that it missed.'),
      source: regionSchema.describe('The region that the keys are copied from.'),
      phase: z
        .enum(['beginning', 'keys', 'removals', 'hold'])
        .describe('`hold`: writes pause while the last keys are copied.'),
      startedAt: z.string(),
      done: z.int().describe('The number of copied keys.'),
      left: z.int().nullable().describe('The number of keys left; null before they are counted.'),
      keysPerSecond: z.number(),
      etaMs: z.number().nullable().describe('The estimated time to the end, ms.'),
    })
    .nullable(),
});

const coordinatorSchema = z.record(z.string(), z.unknown()).openapi({
  description:
    'Per shard: incarnation, epoch, sequence, slots, minVoters, held, founding, blockedKeys, queued, undecided. `slots` says how many slots the shard owns; until the registry has answered, nothing is written. `founding` is null once the shard has members; before that it has the key count of each region, and the reason why the shard waits.',
});

/** The response to `GET /v1/regions`. */
export const regionsAnswerSchema = z
  .object({ regions: z.array(regionSchemaOfAll), coordinators: z.array(coordinatorSchema) })
  .openapi('Regions');

/** The response to `GET /v1/admin/regions`. */
export const adminRegionsSchema = z
  .object({
    regions: z.array(
      regionSchemaOfAll.extend({
        held: z
          .boolean()
          .nullable()
          .openapi({ description: "The region returns only on an operator's request." }),
        circuit: z
          .enum(['closed', 'open', 'half-open', 'unknown'])
          .describe(
            '`closed`: rounds are sent; `open`: none is sent for now; `half-open`: a single probe is in flight.',
          ),
        roundsInFlight: z
          .int()
          .nullable()
          .describe('The number of rounds without a response so far.'),
        oldestUnacknowledgedMs: z
          .number()
          .nullable()
          .describe('The age of the oldest decision that it has not applied, ms.'),
      }),
    ),
    coordinators: z.array(coordinatorSchema),
  })
  .openapi('AdminRegions');

/** The body of `POST /v1/admin/found`. */
export const foundSchema = z
  .strictObject({
    source: regionSchema
      .optional()
      .openapi({ description: 'The region whose data are copied to all others.' }),
    agree: z.boolean().default(false).openapi({
      description: 'Declare that all regions hold the same data: nothing is copied or compared.',
    }),
    replace: z
      .record(z.string().max(64), replaceSchema)
      .default({})
      .openapi({
        description: 'With `source`: the number of keys that each other region may lose.',
        example: { 'us-east-1': 12 },
      }),
  })
  .refine(
    ({ source, agree, replace }) =>
      source === undefined ? Object.keys(replace).length === 0 : !agree,
    'give `source` (with `replace` if needed), or `agree`, or neither',
  )
  .openapi('Found');

/** The body of `POST /v1/admin/regions`. */
export const addRegionSchema = z
  .strictObject({
    ...regionEntrySchema.shape,
    token: regionTokenSchema,
    replace: replaceSchema.default(0).openapi({ description: replaceText }),
  })
  .openapi('NewRegion', {
    example: {
      id: 'sa-east-1',
      url: 'https://sa-east-1.example.com',
      token: '<its token>',
      location: [-23.5, -46.6],
    },
  });

/** The body of `POST /v1/admin/regions/{id}/out`. */
export const outSchema = z
  .strictObject({ reason: z.string().max(limits.descriptionCharacters).default('') })
  .openapi('PutOut');

/** The body of `POST /v1/admin/regions/{id}/return`. */
export const returnSchema = z
  .strictObject({
    whole: z.boolean().default(false).openapi({ description: 'Copy everything.' }),
    force: z.boolean().default(false).openapi({
      description:
        'Also accept a region that holds the state of another Lockstep deployment, which is dropped. `replace` must give the number of its keys, which are lost.',
    }),
    replace: replaceSchema.default(0).openapi({ description: replaceText }),
  })
  .openapi('Return');

/** The body of `POST /v1/admin/regions/{id}/force-recover`. */
export const forceRecoverSchema = z
  .strictObject({ confirm: z.string().openapi({ description: 'Must repeat the id.' }) })
  .openapi('ForceRecover');

/** The path of the routes of one region. */
export const regionParams = z.object({
  id: regionSchema.openapi({ description: 'The id of the region.' }),
});

/** The response to an accepted command. */
export const orderAnswerSchema = z
  .object({ detail: z.string().openapi({ description: 'The next step.' }) })
  .openapi('OrderTaken');

/** The query of `GET /v1/admin/members`. */
export const historyQuerySchema = z.strictObject({
  before: pageCursor(),
  limit: pageSize(limits.memberChangesPerPage, limits.memberChangesPerPage),
});

/** The response to `GET /v1/admin/members`. */
export const historyAnswerSchema = z
  .object({
    members: z.array(
      z.object({
        sequence: z.int().describe('The position among all changes of the shard.'),
        at: z.string(),
        member: memberSchema,
      }),
    ),
    before: z
      .int()
      .nullable()
      .openapi({ description: 'The cursor of the next page; null at the end.' }),
  })
  .openapi('MemberHistory');

/** The response to `GET /v1/admin/in-doubt`. */
export const inDoubtSchema = z
  .object({
    transactions: z.array(
      z.object({
        transaction: z.string().openapi({ example: '0.3.17' }),
        state: z.enum(['undecided', 'committing', 'aborting']),
        keys: z.array(z.string()).describe('The keys that it locks.'),
        ageMs: z
          .number()
          .describe('The time since it began, ms, or since this coordinator took it over.'),
        waitsFor: z
          .array(regionSchema)
          .describe('The regions whose vote or acknowledgement is missing.'),
      }),
    ),
    blocked: z
      .array(z.object({ key: z.string(), detail: z.string() }))
      .describe('Keys that accept no writes until an operator names the correct region.'),
    locks: z
      .array(
        z.object({
          region: regionSchema,
          key: z.string(),
          keyEncoding: z
            .literal('base64')
            .optional()
            .describe('Present if the key is not valid UTF-8; `key` is then in base64.'),
          transaction: z.string(),
          resolution: z
            .enum(['committed', 'pending', 'aborted', 'forgotten', 'unknown'])
            .openapi({ description: 'The state of the transaction at the coordinator.' }),
          ageMs: z
            .number()
            .nullable()
            .describe('The age of the transaction, ms; null if it is not in doubt.'),
        }),
      )
      .describe('Locks in the regions.'),
    truncated: z
      .array(regionSchema)
      .openapi({ description: 'Regions with more locks than listed.' }),
    faults: z
      .array(z.object({ region: regionSchema, reason: z.string() }))
      .describe('Regions that did not answer, so that their locks are missing here.'),
  })
  .openapi('InDoubt');

/** The body of `POST /v1/admin/in-doubt/settle`. */
export const settleSchema = z
  .strictObject({
    transaction: z
      .string()
      .refine((text) => parseTransactionId(text) !== null, 'a transaction is like 0.3.17')
      .openapi({ example: '0.3.17' }),
  })
  .openapi('Settle');

/** The body of `POST /v1/admin/verify`. */
export const verifySchema = z
  .strictObject({
    cursor: z.string().max(limits.verifyCursorCharacters).optional().openapi({
      description:
        'The `next` of the previous response, which includes regions and prefix. If omitted, the comparison starts at the beginning.',
    }),
    limit: z
      .int()
      .min(1)
      .max(limits.verifyKeysMaximum)
      .default(limits.verifyKeysDefault)
      .describe('The number of keys to compare in this call.'),
    regions: z
      .array(regionSchema)
      .min(2, 'name two regions or more')
      .max(limits.regions)
      .optional()
      .describe('The regions to compare. If omitted, all voters.'),
    prefix: z
      .string()
      .max(limits.verifyPrefixCharacters)
      .optional()
      .describe('Compare only keys with this prefix.'),
    pauseMs: z.int().min(0).max(limits.verifyPauseMsMaximum).default(0).openapi({
      description:
        'A pause between two requests to the regions, so that writes are not slowed down, ms.',
    }),
  })
  .openapi('Verify');

const reportedKeySchema = z.object({
  key: z.string(),
  keyEncoding: z
    .literal('base64')
    .optional()
    .describe('Present if the key is not valid UTF-8; `key` is then in base64.'),
});

/** The response to `POST /v1/admin/verify`. */
export const verifyAnswerSchema = z
  .object({
    checked: z.int().openapi({ description: 'The number of keys that this call compared.' }),
    differing: z
      .array(
        z.object({
          key: z.string(),
          keyEncoding: z
            .literal('base64')
            .optional()
            .describe('Present if the key is not valid UTF-8; `key` is then in base64.'),
          regions: z.record(z.string(), z.string().nullable()).openapi({
            description: 'The digest of the key per region; null if the region lacks the key.',
          }),
          kind: z.enum(['differs', 'only-in', 'around']).openapi({
            description:
              '`around`: no write in the log touches the key, so the difference bypassed Lockstep or is older than the log. Otherwise `only-in`: some regions lack the key; `differs`: the regions hold different values.',
          }),
          lastWrite: z.int().nullable().openapi({
            description:
              'The sequence of the newest write to the key in the log; null if there is none.',
          }),
        }),
      )
      .describe('Keys that differ between regions.'),
    undecided: z.array(reportedKeySchema).openapi({
      description:
        'Keys that could not be compared, since writes changed them during each comparison.',
    }),
    regions: z.array(regionSchema),
    next: z
      .string()
      .nullable()
      .openapi({ description: 'The cursor of the next call; null at the end.' }),
    done: z
      .object({
        region: regionSchema
          .nullable()
          .describe('The region whose keys are being scanned; null at the end.'),
        regionsDone: z.int().describe('The number of regions whose keys were scanned.'),
        regionsTotal: z.int(),
        checked: z.int().describe('The number of keys compared so far.'),
        differing: z.int().describe('The number of differences found so far.'),
      })
      .describe('The progress of the whole comparison.'),
  })
  .openapi('VerifyAnswer');

/** The body of `POST /v1/admin/repair`. */
export const repairSchema = z
  .strictObject({
    keys: z.array(keySchema).min(1, 'name at least one key').max(limits.repairKeys),
    source: regionSchema.optional().openapi({
      description: 'The correct region. If omitted, the value that most voters hold.',
    }),
  })
  .openapi('Repair');

const checkSchema = z
  .object({
    name: z.string().openapi({ example: 'eviction' }),
    status: z
      .enum(['ok', 'warning', 'problem', 'unknown'])
      .describe('`problem`: a fault to correct. `warning`: a risk. `unknown`: check it by hand.'),
    found: z.string().describe('The finding.'),
    advice: z.string().nullable().describe('The remedy; null if there is nothing to do.'),
  })
  .openapi('DoctorCheck');

/** The response to `GET /v1/admin/doctor`. */
export const doctorAnswerSchema = z
  .object({
    verdict: z
      .enum(['ok', 'warning', 'problem'])
      .describe('The worst status of all checks; `unknown` counts as `warning`.'),
    deployment: z.array(checkSchema).describe('Checks of the deployment as a whole.'),
    regions: z.array(
      z.object({ id: regionSchema, host: z.string(), checks: z.array(checkSchema) }),
    ),
  })
  .openapi('Doctor');
