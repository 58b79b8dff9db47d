/** `GET /v1/admin/doctor`: runs the doctor against the deployment. */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { doctorAnswerSchema } from '../../../shared/http/admin-schemas.ts';
import { askRegions } from '../admin/regions-route.ts';
import type { Guard } from '../http/authenticate.ts';
import type { EdgeDependencies } from '../http/dependencies.ts';
import { jsonResponse, problemResponses, secured } from '../http/openapi.ts';
import { answerJson, type EdgeEnvironment } from '../http/respond.ts';
import { allShards } from '../http/shards.ts';
import { diagnose } from './diagnose.ts';

const getRoute = createRoute({
  method: 'get',
  path: '/v1/admin/doctor',
  operationId: 'runDoctor',
  tags: ['Administration'],
  summary: "Check each region's setup, with advice for each fault",
  description:
    'Writes only keys under `lockstep:doctor:`, and removes them. `unknown` marks a check to make by hand. No token is shown.',
  ...secured('admin'),
  responses: {
    200: jsonResponse('The result of every check', doctorAnswerSchema),
    ...problemResponses(401, 403),
  },
});

/** Mounts `GET /v1/admin/doctor`. */
export function mountDoctor(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: EdgeDependencies,
  guard: Guard,
): void {
  app.openAPIRegistry.registerPath(getRoute);
  app.get(getRoute.getRoutingPath(), guard('admin'), async () => {
    const { regions, status, statuses } = await askRegions(dependencies);
    const { configuration } = dependencies;
    const diagnosis = await diagnose({
      configuration,
      regions,
      shards: await allShards(dependencies),
      statuses,
      status,
      runId: dependencies.uuid(),
      regionOf: (region) => dependencies.regionOf(region),
      now: () => dependencies.now(),
    });
    return answerJson(diagnosis);
  });
}
