/** The routes by which operators compare regions and repair keys. */
import { createRoute, type OpenAPIHono, type z } from '@hono/zod-openapi';
import { exactTextOf } from '../../../shared/contracts/bytes.ts';
import type { RegionConfiguration } from '../../../shared/contracts/members.ts';
import {
  orderAnswerSchema,
  repairSchema,
  verifyAnswerSchema,
  verifySchema,
} from '../../../shared/http/admin-schemas.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { RegionId, ShardId } from '../../../shared/ids.ts';
import { type ShardMap, shardOf } from '../../../shared/shards/shard-map.ts';
import {
  beginVerify,
  cursorOf,
  type DigestDifference,
  isVerified,
  progressOfCursor,
  type VerifyProgress,
  type VerifyScope,
  verifySlice,
} from '../../region/verification.ts';
import type { Guard } from '../http/authenticate.ts';
import { readBody, readBodyIfAny } from '../http/body.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { jsonBody, jsonResponse, problemResponses, secured } from '../http/openapi.ts';
import { repeatable, repeatableHeaders } from '../http/repeatable.ts';
import {
  answerJson,
  answerProblem,
  type EdgeContext,
  type EdgeEnvironment,
} from '../http/respond.ts';
import { callEach, keeperOf } from '../http/shards.ts';
import { presentKey } from './key-texts.ts';
import { askRegions } from './regions-route.ts';
import { planRepair, type RepairCommand } from './repair.ts';

const tags = ['Administration'];

const verifyRoute = createRoute({
  method: 'post',
  path: '/v1/admin/verify',
  operationId: 'verifyRegions',
  tags,
  summary: 'Compare the regions key by key, one slice per call',
  description:
    "Call it again with `cursor` set to `next` until `next` is null. Digests cover type, expiry and value, and do not depend on a server's internal order. A key is reported as differing only if it differs in several comparisons.",
  ...secured('admin'),
  request: { body: { ...jsonBody(verifySchema), required: false } },
  responses: {
    200: jsonResponse(
      'The result of this slice, and the cursor of the next one',
      verifyAnswerSchema,
    ),
    ...problemResponses(400, 401, 403, 404, 409, 413, 415, 503),
  },
});

const repairRoute = createRoute({
  method: 'post',
  path: '/v1/admin/repair',
  operationId: 'repairKeys',
  tags,
  summary: 'Copy keys to the voters that hold different values',
  description:
    'A region is out while keys are copied to it. With `source`, a key that needs an operator accepts writes again afterwards.',
  ...secured('admin'),
  request: { headers: repeatableHeaders, body: jsonBody(repairSchema) },
  responses: {
    200: jsonResponse(
      'All voters hold the same values for these keys; nothing to repair',
      orderAnswerSchema,
    ),
    202: jsonResponse('Accepted; `detail` describes the next step', orderAnswerSchema),
    ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
  },
});

/** Mounts `POST /v1/admin/verify` and `POST /v1/admin/repair`. */
export function mountAdminVerify(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  for (const route of [verifyRoute, repairRoute]) app.openAPIRegistry.registerPath(route);
  app.post(verifyRoute.getRoutingPath(), guard('admin'), (context) =>
    verify(context, dependencies),
  );
  app.post(repairRoute.getRoutingPath(), guard('admin'), repeatable(dependencies), (context) =>
    repair(context, dependencies),
  );
}

