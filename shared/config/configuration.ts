/** The configuration: the schemas of the Worker's variables and secrets, and their parsed form. */
import { z } from 'zod';
import type { RegionConfiguration } from '../contracts/members.ts';
import type { RegionId } from '../ids.ts';
import { limits } from '../limits.ts';
import type { RoomBounds } from '../protocol/io/room.ts';
import { hostsOf, hostsRule } from '../webhooks/target.ts';

/** The permissions of a client's token: `write` includes `read`, and `admin` includes both. */
export type Scope = 'read' | 'write' | 'admin';

/** A bearer token that clients present. */
export interface ClientToken {
  /**
   * The owner of the token. Idempotency keys and webhooks belong to it, so that they survive a rotation of the secret,
   * during which two secrets may share an id. If null, a prefix of the secret's digest takes its place.
   */
  readonly id: string | null;
  readonly token: string;
  readonly scope: Scope;
  /** Whether the token may run scripts. */
  readonly scripts: boolean;
}

/** A hint for the location of a Durable Object, in the platform's terms. */
export type LocationHint = (typeof locationHints)[number];

/** The number of shards of a new deployment. It is no setting yet, since no write may name keys of several shards. */
export const shardCount = 1;

/** The checked settings of the operator. */
export interface Configuration {
  /** The number of shards with which the deployment begins. The registry has those that there are. */
  readonly shards: number;
  readonly regions: readonly RegionConfiguration[];
  readonly tokens: readonly ClientToken[];
  readonly coordinatorLocation: LocationHint | null;
  /** The time after which a missing vote counts as no, in ms. */
  readonly voteDeadlineMs: number;
  /** The time after which a round without a response is given up, in ms. */
  readonly roundTimeoutMs: number;
  /** The time after which a read without a response goes to the next region, in ms. */
  readonly readTimeoutMs: number;
  /** The region with the data of a new deployment, if all others are empty. If null, an operator decides. */
  readonly source: RegionId | null;
  /** The minimum number of voters. With fewer, writes are refused. */
  readonly minVoters: number;
  /** The time without a usable response after which a voter is evicted, in ms. */
  readonly outAfterMs: number;
  readonly retention: Retention;
}

/**
 * The limits of the log of decided writes and the change feed. The first limit that is reached applies, but no write is
 * dropped before every region has applied it. Responses under idempotency keys are kept by time alone.
 */
export interface Retention extends RoomBounds {
  readonly keptMs: number;
  readonly keptWrites: number;
}

/** A configuration, or the first invalid variable with its remedy. A failure contains no secret. */
export type ConfigurationResult =
  | { readonly ok: true; readonly configuration: Configuration }
  | { readonly ok: false; readonly variable: string; readonly detail: string };

const locationHints = ['wnam', 'enam', 'sam', 'weur', 'eeur', 'apac', 'oc', 'afr', 'me'] as const;

/** A region without its token, as in the configuration and in requests to add a region. */
export const regionEntrySchema = z.strictObject({
  id: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/, 'use lower-case letters, digits and hyphens'),
  url: z.string().refine(isRegionUrl, 'use https://… (http only for this machine)'),
  location: z.tuple([z.number().min(-90).max(90), z.number().min(-180).max(180)]),
});

/** The token of a region's REST endpoint. */
export const regionTokenSchema = z.string().min(1, 'a token is not empty');

const regionsSchema = z
  .array(regionEntrySchema)
  .min(1, 'name at least one region')
  .max(limits.regions, `name at most ${limits.regions} regions`)
  .refine((regions) => areDistinct(regions.map(({ id }) => id)), 'give each region a unique id')
  // Two regions with one database would vote twice for one copy of the data.
  .refine((regions) => areDistinct(regions.map(({ url }) => url)), 'give each region a unique URL');

const regionTokensSchema = z.record(z.string(), regionTokenSchema);

const tokensSchema = z
  .array(
    z.strictObject({
      id: z
        .string()
        .regex(/^[A-Za-z0-9._-]{1,64}$/, 'use 1 to 64 letters, digits and ._-')
        .nullable()
        .default(null),
      token: z
        .string()
        .min(32, 'use at least 32 characters')
        .regex(/^[A-Za-z0-9._~+/=-]+$/, 'use letters, digits and ._~+/=- only'),
      scope: z.enum(['read', 'write', 'admin']),
      // By default not with the scope `read`: no other read takes as much of a region's time as a script.
      scripts: z.boolean().optional(),
    }),
  )
  .transform((tokens) =>
    tokens.map((token) => ({ ...token, scripts: token.scripts ?? token.scope !== 'read' })),
  )
  .refine((tokens) => areDistinct(tokens.map(({ token }) => token)), 'list each token once')
  .refine(
    (tokens) => tokens.some(({ scope }) => scope !== 'read'),
    'add a token with the scope write, or nothing can be written',
  )
  .refine(
    (tokens) => tokens.some(({ scope }) => scope === 'read'),
    'add a token with the scope read, for clients that only read',
  );

