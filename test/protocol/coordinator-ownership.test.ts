import { describe, expect, it } from 'vitest';
import { channelKey } from '../../shared/commands/keys.ts';
import { limits } from '../../shared/limits.ts';
import type { MapAnswer } from '../../shared/protocol/io/events.ts';
import { everyKey, flushedKey, keyOfWrite } from '../../shared/reserved-keys.ts';
import { initialMap, ownershipIn, shardOf } from '../../shared/shards/shard-map.ts';
import { CoreHarness, frameOf } from './core-harness.ts';

const two = initialMap(2);
const silent: MapAnswer = { kind: 'silent', reason: 'connection refused' };

/** The first key of a shard of two. */
function keyIn(shard: number): string {
  for (let number = 0; ; number += 1) {
    if (shardOf(`key:${number}`, two) === shard) return `key:${number}`;
  }
}

/** A shard that the registry has not answered, over regions that have voted before. */
function unborn(): CoreHarness {
  const harness = new CoreHarness({ stored: { ownership: null } });
  harness.tick();
  return harness;
}

/** The first shard of two. */
function half(): CoreHarness {
  return CoreHarness.calm({ stored: { ownership: ownershipIn(two, 0) } });
}

function answer(harness: CoreHarness, map: MapAnswer): void {
  harness.step({ kind: 'registry-answered', answer: map });
}

describe('a shard that does not know its slots', () => {
  it('asks the registry in its first step, and sends nothing to a region before it has stored the answer', () => {
    const harness = unborn();
    expect(harness.last).toMatchObject({ asksRegistry: true, sends: [], persist: [] });
    harness.requestLease('near');
    harness.advance(60_000);
    expect(harness.rounds).toEqual([]);
    expect(harness.steps.filter(({ asksRegistry }) => asksRegistry)).toHaveLength(1);
    answer(harness, { kind: 'map', map: initialMap(1) });
    const ownership = ownershipIn(initialMap(1), 0);
    expect(harness.last.persist).toContainEqual({ kind: 'own', ownership });
    expect(harness.sent).not.toEqual([]);
    expect(harness.last.asksRegistry).toBe(false);
  });

  it('lets writes wait, and carries them out once it knows that it owns their keys', () => {
    const harness = unborn();
    const ticket = harness.arrive(frameOf(['a']));
    const handedIn = harness.arrive(frameOf(['b']), { async: true });
    expect(harness.answerTo(ticket)).toBeUndefined();
    expect(harness.answerTo(handedIn)).toBeUndefined();
    answer(harness, { kind: 'map', map: initialMap(1) });
    expect(harness.answerTo(handedIn)).toMatchObject({ kind: 'accepted' });
    harness.settle();
    expect(harness.record(ticket).outcome).toBe('committed');
  });

  it('answers the writes and reads that wait for keys of other shards, once it knows', () => {
    const harness = unborn();
    const own = harness.arrive(frameOf([keyIn(0)]));
    const other = harness.arrive(frameOf([keyIn(1)]));
    const handedIn = harness.arrive(frameOf([keyIn(1)]), { async: true });
    const read = harness.read({ keys: [keyIn(1)] });
    answer(harness, { kind: 'map', map: two });
    const moved = { kind: 'moved', version: 1, keys: [keyIn(1)] };
    expect(harness.answerTo(other)).toEqual(moved);
    expect(harness.answerTo(handedIn)).toEqual(moved);
    expect(harness.readAnswerTo(read)).toEqual({ kind: 'moved', version: 1 });
    harness.settle();
    expect(harness.record(own).outcome).toBe('committed');
  });

  it('asks a silent registry again, with growing pauses, and gives writes up at their time with the reason', () => {
    const harness = unborn();
    const ticket = harness.arrive(frameOf(['a'], { notAfter: harness.now + 1_000 }));
    const asked: number[] = [];
    for (let at = 0; at < 8; at += 1) {
      asked.push(harness.now);
      answer(harness, silent);
      const before = harness.steps.length;
      while (!harness.steps.slice(before).some((step) => step.asksRegistry)) harness.advance(50);
    }
    const pauses = asked.slice(1).map((moment, at) => moment - (asked[at] ?? 0));
    expect(pauses[0]).toBeLessThanOrEqual(limits.registryBackoffMinMs);
    expect(pauses.at(-1)).toBe(limits.registryBackoffMaxMs);
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      code: null,
      faults: [],
      reason: expect.stringContaining('which keys it owns: connection refused'),
    });
    expect(harness.core.status().slots).toMatchObject({ phase: 'waiting' });
  });

  it('gives reads up at their time, and refuses commands of operators', () => {
    const harness = unborn();
    const read = harness.read();
    const refused = harness.command({ kind: 'put-out', region: 'near', reason: 'x' });
    expect(refused).toMatchObject({ kind: 'refused', detail: expect.stringContaining('registry') });
    harness.advance(limits.timeoutMsDefault);
    expect(harness.readAnswerTo(read)).toMatchObject({
      kind: 'unavailable',
      faults: [{ reason: expect.stringContaining('which keys it owns') }],
    });
  });

  it('answers who asks about its old transactions', () => {
    const harness = unborn();
    expect(harness.resolve([[1, 1]])).toEqual([{ kind: 'aborted', transaction: [1, 1] }]);
  });

  it('founds nothing if it owns no slot, and its regions are never asked', () => {
    const stored = { ownership: null, epoch: 0, regions: [] };
    const harness = new CoreHarness({ stored });
    harness.tick();
    answer(harness, {
      kind: 'map',
      map: { version: 4, shards: initialMap(1).shards.map((one) => ({ ...one, shard: 9 })) },
    });
    harness.advance(60_000);
    expect(harness.rounds).toEqual([]);
    const ticket = harness.arrive(frameOf(['a']));
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'moved', version: 4 });
  });
});

