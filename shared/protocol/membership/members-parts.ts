/** The interfaces between the parts that change the members, and between them and the rest of the coordinator. */

import type { MemberEvent, OutCause } from '../../contracts/members.ts';
import type { RegionId } from '../../ids.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { WriteRefusal } from '../io/refusal.ts';
import type { ShardState } from '../io/shard-state.ts';
import type { Leaving, Membership, Stored } from '../io/stored.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import type { EventRouter } from '../transactions/event-router.ts';
import type { PendingConfirmations } from '../transactions/pending-confirmations.ts';
import type { BlockedKeys } from './blocked-keys.ts';
import type { RegionEvent } from './region-states.ts';

/** The control over attempts that changes of members need. */
export interface AttemptControl {
  /** Aborts every undecided transaction; their parts are tried again at once. */
  abortAll(): void;
  /** Gives up every queued frame. */
  refuseAll(refusal: WriteRefusal): void;
  /** Queued frames may be able to begin now. */
  requestBatch(): void;
  readonly undecided: number;
}

/** The control over loans to joint transactions of other shards that changes of members need. */
export interface LoanControl {
  /** The number of open loans. */
  readonly count: number;
  /** Asks their homes to end them. */
  endAll(): void;
  /** True if the key is lent. */
  isLent(key: string): boolean;
}

/** The parts of the coordinator that changes of members work on. */
export interface MembersParts {
  readonly config: CoordinatorConfig;
  readonly stored: Stored;
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly pendingConfirmations: PendingConfirmations;
  readonly eventRouter: EventRouter;
  readonly blocked: BlockedKeys;
  readonly state: ShardState;
  readonly attempts: AttemptControl;
  readonly loans: LoanControl;
}

/** The changes of membership that the founding, eviction, removal and return of a region make. */
export interface MemberChanges {
  /** Stores the membership of a region with this step. */
  set(link: RegionLink, membership: Membership, event: RegionEvent): void;
  /** The region is about to lose its vote, or, if it has none, to come back in another way. */
  suspect(link: RegionLink, leaving: Leaving): void;
  /** Takes the vote of a region, or confirms that it has none, for the reason given. */
  leave(link: RegionLink, leaving: Leaving, event: RegionEvent): void;
  /** Adds an entry to the history and to the change feed, and queues the events about it. */
  note(region: RegionId, event: MemberEvent, cause: OutCause | null, detail: string): void;
  /** Makes this region the only voter; the others are copied from it. */
  trust(link: RegionLink, why: Trust): void;
}

/** Why one region alone is trusted. */
export interface Trust {
  readonly event: 'believed' | 'founded';
  readonly detail: string;
  /** The cause and detail of the other regions, which are out from then on. */
  readonly cause: OutCause;
  readonly detailOfOthers: string;
}
