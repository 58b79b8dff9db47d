/**
 * Webhook endpoints and the change feed: the messages between the coordinator, the couriers, the feed and the edge, as
 * types.
 */

import type { RegionId, WriteId } from '../ids.ts';
import type { MemberChange } from './members.ts';

/** The events for which a client can get a signed callback. */
export const eventTypes = [
  /** The decision is durable. */
  'write.committed',
  /** Every region has applied it. */
  'write.confirmed',
  /** Nothing was written: a check or command failed, or it was not decided in time. */
  'write.aborted',
  /** An endpoint was switched off after failing for too long, or at its own wish (410). */
  'endpoint.disabled',
  /** A region has no vote any more; writes go on without it. */
  'region.out',
  /** A region has been copied and votes again. */
  'region.returned',
  /** Regions gave different results for the same write. */
  'region.diverged',
] as const;

/** One of {@link eventTypes}. */
export type EventType = (typeof eventTypes)[number];

/** `ep_…` for a standing subscription, `cb_…` for the target of callbacks that come with writes. */
export type EndpointId = string;

/** A callback as it comes with a write. Its endpoint's id is a digest of url and secret, so the same target is one endpoint. */
export interface Callback {
  readonly endpoint: EndpointId;
  readonly url: string;
  /** `whsec_…`, or null: then only the asymmetric signature is sent. */
  readonly secret: string | null;
  readonly events: readonly EventType[];
  /** True adds the commands and results to the payload. */
  readonly values: boolean;
}

/** A standing subscription. Its secrets live with its courier and are never shown again. */
export interface Subscription {
  readonly endpoint: EndpointId;
  readonly url: string;
  readonly events: readonly EventType[];
  /** Only writes with a key that begins with one of these; empty: all. */
  readonly prefixes: readonly string[];
  readonly values: boolean;
  readonly description: string;
  /** The id of the token that created it; null if release 0.1 has stored it. */
  readonly owner: string | null;
  /** Null while enabled. */
  readonly disabled: { readonly at: number; readonly reason: string } | null;
  readonly createdAt: number;
}

/** The changeable fields of a subscription. */
export type SubscriptionPatch = Partial<
  Pick<Subscription, 'url' | 'events' | 'prefixes' | 'values' | 'description' | 'disabled'>
>;

/** The result of a new subscription. */
export type Subscribed =
  | { readonly kind: 'created' }
  /** Its owner has an equal subscription already. */
  | { readonly kind: 'known'; readonly subscription: Subscription }
  /** There is no room for another; `detail` names the limit. */
  | { readonly kind: 'full'; readonly detail: string };

/** The result of a change of a subscription. */
export type SubscriptionChange =
  | { readonly kind: 'changed'; readonly subscription: Subscription }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'full'; readonly detail: string };

/** One event for one endpoint. */
export interface OutboxEvent {
  readonly endpoint: EndpointId;
  /** The `webhook-id`: the same over all attempts, and after crashes. */
  readonly id: string;
  readonly type: EventType;
  /** When it happened, ms since the epoch. */
  readonly at: number;
  /** The JSON text that is sent and signed. */
  readonly body: string;
}

/** The types of events about regions. */
export type RegionEventType = Extract<EventType, `region.${string}`>;

/** The body of an event about a region, before it is turned into text. */
export interface RegionEventBody {
  readonly type: RegionEventType;
  /** ISO 8601. */
  readonly timestamp: string;
  readonly data: Pick<MemberChange, 'region' | 'sequence' | 'epoch' | 'cause' | 'detail'>;
}

/** The body of an event about a write, before it is turned into text. */
export interface WriteEventBody {
  readonly type: Extract<EventType, `write.${string}`>;
  /** ISO 8601. */
  readonly timestamp: string;
  readonly data: {
    readonly id: WriteId;
    readonly transaction: string | null;
    readonly sequence: number | null;
    readonly keys: readonly string[];
    /** True if they are too large to send to everybody who gets the event; then `keys` is empty. */
    readonly keysOmitted?: boolean;
    /** For `write.confirmed`: ms from the decision to each region's acknowledgement; null if a restart lies between. */
    readonly regions?: Readonly<Record<RegionId, number | null>>;
    /** For `write.aborted`: why. */
    readonly reason?: string;
    /** On request, for a committed write: the commands as every region ran them, and the reply of each. */
    readonly commands?: readonly (readonly string[])[];
    readonly results?: readonly unknown[];
    /** True if they were requested and are too large to send. */
    readonly valuesOmitted?: boolean;
  };
}

/** The Ed25519 key pair of a deployment, as JWK texts. */
export interface SigningKey {
  readonly id: string;
  readonly privateKey: string;
  readonly publicKey: string;
}

/** The events that a coordinator hands over to a courier. */
export interface Handover {
  /** For an endpoint of callbacks, its target; null for a subscription, whose courier has been configured. */
  readonly target: { readonly url: string; readonly secret: string | null } | null;
  readonly signingKey: SigningKey;
  readonly events: readonly OutboxEvent[];
  /**
   * The time in ms for which the courier may send the events before it stores and acknowledges them. 0 if it is missing,
   * as in release 0.1.
   */
  readonly holdMs?: number;
}

