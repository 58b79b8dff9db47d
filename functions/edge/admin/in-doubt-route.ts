/** The routes for the history of membership and for transactions in doubt. */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import type { RegionFault } from '../../../shared/contracts/coordinator.ts';
import type {
  InDoubt,
  OpenTransaction,
  RegionConfiguration,
} from '../../../shared/contracts/members.ts';
import type { InspectionResult } from '../../../shared/contracts/round.ts';
import {
  historyAnswerSchema,
  historyQuerySchema,
  inDoubtSchema,
  orderAnswerSchema,
  settleSchema,
} from '../../../shared/http/admin-schemas.ts';
import { presentMemberChange } from '../../../shared/http/feed-messages.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import {
  formatTransactionId,
  keyOf,
  parseTransactionId,
  type RegionId,
  type ShardId,
  type TransactionOrder,
} from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { allRegions } from '../cache/region-directory.ts';
import type { Guard } from '../http/authenticate.ts';
import { checkShape, readBody } from '../http/body.ts';
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
import { allShards, keeperOf } from '../http/shards.ts';
import { sendToShards } from './admin-regions-route.ts';
import { presentKey } from './key-texts.ts';

const tags = ['Administration'];

const historyRoute = createRoute({
  method: 'get',
  path: '/v1/admin/members',
  operationId: 'listMemberChanges',
  tags,
  summary: 'List membership changes, newest first',
  ...secured('admin'),
  request: { query: historyQuerySchema },
  responses: {
    200: jsonResponse('A page of the history', historyAnswerSchema),
    ...problemResponses(400, 401, 403, 503),
  },
});

const inDoubtRoute = createRoute({
  method: 'get',
  path: '/v1/admin/in-doubt',
  operationId: 'listInDoubt',
  tags,
  summary: 'List unfinished transactions, keys that need an operator, and all locks',
  ...secured('admin'),
  responses: {
    200: jsonResponse(
      'In-doubt state, as the coordinator and the regions report it',
      inDoubtSchema,
    ),
    ...problemResponses(401, 403, 503),
  },
});

const settleRoute = createRoute({
  method: 'post',
  path: '/v1/admin/in-doubt/settle',
  operationId: 'settleTransaction',
  tags,
  summary: 'Abort an undecided transaction, or send its decision to every voter again',
  ...secured('admin'),
  request: { headers: repeatableHeaders, body: jsonBody(settleSchema) },
  responses: {
    202: jsonResponse('Accepted; `detail` describes the next step', orderAnswerSchema),
    ...problemResponses(400, 401, 403, 409, 413, 415, 422, 429, 503),
  },
});

/** Mounts `/v1/admin/members` and `/v1/admin/in-doubt`. */
export function mountAdminDoubt(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  for (const route of [historyRoute, inDoubtRoute, settleRoute]) {
    app.openAPIRegistry.registerPath(route);
  }
  app.get(historyRoute.getRoutingPath(), guard('admin'), (context) =>
    presentHistory(context, dependencies),
  );
  app.get(inDoubtRoute.getRoutingPath(), guard('admin'), (context) =>
    presentInDoubt(context, dependencies),
  );
  app.post(settleRoute.getRoutingPath(), guard('admin'), repeatable(dependencies), (context) =>
    settle(context, dependencies),
  );
}