const whole = (what: string, least: number, most: number) =>
  z.coerce.number(`use a whole number ${what}`).int().min(least).max(most);

const milliseconds = (fallback: number) => whole('of milliseconds', 50, 60_000).default(fallback);

/** Parsed again by targetPolicyOf. */
const hostList = z
  .string()
  .refine((text) => hostsOf(text) !== null, hostsRule)
  .optional();

/**
 * The variables and secrets of the Worker, except those for deliveries. The descriptions appear on the page of
 * configuration.
 */
export const environmentSchema = z
  .object({
    LOCKSTEP_REGIONS: json(regionsSchema).describe(
      'The regions at the first start: for each an `id`, the `url` of its Redis over the Upstash REST protocol, and its `location` (latitude and longitude in degrees), by which the nearest region for a read is found.',
    ),
    LOCKSTEP_REGION_TOKENS: json(regionTokensSchema).describe(
      'The token of the REST endpoint of each region, by the id of the region.',
    ),
    LOCKSTEP_TOKENS: json(tokensSchema).describe(
      'The bearer tokens of clients: `token` (32 characters or more), `scope` (`read`, `write` or `admin`), `id` (the owner of idempotency keys and webhooks, which outlives a new secret) and `scripts` (whether the token may run scripts; by default not with the scope `read`). At least one token may write, and at least one may only read.',
    ),
    LOCKSTEP_COORDINATOR_LOCATION: z
      .enum(['', ...locationHints])
      .default('')
      .describe('A hint to the platform for the location of the coordinator: near most writers.'),
    LOCKSTEP_VOTE_DEADLINE_MS: milliseconds(limits.voteDeadlineMs).describe(
      'The time after which a missing vote counts as no.',
    ),
    LOCKSTEP_ROUND_TIMEOUT_MS: milliseconds(limits.roundTimeoutMs).describe(
      'The time after which a request to a region is given up. Greater than LOCKSTEP_VOTE_DEADLINE_MS.',
    ),
    LOCKSTEP_READ_TIMEOUT_MS: milliseconds(limits.readTimeoutMs).describe(
      'The time after which a read without a response goes to the next region.',
    ),
    LOCKSTEP_OUT_AFTER_MS: milliseconds(limits.outAfterMs).describe(
      'The time without a usable response after which a voter is evicted: writes continue without it.',
    ),
    LOCKSTEP_OWN_HOSTS: hostList.describe(
      'The hosts that serve this deployment, separated by commas. Webhooks to them are refused, as are webhooks to the host of the request that names them.',
    ),
    LOCKSTEP_WEBHOOK_HOSTS: hostList.describe(
      'The only hosts that webhooks may call, such as `hooks.example.com,*.example.org`. Not set: any public host.',
    ),
    /** Parsed by targetPolicyOf. */
    LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: z
      .unknown()
      .optional()
      .describe(
        'For development only: `true` lets webhooks call this machine, such as `http://127.0.0.1`.',
      ),
    LOCKSTEP_SOURCE_REGION: z
      .string()
      .default('')
      .describe(
        'The id of the region whose data a new deployment starts with, if all other regions are empty. Not set: if regions hold data, an operator decides how to start.',
      ),
    LOCKSTEP_MIN_VOTERS: whole('of regions', 1, limits.regions)
      .optional()
      .describe(
        'The minimum number of voters: with fewer, writes are refused. Not set: 2, or 1 if there are at most two regions.',
      ),
    LOCKSTEP_KEPT_MS: whole('of milliseconds', limits.keptMsMinimum, limits.keptMsMaximum)
      .default(limits.decisionsKeptMs)
      .describe('The time for which decided writes and the change feed are kept.'),
    LOCKSTEP_KEPT_WRITES: whole('of writes', 1, limits.decisionsKeptMaximum)
      .default(limits.decisionsKept)
      .describe(
        'The number of decided writes that are kept; the oldest are dropped first, but none within a minute.',
      ),
    LOCKSTEP_KEPT_BYTES: whole('of bytes', limits.keptBytesMinimum, limits.keptBytesMaximum)
      .default(limits.keptBytesDefault)
      .describe(
        'The storage of the coordinator. If it is short, old writes are dropped sooner; at the bound no write is accepted.',
      ),
    LOCKSTEP_KEYS_KEPT_MS: whole(
      'of milliseconds',
      limits.keysKeptMsMinimum,
      limits.keysKeptMsMaximum,
    )
      .default(limits.keysKeptMsDefault)
      .describe(
        'The time for which the response of a write is kept under its Idempotency-Key, even if other entries are dropped sooner.',
      ),
  })
  .refine(
    (all) => all.LOCKSTEP_REGIONS.every(({ id }) => Object.hasOwn(all.LOCKSTEP_REGION_TOKENS, id)),
    {
      path: ['LOCKSTEP_REGION_TOKENS'],
      message: 'give a token for every id in LOCKSTEP_REGIONS',
    },
  )
  .refine(
    ({ LOCKSTEP_SOURCE_REGION: source, LOCKSTEP_REGIONS: regions }) =>
      source === '' || regions.some(({ id }) => id === source),
    {
      path: ['LOCKSTEP_SOURCE_REGION'],
      message: 'name an id of LOCKSTEP_REGIONS, or leave it empty',
    },
  )
  .refine((all) => (all.LOCKSTEP_MIN_VOTERS ?? 1) <= all.LOCKSTEP_REGIONS.length, {
    path: ['LOCKSTEP_MIN_VOTERS'],
    message: 'use at most the number of regions',
  })
  // Otherwise a region would count as silent while it may still vote.
  .refine((all) => all.LOCKSTEP_VOTE_DEADLINE_MS < all.LOCKSTEP_ROUND_TIMEOUT_MS, {
    path: ['LOCKSTEP_ROUND_TIMEOUT_MS'],
    message: 'use a value greater than LOCKSTEP_VOTE_DEADLINE_MS',
  });

