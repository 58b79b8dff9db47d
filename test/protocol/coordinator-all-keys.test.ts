import { describe, expect, it } from 'vitest';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { flush } from '../region/fixtures.ts';
import { outcomesOfJson } from '../region/replies.ts';
import { CoreHarness, frameOf, type HarnessOptions } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** `FLUSHALL`. */
const flushing = (given: Partial<WriteFrame> = {}) =>
  frameOf([everyKey, flushedKey], { operations: [flush], ...lasting, ...given });

/** The keys that are being prepared, transaction by transaction. */
const prepared = (harness: CoreHarness) =>
  harness.flightsTo('far').flatMap(({ round }) => round.prepares.map(({ keys }) => keys));

/** A harness in which `far` is out, as `given` says. */
function without(
  given: Parameters<typeof outOf>[1] = {},
  options: HarnessOptions = {},
): CoreHarness {
  const regions = [voterOf('near'), voterOf('middle'), outOf('far', given)];
  const harness = new CoreHarness({ ...options, stored: { regions, ...options.stored } });
  harness.tick();
  harness.run(20, others);
  return harness;
}

// R41: a snapshot across all regions must be of the same moment in each of them.
describe('a frame on all keys', () => {
  it('waits until everything before it is decided, and later frames wait for it', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a']));
    harness.arrive(flushing());
    const last = harness.arrive(frameOf(['b']));
    expect(prepared(harness)).toEqual([['a']]);
    harness.executeAll();
    expect(prepared(harness)).toEqual([[everyKey, flushedKey]]);
    harness.executeAll();
    expect(prepared(harness)).toEqual([['b']]);
    harness.settle();
    expect(harness.record(last).sequence).toBe(3);
  });

  it('waits for frames that wait before it, and shares its transaction with none', () => {
    const harness = CoreHarness.begun();
    harness.arriveTogether([frameOf(['a']), flushing(), flushing(), frameOf(['a'])]);
    expect(prepared(harness)).toEqual([['a']]);
    harness.executeAll();
    expect(prepared(harness)).toEqual([[everyKey, flushedKey]]);
    harness.executeAll();
    expect(prepared(harness)).toEqual([[everyKey, flushedKey]]);
    harness.settle();
    expect(harness.core.status()).toMatchObject({ sequence: 4, queued: 0, undecided: 0 });
  });

  it('of a higher priority does not wait for undecided transactions', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a'], lasting));
    harness.arrive(flushing({ priority: 5 }));
    expect(prepared(harness)).toContainEqual([everyKey, flushedKey]);
    harness.settle();
    expect(harness.core.status()).toMatchObject({ sequence: 2, queued: 0 });
  });

  it('makes an evicted region that misses it return by a copy of everything', () => {
    const harness = without();
    harness.arrive(flushing());
    harness.run(20, others);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', missedKeys: null });
    const stored = harness.tables.stored(7).regions.find(({ region }) => region === 'far');
    expect(stored?.membership).toMatchObject({ state: 'out', whole: true });
  });

  it('makes a region that leaves before acknowledging it return by a copy of everything', () => {
    const harness = CoreHarness.begun();
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    harness.arrive(flushing());
    harness.executeAll();
    harness.run(10_000, others);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', missedKeys: null });
    expect(harness.tables.missed.get('far') ?? new Map()).toEqual(new Map());
  });

  it('ends the copy that is under way, since that began before it', () => {
    const harness = without({ cause: 'lost', whole: true });
    while (harness.flightsTo('far').length === 0) harness.run(10, others);
    harness.execute(harness.flight('far'));
    harness.execute(harness.flight('far'));
    expect(harness.statusOf('far').state).toBe('copying');
    const { epoch } = harness.core.status();
    harness.arrive(flushing());
    harness.executeAll(others);
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', missedKeys: null });
    expect(harness.core.status().epoch).toBe(epoch + 1);
  });
});

const script = (...keys: readonly string[]) =>
  frameOf(keys, {
    operations: [
      {
        kind: 'script',
        args: ['sha', 'text', ...keys],
        writes: [],
        reads: [],
        reply: null,
        seed: 1,
      },
    ],
    ...lasting,
  });

const unlisted = (...keys: readonly string[]) => ({
  votes: [{ kind: 'unlisted' as const, parts: [{ part: 0, keys }] }],
});

