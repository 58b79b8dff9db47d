import { uuidv7 } from 'uuidv7';
import { assert } from '../shared/assert.ts';
import type { ShardId } from '../shared/ids.ts';
import type { CoordinatorApi, Resolution } from '../shared/wire/answers.ts';
import { type LocationHint, parseConfiguration } from '../shared/wire/configuration.ts';
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
    coordinatorOf: (shard) => coordinatorOf(environment.COORDINATOR, shard, locationHint),
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

function coordinatorOf(
  namespace: Env['COORDINATOR'],
  shard: ShardId,
  locationHint: LocationHint | null,
): CoordinatorApi {
  const options = locationHint === null ? {} : { locationHint };
  const stub = namespace.get(namespace.idFromName(`shard-${shard}`), options);
  return {
    write: (request) => stub.write(request),
    accept: (request) => stub.accept(request),
    status: (id) => stub.status(id),
    describe: () => stub.describe(),
    // The stub's own types turn each tuple into an array; the values are what the method returns.
    resolve: async (transactions) => {
      const resolutions: readonly unknown[] = await stub.resolve(transactions);
      return resolutions as readonly Resolution[];
    },
  };
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
