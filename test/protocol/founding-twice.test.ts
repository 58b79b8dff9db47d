import { beforeEach, describe, expect, it } from 'vitest';
import type { KeyCounts } from '../../shared/contracts/members.ts';
import type { RegionId } from '../../shared/ids.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { RegionModel } from '../region/model.ts';
import { CoreHarness } from './core-harness.ts';

/** R45: a shard is founded once, even if two of its instances act at the same time, and if messages arrive late. */

const regions: readonly RegionId[] = ['near', 'middle', 'far'];
const nothing = { epoch: 0, regions: [], generation: 9 };

let models: ReadonlyMap<RegionId, RegionModel>;
let now: () => number;

/** Regions that hold the given numbers of keys, which Lockstep did not put there. */
function filled(counts: Readonly<Record<RegionId, number>>): void {
  models = new Map(regions.map((region) => [region, new RegionModel(() => now())]));
  for (const [region, count] of Object.entries(counts)) {
    for (let key = 0; key < count; key += 1) modelOf(region).run('SET', `${region}:${key}`, 'v');
  }
}

function modelOf(region: RegionId): RegionModel {
  const model = models.get(region);
  if (model === undefined) throw new Error(`no region ${region}`);
  return model;
}

/** The keys of a region, whoever put them there. */
function keysIn(region: RegionId): readonly string[] {
  return [...modelOf(region).state().data.keys()].sort();
}

/** An instance that begins on the stored state, and has not been answered yet. */
function born(harness: CoreHarness): CoreHarness {
  now = () => harness.now;
  harness.tick();
  return harness;
}

/** The round runs in its region, and is answered as that says. */
function carryOut(harness: CoreHarness, send: SentRound): void {
  harness.end(send, modelOf(send.region).round(send.round));
}

/** The rounds run although nobody waits for their answers any more. */
function arriveLate(sends: readonly SentRound[]): void {
  for (const { region, round } of sends) modelOf(region).round(round);
}

function answerAll(harness: CoreHarness): void {
  for (const send of harness.flights) carryOut(harness, send);
}

/** Everything is answered, until all vote or nothing changes any more. */
function calm(harness: CoreHarness): void {
  for (let turn = 0; turn < 200; turn += 1) {
    answerAll(harness);
    harness.advance(500);
  }
}

function foundFrom(harness: CoreHarness, source: RegionId, replace: KeyCounts = {}) {
  return harness.command({ kind: 'found', source, agree: false, replace });
}

function statesOf(harness: CoreHarness): readonly string[] {
  return harness.core.status().regions.map(({ region, state }) => `${region} ${state}`);
}

const allVote = regions.map((region) => `${region} voter`);

/** An instance that knows the key counts of all regions, with nothing on its way. */
function counted(options: ConstructorParameters<typeof CoreHarness>[0] = {}): CoreHarness {
  const harness = born(new CoreHarness({ regions, stored: nothing, ...options }));
  answerAll(harness);
  return harness;
}

describe('an instance that was left behind before its shard had members', () => {
  it('changes nothing by counts that arrive after the next one has begun', () => {
    filled({});
    const stale = born(new CoreHarness({ regions, stored: nothing }));
    const counts = stale.flights;
    const harness = born(stale.restarted());
    answerAll(harness);
    answerAll(harness);
    expect(statesOf(harness)).toEqual(allVote);
    const before = regions.map((region) => modelOf(region).state());
    arriveLate(counts);
    expect(regions.map((region) => modelOf(region).state())).toEqual(before);
    calm(harness);
    expect(statesOf(harness)).toEqual(allVote);
  });

  it('stores a command to found before it answers: then it learns that it owns nothing', () => {
    filled({ near: 5 });
    const stale = counted();
    const harness = born(stale.restarted());
    answerAll(harness);
    expect(foundFrom(harness, 'near').kind).toBe('taken');
    const orders = [
      () => foundFrom(stale, 'far', { near: 5 }),
      () => foundFrom(stale, 'near'),
      () => foundFrom(stale, 'far'),
      () => stale.command({ kind: 'found', source: null, agree: true, replace: {} }),
      () => stale.command({ kind: 'found', source: null, agree: false, replace: {} }),
    ];
    for (const order of orders) {
      order();
      // With this write it is refused by the storage, so that neither its rounds nor its answer leave.
      expect(stale.last.persist).not.toEqual([]);
    }
  });

  it('finds the next one’s state if it counts again, and begins nothing over it', () => {
    filled({});
    const stale = born(new CoreHarness({ regions, stored: nothing }));
    const harness = born(stale.restarted());
    answerAll(harness);
    answerAll(harness);
    expect(statesOf(harness)).toEqual(allVote);
    calm(stale);
    expect(stale.persisted).toEqual([]);
    expect(stale.rounds.every(({ round }) => round.copy === null && !round.begin)).toBe(true);
  });
});

