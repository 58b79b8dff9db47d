import { z } from 'zod';
import type { RegionConfiguration } from '../contracts/members.ts';
import type { RegionId } from '../ids.ts';
import { limits } from '../limits.ts';
import type { RoomBounds } from '../protocol/io/room.ts';
import { hostsOf, hostsRule } from '../webhooks/target.ts';

/** What a client's token allows: `write` implies `read`, and `admin` implies both. */
export type Scope = 'read' | 'write' | 'admin';

/** A bearer token that clients present. */
export interface ClientToken {
  /**
   * Who the token belongs to: idempotency keys and webhooks are kept under it, so that they outlive a rotation of the
   * secret. Null: a prefix of the secret's digest stands for it. Two secrets may share an id while one replaces the other.
   */
  readonly id: string | null;
  readonly token: string;
  readonly scope: Scope;
  /** Whether it may run scripts. */
  readonly scripts: boolean;
}

/** Where a Durable Object may be asked to live; the platform's own words. */
export type LocationHint = (typeof locationHints)[number];

/** All that an operator sets, checked. */
export interface Configuration {
  readonly regions: readonly RegionConfiguration[];
  readonly tokens: readonly ClientToken[];
  readonly coordinatorLocation: LocationHint | null;
  /** A vote not in by then is a no, ms. */
  readonly voteDeadlineMs: number;
  /** A round without an answer by then is given up, ms. */
  readonly roundTimeoutMs: number;
  /** A snapshot without an answer by then is asked of the next region, ms. */
  readonly readTimeoutMs: number;
  /** Whose data a new deployment begins with, if all other regions are empty; null: an operator says so. */
  readonly source: RegionId | null;
  /** With fewer voters writes are refused. */
  readonly minVoters: number;
  /** A voter without a usable answer for so long is put out, ms. */
  readonly outAfterMs: number;
  readonly retention: Retention;
}

/**
 * How long decided writes and the change feed are kept: whichever bound is reached first, but never before every region has
 * applied them. The answers of writes with idempotency keys are kept by time alone.
 */
export interface Retention extends RoomBounds {
  readonly keptMs: number;
  readonly keptWrites: number;
}

/** A configuration, or the first variable at fault and what to do about it. Holds no secret either way it fails. */
export type ConfigurationResult =
  | { readonly ok: true; readonly configuration: Configuration }
  | { readonly ok: false; readonly variable: string; readonly detail: string };

const locationHints = ['wnam', 'enam', 'sam', 'weur', 'eeur', 'apac', 'oc', 'afr', 'me'] as const;

/** A region without its token, as an operator names it in the configuration or adds it later. */
export const regionEntrySchema = z.strictObject({
  id: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/, 'use lower-case letters, digits and hyphens'),
  url: z.string().refine(isRegionUrl, 'use https://… (http only for this machine)'),
  location: z.tuple([z.number().min(-90).max(90), z.number().min(-180).max(180)]),
});

/** A region's token. */
export const regionTokenSchema = z.string().min(1, 'a token is not empty');

const regionsSchema = z
  .array(regionEntrySchema)
  .min(1, 'name at least one region')
  .max(limits.regions, `name at most ${limits.regions} regions`)
  .refine((regions) => areDistinct(regions.map(({ id }) => id)), 'give each region a unique id')
  // Two regions on one database would vote twice for one copy of the data.
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
      // A script takes a region's time as no other read does.
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

/** Read again by those who need it (targetPolicyOf). */
const hostList = z
  .string()
  .refine((text) => hostsOf(text) !== null, hostsRule)
  .optional();

/** The variables and secrets of the Worker, but for those of deliveries. Descriptions are for the page of configuration. */
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
      'A vote that is not in by then counts as no.',
    ),
    LOCKSTEP_ROUND_TIMEOUT_MS: milliseconds(limits.roundTimeoutMs).describe(
      'A request to a region without a response by then is given up. Greater than LOCKSTEP_VOTE_DEADLINE_MS.',
    ),
    LOCKSTEP_READ_TIMEOUT_MS: milliseconds(limits.readTimeoutMs).describe(
      'A read without a response from a region by then is sent to the next region.',
    ),
    LOCKSTEP_OUT_AFTER_MS: milliseconds(limits.outAfterMs).describe(
      'A region that has voted and gives no usable response for this time is evicted: writes continue without it.',
    ),
    LOCKSTEP_OWN_HOSTS: hostList.describe(
      'The hosts that serve this deployment, separated by commas. Webhooks to them are refused, as are webhooks to the host of the request that names them.',
    ),
    LOCKSTEP_WEBHOOK_HOSTS: hostList.describe(
      'The only hosts that webhooks may call, such as `hooks.example.com,*.example.org`. Not set: any public host.',
    ),
    /** Read by targetPolicyOf. */
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
        'The id of the region whose data a new deployment starts with, if all other regions are empty. Not set: if regions hold data, an operator says how to start.',
      ),
    LOCKSTEP_MIN_VOTERS: whole('of regions', 1, limits.regions)
      .optional()
      .describe(
        'With fewer regions that vote, writes are refused. Not set: 2, or 1 if there are at most two regions.',
      ),
    LOCKSTEP_KEPT_MS: whole('of milliseconds', limits.keptMsMinimum, limits.keptMsMaximum)
      .default(limits.decisionsKeptMs)
      .describe('How long decided writes and the change feed are kept.'),
    LOCKSTEP_KEPT_WRITES: whole('of writes', 1, limits.decisionsKeptMaximum)
      .default(limits.decisionsKept)
      .describe('How many decided writes are kept; the oldest are dropped first.'),
    LOCKSTEP_KEPT_BYTES: whole('of bytes', limits.keptBytesMinimum, limits.keptBytesMaximum)
      .default(limits.keptBytesDefault)
      .describe(
        'How much the coordinator stores. If this is short, old writes are dropped sooner; at the bound no write is accepted.',
      ),
    LOCKSTEP_KEYS_KEPT_MS: whole(
      'of milliseconds',
      limits.keysKeptMsMinimum,
      limits.keysKeptMsMaximum,
    )
      .default(limits.keysKeptMsDefault)
      .describe(
        'How long the response of a write is kept under its Idempotency-Key, even if other entries are dropped sooner.',
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
  // A round given up before its votes are due would count a region as silent that still has time to vote.
  .refine((all) => all.LOCKSTEP_VOTE_DEADLINE_MS < all.LOCKSTEP_ROUND_TIMEOUT_MS, {
    path: ['LOCKSTEP_ROUND_TIMEOUT_MS'],
    message: 'use a value greater than LOCKSTEP_VOTE_DEADLINE_MS',
  });

/**
 * Reads the configuration from the Worker's environment. Never throws. The detail of a failure names the place and the
 * rule, and never what stood there, because that may be a secret.
 */
export function parseConfiguration(environment: object): ConfigurationResult {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) return failureOf(parsed.error);
  const all = parsed.data;
  const configuration: Configuration = {
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

/** The first fault, in words for an operator. Names that stand in a secret are left out; positions are told. */
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

/** A variable that holds JSON; one that wrangler.toml spells as a table arrives parsed. */
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

/** HTTPS, or HTTP where the traffic stays on one machine or in one private network. */
function isRegionUrl(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || url.username !== '' || url.password !== '') return false;
  const isNear = /^(?:localhost|127(?:\.\d+){3}|\[::1\]|[a-z0-9-]+)$/.test(url.hostname);
  return url.protocol === 'https:' || (url.protocol === 'http:' && isNear);
}

function areDistinct(texts: readonly string[]): boolean {
  return new Set(texts).size === texts.length;
}
