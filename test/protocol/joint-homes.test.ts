import { describe, expect, it } from 'vitest';
import type { LoanRequest } from '../../shared/contracts/loans.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { initialMap, ownershipIn, type ShardMap, shardOf } from '../../shared/shards/shard-map.ts';
import { CoreHarness, frameOf } from './core-harness.ts';

const two = initialMap(2);
const [own, other] = [keyIn(0), keyIn(1)];

/** The first key of a shard of two. */
function keyIn(shard: number): string {
  for (let number = 0; ; number += 1) {
    if (shardOf(`key:${number}`, two) === shard) return `key:${number}`;
  }
}

/** The first shard of two. */
function half(jointMap: ShardMap | null): CoreHarness {
  return CoreHarness.calm({ jointMap, stored: { ownership: ownershipIn(two, 0) } });
}

describe('a write with a key of another shard', () => {
  it('goes away from a shard that has no map for joint writes', () => {
    const harness = half(null);
    const ticket = harness.arrive(frameOf([own, other]));
    const moved = { kind: 'moved', version: 1, keys: [own, other] };
    expect(harness.answerTo(ticket)).toEqual(moved);
    expect(harness.last.calls).toEqual([]);
  });

  it('is joint in the shard of its first key, which asks the owner by the map for the other', () => {
    const harness = half(two);
    const ticket = harness.arrive(frameOf([own, other]));
    expect(harness.answerTo(ticket)).toBeUndefined();
    const [call] = harness.last.calls;
    expect(call).toMatchObject({ shard: 1, call: { kind: 'join', request: { keys: [other] } } });
  });

  it('goes away from a shard that does not own its first key', () => {
    const harness = half(two);
    const ticket = harness.arrive(frameOf([other, own]));
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'moved', keys: [other, own] });
  });

  it('goes away from a shard to whose slots it does not belong, though the map says so', () => {
    const harness = half(initialMap(1));
    const ticket = harness.arrive(frameOf([own, other]));
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'moved' });
  });

  it('is refused if it is about all keys', () => {
    const harness = half(two);
    const ticket = harness.arrive(frameOf([everyKey, flushedKey]));
    expect(harness.answerTo(ticket)).toMatchObject({ problem: 'unsupported-command' });
  });

  it('waits until the shard knows its slots, and is judged then', () => {
    const harness = new CoreHarness({ jointMap: two, stored: { ownership: null } });
    harness.tick();
    const away = harness.arrive(frameOf([other, own]));
    const flush = harness.arrive(frameOf([everyKey, flushedKey]));
    expect(harness.answerTo(flush)).toBeUndefined();
    harness.step({ kind: 'registry-answered', answer: { kind: 'map', map: two } });
    expect(harness.answerTo(away)).toMatchObject({ kind: 'moved' });
    expect(harness.answerTo(flush)).toMatchObject({ problem: 'unsupported-command' });
  });
});

describe('a guest', () => {
  it('lends only slots that it has stored as its own, and nothing before it knows them', () => {
    expect(askedFor(half(two), own)).toMatchObject({ kind: 'lent' });
    expect(askedFor(half(two), other)).toEqual({ kind: 'moved' });
    expect(askedFor(half(null), own)).toMatchObject({ kind: 'not-now' });
    const unborn = new CoreHarness({ jointMap: two, stored: { ownership: null } });
    unborn.tick();
    expect(askedFor(unborn, own)).toMatchObject({ kind: 'not-now' });
  });
});

/** The answer of a shard to a home that asks for a key. */
function askedFor(harness: CoreHarness, key: string) {
  const request: LoanRequest = {
    name: { shard: 1, birth: 7, incarnation: 1, sequence: 1 },
    keys: [key],
    voters: harness.regions,
    priority: 0,
    waitMs: null,
  };
  const call = { kind: 'join', request } as const;
  harness.step({ kind: 'loan-called', ticket: 1_000, from: 1, call, recorded: null });
  for (const reply of harness.last.replies) {
    if (reply.kind === 'loan' && reply.answer.kind === 'join') return reply.answer.reply;
  }
  return null;
}