// R42: keys that a script touches are locked before its result counts.
describe('a script that touches undeclared keys', () => {
  it('is retried at once, with the touched keys locked as well', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(script('a'));
    harness.execute(harness.flight('near'), unlisted('b', 'c'));
    expect(harness.preparing('near')).toEqual([[3, 2]]);
    expect(harness.flight('near').round.prepares[0]?.keys).toEqual(['a', 'b', 'c']);
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('waits for the undeclared keys that it touches', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['b'], lasting));
    harness.arrive(script('a'));
    const [, second] = harness.flightsTo('near');
    if (second === undefined) throw new Error('two rounds were sent');
    harness.execute(second, unlisted('b'));
    expect(harness.preparing('near')).toEqual([[3, 1]]);
    harness.settle();
    expect(harness.core.status()).toMatchObject({ sequence: 2, queued: 0 });
  });

  it('ignores an answer that comes after its attempt has ended', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(script('a'));
    const late = harness.flight('far');
    harness.execute(harness.flight('near'), unlisted('b'));
    harness.execute(late, unlisted('z'));
    harness.settle();
    expect(harness.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
    const commit = harness.persisted.find((write) => write.kind === 'commit');
    expect(commit).toMatchObject({ keys: ['a', 'b'] });
  });

  it('is refused if it touches different keys on each attempt, or too many', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(script('a'));
    for (let times = 0; times <= limits.searchesPerWrite; times += 1) {
      harness.execute(harness.flight('near'), unlisted(`b${times}`));
    }
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'refused',
      problem: 'unsupported-command',
      detail: expect.stringContaining('declare them'),
    });
    const other = harness.arrive(script('x'));
    const many = Array.from({ length: limits.keysPerWrite }, (_, at) => `k${at}`);
    const search = harness.flightsTo('near').find(({ round }) => round.prepares.length > 0);
    if (search === undefined) throw new Error('a prepare is on its way');
    harness.execute(search, unlisted(...many));
    expect(harness.answerTo(other)).toMatchObject({ kind: 'refused', problem: 'too-large' });
  });

  it('is refused if the names of its keys exceed the limit of a stored decision', () => {
    const harness = CoreHarness.begun();
    const fits = harness.arrive(script('a'));
    const limit = limits.requestStoredBytes;
    harness.execute(harness.flight('near'), unlisted('é'.repeat(limit / 2 - 100)));
    expect(harness.answerTo(fits)).toBeUndefined();
    harness.execute(harness.flight('near'), unlisted('a'.repeat(100)));
    expect(harness.answerTo(fits)).toBeUndefined();
    harness.execute(harness.flight('near'), unlisted('b'.repeat(100)));
    expect(harness.answerTo(fits)).toMatchObject({
      kind: 'refused',
      problem: 'too-large',
      detail: expect.stringContaining(String(limit)),
    });
  });
});

describe('scripts that take too long together', () => {
  const refused = {
    votes: [{ kind: 'refused' as const, reason: 'had no time left for all that came together' }],
  };
  const preparing = (harness: CoreHarness) => {
    const sent = harness.flightsTo('near').find(({ round }) => round.prepares.length > 0);
    if (sent === undefined) throw new Error('a prepare is on its way');
    return sent;
  };
  const partsOnTheirWay = (harness: CoreHarness) =>
    preparing(harness).round.prepares.map(({ parts }) => parts.length);
  const refuse = (harness: CoreHarness) => {
    harness.execute(preparing(harness), refused);
    harness.executeAll();
    harness.advance(limits.retryBackoffMaxMs);
  };

  it('are retried in smaller groups, in order, until each goes alone', () => {
    const harness = CoreHarness.begun();
    const tickets = harness.arriveTogether(Array.from({ length: 100 }, () => script('a')));
    const sizes: number[] = [];
    for (let times = 0; times < 5; times += 1) {
      sizes.push(...partsOnTheirWay(harness));
      refuse(harness);
    }
    expect([...sizes, ...partsOnTheirWay(harness)]).toEqual([100, 64, 16, 4, 1, 1]);
    harness.settle();
    const sequences = tickets.map((ticket) => harness.record(ticket).sequence);
    expect(sequences).toEqual(tickets.map((_, index) => index + 1));
  });

  it('do not keep writes without a script from sharing a round', () => {
    const harness = CoreHarness.begun();
    harness.arriveTogether(Array.from({ length: 100 }, () => frameOf(['a'], lasting)));
    refuse(harness);
    expect(partsOnTheirWay(harness)).toEqual([100]);
  });
});

