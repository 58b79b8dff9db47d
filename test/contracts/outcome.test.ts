import { describe, expect, it } from 'vitest';
import { InvariantViolation } from '../../shared/assert.ts';
import { isOutcome, outcomeIn, outcomeKindOf } from '../../shared/contracts/outcome.ts';
import { encodeReply, type RawReply } from '../../shared/contracts/reply.ts';

describe('the outcome of a write', () => {
  it.each<[string, RawReply, object]>([
    ['done', [0, 'v', null, [1]], { kind: 'done', replies: ['v', null, [1]] }],
    ['done without operations', [0], { kind: 'done', replies: [] }],
    ['a failed check', [1, 2, 'v'], { kind: 'check-failed', index: 2, actual: 'v' }],
    ['a failed check of an absent key', [1, 0], { kind: 'check-failed', index: 0, actual: null }],
    ['a failed command', [2, 1, 'ERR no'], { kind: 'command-failed', index: 1, error: 'ERR no' }],
  ])('is read: %s', (_, reply, outcome) => {
    expect(isOutcome(reply)).toBe(true);
    expect(outcomeIn(reply)).toEqual(outcome);
    expect(outcomeKindOf(encodeReply(reply))).toBe(outcomeIn(reply).kind);
  });

  it('has a kind that is found without reading its values', () => {
    expect(outcomeKindOf('*3\r\n:1\r\n:0\r\n$5\r\ncut off')).toBe('check-failed');
  });

  it.each<RawReply>([null, 0, '0', [], ['0'], [3], [-1], [1], [2, 0], [2, 0, null], [0.5]])(
    'is not read from %j',
    (reply) => {
      expect(isOutcome(reply)).toBe(false);
      expect(() => outcomeIn(reply)).toThrow(InvariantViolation);
    },
  );

  it.each(['', '*', '*0\r\n', '[0,1]', '$1\r\n0\r\n', '*1\r\n$1\r\n0\r\n', '*1\r\n:3\r\n'])(
    'has no kind in the text %j',
    (text) => {
      expect(() => outcomeKindOf(text)).toThrow(InvariantViolation);
    },
  );
});
