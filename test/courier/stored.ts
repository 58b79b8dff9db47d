/** Values of the tests of a courier's storage. */
import { CourierStorage } from '../../functions/courier/storage.ts';
import type { OutboxEvent } from '../../shared/contracts/webhooks-and-feed.ts';
import type { AttemptOutcome, Judgement } from '../../shared/webhooks/retry-policy.ts';
import { MemoryStorage } from '../coordinator/sqlite.ts';
import { newSigningKey } from './keys.ts';

export const url = 'https://receiver.example.com/hook';

/** A response to an attempt. */
export const answered = {
  kind: 'answered',
  status: 200,
  retryAfterMs: null,
  answer: 'taken',
  ms: 7,
} as const satisfies AttemptOutcome;

/** The judgement of a success. */
export const delivered: Judgement = {
  state: 'delivered',
  nextAttemptAt: null,
  failingSince: null,
  restUntil: null,
  hostRestMs: 0,
  disable: null,
};

/** The judgement of an attempt that is repeated at `nextAttemptAt`. */
export function retried(nextAttemptAt: number): Judgement {
  return { ...delivered, state: 'waiting', nextAttemptAt };
}

/** The newest page of the log. */
export const wholePage = { state: null, before: null, limit: 100 } as const;

/** The storage of a courier with a target. */
export function courier(memory = new MemoryStorage()): CourierStorage {
  const storage = new CourierStorage(memory);
  storage.setTarget({ id: 'cb_1', url, secret: null, signingKey: newSigningKey() });
  return storage;
}

/** Events with numbers from `first` on. */
export function eventsOf(count: number, first = 0, body = '{}'): readonly OutboxEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    endpoint: 'cb_1',
    id: `evt_${first + index}`,
    type: 'write.committed',
    at: 1 + first + index,
    body,
  }));
}

/** Records a success of each event, without storing it. */
export function deliverAll(
  storage: CourierStorage,
  events: readonly OutboxEvent[],
  now: number,
): void {
  for (const { id } of events) storage.settle(id, answered, delivered, now);
}
