import { describe, expect, it } from 'vitest';
import { packCommands, packTexts } from '../../functions/coordinator/storage/packed.ts';
import { bytesWithin, textWithBytes } from '../../shared/commands/raw-bytes.ts';
import type { Bytes } from '../../shared/contracts/bytes.ts';
import type { WriteRecord } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { encodeReply } from '../../shared/contracts/reply.ts';
import { keptKeyOf } from '../../shared/http/idempotency.ts';
import { limits } from '../../shared/limits.ts';
import { commandOf } from '../../shared/protocol/transactions/event-router.ts';
import { storedRequestBytes } from '../../shared/protocol/transactions/stored-size.ts';
import { CoreHarness, frameOf } from '../protocol/core-harness.ts';
import { write } from '../region/fixtures.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun } from './stored.ts';

const limit = limits.requestStoredBytes;

/** Words of each kind that have the given number of bytes together. */
const kinds: readonly (readonly [string, (bytes: number) => readonly string[]])[] = [
  ['ASCII', (bytes) => ['x'.repeat(bytes)]],
  ['CJK', (bytes) => ['漢'.repeat(Math.floor(bytes / 3)), 'x'.repeat(bytes % 3)]],
  ['control characters', (bytes) => ['\0'.repeat(bytes)]],
  ['bytes that are no UTF-8', (bytes) => [textWithBytes(new Uint8Array(bytes).fill(0xfe))]],
  ['many small items', (bytes) => Array.from({ length: bytes }, (_, at) => String(at % 10))],
];

/** A write of such words whose stored request has exactly `target` bytes. */
function writeOfBytes(target: number, words: (bytes: number) => readonly string[]): WriteFrame {
  const key = 'k'.repeat(limits.keyBytes);
  const framed = (given: readonly string[], pad: string): WriteFrame => {
    const operations = [write('APPEND', 'pad', pad)];
    for (let from = 0; from < given.length; from += 5_000) {
      operations.push(write('RPUSH', key, ...given.slice(from, from + 5_000)));
    }
    const bytes = operations.flatMap(({ args }) => args.map((arg) => bytesWithin(arg).length));
    return frameOf([key, 'pad'], {
      operations,
      bytes: bytes.reduce((sum, one) => sum + one, 0),
      idempotency: {
        key: keptKeyOf('t', 'i'.repeat(limits.idempotencyKeyBytes), null),
        digest: 'd',
      },
      callback: {
        endpoint: 'cb_one',
        url: `https://example.com/${'u'.repeat(limits.urlBytes - 20)}`,
        secret: null,
        events: ['write.committed'],
        values: false,
      },
    });
  };
  const sizeOf = (frame: WriteFrame) =>
    storedRequestBytes({ ...frame, commands: frame.operations.map(commandOf) });
  const room = target - sizeOf(framed([], '')) - 10_000;
  // A small item takes three bytes.
  const isSmall = words(3).length === 3;
  const given = words(isSmall ? Math.floor(room / 3) : room);
  // The remainder is some thousand bytes, whose length has three digits more than an empty pad's.
  const rest = target - sizeOf(framed(given, ''));
  const frame = framed(given, 'p'.repeat(rest - (rest > 10_002 ? 4 : 3)));
  expect(sizeOf(frame)).toBe(target);
  return frame;
}

/** An outcome with exactly as many bytes as the stored replies of a transaction may have. */
function largestPart(words: (bytes: number) => readonly string[]): Bytes {
  // About the bytes of an item as a region counts them.
  const item = 12;
  const small = words(3);
  const items =
    small.length === 3
      ? words(Math.floor(limits.outcomeBytes / (1 + item)) - 3)
      : words(limits.outcomeBytes - 5 * item);
  return encodeReply([0, items.map(bytesWithin)]);
}

/** Has the write decided, with this outcome, and stored; returns its record. */
function store(frame: WriteFrame, part: Bytes): WriteRecord {
  const harness = CoreHarness.begun();
  const memory = new MemoryStorage();
  const { storage } = begun(memory);
  const ticket = harness.arrive(frame);
  for (const send of harness.flights) {
    const votes = send.round.prepares.map(({ keys }) => ({
      kind: 'yes' as const,
      outcomes: [part],
      fingerprints: keys.map(() => ''),
    }));
    harness.execute(send, { votes });
  }
  for (const step of harness.steps) storage.write(step.persist);
  const record = harness.record(ticket);
  expect(storage.recordOf(frame.id)?.record).toEqual(record);
  const [decision] = begun(memory).stored.unconfirmed;
  expect(decision?.writes[0]?.commands).toEqual(frame.operations.map(commandOf));
  expect(storage.recordedUnder(frame.idempotency?.key ?? '', 1)?.record).toEqual(record);
  return record;
}

describe.each(kinds)('a write of %s', (_kind, words) => {
  it('is measured by its stored bytes', () => {
    const { keys, operations, callback } = writeOfBytes(limit, words);
    const commands = operations.map(commandOf);
    const packed = packTexts(keys).length + packCommands(commands, keys).length;
    const more = Buffer.byteLength(JSON.stringify(callback));
    expect(storedRequestBytes({ keys, commands, callback })).toBe(packed + more);
  });

  it('is stored at the bound, with the largest replies, within the size of a row', () => {
    const part = largestPart(words);
    const record = store(writeOfBytes(limit, words), part);
    expect(record).toMatchObject({ outcome: 'committed', part });
    const rest = JSON.stringify({ ...record, part: '' }).length;
    expect(rest).toBeLessThan(limits.recordBytes);
    expect(limit + part.length + rest).toBeLessThan(limits.rowBytes);
  });

  it('is refused one byte past the bound, before any round is sent', () => {
    const harness = CoreHarness.begun();
    const sent = harness.flights.length;
    const ticket = harness.arrive(writeOfBytes(limit + 1, words));
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'refused',
      problem: 'too-large',
      detail: expect.stringContaining(`${limit + 1} bytes`),
    });
    expect(harness.flights).toHaveLength(sent);
    expect(harness.persisted.filter(({ kind }) => kind !== 'prove')).toEqual([]);
  });
});

describe('a write of many keys', () => {
  it('is stored with each key once', () => {
    const keys = Array.from({ length: limits.keysPerWrite }, (_, at) => `${at}:`.padEnd(240, 'k'));
    const frame = frameOf(keys, { operations: [write('DEL', ...keys)], bytes: 240 * keys.length });
    expect(
      storedRequestBytes({ ...frame, commands: frame.operations.map(commandOf) }),
    ).toBeLessThan(limits.bodyBytes * 1.04);
    const harness = CoreHarness.begun();
    expect(harness.answerTo(harness.arrive(frame))).toBeUndefined();
  });
});
