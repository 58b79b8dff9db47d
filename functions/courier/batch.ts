/** A batch: the deliveries that one row of a courier's storage holds, and the summary of them that stays in memory. */
import type { DeliveryRecord } from '../../shared/contracts/webhooks-and-feed.ts';
import type { Delivery } from './delivery.ts';

/** The summary of a batch. All times are ms since the epoch. */
export interface BatchSummary {
  /** The number of deliveries, and how many of them wait or have failed. */
  count: number;
  waiting: number;
  failed: number;
  /** The time at which the next delivery is due that is not in progress; null if there is none. */
  dueAt: number | null;
  /** The earliest time at which a delivery began to wait; null if none waits. */
  waitingSince: number | null;
  /** The time at which the last delivery ended; 0 if none has. */
  endedAt: number;
  /** The latest time of an event. */
  latestAt: number;
}

/** A batch in memory. Its deliveries and bodies are loaded when they are needed. */
export interface DeliveryBatch extends BatchSummary {
  /** The position of its first delivery in the log; the others follow. It is the key of the row. */
  readonly position: number;
  /** When its first event was handed over, ms since the epoch. */
  readonly addedAt: number;
  bodyBytes: number;
  deliveries: Delivery[] | null;
  /** The bodies, one after the other in UTF-8; null if they are only in storage. */
  bodies: Uint8Array<ArrayBuffer> | null;
  /** The part of it that is not stored yet. */
  unsaved: 'nothing' | 'states' | 'bodies' | 'everything';
  isDeleted: boolean;
}

/** The summary of deliveries, without the due times of those `inProgress`. */
export function summaryOf(
  deliveries: readonly Delivery[],
  inProgress: ReadonlySet<string>,
): BatchSummary {
  const summary: BatchSummary = {
    ...{ count: deliveries.length, waiting: 0, failed: 0 },
    ...{ dueAt: null, waitingSince: null, endedAt: 0, latestAt: 0 },
  };
  for (const { event, state, dueAt, since, at } of deliveries) {
    summary.latestAt = Math.max(summary.latestAt, at);
    if (state === 'waiting') {
      summary.waiting += 1;
      summary.waitingSince = least(summary.waitingSince, since);
      if (!inProgress.has(event)) summary.dueAt = least(summary.dueAt, dueAt);
    } else {
      summary.endedAt = Math.max(summary.endedAt, since);
      if (state === 'failed') summary.failed += 1;
    }
  }
  return summary;
}

function least(one: number | null, other: number | null): number | null {
  if (one === null || other === null) return one ?? other;
  return Math.min(one, other);
}

/** The number of deliveries in a state; null means any. */
export function countIn(batch: BatchSummary, state: DeliveryRecord['state'] | null): number {
  const { count, waiting, failed } = batch;
  if (state === null) return count;
  return { waiting, failed, delivered: count - waiting - failed }[state];
}

/** The part of the bodies that belongs to the delivery at `index`, in bytes from the beginning. */
export function bodyRange(
  deliveries: readonly Delivery[],
  index: number,
): { readonly start: number; readonly bytes: number } {
  const before = deliveries.slice(0, index);
  const start = before.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
  return { start, bytes: deliveries[index]?.bodyBytes ?? 0 };
}