describe('an instance that dies at a step of the founding', () => {
  beforeEach(() => filled({ near: 5, far: 2 }));

  it('before its source is stored leaves the choice free, and nothing is lost', () => {
    const first = counted();
    expect(foundFrom(first, 'near').kind).toBe('refused');
    // Nothing of the step is stored, so nothing of it leaves: the next instance knows nothing of the order.
    const harness = counted();
    expect(foundFrom(harness, 'far', { near: 5 }).kind).toBe('taken');
    calm(harness);
    expect(statesOf(harness)).toEqual(allVote);
    for (const region of regions) expect(keysIn(region)).toEqual(['far:0', 'far:1']);
  });

  it.each(['before its rounds leave', 'with its rounds on their way'])(
    'once its source is stored keeps to it, %s',
    (when) => {
      const first = counted();
      expect(foundFrom(first, 'near', { far: 2 }).kind).toBe('taken');
      const late = first.flights;
      const harness = born(first.restarted());
      expect(foundFrom(harness, 'far', { near: 5 }).kind).toBe('refused');
      if (when === 'with its rounds on their way') arriveLate(late);
      calm(harness);
      expect(statesOf(harness)).toEqual(allVote);
      for (const region of regions) expect(keysIn(region)).toHaveLength(5);
      expect(keysIn('far')).toEqual(keysIn('near'));
      const founded = [...first.changes, ...harness.changes].filter(
        ({ event }) => event === 'founded',
      );
      expect(founded.map(({ region }) => region)).toEqual(['near']);
    },
  );

  it.each([
    ['as the next one copies', false],
    ['when the next one has copied', true],
  ])(
    'at each step of its copies is followed by one that ends them, with messages that arrive %s',
    (_, isLast) => {
      for (let steps = 1; steps < 40; steps += 1) {
        filled({ near: 5, far: 2 });
        let harness = counted();
        expect(foundFrom(harness, 'near', { far: 2 }).kind).toBe('taken');
        for (let step = 0; step < steps; step += 1) {
          const [send] = harness.flights;
          if (send === undefined) harness.advance(500);
          else carryOut(harness, send);
        }
        const late = harness.flights;
        harness = born(harness.restarted());
        answerAll(harness);
        if (!isLast) arriveLate(late);
        calm(harness);
        if (isLast) arriveLate(late);
        calm(harness);
        expect(statesOf(harness)).toEqual(allVote);
        for (const region of regions) expect(keysIn(region)).toEqual(keysIn('near'));
        expect(keysIn('near')).toHaveLength(5);
      }
    },
  );

  it('with all its regions as voters is followed by one that begins over no more keys than were counted', () => {
    filled({});
    const first = counted();
    const late = first.flights;
    expect(late.every(({ round }) => round.begin && round.takes === 0)).toBe(true);
    modelOf('far').run('SET', 'theirs', 'v');
    const harness = born(first.restarted());
    arriveLate(late);
    calm(harness);
    expect(statesOf(harness)).toEqual(['near voter', 'middle voter', 'far out']);
    expect(harness.statusOf('far')).toMatchObject({ cause: 'foreign', held: true });
    expect(keysIn('far')).toEqual(['theirs']);
  });
});

describe('a source that is force-recovered and does not vote yet', () => {
  it('keeps all its keys if a command to return names a smaller number, also in the next instance', () => {
    filled({ near: 5 });
    const first = counted();
    expect(foundFrom(first, 'near').kind).toBe('taken');
    const harness = born(first.restarted());
    const order = {
      kind: 'return',
      region: 'near',
      whole: false,
      force: false,
      replace: 1,
    } as const;
    expect(harness.command(order)).toMatchObject({ kind: 'taken' });
    expect(harness.tables.regions.get('near')).toMatchObject({ takes: Number.MAX_SAFE_INTEGER });
    calm(harness);
    expect(statesOf(harness)).toEqual(allVote);
    for (const region of regions) expect(keysIn(region)).toHaveLength(5);
  });
});

describe('two coordinators with storages of their own', () => {
  /** A second one over the same regions, with another generation. */
  const other = { stored: { ...nothing, generation: 11 } };

  it('that begin over empty regions each keep the regions that they took first, and neither replaces the other', () => {
    filled({});
    const one = counted();
    const two = counted(other);
    const [near, ...rest] = one.flights;
    if (near === undefined) throw new Error('it begins');
    carryOut(one, near);
    answerAll(two);
    for (const send of rest) carryOut(one, send);
    for (const harness of [one, two, one, two]) calm(harness);
    const generations = regions.map((region) => modelOf(region).shard().head?.generation);
    expect(generations).toEqual([9, 11, 11]);
    expect(one.statusOf('middle')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(two.statusOf('near')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
  });

  it('that are founded from different regions lose only keys that an operator named to the second one', () => {
    filled({ near: 5, far: 2 });
    const one = counted();
    const two = counted(other);
    expect(foundFrom(one, 'near', { far: 2 }).kind).toBe('taken');
    expect(foundFrom(two, 'far', { near: 5 }).kind).toBe('taken');
    // Each has taken its own source before the other one asks for it.
    for (const [harness, source] of [
      [one, 'near'],
      [two, 'far'],
    ] as const) {
      carryOut(harness, harness.flight(source));
    }
    for (const harness of [one, two, one, two]) calm(harness);
    expect(keysIn('near')).toHaveLength(5);
    expect(keysIn('far')).toHaveLength(2);
    expect(one.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(two.statusOf('near')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
  });
});
