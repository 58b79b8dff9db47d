import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareOrder,
  formatTransactionId,
  keyOf,
  parseTransactionId,
  shardOfWriteId,
  type TransactionOrder,
  writeIdOf,
} from '../shared/ids.ts';

const uuid = '01890a5d-ac96-774b-bcce-b302099a8057';

describe('a transaction id', () => {
  const numbers = fc.nat({ max: 999_999_999_999_999 });
  const ids = fc.record({
    shard: fc.nat({ max: 99_999 }),
    incarnation: numbers,
    sequence: numbers,
  });

  it('is read back as it was written', () => {
    fc.assert(
      fc.property(ids, (id) => {
        expect(parseTransactionId(formatTransactionId(id))).toEqual(id);
      }),
    );
  });

  it.each(['', '0.1', '0.1.2.3', '0.1.-2', '0.1.x', ' 0.1.2', '0.1.2\n', '0.1.1234567890123456'])(
    'is refused as %j',
    (text) => {
      expect(parseTransactionId(text)).toBeNull();
    },
  );
});

describe('the order of transactions', () => {
  const number = fc.nat({ max: 3 });
  const order = fc.tuple(number, number);

  it('compares the incarnation before the sequence', () => {
    const inOrder: readonly TransactionOrder[] = [
      [1, 9],
      [2, 1],
      [2, 2],
      [10, 0],
    ];
    expect(inOrder.toReversed().sort(compareOrder)).toEqual(inOrder);
  });

  it('is total: two transactions are equal only if their keys are', () => {
    fc.assert(
      fc.property(order, order, (a, b) => {
        expect(compareOrder(a, b) === 0).toBe(keyOf(a) === keyOf(b));
        expect(Math.sign(compareOrder(a, b))).toBe(0 - Math.sign(compareOrder(b, a)));
      }),
    );
  });
});

describe('a write id', () => {
  it('names its shard', () => {
    expect(shardOfWriteId(writeIdOf(0, uuid))).toBe(0);
    expect(shardOfWriteId(writeIdOf(417, uuid))).toBe(417);
  });

  it.each([
    '',
    uuid,
    `0-${uuid.toUpperCase()}`,
    `x-${uuid}`,
    `0-${uuid} `,
    '0-01890a5d-ac96-474b-bcce-b302099a8057',
  ])('is refused as %j', (text) => {
    expect(shardOfWriteId(text)).toBeNull();
  });

  it('is made only of a version 7 UUID in lower case', () => {
    expect(() => writeIdOf(0, uuid.toUpperCase())).toThrow('a write id is');
    expect(() => writeIdOf(0, '01890a5d-ac96-474b-bcce-b302099a8057')).toThrow('a write id is');
  });
});