describe('a shard that has stored its slots', () => {
  it('does not ask the registry, also not in its next life', () => {
    const harness = unborn();
    answer(harness, { kind: 'map', map: two });
    const next = harness.restarted();
    next.tick();
    next.advance(60_000);
    expect(next.steps.some(({ asksRegistry }) => asksRegistry)).toBe(false);
    expect(next.rounds).not.toEqual([]);
  });

  it('keeps them, also if another map comes from the registry later', () => {
    const harness = half();
    answer(harness, { kind: 'map', map: initialMap(1) });
    const ticket = harness.arrive(frameOf([keyIn(1)]));
    expect(harness.answerTo(ticket)).toMatchObject({ kind: 'moved' });
  });
});

describe('a read through a shard that does not own every slot', () => {
  const dbsize = { args: ['DBSIZE'], reads: [], reply: null };
  const script = { args: ['EVAL_RO', 'sha', 'return 1', '0'], reads: [], reply: null };
  it.each([
    ['of all keys', { keys: [], commands: [dbsize] }],
    ['by a script', { keys: [keyIn(0)], commands: [script] }],
    ['of keys of another shard', { keys: [keyIn(1)], commands: [] }],
  ])('%s is answered moved, after a proof', (_, request) => {
    const harness = half();
    expect(harness.readAnswerTo(harness.read(request))).toEqual({ kind: 'moved', version: 1 });
    expect(harness.last.persist).toEqual([{ kind: 'prove' }]);
  });
});

describe('a write for keys that the shard does not own', () => {
  it.each([
    ['of another shard', [keyIn(1)]],
    ['of both', [keyIn(0), keyIn(1)]],
    ['which is about all keys', [everyKey, flushedKey]],
    ['to a channel of another shard', [channelKey(keyIn(1))]],
  ])('%s is answered moved, after a proof, and nothing is sent', (_, keys) => {
    const harness = half();
    const rounds = harness.rounds.length;
    const ticket = harness.arrive(frameOf(keys));
    expect(harness.answerTo(ticket)).toEqual({ kind: 'moved', version: 1, keys });
    expect(harness.last.persist).not.toEqual([]);
    expect(harness.rounds).toHaveLength(rounds);
  });

  it('gets its first answer if it was decided here before', () => {
    const harness = half();
    const frame = frameOf([keyIn(0)], { idempotency: { key: 't::1', digest: 'd' } });
    const ticket = harness.arrive(frame);
    harness.settle();
    const record = harness.record(ticket);
    const again = { ...frame, keys: [keyIn(1)] };
    const repeated = harness.arrive(again, { recorded: { record, digest: 'd' }, again: true });
    expect(harness.answerTo(repeated)).toMatchObject({ kind: 'decided', record });
  });

  it('may name a lock of its own: a write without keys belongs to slot 0', () => {
    const harness = half();
    const keyless = harness.arrive(frameOf([keyOfWrite('0-x')]));
    const inOrder = harness.arrive(frameOf([keyIn(0), keyOfWrite('0-y')]));
    harness.settle();
    for (const ticket of [keyless, inOrder])
      expect(harness.record(ticket).outcome).toBe('committed');
    const other = CoreHarness.calm({ stored: { ownership: ownershipIn(two, 1) } });
    const elsewhere = other.arrive(frameOf([keyOfWrite('1-x')]));
    expect(other.answerTo(elsewhere)).toMatchObject({ kind: 'moved' });
  });

  it('is answered so if its script is found to touch them, with all its keys', () => {
    const harness = half();
    const ticket = harness.arrive(frameOf([keyIn(0)]));
    const unlisted = { kind: 'unlisted', parts: [{ part: 0, keys: [keyIn(1)] }] } as const;
    for (const send of harness.flights) {
      if (send.round.prepares.length > 0) harness.execute(send, { votes: [unlisted] });
    }
    harness.settle();
    const keys = [keyIn(0), keyIn(1)];
    expect(harness.answerTo(ticket)).toEqual({ kind: 'moved', version: 1, keys });
    expect(harness.core.inDoubt().transactions).toEqual([]);
  });
});
