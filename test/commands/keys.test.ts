/** Tests the checks of keys, and the names of a region's own records. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keyFault, recordNames, shadowName } from '../../shared/commands/keys.ts';
import { limits } from '../../shared/limits.ts';
import { reservedPrefix } from '../../shared/reserved-keys.ts';

describe('a key', () => {
  it.each(['', ' ', 'lockstep', 'Lockstep:0', ':lockstep:', '__proto__', 'ключ', '🔑', '\0'])(
    'may be %j',
    (key) => {
      expect(keyFault(key)).toBeNull();
    },
  );

  it('is refused with the reserved prefix', () => {
    expect(keyFault(reservedPrefix)?.problem).toBe('reserved-key');
    expect(keyFault('lockstep:0:state')?.problem).toBe('reserved-key');
  });

  it('is refused one byte past its limit, counted in UTF-8', () => {
    const half = limits.keyBytes / 2;
    expect(keyFault('é'.repeat(half))).toBeNull();
    expect(keyFault(`${'é'.repeat(half)}k`)?.problem).toBe('too-large');
  });

  it('is refused with a lone surrogate', () => {
    expect(keyFault('\ud83d')?.detail).toContain('not valid Unicode text');
  });
});

describe('the names of a region’s own records', () => {
  it('carry the reserved prefix and the shard', () => {
    expect(recordNames(3)).toEqual({
      state: 'lockstep:3:state',
      lock: 'lockstep:3:lock',
      lease: 'lockstep:3:lease',
    });
    expect(shadowName(3, [2, 7], 'a:b')).toBe('lockstep:3:shadow:2.7:a:b');
  });

  it('differ for different transactions and keys', () => {
    const names = fc.tuple(fc.nat(99), fc.nat(99), fc.string());
    const nameOf = ([incarnation, sequence, key]: [number, number, string]) =>
      shadowName(0, [incarnation, sequence], key);
    fc.assert(
      fc.property(names, names, (one, other) => {
        fc.pre(one.some((part, index) => part !== other[index]));
        expect(nameOf(one)).not.toBe(nameOf(other));
      }),
    );
  });
});
