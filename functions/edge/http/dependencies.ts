import type { Configuration } from '../../../shared/config/configuration.ts';
import type {
  CoordinatorApi,
  MembersApi,
  ScriptsApi,
} from '../../../shared/contracts/coordinator.ts';
import type { RegionConfiguration } from '../../../shared/contracts/members.ts';
import type { RequestsApi } from '../../../shared/contracts/requests.ts';
import type { RegionClient } from '../../../shared/contracts/round.ts';
import type {
  ChangesQuery,
  CourierApi,
  EndpointId,
  SubscriptionsApi,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import type { ShardId } from '../../../shared/ids.ts';
import type { TargetPolicy } from '../../../shared/webhooks/target.ts';
import type { RegionStreamResult, RegionSubscription } from '../../region/subscribe.ts';
import type { EdgeContext } from './respond.ts';

export { onlyShard } from '../../../shared/ids.ts';

/** Latitude and longitude in degrees. */
export type Location = readonly [latitude: number, longitude: number];

/** From where a follower of the change feed goes on, and what it wants to see. */
export interface FollowQuery extends Omit<ChangesQuery, 'limit' | 'since'> {
  /** Null: from the newest change on. */
  readonly since: number | null;
}

/** What a connection to the feed brings. `closed` is the last. */
export type FeedEvent =
  | { readonly kind: 'message'; readonly text: string }
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string };

/** A connection to the feed, read by the edge on behalf of a client. */
export interface FeedConnection {
  /** Fulfilled with what comes next; after `closed` with the same again. */
  next(): Promise<FeedEvent>;
  /** Tells the feed that the client has all up to `next`. */
  acknowledge(next: number): void;
  close(): void;
}

/** The feed of a shard. Both methods throw where its object cannot be reached. */
export interface Feed {
  /** Hands over a request for a WebSocket; the answer carries the client's end, or a refusal. */
  upgrade(query: FollowQuery): Promise<Response>;
  open(query: FollowQuery): Promise<FeedConnection>;
}

/** All that the edge needs of the world, so that a test can stand in for it. */
export interface EdgeDependencies {
  readonly configuration: Configuration;
  /** Which addresses clients may have called. */
  readonly targetPolicy: TargetPolicy;
  /** Its methods throw where the object cannot be reached, was reset, or is overloaded. */
  coordinatorOf(shard: ShardId): CoordinatorApi;
  /** What operators ask of a shard; throws as `coordinatorOf` does. */
  membersOf(shard: ShardId): MembersApi;
  /** The feed and subscriptions of a shard; throws as `coordinatorOf` does. */
  hooksOf(shard: ShardId): SubscriptionsApi;
  /** Requests under their idempotency keys; throws as `coordinatorOf` does. */
  requestsOf(shard: ShardId): RequestsApi;
  /** Users' scripts; throws as `coordinatorOf` does. */
  scriptsOf(shard: ShardId): ScriptsApi;
  /** Its methods throw as those of a coordinator do. */
  courierOf(endpoint: EndpointId): CourierApi;
  feedOf(shard: ShardId): Feed;
  /** A client of a region. */
  regionOf(region: RegionConfiguration): RegionClient;
  /** Subscribes to messages in a region; never throws. */
  subscribe(
    region: RegionConfiguration,
    subscription: RegionSubscription,
  ): Promise<RegionStreamResult>;
  /** Where the client is, or null where nobody knows. */
  locate(request: Request): Location | null;
  /** Has `work`, which never rejects, go on after the request's answer. */
  inBackground(context: EdgeContext, work: Promise<void>): void;
  /** Fulfilled after `ms`. */
  pause(ms: number): Promise<void>;
  /** A file of the API's documentation page. */
  asset(path: string): Promise<Response>;
  /** ms, for measuring only. */
  now(): number;
  /** A fresh UUID v7. */
  uuid(): string;
  /** For operators: what went wrong, without secrets. */
  log(message: string, details: Readonly<Record<string, unknown>>): void;
}

/** What reads of a snapshot need of it. */
export interface ReadDependencies extends Pick<EdgeDependencies, 'regionOf' | 'now' | 'log'> {
  coordinatorOf(shard: ShardId): Pick<CoordinatorApi, 'attend' | 'regions' | 'resolve' | 'read'>;
  readonly configuration: Pick<Configuration, 'regions' | 'readTimeoutMs'>;
}
