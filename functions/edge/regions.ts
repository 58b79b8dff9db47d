import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { regionsAnswerSchema } from '../../shared/wire/schemas.ts';
import { answerJson, type EdgeEnvironment } from './answer.ts';
import type { Guard } from './authenticate.ts';
import { askCoordinator } from './coordinators.ts';
import { type EdgeDependencies, onlyShard } from './dependencies.ts';
import { jsonResponse, problemResponses, secured } from './documented.ts';

const getRoute = createRoute({
  method: 'get',
  path: '/v1/regions',
  tags: ['Regions'],
  summary: 'The regions, and how each one does',
  ...secured,
  responses: {
    200: jsonResponse('The configured regions', regionsAnswerSchema),
    ...problemResponses(401, 403),
  },
});

/** `GET /v1/regions`. It answers without a coordinator too, when it is needed most. */
export function mountRegions(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  app.openAPIRegistry.registerPath(getRoute);
  app.get(getRoute.getRoutingPath(), guard('read'), async (context) => {
    const asked = await askCoordinator(dependencies, onlyShard, 'read', (coordinator) =>
      coordinator.describe(),
    );
    const status = asked.ok ? asked.value : null;
    const regions = dependencies.configuration.regions.map(({ id, url, location }) => {
      const known = status?.regions.find(({ region }) => region === id);
      return {
        id,
        // The address may hold a secret path; the host is enough to know which database it is.
        host: new URL(url).host,
        location,
        health: known?.health ?? 'unknown',
        detail: known?.detail ?? (asked.ok ? null : asked.problem.detail),
        roundTripMs: tenths(known?.roundTripMs ?? null),
        unacknowledged: known?.unacknowledged ?? null,
      };
    });
    const coordinators = status === null ? [] : [{ ...status, regions: undefined }];
    return answerJson(context, { regions, coordinators });
  });
}

function tenths(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 10) / 10;
}
