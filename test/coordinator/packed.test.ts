import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  packCommands,
  packTexts,
  unpackCommands,
  unpackTexts,
} from '../../functions/coordinator/storage/packed.ts';
import { bytesWithin, textWithBytes } from '../../shared/commands/raw-bytes.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, writeOf } from './stored.ts';

/** Texts of every kind that can be an argument: with control characters, and with bytes of invalid UTF-8. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.uint8Array({ maxLength: 20 }).map((bytes) => textWithBytes(Uint8Array.from(bytes))),
  fc.constantFrom('', '0:', '#0;', '*1;', '1:a'),
);

const size = 300_000;

/** A value of each kind, of `size` bytes. */
const kinds: readonly (readonly [string, string])[] = [
  ['ASCII', 'x'.repeat(size)],
  ['quotes', '"'.repeat(size)],
  ['CJK', '漢'.repeat(size / 3)],
  ['control characters', '\0'.repeat(size)],
  ['bytes that are no UTF-8', textWithBytes(new Uint8Array(size).fill(0xfe))],
];

describe('a packed text', () => {
  it('is unpacked as it was, for any text', () => {
    fc.assert(
      fc.property(
        fc.array(anyText),
        fc.array(fc.array(anyText)),
        fc.infiniteStream(fc.nat()),
        (keys, given, picks) => {
          const commands = given.map((command) =>
            command.map((word) => keys[(picks.next().value ?? 0) % 7] ?? word),
          );
          expect(unpackTexts(packTexts(keys))).toEqual(keys);
          expect(unpackCommands(packCommands(commands, keys), keys)).toEqual(commands);
        },
      ),
    );
  });

  it('names a key by its index if that is shorter', () => {
    const key = 'k'.repeat(1_000);
    expect(packCommands([['SET', key, 'v']], [key]).length).toBeLessThan(30);
    expect(packCommands([['DEL', 'k']], ['k'])).toBe('*2;3:DEL1:k');
  });

  it.each(kinds)('has little more than the bytes of %s', (_kind, value) => {
    const bytes = bytesWithin(value);
    expect(bytes).toHaveLength(size);
    const packed = packCommands([['SET', 'k', value]], ['k']);
    expect(packed.length).toBeLessThan(size * 1.01);
    expect(encodeReply([0, bytes]).length).toBeLessThan(size * 1.01);
  });

  it.each(['', '1:', '3:ab', 'x', '*1;', '*1;#3;', '*;'])('is refused as %j', (text) => {
    expect(() => unpackCommands(text, []).concat([[]])[0]?.[0] ?? fail()).toThrow();
  });
});

function fail(): never {
  throw new Error('nothing was packed');
}

describe.each(kinds)('a write of %s', (_kind, value) => {
  it('is stored in at most 1.34 times its bytes, and comes back as it was', () => {
    const memory = new MemoryStorage();
    const { storage } = begun(memory);
    const before = memory.sql.databaseSize;
    const plain = writeOf(1, 1);
    const part = encodeReply([0, { status: 'OK' }, bytesWithin(value)]);
    const record = { ...plain.record, part };
    const commands = [['GETSET', 'key:1', value]];
    const write = { ...plain, record, commands };
    const { keys } = write;
    const transaction = [1, 1] as const;
    storage.write([
      { kind: 'commit', transaction, keys, writes: [write], sequence: 1, now: 1, missedBy: [] },
    ]);
    // The value stands in the request and in the reply.
    expect(memory.sql.databaseSize - before).toBeLessThan(2 * size * 1.34);
    expect(storage.recordOf(plain.record.id)?.record).toEqual(record);
    expect(begun(memory).stored.unconfirmed).toEqual([
      { transaction, keys, sequence: 1, writes: [{ record, keys, commands, callback: null }] },
    ]);
    expect(storage.changes.newest()).toMatchObject({ commands, part });
    expect(storage.changes.lastWriteTo('key:1')).toBe(1);
    expect(storage.decisionsOf([transaction])).toEqual([{ transaction, keys }]);
  });
});

describe('the last write to a key', () => {
  it('is found for keys of every kind, and for a key whose name contains another', () => {
    const { storage } = begun(new MemoryStorage());
    const keys = ['a', '1:a', '\0"\\', '漢', textWithBytes(Uint8Array.of(0x61, 0xff))];
    keys.forEach((key, index) => {
      const sequence = index + 1;
      const write = writeOf(sequence, sequence, key);
      storage.write([
        {
          kind: 'commit',
          transaction: [1, sequence],
          keys: [key],
          writes: [write],
          sequence,
          now: sequence,
          missedBy: [],
        },
      ]);
    });
    expect(keys.map((key) => storage.changes.lastWriteTo(key))).toEqual([1, 2, 3, 4, 5]);
    expect(storage.changes.lastWriteTo('b')).toBeNull();
  });
});
