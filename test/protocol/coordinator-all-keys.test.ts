import { describe, expect, it } from 'vitest';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { flush } from '../region/fixtures.ts';
import { outcomesOfJson } from '../region/replies.ts';
import { frameOf, Rig, type RigOptions } from './core-harness.ts';
import { outOf, voterOf } from './stored.ts';

const others = ['near', 'middle'];
const lasting = { notAfter: Number.MAX_SAFE_INTEGER };

/** `FLUSHALL`. */
const flushing = (given: Partial<WriteFrame> = {}) =>
  frameOf([everyKey, flushedKey], { operations: [flush], ...lasting, ...given });

/** The keys that are being prepared, transaction by transaction. */
const prepared = (rig: Rig) =>
  rig.flightsTo('far').flatMap(({ round }) => round.prepares.map(({ keys }) => keys));

/** A rig in which `far` is out, as `given` says. */
function without(given: Parameters<typeof outOf>[1] = {}, options: RigOptions = {}): Rig {
  const regions = [voterOf('near'), voterOf('middle'), outOf('far', given)];
  const rig = new Rig({ ...options, stored: { regions, ...options.stored } });
  rig.tick();
  rig.run(20, others);
  return rig;
}

// R41: what all regions are to see at one moment must be the same moment in all of them.
describe('a frame about all keys', () => {
  it('waits until everything before it is decided, and what comes later waits for it', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a']));
    rig.arrive(flushing());
    const last = rig.arrive(frameOf(['b']));
    expect(prepared(rig)).toEqual([['a']]);
    rig.executeAll();
    expect(prepared(rig)).toEqual([[everyKey, flushedKey]]);
    rig.executeAll();
    expect(prepared(rig)).toEqual([['b']]);
    rig.settle();
    expect(rig.record(last).sequence).toBe(3);
  });

  it('waits for what waits before it, and shares its transaction with none', () => {
    const rig = Rig.greeted();
    rig.arriveTogether([frameOf(['a']), flushing(), flushing(), frameOf(['a'])]);
    expect(prepared(rig)).toEqual([['a']]);
    rig.executeAll();
    expect(prepared(rig)).toEqual([[everyKey, flushedKey]]);
    rig.executeAll();
    expect(prepared(rig)).toEqual([[everyKey, flushedKey]]);
    rig.settle();
    expect(rig.core.status()).toMatchObject({ sequence: 4, queued: 0, undecided: 0 });
  });

  it('of a higher priority does not wait for what is undecided', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a'], lasting));
    rig.arrive(flushing({ priority: 5 }));
    expect(prepared(rig)).toContainEqual([everyKey, flushedKey]);
    rig.settle();
    expect(rig.core.status()).toMatchObject({ sequence: 2, queued: 0 });
  });

  it('makes a region that is out and misses it come back by a copy of everything', () => {
    const rig = without();
    rig.arrive(flushing());
    rig.run(20, others);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', missedKeys: null });
    const stored = rig.tables.stored(7).regions.find(({ region }) => region === 'far');
    expect(stored?.membership).toMatchObject({ state: 'out', whole: true });
  });

  it('makes a region that has not acknowledged it as it leaves come back so, too', () => {
    const rig = Rig.greeted();
    rig.run(limits.leaseTtlMs + limits.leaseDriftMs);
    rig.arrive(flushing());
    rig.executeAll();
    rig.run(10_000, others);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', missedKeys: null });
    expect(rig.tables.missed.get('far') ?? new Map()).toEqual(new Map());
  });

  it('ends the copy that is under way: it began before that', () => {
    const rig = without({ cause: 'lost', whole: true });
    while (rig.flightsTo('far').length === 0) rig.run(10, others);
    rig.execute(rig.flight('far'));
    rig.execute(rig.flight('far'));
    expect(rig.statusOf('far').state).toBe('copying');
    const { epoch } = rig.core.status();
    rig.arrive(flushing());
    rig.executeAll(others);
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', missedKeys: null });
    expect(rig.core.status().epoch).toBe(epoch + 1);
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

// R42: what a script touches is locked before it counts.
describe('a script that touches more than it declares', () => {
  it('is tried again at once, with what it touched locked as well', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(script('a'));
    rig.execute(rig.flight('near'), unlisted('b', 'c'));
    expect(rig.preparing('near')).toEqual([[3, 2]]);
    expect(rig.flight('near').round.prepares[0]?.keys).toEqual(['a', 'b', 'c']);
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
  });

  it('waits for the keys that it turns out to touch', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['b'], lasting));
    rig.arrive(script('a'));
    const [, second] = rig.flightsTo('near');
    if (second === undefined) throw new Error('two rounds were sent');
    rig.execute(second, unlisted('b'));
    expect(rig.preparing('near')).toEqual([[3, 1]]);
    rig.settle();
    expect(rig.core.status()).toMatchObject({ sequence: 2, queued: 0 });
  });

  it('is not changed by an answer that comes after its attempt was over', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(script('a'));
    const late = rig.flight('far');
    rig.execute(rig.flight('near'), unlisted('b'));
    rig.execute(late, unlisted('z'));
    rig.settle();
    expect(rig.record(ticket)).toMatchObject({ outcome: 'committed', attempts: 2 });
    const commit = rig.persisted.find((write) => write.kind === 'commit');
    expect(commit).toMatchObject({ keys: ['a', 'b'] });
  });

  it('is refused where it touches others each time, or too many', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(script('a'));
    for (let times = 0; times <= limits.searchesPerWrite; times += 1) {
      rig.execute(rig.flight('near'), unlisted(`b${times}`));
    }
    expect(rig.told(ticket)).toMatchObject({
      kind: 'refused',
      problem: 'unsupported-command',
      detail: expect.stringContaining('declare them'),
    });
    const other = rig.arrive(script('x'));
    const many = Array.from({ length: limits.keysPerWrite }, (_, at) => `k${at}`);
    const search = rig.flightsTo('near').find(({ round }) => round.prepares.length > 0);
    if (search === undefined) throw new Error('a prepare is on its way');
    rig.execute(search, unlisted(...many));
    expect(rig.told(other)).toMatchObject({ kind: 'refused', problem: 'too-large' });
  });

  it('is refused where their names are longer than what is stored with a decision', () => {
    const rig = Rig.greeted();
    const fits = rig.arrive(script('a'));
    const limit = limits.requestStoredBytes;
    rig.execute(rig.flight('near'), unlisted('é'.repeat(limit / 2 - 100)));
    expect(rig.told(fits)).toBeUndefined();
    rig.execute(rig.flight('near'), unlisted('a'.repeat(100)));
    expect(rig.told(fits)).toBeUndefined();
    rig.execute(rig.flight('near'), unlisted('b'.repeat(100)));
    expect(rig.told(fits)).toMatchObject({
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
  const preparing = (rig: Rig) => {
    const sent = rig.flightsTo('near').find(({ round }) => round.prepares.length > 0);
    if (sent === undefined) throw new Error('a prepare is on its way');
    return sent;
  };
  const partsOnTheirWay = (rig: Rig) =>
    preparing(rig).round.prepares.map(({ parts }) => parts.length);
  const refuse = (rig: Rig) => {
    rig.execute(preparing(rig), refused);
    rig.executeAll();
    rig.advance(limits.retryBackoffMaxMs);
  };

  it('are tried by fewer at a time, in their order, until each goes alone', () => {
    const rig = Rig.greeted();
    const tickets = rig.arriveTogether(Array.from({ length: 100 }, () => script('a')));
    const sizes: number[] = [];
    for (let times = 0; times < 5; times += 1) {
      sizes.push(...partsOnTheirWay(rig));
      refuse(rig);
    }
    expect([...sizes, ...partsOnTheirWay(rig)]).toEqual([100, 64, 16, 4, 1, 1]);
    rig.settle();
    const sequences = tickets.map((ticket) => rig.record(ticket).sequence);
    expect(sequences).toEqual(tickets.map((_, index) => index + 1));
  });

  it('do not keep writes without a script from going together', () => {
    const rig = Rig.greeted();
    rig.arriveTogether(Array.from({ length: 100 }, () => frameOf(['a'], lasting)));
    refuse(rig);
    expect(partsOnTheirWay(rig)).toEqual([100]);
  });
});

describe('a write that takes a region longer than its vote may', () => {
  const endless = {
    votes: [{ kind: 'refused' as const, reason: 'takes longer', isEndless: true as const }],
  };
  const attempt = (rig: Rig): number => {
    const sent = rig.flightsTo('near').find(({ round }) => round.prepares.length > 0);
    if (sent === undefined) throw new Error('a prepare is on its way');
    const parts = sent.round.prepares[0]?.parts.length ?? 0;
    rig.execute(sent, endless);
    rig.executeAll();
    rig.advance(limits.retryBackoffMaxMs);
    return parts;
  };

  it('is refused after few attempts, and says why', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(frameOf(['a'], lasting));
    for (let times = 0; times < limits.overrunsPerWrite; times += 1) attempt(rig);
    expect(rig.told(ticket)).toBeUndefined();
    attempt(rig);
    expect(rig.told(ticket)).toMatchObject({
      kind: 'refused',
      problem: 'too-large',
      detail: expect.stringContaining('send fewer'),
    });
    expect(rig.core.status().blockedKeys).toBe(0);
  });

  it('goes alone before it is refused, so that nothing else is', () => {
    const rig = Rig.greeted();
    rig.arriveTogether(Array.from({ length: 100 }, () => frameOf(['a'], lasting)));
    const sizes = Array.from({ length: 5 }, () => attempt(rig));
    expect(sizes).toEqual([100, 64, 16, 4, 1]);
  });
});

describe('writes whose replies have no room together', () => {
  const refused = (most: number) => ({
    votes: [{ kind: 'refused' as const, reason: 'had no room left', most }],
  });

  it('are tried by as many as have room, in their order', () => {
    const rig = Rig.greeted();
    const frames = Array.from({ length: 7 }, () => frameOf(['a'], lasting));
    const tickets = rig.arriveTogether(frames);
    const sizes: number[] = [];
    const refuse = (most: number) => {
      const sent = rig.flightsTo('near').find(({ round }) => round.prepares.length > 0);
      if (sent === undefined) throw new Error('a prepare is on its way');
      sizes.push(...sent.round.prepares.map(({ parts }) => parts.length));
      rig.execute(sent, refused(most));
      rig.executeAll();
      rig.advance(limits.retryBackoffMaxMs);
    };
    for (const most of [3, 2, 0]) refuse(most);
    expect(sizes).toEqual([7, 3, 2]);
    rig.settle();
    const sequences = tickets.map((ticket) => rig.record(ticket).sequence);
    expect(sequences).toEqual(tickets.map((_, index) => index + 1));
  });
});

describe('a script that gives other results in another region', () => {
  it('is refused at last, and no region is put out for it', () => {
    const rig = Rig.greeted();
    const ticket = rig.arrive(script('a'));
    for (let times = 0; times <= limits.doubtsPerWrite; times += 1) {
      for (const region of ['near', 'middle', 'far']) {
        const flight = rig.flightsTo(region).find(({ round }) => round.prepares.length > 0);
        if (flight === undefined) throw new Error(`${region} is asked`);
        const outcomes = region === 'far' ? '[[0,1]]' : '[[0,2]]';
        rig.execute(flight, {
          votes: [{ kind: 'yes', outcomes: outcomesOfJson(outcomes), fingerprints: [''] }],
        });
      }
    }
    expect(rig.told(ticket)).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('every region'),
    });
    expect(rig.statusOf('far').state).toBe('voter');
    expect(rig.core.status().blockedKeys).toBe(0);
  });
});

describe('a command that a region does not know', () => {
  it('is refused at once, naming both, and what shares its transaction goes on', () => {
    const rig = Rig.greeted();
    const frames = [frameOf(['a'], lasting), frameOf(['a'], lasting)];
    const [ticket = 0, other = 0] = rig.arriveTogether(frames);
    const vote = { kind: 'lacking', part: 0, command: 'JSON.SET' } as const;
    rig.execute(rig.flight('middle'), { votes: [vote] });
    expect(rig.told(ticket)).toEqual({
      kind: 'refused',
      problem: 'unsupported-command',
      detail: 'middle does not know JSON.SET: its server is older, or lacks a module',
    });
    rig.settle();
    expect(rig.record(other).outcome).toBe('committed');
  });
});
