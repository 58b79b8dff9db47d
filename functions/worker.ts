/** The deployed Worker: its fetch handler, and the classes of its Durable Objects. */
import { uuidv7 } from 'uuidv7';
import '../shared/limit-relations.ts';
import { parseConfiguration } from '../shared/config/configuration.ts';
import type { RegionConfiguration } from '../shared/contracts/members.ts';
import { coordinatorIn, courierIn, registryIn } from '../shared/contracts/objects.ts';
import type { ReadableRegion } from '../shared/contracts/region-client.ts';
import { shardNameOf } from '../shared/ids.ts';
import { targetPolicyOf } from '../shared/webhooks/target.ts';
import { createApp, createMisconfiguredApp, type EdgeApp } from './edge/app.ts';
import { RememberedMap } from './edge/cache/known-map.ts';
import type { EdgeDependencies, Location } from './edge/http/dependencies.ts';
import { connectFeed } from './edge/streaming/feed-connection.ts';
import { withTimeout } from './platform/timeout.ts';
import { connectRegion } from './region/client.ts';
import { subscribeIn } from './region/subscribe.ts';

export { Coordinator } from './coordinator/object.ts';
export { Courier } from './courier/object.ts';
export { ChangeFeed } from './feed/feed.ts';
export { Registry } from './registry/object.ts';

/** One app per isolate: the configuration cannot change while the isolate lives. */
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
  const { coordinatorLocation: locationHint } = configuration;
  const options = locationHint === null ? {} : { locationHint };
  const registry = registryIn(environment.REGISTRY, options);
  const dependencies: EdgeDependencies = {
    configuration,
    shards: new RememberedMap(configuration.shards, registry, { log, withTimeout }),
    targetPolicy: targetPolicyOf(environment),
    coordinatorOf: (shard) => coordinatorIn(environment.COORDINATOR, shard, options),
    courierOf: (endpoint) => courierIn(environment.COURIER, endpoint),
    feedOf: (shard) => connectFeed(environment.FEED.getByName(shardNameOf(shard))),
    regionOf: connectRegions(),
    subscribe: (region, subscription) =>
      subscribeIn(region, subscription, configuration.readTimeoutMs),
    locate,
    inBackground: (context, work) => context.executionCtx.waitUntil(work),
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    withTimeout,
    // The binding uses only the path.
    asset: (path) => environment.ASSETS.fetch(`https://assets.invalid/${path}`),
    now: () => Date.now(),
    uuid: () => uuidv7(),
    log,
  };
  return createApp(dependencies);
}

/** Returns the client of a region, created once: it remembers which scripts its region knows. */
function connectRegions(): (region: RegionConfiguration) => ReadableRegion {
  const clients = new Map<string, { readonly address: string; readonly client: ReadableRegion }>();
  return (region) => {
    const address = JSON.stringify([region.url, region.token]);
    const known = clients.get(region.id);
    // A region that was removed and added again may be another database.
    if (known?.address === address) return known.client;
    const client = connectRegion(region);
    clients.set(region.id, { address, client });
    return client;
  };
}

/** The client's location by the platform, which sends it as text, and sends nothing on a local machine. */
function locate(request: Request): Location | null {
  const { cf } = request;
  const latitude = Number.parseFloat(String(cf?.latitude));
  const longitude = Number.parseFloat(String(cf?.longitude));
  return Number.isFinite(latitude) && Number.isFinite(longitude) ? [latitude, longitude] : null;
}

function log(message: string, details: Readonly<Record<string, unknown>>): void {
  console.error(JSON.stringify({ message, ...details }));
}
