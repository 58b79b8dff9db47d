import { uuidv7 } from 'uuidv7';
import type { ShardId } from '../shared/ids.ts';
import type { RegionClient } from '../shared/protocol/round.ts';
import type { CoordinatorApi, MembersApi, Resolution, ScriptsApi } from '../shared/wire/answers.ts';
import { type LocationHint, parseConfiguration } from '../shared/wire/configuration.ts';
import type { HooksApi } from '../shared/wire/confirmations.ts';
import type { RegionConfiguration } from '../shared/wire/members.ts';
import { targetPolicyOf } from '../shared/wire/webhook-target.ts';
import { createApp, createMisconfiguredApp, type EdgeApp } from './edge/app.ts';
import type { EdgeDependencies, Location } from './edge/dependencies.ts';
import { connectFeed } from './edge/feed-connection.ts';
import { connectRegion } from './region/client.ts';
import { subscribeIn } from './region/subscription.ts';

export { Coordinator } from './coordinator/coordinator.ts';
export { Courier } from './courier/courier.ts';
export { ChangeFeed } from './feed/feed.ts';

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
  const { coordinatorLocation: locationHint } = configuration;
  const dependencies: EdgeDependencies = {
    configuration,
    targetPolicy: targetPolicyOf(environment),
    coordinatorOf: (shard) =>
      coordinatorOf(coordinatorStub(environment.COORDINATOR, shard, locationHint)),
    membersOf: (shard) => membersOf(coordinatorStub(environment.COORDINATOR, shard, locationHint)),
    hooksOf: (shard) => hooksOf(coordinatorStub(environment.COORDINATOR, shard, locationHint)),
    scriptsOf: (shard) => scriptsOf(coordinatorStub(environment.COORDINATOR, shard, locationHint)),
    courierOf: (endpoint) => environment.COURIER.getByName(endpoint),
    feedOf: (shard) => connectFeed(environment.FEED.getByName(`shard-${shard}`)),
    regionOf: connectRegions(),
    subscribe: (region, subscription) =>
      subscribeIn(region, subscription, configuration.readTimeoutMs),
    locate,
    inBackground: (context, work) => context.executionCtx.waitUntil(work),
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    // The binding looks at the path alone.
    asset: (path) => environment.ASSETS.fetch(`https://assets.invalid/${path}`),
    now: () => Date.now(),
    uuid: () => uuidv7(),
    log,
  };
  return createApp(dependencies);
}

/** Clients of regions, each made once: a client remembers which scripts its region knows. */
function connectRegions(): (region: RegionConfiguration) => RegionClient {
  const clients = new Map<string, { readonly address: string; readonly client: RegionClient }>();
  return (region) => {
    const address = JSON.stringify([region.url, region.token]);
    const known = clients.get(region.id);
    // One that was removed and added again may be another database.
    if (known?.address === address) return known.client;
    const client = connectRegion(region);
    clients.set(region.id, { address, client });
    return client;
  };
}

type CoordinatorStub = ReturnType<Env['COORDINATOR']['get']>;

function coordinatorStub(
  namespace: Env['COORDINATOR'],
  shard: ShardId,
  locationHint: LocationHint | null,
): CoordinatorStub {
  const options = locationHint === null ? {} : { locationHint };
  return namespace.get(namespace.idFromName(`shard-${shard}`), options);
}

function coordinatorOf(stub: CoordinatorStub): CoordinatorApi {
  return {
    write: (request) => stub.write(request),
    writeAll: (requests) => stub.writeAll(requests),
    accept: (request) => stub.accept(request),
    status: (id) => stub.status(id),
    describe: () => stub.describe(),
    read: (request) => stub.read(request),
    want: (regions) => stub.want(regions),
    // The stub's own types turn each tuple into an array; the values are what the methods return.
    regions: async () => {
      const regions: readonly unknown[] = await stub.regions();
      return regions as readonly RegionConfiguration[];
    },
    resolve: async (transactions) => {
      const resolutions: readonly unknown[] = await stub.resolve(transactions);
      return resolutions as readonly Resolution[];
    },
  };
}

function membersOf(stub: CoordinatorStub): MembersApi {
  return {
    order: (order, address) => stub.order(order, address),
    history: (before, limit) => stub.history(before, limit),
    inDoubt: () => stub.inDoubt(),
    lastWrites: (keys) => stub.lastWrites(keys),
  };
}

function hooksOf(stub: CoordinatorStub): HooksApi {
  return {
    changes: (query) => stub.changes(query),
    follow: () => stub.follow(),
    subscribe: (subscription) => stub.subscribe(subscription),
    subscriptions: () => stub.subscriptions(),
    changeSubscription: (endpoint, patch) => stub.changeSubscription(endpoint, patch),
    unsubscribe: (endpoint) => stub.unsubscribe(endpoint),
    recover: (endpoint, since) => stub.recover(endpoint, since),
    signingKey: () => stub.signingKey(),
    disabled: (endpoint, reason) => stub.disabled(endpoint, reason),
  };
}

function scriptsOf(stub: CoordinatorStub): ScriptsApi {
  return {
    keepScripts: (texts, loaded) => stub.keepScripts(texts, loaded),
    scriptTexts: (shas) => stub.scriptTexts(shas),
    scriptsKnown: (shas) => stub.scriptsKnown(shas),
    flushScripts: () => stub.flushScripts(),
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