async function verify(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBodyIfAny(context.req.raw, verifySchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const voters = await knownVoters(dependencies);
  if (!voters.ok) return answerProblem(context, voters.problem);
  const position = positionOf(body.value, voters.value);
  if (!position.ok) return answerProblem(context, position.problem);
  const scope = scopeOf(dependencies, voters.value.regions, position.value.regions);
  const slice = await verifySlice(scope, position.value, body.value);
  if (!slice.ok) {
    const { region, reason } = slice.fault;
    const detail = `${region} does not answer: ${reason}. Retry to continue from here.`;
    const members = { regions: [slice.fault] };
    const unavailable = failure('region-unavailable', detail, members, { 'Retry-After': '1' });
    return answerProblem(context, unavailable.problem);
  }
  const { checked, differing, restless, next } = slice.value;
  const presented = await presentDifferences(dependencies, differing);
  if (!presented.ok) return answerProblem(context, presented.problem);
  return answerJson({
    checked,
    differing: presented.value,
    undecided: restless.map(presentKey),
    regions: next.regions,
    next: isVerified(next) ? null : cursorOf(next),
    done: {
      region: next.regions[next.region] ?? null,
      regionsDone: next.region,
      regionsTotal: next.regions.length,
      checked: next.checked,
      differing: next.differing,
    },
  });
}

interface Voters {
  readonly regions: readonly RegionConfiguration[];
  readonly voters: readonly RegionId[];
}

/** The regions, and those of them that vote. */
async function knownVoters(dependencies: EdgeDependencies): Promise<Result<Voters>> {
  const { regions, status, problem } = await askRegions(dependencies);
  if (status === null) return { ok: false, problem };
  const isVoter = ({ id }: RegionConfiguration) =>
    status.regions.some(({ region, state }) => region === id && state === 'voter');
  return success({ regions, voters: regions.filter(isVoter).map(({ id }) => id) });
}

/** The position of a cursor, or the first one without a cursor. */
function positionOf(
  { cursor, regions: chosen, prefix }: z.infer<typeof verifySchema>,
  { regions, voters }: Voters,
): Result<VerifyProgress> {
  const ids = regions.map(({ id }) => id);
  if (cursor === undefined) {
    const detail = `The regions are ${ids.join(', ')}: name some of these, each once.`;
    if (chosen?.some((id) => !ids.includes(id))) {
      return failure('region-unknown', detail, { regions: ids });
    }
    if (new Set(chosen).size < (chosen?.length ?? 0)) {
      return failure('invalid-request', detail, { regions: ids });
    }
    if (chosen === undefined && voters.length < 2) {
      const detail = 'There are fewer than two voters, so there is nothing to compare.';
      return failure('order-refused', detail);
    }
    return success(beginVerify(chosen ?? voters, chosen !== undefined, prefix ?? ''));
  }
  const position = progressOfCursor(cursor);
  if (position === null || chosen !== undefined || prefix !== undefined) {
    const detail =
      '`cursor` must be the unchanged `next` of the previous response. It includes `regions` and `prefix`: omit these.';
    return failure('invalid-request', detail);
  }
  const allowed = position.areChosen ? ids : voters;
  const gone = position.regions.find((id) => !allowed.includes(id));
  if (gone === undefined) return success(position);
  const detail = `${gone} no longer votes, so a difference may be expected. Start again without a cursor.`;
  return failure('order-refused', detail);
}

function scopeOf(
  dependencies: EdgeDependencies,
  regions: readonly RegionConfiguration[],
  ids: readonly RegionId[],
): VerifyScope {
  return {
    shard: keeperOf(dependencies),
    regions: regions
      .filter(({ id }) => ids.includes(id))
      .map((region) => ({ id: region.id, client: dependencies.regionOf(region) })),
    pause: (ms) => dependencies.pause(ms),
    now: () => dependencies.now(),
  };
}

/** Adds the last write to each difference. Lockstep writes only text keys, so the log is not searched for others. */
async function presentDifferences(
  dependencies: EdgeDependencies,
  differing: readonly DigestDifference[],
): Promise<Result<readonly unknown[]>> {
  const texts = differing.flatMap(({ key }) => exactTextOf(key) ?? []);
  const lastWrites = new Map<string, number | null>();
  for (const [shard, keys] of byShard(texts, dependencies.shards.now)) {
    const written = await callCoordinator(dependencies, shard, 'lastWrites', keys);
    if (!written.ok) return written;
    for (const [index, key] of keys.entries()) lastWrites.set(key, written.value[index] ?? null);
  }
  return success(
    differing.map(({ key, digests }) => {
      const lastWrite = lastWrites.get(exactTextOf(key) ?? '') ?? null;
      const isMissing = Object.values(digests).includes(null);
      const kind = lastWrite === null ? 'around' : isMissing ? 'only-in' : 'differs';
      return { ...presentKey(key), regions: digests, kind, lastWrite };
    }),
  );
}

async function repair(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, repairSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const { keys, source = null } = body.value;
  const known = await knownVoters(dependencies);
  if (!known.ok) return answerProblem(context, known.problem);
  const { regions, voters } = known.value;
  if (source !== null && !voters.includes(source)) {
    const detail = `\`source\` must be a voter: ${voters.join(', ')}.`;
    return answerProblem(context, failure('order-refused', detail).problem);
  }
  const doubt = await callEach(dependencies, 'inDoubt');
  if (!doubt.ok) return answerProblem(context, doubt.problem);
  const blocked = new Set(doubt.value.flatMap((one) => one.blocked.map(({ key }) => key)));
  const scope = scopeOf(dependencies, regions, voters);
  const commands = await planRepair(scope, { keys, source, blocked });
  if (!commands.ok) return answerProblem(context, commands.problem);
  const details: string[] = [];
  for (const { shard, command } of ordersOf(commands.value, dependencies.shards.now)) {
    const answer = await callCoordinator(dependencies, shard, 'order', command, null);
    // Commands that were accepted stay accepted if a later one fails, so the response lists both.
    const isFirst = details.length === 0;
    if (!answer.ok && isFirst) return answerProblem(context, answer.problem);
    const { detail } = answer.ok ? answer.value : answer.problem;
    if (answer.ok && answer.value.kind === 'taken') details.push(detail.replace(/\.?$/, '.'));
    else if (isFirst) return answerProblem(context, failure('order-refused', detail).problem);
    else {
      const left = command.keys.map(({ key }) => JSON.stringify(key.slice(0, 100))).join(', ');
      details.push(
        `Not accepted for ${left}: ${detail.replace(/\.?$/, '.')} Retry with these keys.`,
      );
    }
  }
  if (details.length > 0) return answerJson({ detail: details.join(' ') }, 202);
  return answerJson({
    detail: 'All voters hold the same values for these keys. There is nothing to repair.',
  });
}

/** The keys by their shards. */
function byShard(keys: readonly string[], map: ShardMap): ReadonlyMap<ShardId, readonly string[]> {
  const groups = new Map<ShardId, string[]>();
  for (const key of keys) {
    const shard = shardOf(key, map);
    const group = groups.get(shard);
    if (group === undefined) groups.set(shard, [key]);
    else group.push(key);
  }
  return groups;
}

/** Each command for the shards of its keys, with the keys of that shard alone. */
function ordersOf(
  commands: readonly RepairCommand[],
  map: ShardMap,
): readonly { readonly shard: ShardId; readonly command: RepairCommand }[] {
  return commands.flatMap((command) => {
    const named = command.keys.map(({ key }) => key);
    return [...byShard(named, map)].map(([shard, own]) => ({
      shard,
      command: { ...command, keys: command.keys.filter(({ key }) => own.includes(key)) },
    }));
  });
}
