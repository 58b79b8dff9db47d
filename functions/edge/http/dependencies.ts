/** The dependencies of the edge as interfaces, so that tests can replace them by fakes. */
import type { Configuration } from '../../../shared/config/configuration.ts';
import type { CoordinatorApi } from '../../../shared/contracts/coordinator.ts';
import type { RegionConfiguration } from '../../../shared/contracts/members.ts';
import type { ReadableRegion } from '../../../shared/contracts/region-client.ts';
import type {
  ChangesQuery,
  CourierApi,
  EndpointId,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import type { ShardId } from '../../../shared/ids.ts';
import type { ShardMap } from '../../../shared/shards/shard-map.ts';
import type { TargetPolicy } from '../../../shared/webhooks/target.ts';
import type { RegionStreamResult, RegionSubscription } from '../../region/subscribe.ts';
import type { EdgeContext } from './respond.ts';

/** Latitude and longitude in degrees. */
export type Location = readonly [latitude: number, longitude: number];

/** The position at which a follower of the change feed starts, and its filter. */
export interface FollowQuery extends Omit<ChangesQuery, 'limit' | 'since'> {
  /** The sequence after which it starts; null starts after the newest change. */
  readonly since: number | null;
}

/** An event of a connection to the feed. `closed` is the last one. */
export type FeedEvent =
  | { readonly kind: 'message'; readonly text: string }
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string };

/** A connection to the feed, read by the edge on behalf of a client. */
export interface FeedConnection {
  /** Resolves with the next event; after `closed`, with the same event again. */
  next(): Promise<FeedEvent>;
  /** Confirms to the feed that the client has received everything up to `next`. */
  acknowledge(next: number): void;
  close(): void;
}

/** The feed of a shard. Both methods reject if its object cannot be reached. */
export interface Feed {
  /** Forwards a WebSocket request; the response carries the client's socket, or a refusal. */
  upgrade(query: FollowQuery): Promise<Response>;
  open(query: FollowQuery): Promise<FeedConnection>;
}

/** The map of the shards, as this isolate knows it. */
export interface KnownMap {
  /** The map that is known now. It may be old: a shard answers `moved` then. */
  readonly now: ShardMap;
  /** The map that is known now, once the registry has given one. With one shard it is not asked. Never rejects. */
  given(): Promise<ShardMap>;
  /** A newer map than `used`, if there is one; asks the registry once for all that ask together. Never rejects. */
  renewed(used: ShardMap): Promise<ShardMap>;
}

/** The dependencies of every route. */
export interface EdgeDependencies {
  readonly configuration: Configuration;
  /** The URLs to which webhooks may be sent. */
  readonly targetPolicy: TargetPolicy;
  readonly shards: KnownMap;
  /** The methods of the result reject if the object cannot be reached, was reset, or is overloaded. */
  coordinatorOf(shard: ShardId): CoordinatorApi;
  /** Rejects as `coordinatorOf` does. */
  courierOf(endpoint: EndpointId): CourierApi;
  feedOf(shard: ShardId): Feed;
  /** A client of a region. */
  regionOf(region: RegionConfiguration): ReadableRegion;
  /** Subscribes to messages in a region; never throws. */
  subscribe(
    region: RegionConfiguration,
    subscription: RegionSubscription,
  ): Promise<RegionStreamResult>;
  /** The location of the client, or null if it is unknown. */
  locate(request: Request): Location | null;
  /** Keeps `work`, which never rejects, running after the response. */
  inBackground(context: EdgeContext, work: Promise<void>): void;
  /** Resolves after `ms`; of 0: in a later turn of the event loop. */
  pause(ms: number): Promise<void>;
  /** Settles as `promise` does, or rejects after `ms`. */
  withTimeout<Value>(promise: Promise<Value>, ms: number): Promise<Value>;
  /** A static file of the API documentation. */
  asset(path: string): Promise<Response>;
  /** A clock in ms, for durations only. */
  now(): number;
  /** A fresh UUID v7. */
  uuid(): string;
  /** Logs a failure for operators, without secrets. */
  log(message: string, details: Readonly<Record<string, unknown>>): void;
}

/** The part of {@link EdgeDependencies} that snapshot reads need. */
export interface ReadDependencies
  extends Pick<EdgeDependencies, 'regionOf' | 'now' | 'log' | 'pause' | 'shards' | 'withTimeout'> {
  coordinatorOf(shard: ShardId): Pick<CoordinatorApi, 'attend' | 'regions' | 'resolve' | 'read'>;
  readonly configuration: Pick<Configuration, 'regions' | 'readTimeoutMs'>;
}
