/** The retry policy of webhooks: decides, after each attempt, when to retry and when to give up. */
import { limits } from '../limits.ts';

/** The outcome of an attempt. */
export type AttemptOutcome =
  | {
      readonly kind: 'answered';
      readonly status: number;
      /** The pause that Retry-After requests, in ms; null without one. */
      readonly retryAfterMs: number | null;
      /** The beginning of the response. */
      readonly answer: string;
      readonly ms: number;
    }
  /** No complete response in time, no connection, or a target that is not allowed. */
  | { readonly kind: 'unanswered'; readonly reason: string; readonly ms: number };

/** The history of a delivery and its endpoint at the end of an attempt. */
export interface DeliveryPast {
  /** The attempts of this run through the schedule, including the one that ended. */
  readonly step: number;
  /** The time of the endpoint's first failure since its last success; null if the last attempt succeeded. */
  readonly failingSince: number | null;
}

/** The inputs of a decision besides the outcome and the history. */
export interface Circumstances {
  readonly now: number;
  /** A random number of at least 0 and below 1. */
  readonly entropy: number;
  /** The pause before each attempt, in ms. */
  readonly pausesMs: readonly number[];
}

/** The consequences of an attempt for the delivery and its endpoint. */
export interface Judgement {
  readonly state: 'delivered' | 'waiting' | 'failed';
  /** Null unless `state` is waiting. */
  readonly nextAttemptAt: number | null;
  readonly failingSince: number | null;
  /**
   * The time before which nothing is sent to the endpoint, because it asked for a pause or does not answer. Null for no
   * rest.
   */
  readonly restUntil: number | null;
  /** The time for which events for every URL of the host wait, in ms; 0 for none. */
  readonly hostRestMs: number;
  /** The reason to disable the endpoint, or null. */
  readonly disable: string | null;
}

/** Pauses are lengthened by up to this fraction, so that deliveries that failed together are not retried together. */
const jitter = 0.2;

/**
 * Decides the consequences of an attempt. Only a status from 200 to 299 is a success. A redirect is a failure: it is
 * not followed, because its target was never checked.
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
 * The time of the next attempt after `step` attempts, in ms since 1970, or null at the end of the schedule. Never
 * earlier than the schedule or the endpoint's Retry-After allows.
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
 * The end of the endpoint's rest. Retry-After concerns the endpoint only with 429 and 503; with other statuses, only
 * the request. An endpoint that does not answer rests for as long as it has failed: attempts with every event would
 * cost much and reveal nothing.
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
 * The time for which the host of an endpoint rests. Customers of a relay share its host, so this weighs two harms: a
 * client with many URLs of a host could have it called without a pause, and a client whose URL fails could silence the
 * others. So a host rests only briefly: up to a minute if it asks for it (429 or 503 with Retry-After), and a second
 * after no answer or 410. Longer consequences concern only the one URL: its own rests, its failing, and 410, which
 * disables no other URL.
 */
function hostRestMs(outcome: AttemptOutcome, askedMs: number): number {
  if (outcome.kind === 'unanswered' || outcome.status === 410) return limits.hostRestMsLeast;
  const asks = outcome.status === 429 || outcome.status === 503;
  return asks ? Math.min(askedMs, limits.hostRestMsMost) : 0;
}