/**
 * Parses the Worker's environment. Never throws. The detail of a failure names the place and the rule, but never the
 * invalid value, which may be a secret.
 */
export function parseConfiguration(environment: object): ConfigurationResult {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) return failureOf(parsed.error);
  const all = parsed.data;
  const configuration: Configuration = {
    shards: shardCount,
    regions: all.LOCKSTEP_REGIONS.map((region) => ({
      ...region,
      token: all.LOCKSTEP_REGION_TOKENS[region.id] ?? '',
    })),
    tokens: all.LOCKSTEP_TOKENS,
    coordinatorLocation: all.LOCKSTEP_COORDINATOR_LOCATION || null,
    voteDeadlineMs: all.LOCKSTEP_VOTE_DEADLINE_MS,
    roundTimeoutMs: all.LOCKSTEP_ROUND_TIMEOUT_MS,
    readTimeoutMs: all.LOCKSTEP_READ_TIMEOUT_MS,
    source: all.LOCKSTEP_SOURCE_REGION || null,
    minVoters: all.LOCKSTEP_MIN_VOTERS ?? Math.max(1, Math.min(2, all.LOCKSTEP_REGIONS.length - 1)),
    outAfterMs: all.LOCKSTEP_OUT_AFTER_MS,
    retention: {
      keptMs: all.LOCKSTEP_KEPT_MS,
      keptWrites: all.LOCKSTEP_KEPT_WRITES,
      keptBytes: all.LOCKSTEP_KEPT_BYTES,
      keysKeptMs: all.LOCKSTEP_KEYS_KEPT_MS,
    },
  };
  return { ok: true, configuration };
}

/** The first fault, for operators. Positions in secrets are shown, but no names from them. */
function failureOf(error: z.ZodError): ConfigurationResult {
  const issue = error.issues[0];
  const [variable, ...path] = issue?.path ?? [];
  const isSecret = variable !== 'LOCKSTEP_REGIONS';
  const place = path.map((step) => pathOf(step, isSecret)).join('');
  const rule = issue?.code === 'unrecognized_keys' ? 'has an unknown field' : issue?.message;
  return {
    ok: false,
    variable: String(variable),
    detail: `${String(variable)}${place}: ${rule}. See .dev.vars.example and wrangler.toml for the format.`,
  };
}

function pathOf(step: PropertyKey, isSecret: boolean): string {
  if (typeof step === 'number') return `[${step}]`;
  return isSecret ? '' : `.${String(step)}`;
}

/** A variable that contains JSON. A table of wrangler.toml arrives already parsed. */
function json<Schema extends z.ZodType>(schema: Schema) {
  return z
    .unknown()
    .transform((value, context) => {
      if (value === undefined || value === '') {
        context.issues.push({ code: 'custom', message: 'is not set', input: null });
        return z.NEVER;
      }
      if (typeof value !== 'string') return value;
      try {
        return JSON.parse(value);
      } catch {
        context.issues.push({ code: 'custom', message: 'is not valid JSON', input: null });
        return z.NEVER;
      }
    })
    .pipe(schema);
}

/** True for HTTPS, and for HTTP to this machine or to a host name without dots, as in a private network. */
function isRegionUrl(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || url.username !== '' || url.password !== '') return false;
  const isNear = /^(?:localhost|127(?:\.\d+){3}|\[::1\]|[a-z0-9-]+)$/.test(url.hostname);
  return url.protocol === 'https:' || (url.protocol === 'http:' && isNear);
}

function areDistinct(texts: readonly string[]): boolean {
  return new Set(texts).size === texts.length;
}
