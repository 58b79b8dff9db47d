import { uuidv7 } from 'uuidv7';
import { assert } from '../shared/assert.ts';
import { parseConfiguration } from '../shared/wire/configuration.ts';
import { createApp, createMisconfiguredApp, type EdgeApp } from './edge/app.ts';
import type { EdgeDependencies, Location } from './edge/dependencies.ts';
import { connectRegion } from './region/client.ts';

export { Coordinator } from './coordinator/coordinator.ts';

/** One app an isolate: its configuration cannot change while the isolate lives. */
let app: EdgeApp | null = null;

export default {
  fetch(request, environment, context) {
    app ??= start(environment);
    return app.fetch(request, environment, context);
  },
} satisfies ExportedHandler<Env>;

function start(environment: Env): EdgeApp {
  const parsed = parseConfiguration(environment);
  if (!parsed.ok) return createMisconfiguredApp(parsed, log);
  const { configuration } = parsed;
  const regions = new Map(
    configuration.regions.map((region) => [region.id, connectRegion(region)]),
  );
  const { coordinatorLocation: locationHint } = configuration;
  const dependencies: EdgeDependencies = {
    configuration,
    coordinatorOf(shard) {
      const id = environment.COORDINATOR.idFromName(`shard-${shard}`);
      return environment.COORDINATOR.get(id, locationHint === null ? {} : { locationHint });
    },
    regionOf(id) {
      const region = regions.get(id);
      assert(region !== undefined, 'only configured regions are asked');
      return region;
    },
    locate,
    // The binding looks at the path alone.
    asset: (path) => environment.ASSETS.fetch(`https://assets.invalid/${path}`),
    now: () => Date.now(),
    uuid: () => uuidv7(),
    log,
  };
  return createApp(dependencies);
}

/** Where the platform places the client. It sends text, and nothing on a local machine. */
function locate(request: Request): Location | null {
  const { cf } = request;
  const latitude = Number.parseFloat(String(cf?.latitude));
  const longitude = Number.parseFloat(String(cf?.longitude));
  return Number.isFinite(latitude) && Number.isFinite(longitude) ? [latitude, longitude] : null;
}

function log(message: string, details: Readonly<Record<string, unknown>>): void {
  console.error(JSON.stringify({ message, ...details }));
}
