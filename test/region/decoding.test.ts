import { describe, expect, it } from 'vitest';
import { decodeSnapshot } from '../../functions/region/decoding.ts';
import { bytesOfText } from '../../shared/contracts/bytes.ts';
import { snapshotOf } from './fixtures.ts';

describe('the key of a lock in the reply of a region', () => {
  it.each(['k', 'ü', '\ufeffk', '日本語\u{1f642}'])(
    'is the key of the transaction, with every character of %j',
    (key) => {
      const met = [bytesOfText(key), 1, 2];
      expect(decodeSnapshot(['q', [], '', [met]], snapshotOf([key], []))).toEqual({
        kind: 'read',
        replies: [],
        locks: [{ key, holder: [1, 2] }],
      });
    },
  );
});
