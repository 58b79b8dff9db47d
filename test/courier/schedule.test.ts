/** Tests the retry policy: pauses, Retry-After, and disabling. It is pure, without a courier. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { retryAfterMs } from '../../functions/courier/attempt.ts';
import { limits } from '../../shared/limits.ts';
import { type AttemptOutcome, type Judgement, judge } from '../../shared/webhooks/retry-policy.ts';

const now = 1_800_000_000_000;
const pausesMs = limits.deliveryPausesMs;
const hourMs = 60 * 60 * 1_000;

function answered(status: number, retryAfter: number | null = null): AttemptOutcome {
  return { kind: 'answered', status, retryAfterMs: retryAfter, answer: '', ms: 1 };
}

const unanswered: AttemptOutcome = { kind: 'unanswered', reason: 'no connection', ms: 1 };

function judged(
  outcome: AttemptOutcome,
  { step = 1, failingSince = null as number | null, entropy = 0 } = {},
): Judgement {
  return judge(outcome, { step, failingSince }, { now, entropy, pausesMs });
}

describe('a status', () => {
  it.each([200, 201, 202, 204, 299])('%d is a delivery, and clears earlier failures', (status) => {
    expect(judged(answered(status), { failingSince: now - hourMs })).toEqual({
      state: 'delivered',
      nextAttemptAt: null,
      failingSince: null,
      restUntil: null,
      hostRestMs: 0,
      disable: null,
    });
  });

  const failures = [100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 408, 429, 500, 503, 599];
  it.each(failures)('%d is retried, and disables nothing', (status) => {
    expect(judged(answered(status))).toMatchObject({ state: 'waiting', disable: null });
  });

  it('410 fails permanently and disables the endpoint at once', () => {
    const judgement = judged(answered(410, 60_000));
    expect(judgement).toMatchObject({ state: 'failed', nextAttemptAt: null });
    expect(judgement.disable).toContain('410');
  });

  it('is retried if it never came, and the endpoint rests for as long as it has failed', () => {
    const restOf = (failedMs: number) => {
      const { state, restUntil } = judged(unanswered, { failingSince: now - failedMs });
      return [state, (restUntil ?? 0) - now];
    };
    expect(restOf(0)).toEqual(['waiting', limits.endpointBackoffMinMs]);
    expect(restOf(7_000)).toEqual(['waiting', 7_000]);
    expect(restOf(10_000_000)).toEqual(['waiting', limits.endpointBackoffMaxMs]);
  });
});

describe('the schedule', () => {
  it('goes through all its pauses, and then fails without disabling', () => {
    const pauses = pausesMs.map((_, index) => judged(unanswered, { step: index + 1 }));
    expect(pauses.map(({ nextAttemptAt: at }) => (at === null ? null : at - now))).toEqual([
      ...pausesMs.slice(1),
      null,
    ]);
    expect(pauses.at(-1)).toMatchObject({ state: 'failed', disable: null });
  });

  it('is never shortened, and exceeded by a fifth at most', () => {
    const steps = fc.integer({ min: 1, max: pausesMs.length - 1 });
    const entropies = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(steps, entropies, (step, entropy) => {
        const pauseMs = pausesMs[step] ?? 0;
        const waitMs = (judged(unanswered, { step, entropy }).nextAttemptAt ?? 0) - now;
        expect(waitMs).toBeGreaterThanOrEqual(pauseMs);
        expect(waitMs).toBeLessThanOrEqual(pauseMs * 1.2);
      }),
    );
  });

  it('scatters retries of concurrent failures', () => {
    expect(judged(unanswered, { entropy: 0.9 })).not.toEqual(judged(unanswered, { entropy: 0.1 }));
  });
});

describe('a Retry-After header', () => {
  it('extends the schedule, up to a day', () => {
    expect(judged(answered(500, 60_000)).nextAttemptAt).toBe(now + 60_000);
    expect(judged(answered(500, 1_000)).nextAttemptAt).toBe(now + 5_000);
    expect(judged(answered(500, 900 * hourMs)).nextAttemptAt).toBe(now + 24 * hourMs);
    expect(judged(answered(500, -5)).nextAttemptAt).toBe(now + 5_000);
  });

  it.each([429, 503])('with status %d holds for the whole endpoint', (status) => {
    expect(judged(answered(status, 60_000)).restUntil).toBe(now + 60_000);
    expect(judged(answered(status)).restUntil).toBeNull();
  });

  it('with another status holds for the one event', () => {
    expect(judged(answered(500, 60_000)).restUntil).toBeNull();
  });

  it.each([
    [null, null],
    ['120', 120_000],
    [' 0 ', 0],
    ['1.5', null],
    ['-1', null],
    ['soon', null],
    ['2026', 2_026_000],
    ['Fri, 15 Jan 2027 08:01:00 GMT', 60_000],
    ['Friday, 15 Jan 2027 08:01:00 GMT', 60_000],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['2027-01-15T08:01:00Z', null],
    ['Fri, nonsense GMT', null],
    ['9999999999', null],
  ])('of the form %j means %j ms', (header, expected) => {
    expect(new Date(now).toISOString()).toBe('2027-01-15T08:00:00.000Z');
    expect(retryAfterMs(header, now)).toBe(expected);
  });
});

describe('a host', () => {
  it.each([
    ['200', answered(200), 0],
    ['500', answered(500), 0],
    ['500 with an hour', answered(500, hourMs), 0],
    ['429 without a time', answered(429), 0],
    ['429 with five seconds', answered(429, 5_000), 5_000],
    ['503 with a day', answered(503, 24 * hourMs), limits.hostRestMsMost],
    ['410', answered(410), limits.hostRestMsLeast],
    ['no answer', unanswered, limits.hostRestMsLeast],
  ] as const)(
    'rests for a bounded time after %s from one of its addresses',
    (_, outcome, restMs) => {
      expect(judged(outcome).hostRestMs).toBe(restMs);
    },
  );
});

describe('an endpoint that keeps failing', () => {
  it('is remembered from its first failure on', () => {
    expect(judged(unanswered).failingSince).toBe(now);
    expect(judged(unanswered, { failingSince: now - 7 }).failingSince).toBe(now - 7);
  });

  it('is disabled after five days, and not a millisecond earlier', () => {
    const since = now - limits.endpointFailingMs;
    expect(judged(unanswered, { failingSince: since + 1 }).disable).toBeNull();
    expect(judged(unanswered, { failingSince: since }).disable).toContain('last 5 days');
    expect(judged(answered(200), { failingSince: since }).disable).toBeNull();
  });
});
