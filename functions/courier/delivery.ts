/** One delivery of a courier: how it changes, and the text that stores the deliveries of a batch. */
import type {
  DeliveryAttempt,
  DeliveryDetail,
  DeliveryRecord,
  EventType,
  OutboxEvent,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import type { AttemptOutcome, Judgement } from '../../shared/webhooks/retry-policy.ts';

/** A delivery without its body. All times are ms since the epoch. */
export interface Delivery {
  readonly event: string;
  readonly type: EventType;
  readonly at: number;
  /** The size of the body in UTF-8; 0 if release 0.1 dropped it. */
  readonly bodyBytes: number;
  state: DeliveryRecord['state'];
  /** When it began to wait, or ended. */
  since: number;
  /** Null unless it waits. */
  dueAt: number | null;
  /** The attempts of this run through the schedule. */
  step: number;
  attempts: number;
  /** Of the last attempt. */
  status: number | null;
  ms: number | null;
  answer: string | null;
  lastAttemptAt: number | null;
  /** The newest attempts, the oldest first. */
  history: readonly DeliveryAttempt[];
}

/** A new delivery, which is due at once. */
export function newDelivery(
  { id, type, at }: OutboxEvent,
  bodyBytes: number,
  now: number,
): Delivery {
  return {
    ...{ event: id, type, at, bodyBytes, state: 'waiting', since: now, dueAt: now },
    ...{ step: 0, attempts: 0, status: null, ms: null, answer: null, lastAttemptAt: null },
    history: [],
  };
}

/** Records an attempt and its consequences. A delivery that was given up meanwhile is only changed by a success. */
export function recordAttempt(
  delivery: Delivery,
  outcome: AttemptOutcome,
  { state, nextAttemptAt }: Judgement,
  now: number,
): boolean {
  if (delivery.state !== 'waiting' && state !== 'delivered') return false;
  const status = outcome.kind === 'answered' ? outcome.status : null;
  const answer = outcome.kind === 'answered' ? outcome.answer : outcome.reason;
  delivery.state = state;
  delivery.dueAt = nextAttemptAt;
  if (state !== 'waiting') delivery.since = now;
  delivery.step += 1;
  delivery.attempts += 1;
  delivery.status = status;
  delivery.ms = outcome.ms;
  delivery.answer = answer;
  delivery.lastAttemptAt = now;
  // The response is shortened, because a schedule has many attempts.
  const shortened = answer.slice(0, limits.attemptAnswerCharacters).toWellFormed();
  const attempt = { at: now, status, ms: outcome.ms, answer: shortened };
  delivery.history = [...delivery.history, attempt].slice(-limits.attemptsKeptPerDelivery);
  return true;
}

/** Fails a delivery without another attempt. */
export function giveUp(delivery: Delivery, reason: string, now: number): void {
  delivery.state = 'failed';
  delivery.dueAt = null;
  delivery.since = now;
  delivery.answer = reason;
}

/** Makes a delivery due now, at the start of the schedule. */
export function startOver(delivery: Delivery, now: number): void {
  delivery.state = 'waiting';
  delivery.dueAt = now;
  delivery.since = now;
  delivery.step = 0;
}

/** The delivery as the log shows it. */
export function recordOf(delivery: Delivery): DeliveryRecord {
  const { event, type, at, state, attempts, status, ms, answer, lastAttemptAt, dueAt } = delivery;
  return {
    event,
    type,
    at,
    state,
    attempts,
    status,
    ms,
    answer,
    lastAttemptAt,
    nextAttemptAt: dueAt,
  };
}

/** The delivery with everything that is kept of it. */
export function detailOf(delivery: Delivery, body: string): DeliveryDetail {
  return { ...recordOf(delivery), body, history: delivery.history };
}

/** A delivery as it is stored: an array, because the names of members would be most of the text. */
type Stored = readonly [
  string,
  EventType,
  number,
  number,
  Delivery['state'],
  number,
  number | null,
  number,
  number,
  number | null,
  number | null,
  string | null,
  number | null,
  readonly (readonly [number, number | null, number, string])[],
];

/**
 * The stored text of deliveries, of at most `bytesMaximum` in UTF-8: if it would be longer, it has fewer attempts of
 * each of them.
 */
export function packDeliveries(deliveries: readonly Delivery[], bytesMaximum: number): string {
  let attemptsKept: number = limits.attemptsKeptPerDelivery;
  for (;;) {
    const kept = attemptsKept;
    const text = JSON.stringify(deliveries.map((delivery) => stored(delivery, kept)));
    if (kept === 0 || 3 * text.length <= bytesMaximum) return text;
    if (new TextEncoder().encode(text).length <= bytesMaximum) return text;
    attemptsKept = Math.floor(kept / 2);
  }
}

function stored(delivery: Delivery, attemptsKept: number): Stored {
  const { event, type, at, bodyBytes, state, since, dueAt, step, attempts } = delivery;
  const { status, ms, answer, lastAttemptAt, history } = delivery;
  const kept = history.slice(Math.max(0, history.length - attemptsKept));
  const packed = kept.map((one) => [one.at, one.status, one.ms, one.answer] as const);
  const base = [event, type, at, bodyBytes, state, since, dueAt, step, attempts] as const;
  return [...base, status, ms, answer, lastAttemptAt, packed];
}

/** The deliveries of a text of {@link packDeliveries}. */
export function unpackDeliveries(text: string): Delivery[] {
  const rows: readonly Stored[] = JSON.parse(text);
  return rows.map(([event, type, at, bodyBytes, state, since, dueAt, step, attempts, ...rest]) => {
    const [status, ms, answer, lastAttemptAt, packed] = rest;
    const history = packed.map(([ended, code, took, said]) => ({
      at: ended,
      status: code,
      ms: took,
      answer: said,
    }));
    const base = { event, type, at, bodyBytes, state, since, dueAt, step, attempts };
    return { ...base, status, ms, answer, lastAttemptAt, history };
  });
}
