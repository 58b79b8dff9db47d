import calculateSlot from 'cluster-key-slot';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { channelKey } from '../../shared/commands/keys.ts';
import { bytesOfText, charactersOf, codesOf } from '../../shared/contracts/bytes.ts';
import { everyKey, flushedKey, keyOfWrite } from '../../shared/reserved-keys.ts';
import { homeSlot, slotCount, slotOf, slotOfBytes, slotsOf } from '../../shared/shards/slots.ts';

const numberOf = (key: string) => slotOf(key).number;

/** Keys with many braces, some of which make tags. */
const braced = fc.string({ unit: fc.constantFrom('a', '{', '}', 'ß', '🔑', '0') });

describe('a slot', () => {
  // As a real cluster answers CLUSTER KEYSLOT.
  it.each([
    ['', 0],
    ['123456789', 12_739],
    ['{user1000}.following', 3_443],
    ['foo{bar}{zap}', 5_061],
    ['foo{{bar}}zap', 4_015],
    ['foo{}{bar}', 8_363],
    ['{}', 15_257],
    ['{}x', 10_595],
    ['{a', 10_276],
    ['a{ü}b', 9_552],
    ['😀', 2_959],
  ])('of %j is %i', (key, slot) => {
    expect(slotOf(key)).toEqual({ placement: 'default', number: slot });
  });

  it('equals that of cluster-key-slot, unless a tag is empty', () => {
    fc.assert(
      fc.property(braced, (key) => {
        fc.pre(!key.includes('{}'));
        expect(numberOf(key)).toBe(calculateSlot(key));
        expect(numberOf(key)).toBeLessThan(slotCount);
      }),
    );
  });

  it('of bytes that are not UTF-8 equals that of cluster-key-slot', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const key = charactersOf(bytes);
        fc.pre(!key.includes('{}'));
        expect(slotOfBytes(key).number).toBe(calculateSlot(Buffer.from(bytes)));
      }),
    );
  });

  it('is the same for a text and for the bytes that a region lists', () => {
    fc.assert(
      fc.property(fc.oneof(braced, fc.string({ unit: 'binary' })), (key) => {
        expect(slotOfBytes(bytesOfText(key))).toEqual(slotOf(key));
        expect(codesOf(bytesOfText(key))).toEqual(new TextEncoder().encode(key));
      }),
    );
  });

  it('of keys with the same tag is the same', () => {
    const tag = fc.string({ minLength: 1 }).filter((text) => !text.includes('}'));
    const before = fc.string().filter((text) => !text.includes('{'));
    fc.assert(
      fc.property(before, tag, fc.string(), (prefix, text, suffix) => {
        expect(numberOf(`${prefix}{${text}}${suffix}`)).toBe(numberOf(`{${text}}`));
      }),
    );
  });
});

describe('the slots of a write', () => {
  it('are those of its keys, each once, that of the first key first', () => {
    const slots = slotsOf(['foo', '{bar}1', 'foo', '{bar}2']);
    expect(slots).toEqual([slotOf('foo'), slotOf('{bar}')]);
  });

  it('are slot 0 alone if it names no key', () => {
    expect(slotsOf([])).toEqual([homeSlot]);
    expect(slotsOf([keyOfWrite('0-id')])).toEqual([homeSlot]);
  });

  it('are not those of a lock that keeps the order of a pipeline', () => {
    expect(slotsOf(['foo', keyOfWrite('0-id')])).toEqual([slotOf('foo')]);
  });

  it('are that of the name of a channel', () => {
    expect(slotsOf([channelKey('news{foo}')])).toEqual([slotOf('foo')]);
    expect(slotsOf([channelKey('broken\ud83d')])).toEqual([slotOf('broken\ufffd')]);
  });

  it('are all slots if it is about all keys', () => {
    expect(slotsOf([everyKey, flushedKey])).toBe('all');
    expect(slotsOf(['foo', everyKey])).toBe('all');
  });
});
