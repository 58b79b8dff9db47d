import '../shared/limit-relations.ts';
import { describe, expect, it } from 'vitest';
import { assert, InvariantViolation } from '../shared/assert.ts';
import { limits } from '../shared/limits.ts';

describe('the limits', () => {
  it.each(Object.entries(limits))('have a whole number above zero for %s', (_, limit) => {
    // The first attempt at a delivery has no pause; each later one has.
    const numbers: readonly unknown[] = Array.isArray(limit) ? limit.slice(1) : [limit];
    for (const number of numbers) {
      expect(Number.isSafeInteger(number)).toBe(true);
      expect(number).toBeGreaterThan(0);
    }
  });

  it('let the first pause be shorter than the last', () => {
    expect(limits.probeBackoffMinMs).toBeLessThan(limits.probeBackoffMaxMs);
    expect(limits.retryBackoffMinMs).toBeLessThan(limits.retryBackoffMaxMs);
  });

  it('let a region that answers at all be found within the default timeout', () => {
    const { roundTimeoutMs, probeBackoffMaxMs, timeoutMsDefault } = limits;
    expect(roundTimeoutMs + probeBackoffMaxMs + roundTimeoutMs).toBeLessThan(timeoutMsDefault);
  });

  it('let a commit linger unnoticeably, and for less than any probe pauses', () => {
    expect(limits.commitLingerMs).toBeLessThan(limits.timeoutMsMinimum);
    expect(limits.commitLingerMs).toBeLessThan(limits.probeBackoffMinMs);
  });

  it('let a region have more unacknowledged decisions than a round carries, but only by a few rounds', () => {
    expect(limits.decisionsPerRound).toBeLessThan(limits.unacknowledgedPerRegion);
    expect(limits.unacknowledgedPerRegion).toBeLessThanOrEqual(4 * limits.decisionsPerRound);
  });

  it('let a full queue be drained by transactions that the queue can hold', () => {
    expect(limits.transactionBytes).toBeLessThan(limits.queuedBytes);
    expect(limits.partsPerTransaction).toBeLessThan(limits.framesQueued);
  });
});

describe('a broken promise', () => {
  it('is thrown as an invariant violation that names the claim', () => {
    expect(() => assert(false, 'water is wet')).toThrow(new InvariantViolation('water is wet'));
    expect(() => assert(true, 'water is wet')).not.toThrow();
  });
});