describe('a write that takes a region longer than the vote deadline', () => {
  const endless = {
    votes: [{ kind: 'refused' as const, reason: 'takes longer', isEndless: true as const }],
  };
  const attempt = (harness: CoreHarness): number => {
    const sent = harness.flightsTo('near').find(({ round }) => round.prepares.length > 0);
    if (sent === undefined) throw new Error('a prepare is on its way');
    const parts = sent.round.prepares[0]?.parts.length ?? 0;
    harness.execute(sent, endless);
    harness.executeAll();
    harness.advance(limits.retryBackoffMaxMs);
    return parts;
  };

  it('is refused after few attempts, and says why', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(frameOf(['a'], lasting));
    for (let times = 0; times < limits.overrunsPerWrite; times += 1) attempt(harness);
    expect(harness.answerTo(ticket)).toBeUndefined();
    attempt(harness);
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'refused',
      problem: 'too-large',
      detail: expect.stringContaining('send fewer'),
    });
    expect(harness.core.status().blockedKeys).toBe(0);
  });

  it('goes alone before it is refused, so that no other write is refused with it', () => {
    const harness = CoreHarness.begun();
    harness.arriveTogether(Array.from({ length: 100 }, () => frameOf(['a'], lasting)));
    const sizes = Array.from({ length: 5 }, () => attempt(harness));
    expect(sizes).toEqual([100, 64, 16, 4, 1]);
  });
});

describe('writes whose replies together exceed the room for replies', () => {
  const refused = (most: number) => ({
    votes: [{ kind: 'refused' as const, reason: 'had no room left', most }],
  });

  it('are retried in groups that fit, in order', () => {
    const harness = CoreHarness.begun();
    const frames = Array.from({ length: 7 }, () => frameOf(['a'], lasting));
    const tickets = harness.arriveTogether(frames);
    const sizes: number[] = [];
    const refuse = (most: number) => {
      const sent = harness.flightsTo('near').find(({ round }) => round.prepares.length > 0);
      if (sent === undefined) throw new Error('a prepare is on its way');
      sizes.push(...sent.round.prepares.map(({ parts }) => parts.length));
      harness.execute(sent, refused(most));
      harness.executeAll();
      harness.advance(limits.retryBackoffMaxMs);
    };
    for (const most of [3, 2, 0]) refuse(most);
    expect(sizes).toEqual([7, 3, 2]);
    harness.settle();
    const sequences = tickets.map((ticket) => harness.record(ticket).sequence);
    expect(sequences).toEqual(tickets.map((_, index) => index + 1));
  });
});

describe('a script that gives other results in another region', () => {
  it('is refused after its last attempt, and no region is evicted for it', () => {
    const harness = CoreHarness.begun();
    const ticket = harness.arrive(script('a'));
    for (let times = 0; times <= limits.doubtsPerWrite; times += 1) {
      for (const region of ['near', 'middle', 'far']) {
        const flight = harness.flightsTo(region).find(({ round }) => round.prepares.length > 0);
        if (flight === undefined) throw new Error(`${region} is asked`);
        const outcomes = region === 'far' ? '[[0,1]]' : '[[0,2]]';
        harness.execute(flight, {
          votes: [{ kind: 'yes', outcomes: outcomesOfJson(outcomes), fingerprints: [''] }],
        });
      }
    }
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('every region'),
    });
    expect(harness.statusOf('far').state).toBe('voter');
    expect(harness.core.status().blockedKeys).toBe(0);
  });
});

describe('a command that a region does not know', () => {
  it('is refused at once, naming both, and the rest of its transaction goes on', () => {
    const harness = CoreHarness.begun();
    const frames = [frameOf(['a'], lasting), frameOf(['a'], lasting)];
    const [ticket = 0, other = 0] = harness.arriveTogether(frames);
    const vote = { kind: 'lacking', part: 0, command: 'JSON.SET' } as const;
    harness.execute(harness.flight('middle'), { votes: [vote] });
    expect(harness.answerTo(ticket)).toEqual({
      kind: 'refused',
      problem: 'unsupported-command',
      detail: 'middle does not know JSON.SET: its server is older, or lacks a module',
    });
    harness.settle();
    expect(harness.record(other).outcome).toBe('committed');
  });
});
