import { limits } from '../limits.ts';

/** How one attempt ended. */
export type AttemptOutcome =
  | {
      readonly kind: 'answered';
      readonly status: number;
      /** What its Retry-After asks for, ms from now; null where it asks for nothing. */
      readonly retryAfterMs: number | null;
      /** The beginning of the answer. */
      readonly answer: string;
      readonly ms: number;
    }
  /** No full answer in time, no connection, or a target that may not be sent to. */
  | { readonly kind: 'unanswered'; readonly reason: string; readonly ms: number };

/** What a delivery and its endpoint have been through when an attempt ends. */
export interface DeliveryPast {
  /** Attempts made on this run through the schedule, the one that ends included. */
  readonly step: number;
  /** The endpoint's first failure after which nothing succeeded; null where the last attempt did. */
  readonly failingSince: number | null;
}

/** What is needed to decide what follows, beside the outcome. */
export interface Circumstances {
  readonly now: number;
  /** At least 0 and below 1. */
  readonly entropy: number;
  /** Before each attempt, ms. */
  readonly pausesMs: readonly number[];
}

/** What follows an attempt, for the delivery and for its endpoint. */
export interface Judgement {
  readonly state: 'delivered' | 'waiting' | 'failed';
  /** Set exactly while waiting. */
  readonly nextAttemptAt: number | null;
  readonly failingSince: number | null;
  /** The endpoint asked for rest, or does not answer: nothing at all is sent to it before. Null: no rest. */
  readonly restUntil: number | null;
  /** For so long events for any address of the same host wait, ms; 0: they need not. */
  readonly hostRestMs: number;
  /** Why the endpoint is to be disabled; null: it is not. */
  readonly disable: string | null;
}

/** Pauses grow by up to this part, so that what failed together does not come back together. */
const jitter = 0.2;

/**
 * Decides what follows an attempt. Only a status from 200 to 299 is a success: a redirect is not followed, because its
 * target was never checked, and so has failed.
 */
export function judge(
  outcome: AttemptOutcome,
  past: DeliveryPast,
  circumstances: Circumstances,
): Judgement {
  if (outcome.kind === 'answered' && outcome.status >= 200 && outcome.status <= 299) {
    return {
      state: 'delivered',
      nextAttemptAt: null,
      failingSince: null,
      restUntil: null,
      hostRestMs: 0,
      disable: null,
    };
  }
  const { now } = circumstances;
  const failingSince = past.failingSince ?? now;
  const isGone = outcome.kind === 'answered' && outcome.status === 410;
  const askedMs = outcome.kind === 'answered' ? boundedRest(outcome.retryAfterMs) : 0;
  const nextAttemptAt = isGone ? null : nextAttempt(past.step, askedMs, circumstances);
  return {
    state: nextAttemptAt === null ? 'failed' : 'waiting',
    nextAttemptAt,
    failingSince,
    restUntil: restUntil(outcome, askedMs, now - failingSince, now),
    hostRestMs: hostRestMs(outcome, askedMs),
    disable: isGone ? goneReason : failingReason(failingSince, now),
  };
}

/**
 * When to try again after `step` attempts, ms since the epoch, or null where the schedule has come to its end. Never
 * earlier than the schedule says, nor than the endpoint has asked for.
 */
export function nextAttempt(
  step: number,
  askedMs: number,
  { now, entropy, pausesMs }: Circumstances,
): number | null {
  const pauseMs = pausesMs[step];
  if (pauseMs === undefined) return null;
  return now + Math.max(Math.round(pauseMs * (1 + jitter * entropy)), askedMs);
}

const goneReason = 'It responded with 410: it wants no further events.';

function failingReason(failingSince: number, now: number): string | null {
  if (now - failingSince < limits.endpointFailingMs) return null;
  const days = Math.floor((now - failingSince) / (24 * 60 * 60 * 1_000));
  return `Every attempt of the last ${days} days has failed.`;
}

function boundedRest(retryAfterMs: number | null): number {
  return Math.min(Math.max(retryAfterMs ?? 0, 0), limits.retryAfterMsMaximum);
}

/**
 * With 429 and 503 Retry-After speaks of the endpoint; with others, of the one request. An endpoint that does not answer
 * at all rests for as long as it has failed: trying every event on it would cost much and tell nothing.
 */
function restUntil(
  outcome: AttemptOutcome,
  askedMs: number,
  failingMs: number,
  now: number,
): number | null {
  if (outcome.kind === 'unanswered') {
    const { endpointBackoffMinMs, endpointBackoffMaxMs } = limits;
    return now + Math.min(Math.max(failingMs, endpointBackoffMinMs), endpointBackoffMaxMs);
  }
  const asks = outcome.status === 429 || outcome.status === 503;
  return asks && askedMs > 0 ? now + askedMs : null;
}

/**
 * For how long the host of an endpoint is left alone. Hosts are shared, as by the customers of a relay, so this has to weigh
 * two harms: one who makes many addresses of a host could have it called without a rest, and one whose address answers
 * badly could silence the others. So a host rests for a short time only, and then all its addresses have their turn:
 * up to a minute if it asks for it (429 or 503 with Retry-After), a second after no answer, and after 410. What lasts
 * longer counts for the one address: its own rests, its failing, and above all 410, which disables nobody else.
 */
function hostRestMs(outcome: AttemptOutcome, askedMs: number): number {
  if (outcome.kind === 'unanswered' || outcome.status === 410) return limits.hostRestMsLeast;
  const asks = outcome.status === 429 || outcome.status === 503;
  return asks ? Math.min(askedMs, limits.hostRestMsMost) : 0;
}