async function presentHistory(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Response> {
  const query = checkShape(context.req.query(), historyQuerySchema);
  if (!query.ok) return answerProblem(context, query.problem);
  const { before = null, limit } = query.value;
  // Each shard has a history of its own, whose sequences are the positions of pages.
  const keeper = keeperOf(dependencies);
  const history = await callCoordinator(dependencies, keeper, 'history', before, limit);
  if (!history.ok) return answerProblem(context, history.problem);
  const last = history.value.at(-1)?.sequence ?? null;
  return answerJson({
    members: history.value.map(presentMemberChange),
    before: history.value.length < limit ? null : last,
  });
}

async function settle(context: EdgeContext, dependencies: EdgeDependencies): Promise<Response> {
  const body = await readBody(context.req.raw, settleSchema);
  if (!body.ok) return answerProblem(context, body.problem);
  const id = parseTransactionId(body.value.transaction);
  const known = await allShards(dependencies);
  if (id === null || !known.includes(id.shard)) {
    const detail = `No shard here has transactions like ${body.value.transaction}. GET /v1/admin/in-doubt lists those in doubt.`;
    return answerProblem(context, failure('invalid-request', detail).problem);
  }
  const transaction = [id.incarnation, id.sequence] as const;
  return sendToShards(context, dependencies, [id.shard], { kind: 'settle', transaction });
}

/** A lock of a shard, as one region reports it. */
interface Lock {
  readonly region: RegionId;
  readonly key: string;
  readonly holder: TransactionOrder;
}

/** The in-doubt state of one shard. */
interface ShardDoubt extends InDoubt {
  readonly locks: readonly unknown[];
  /** The regions whose list of locks is incomplete. */
  readonly truncated: readonly RegionId[];
  readonly faults: readonly RegionFault[];
}

async function presentInDoubt(
  context: EdgeContext,
  dependencies: EdgeDependencies,
): Promise<Response> {
  const [shards, regions] = await Promise.all([allShards(dependencies), allRegions(dependencies)]);
  const doubts: ShardDoubt[] = [];
  for (const shard of shards) {
    const doubt = await doubtOf(dependencies, shard, regions);
    if (!doubt.ok) return answerProblem(context, doubt.problem);
    doubts.push(doubt.value);
  }
  return answerJson({
    transactions: doubts.flatMap(({ transactions }) => transactions),
    blocked: doubts.flatMap(({ blocked }) => blocked),
    locks: doubts.flatMap(({ locks }) => locks),
    truncated: [...new Set(doubts.flatMap(({ truncated }) => truncated))],
    faults: distinctFaults(doubts.flatMap(({ faults }) => faults)),
  });
}

/** A region that does not answer is named once, though it was asked about each shard. */
function distinctFaults(faults: readonly RegionFault[]): readonly RegionFault[] {
  return [...new Map(faults.map((fault) => [fault.region, fault])).values()];
}

async function doubtOf(
  dependencies: EdgeDependencies,
  shard: ShardId,
  regions: readonly RegionConfiguration[],
): Promise<Result<ShardDoubt>> {
  const doubt = await callCoordinator(dependencies, shard, 'inDoubt');
  if (!doubt.ok) return doubt;
  const found = await Promise.all(regions.map((region) => locksOf(dependencies, shard, region)));
  const locks = found.flatMap((one) => one.locks);
  const resolved = await resolutionsOf(dependencies, shard, locks);
  const ages = new Map(
    doubt.value.transactions.map((open: OpenTransaction) => [open.transaction, open.ageMs]),
  );
  return success({
    ...doubt.value,
    locks: locks.map(({ region, key, holder }) => {
      const [incarnation, sequence] = holder;
      const transaction = formatTransactionId({ shard, incarnation, sequence });
      return {
        region,
        ...presentKey(key),
        transaction,
        resolution: resolved.get(keyOf(holder)) ?? 'unknown',
        ageMs: ages.get(transaction) ?? null,
      };
    }),
    truncated: found.filter(({ more }) => more).map(({ region }) => region),
    faults: found.flatMap(({ fault }) => fault ?? []),
  });
}

/** The locks of a shard in one region. If it does not answer, the fault is reported beside the locks of the others. */
async function locksOf(
  dependencies: EdgeDependencies,
  shard: ShardId,
  region: RegionConfiguration,
): Promise<{
  readonly region: RegionId;
  readonly locks: readonly Lock[];
  readonly more: boolean;
  readonly fault: RegionFault | null;
}> {
  const { id } = region;
  const question = { kind: 'locks', count: limits.locksShown } as const;
  const result: InspectionResult = await dependencies
    .regionOf(region)
    .inspect(shard, question, limits.inspectTimeoutMs);
  if (result.kind === 'silent') {
    const fault = { region: id, reason: result.reason };
    return { region: id, locks: [], more: false, fault };
  }
  const locks = result.keys.flatMap(({ key, holder }) =>
    holder === null ? [] : [{ region: id, key, holder }],
  );
  return { region: id, locks, more: result.more, fault: null };
}

/**
 * The coordinator's resolution of each holder; empty if it does not answer. Omits holders of later incarnations than its
 * own, which are from another Lockstep: the coordinator would conclude from them that it was replaced.
 */
async function resolutionsOf(
  dependencies: EdgeDependencies,
  shard: ShardId,
  locks: readonly Lock[],
): Promise<ReadonlyMap<string, string>> {
  const all = [...new Map(locks.map(({ holder }) => [keyOf(holder), holder])).values()];
  if (all.length === 0) return new Map();
  const status = await callCoordinator(dependencies, shard, 'describe');
  if (!status.ok) return new Map();
  const holders = all.filter(([incarnation]) => incarnation <= status.value.incarnation);
  const resolved = await callCoordinator(dependencies, shard, 'resolve', holders);
  if (!resolved.ok) return new Map();
  return new Map(resolved.value.map(({ transaction, kind }) => [keyOf(transaction), kind]));
}
