import { describe, expect, it } from 'vitest';
import { InvariantViolation } from '../../shared/assert.ts';
import {
  assertGuestTransition,
  assertJointTransition,
  assertLoanTransition,
  guestTransitions,
  jointTransitions,
  loanTransitions,
} from '../../shared/protocol/transactions/loan-states.ts';

describe('the states of a loan', () => {
  it('end in one from which nothing leads on', () => {
    for (const state of ['committed', 'aborted', 'refused'] as const) {
      expect(Object.values(loanTransitions[state]).flat()).toEqual([]);
    }
  });

  it('let only home end a loan that has been given', () => {
    const leads = Object.entries(loanTransitions.lent).filter(([, to]) => to.length > 0);
    expect(leads).toEqual([
      ['commit', ['committed']],
      ['abort', ['aborted']],
    ]);
    expect(() => assertLoanTransition('refuse', 'lent', 'refused')).toThrow(InvariantViolation);
    expect(() => assertLoanTransition('commit', 'waiting', 'committed')).toThrow(
      InvariantViolation,
    );
    expect(() => assertLoanTransition('abort', 'committed', 'aborted')).toThrow(InvariantViolation);
  });
});

describe('the states of a guest at home', () => {
  it('are reached in order, and a guest is asked once', () => {
    expect(guestTransitions.unasked).toEqual(['asked']);
    expect(() => assertGuestTransition('asked', 'asked')).toThrow(InvariantViolation);
    expect(() => assertGuestTransition('refused', 'lent')).toThrow(InvariantViolation);
  });
});

describe('the phases of a joint transaction', () => {
  it('lead to one vote', () => {
    expect(jointTransitions).toEqual({ joining: ['voting'], voting: [] });
    expect(() => assertJointTransition('voting', 'voting')).toThrow(InvariantViolation);
  });
});
