/** `GET /v1/regions`, and the view of regions that it shares with the routes of operators. */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import type { CoordinatorStatus } from '../../../shared/contracts/coordinator.ts';
import type { CopyProgress, RegionConfiguration } from '../../../shared/contracts/members.ts';
import { regionsAnswerSchema } from '../../../shared/http/admin-schemas.ts';
import type { Problem } from '../../../shared/http/problems.ts';
import type { RegionId, ShardId } from '../../../shared/ids.ts';
import { allRegions } from '../cache/region-directory.ts';
import type { Guard } from '../http/authenticate.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { jsonResponse, problemResponses, secured } from '../http/openapi.ts';
import { answerJson, type EdgeEnvironment } from '../http/respond.ts';
import { allShards } from '../http/shards.ts';

const getRoute = createRoute({
  method: 'get',
  path: '/v1/regions',
  operationId: 'listRegions',
  tags: ['Regions'],
  summary: 'List regions and their health',
  ...secured('read'),
  responses: {
    200: jsonResponse('Every region that was configured or added', regionsAnswerSchema),
    ...problemResponses(401, 403),
  },
});

/** Mounts `GET /v1/regions`. It answers even without the coordinator, when it is needed most. */
export function mountRegions(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  app.openAPIRegistry.registerPath(getRoute);
  app.get(getRoute.getRoutingPath(), guard('read'), async () => {
    const { regions, status, problem, statuses } = await askRegions(dependencies);
    return answerJson({
      regions: shownRegions(regions, status).map((region) =>
        presentRegion(region, status, problem),
      ),
      coordinators: statuses.map(presentCoordinator),
    });
  });
}

/**
 * The regions, with the keeper's status or the problem of asking for it. `statuses` has the status of each shard that
 * answers, the keeper's first.
 */
export type RegionsKnown = {
  readonly regions: readonly RegionConfiguration[];
  readonly statuses: readonly CoordinatorStatus[];
} & (
  | { readonly status: CoordinatorStatus; readonly problem: null }
  | { readonly status: null; readonly problem: Problem }
);

/** Asks each coordinator for its current status, and one for the regions. */
export async function askRegions(dependencies: EdgeDependencies): Promise<RegionsKnown> {
  const [keeper, ...others] = await allShards(dependencies);
  const ask = (shard: ShardId) => callCoordinator(dependencies, shard, 'describe');
  const [regions, asked, ...more] = await Promise.all([
    allRegions(dependencies),
    ask(keeper),
    ...others.map(ask),
  ]);
  const statuses = [asked, ...more].flatMap((answer) => (answer.ok ? [answer.value] : []));
  return asked.ok
    ? { regions, statuses, status: asked.value, problem: null }
    : { regions, statuses, status: null, problem: asked.problem };
}

/** A region to present. It has no URL if it was removed and still votes. */
export type RegionResponse =
  | Pick<RegionConfiguration, 'id' | 'url' | 'location'>
  | { readonly id: RegionId; readonly url: null; readonly location: null };

/** The regions, and those that were removed but have not left yet. */
export function shownRegions(
  regions: readonly RegionConfiguration[],
  status: CoordinatorStatus | null,
): readonly RegionResponse[] {
  const leaving = (status?.regions ?? []).filter(({ region }) =>
    regions.every(({ id }) => id !== region),
  );
  return [
    ...regions,
    ...leaving.map(({ region }): RegionResponse => ({ id: region, url: null, location: null })),
  ];
}

/** A coordinator as clients see it, without its regions, which are presented separately. */
export function presentCoordinator(status: CoordinatorStatus): Readonly<Record<string, unknown>> {
  return { ...status, regions: undefined };
}

/** A region as every client may see it. */
export function presentRegion(
  { id, url, location }: RegionResponse,
  status: CoordinatorStatus | null,
  problem: Problem | null,
): Readonly<Record<string, unknown>> {
  const known = status?.regions.find(({ region }) => region === id);
  return {
    id,
    // Only the host: the path of the URL may contain a secret.
    host: url === null ? null : new URL(url).host,
    location,
    state: known?.state ?? 'unknown',
    since: timeOf(known?.since ?? null),
    cause: known?.cause ?? null,
    health: known?.health ?? 'unknown',
    detail: known?.detail ?? problem?.detail ?? null,
    generation: known?.generation ?? null,
    leaseMs: known?.leaseMs ?? null,
    roundTripMs: tenths(known?.roundTripMs ?? null),
    unacknowledged: known?.unacknowledged ?? null,
    missedKeys: known?.missedKeys ?? null,
    copy: presentCopy(known?.copy ?? null),
  };
}

function presentCopy(copy: CopyProgress | null): Readonly<Record<string, unknown>> | null {
  if (copy === null) return null;
  const keysPerSecond = tenths(copy.keysPerSecond);
  return { ...copy, startedAt: timeOf(copy.startedAt), keysPerSecond };
}

function timeOf(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}

function tenths(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 10) / 10;
}