/** A delivery in the log, done or still to come. */
export interface DeliveryRecord {
  readonly event: string;
  readonly type: EventType;
  readonly state: 'waiting' | 'delivered' | 'failed';
  readonly attempts: number;
  /** Of the last attempt: the status, or null if there was no answer. */
  readonly status: number | null;
  readonly ms: number | null;
  /** The beginning of the answer, or why there was none. */
  readonly answer: string | null;
  readonly lastAttemptAt: number | null;
  readonly nextAttemptAt: number | null;
  readonly at: number;
}

/** One attempt of a delivery. */
export interface DeliveryAttempt {
  /** When it ended, ms since the epoch. */
  readonly at: number;
  /** Null if there was no answer. */
  readonly status: number | null;
  readonly ms: number;
  /** The beginning of the answer, or why there was none. */
  readonly answer: string;
}

/** A delivery with everything that is kept of it. */
export interface DeliveryDetail extends DeliveryRecord {
  /** The JSON text that is sent. */
  readonly body: string;
  /** The newest attempts, the oldest first. */
  readonly history: readonly DeliveryAttempt[];
}

/** Which deliveries are sent again: one, or those since a moment (ms), failed ones alone unless `delivered` is true. */
export type ReplayQuery =
  | { readonly event: string }
  | { readonly since: number; readonly delivered: boolean };

/** Which deliveries of an endpoint are asked for. */
export interface DeliveryQuery {
  readonly state: DeliveryRecord['state'] | null;
  /** Only events whose log position is below it; null: from the newest. */
  readonly before: number | null;
  readonly limit: number;
}

/** A page of the delivery log, newest first. */
export interface DeliveryPage {
  readonly deliveries: readonly DeliveryRecord[];
  /** For the next page, or null at the end. */
  readonly before: number | null;
}

/** The methods of a courier, by RPC. There is one courier object per endpoint; its name is the endpoint's id. */
export interface CourierApi {
  /** Sets or changes the target of a subscription. `secret` null keeps the present one. */
  configure(target: {
    readonly endpoint: EndpointId;
    readonly url: string;
    readonly secret: string | null;
    readonly signingKey: SigningKey;
  }): Promise<void>;
  /**
   * Takes over events; answers when they are durable. The same event handed over twice is one delivery. `restMs` is the
   * time for which nothing more should be handed over: 0, unless the endpoint is failing and would not be sent anything
   * sooner.
   */
  deliver(endpoint: EndpointId, handover: Handover): Promise<{ readonly restMs: number }>;
  /** Signs with both secrets until `overlapMs` have passed, then with the new one alone. */
  rotate(secret: string, overlapMs: number): Promise<void>;
  deliveries(query: DeliveryQuery): Promise<DeliveryPage>;
  /** One delivery with its payload and its attempts; null if the log has none of this event. */
  delivery(event: string): Promise<DeliveryDetail | null>;
  /**
   * Sends deliveries that have ended again, under their ids. Answers their number; at most limits.deliveriesPerReplay.
   */
  replay(what: ReplayQuery): Promise<number>;
  /** Goes on after `endpoint.disabled`; the outbox is sent. */
  enable(): Promise<void>;
  /** Stops sending; the outbox is kept. */
  disable(reason: string): Promise<void>;
  /** Forgets everything. */
  remove(): Promise<void>;
}

/** A committed write in the change feed; or a change of members, which has no id, transaction and keys. */
export interface Change {
  readonly sequence: number;
  readonly id: WriteId;
  readonly transaction: string;
  /** When it was decided, ms since the epoch. */
  readonly at: number;
  readonly keys: readonly string[];
  /** With values: the deterministic commands, in order, and the part text with their replies (PartOutcomeTag). */
  readonly commands?: readonly (readonly string[])[];
  readonly part?: string;
  /** Set for a change of members; only those who ask for them get it. */
  readonly member?: MemberChange;
}

/** Which changes are asked for. */
export interface ChangesQuery {
  /** Changes after this sequence. */
  readonly since: number;
  readonly limit: number;
  readonly prefixes: readonly string[];
  readonly values: boolean;
  /** True adds the changes of members. */
  readonly members: boolean;
}

/** A page of the feed, or why there is none. */
export type ChangesAnswer =
  | {
      readonly kind: 'page';
      readonly changes: readonly Change[];
      /** The cursor of the next page: every change up to it has been looked at. */
      readonly next: number;
      /** The newest sequence. */
      readonly newest: number;
    }
  /** The requested cursor is older than the kept log, whose oldest change has the sequence `oldest`. */
  | { readonly kind: 'expired'; readonly oldest: number }
  /** The requested cursor lies after the newest change. */
  | { readonly kind: 'ahead'; readonly newest: number };

/** The methods of the feed's fan-out object, by RPC. Followers come by `fetch` with an upgrade to WebSocket. */
export interface FeedApi {
  /** New changes, contiguous and in order, with values. Answers the number of followers; 0 stops the publishing. */
  publish(changes: readonly Change[]): Promise<number>;
}
