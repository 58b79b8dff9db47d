import { describe, expect, it } from 'vitest';
import type { AdminCommandAnswer } from '../../shared/contracts/members.ts';
import { limits } from '../../shared/limits.ts';
import { CoreHarness, frameOf, type HarnessOptions, start, timing } from './core-harness.ts';
import { voterOf } from './stored.ts';

const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const nothing = { epoch: 0, regions: [], generation: 9 };

/** A shard without members, whose regions have reported the given numbers of keys. */
function counted(
  counts: Readonly<Record<string, number>>,
  options: HarnessOptions = {},
): CoreHarness {
  const harness = new CoreHarness({ stored: nothing, ...options });
  for (const [region, keys] of Object.entries(counts)) harness.holds.set(region, keys);
  harness.tick();
  harness.executeAll();
  return harness;
}

const found = (
  harness: CoreHarness,
  given: { source?: string; agree?: boolean; replace?: object },
) => {
  const { source = null, agree = false, replace = {} } = given;
  return harness.command({ kind: 'found', source, agree, replace: { ...replace } });
};

function keysOf(answer: AdminCommandAnswer) {
  return answer.kind === 'refused' ? answer.keys : undefined;
}

/** Every copy step that has left, as `region kind`. */
function copies(harness: CoreHarness): readonly string[] {
  return harness.rounds.flatMap(({ region, round }) =>
    round.copy === null ? [] : [`${region} ${round.copy.kind}`],
  );
}

// R45: nothing is begun over data that Lockstep did not write.
describe('a shard that is founded', () => {
  it('asks every region for its number of keys, by a round that none executes, and stores nothing before', () => {
    const harness = new CoreHarness({ stored: nothing });
    harness.tick();
    expect(harness.sent.map(({ region }) => region).sort()).toEqual(['far', 'middle', 'near']);
    for (const { round } of harness.sent) {
      expect(round).toMatchObject({ role: 'out', begin: false, takes: 0, copy: null, epoch: 0 });
    }
    expect(harness.persisted).toEqual([]);
    expect(harness.core.status().founding).toMatchObject({ phase: 'counting', compared: null });
  });

  it('over empty regions begins with the last answer, and takes no key that was not there', () => {
    const harness = counted({});
    const membership = { state: 'voter', since: start, leaving: null } as const;
    for (const region of harness.regions) {
      expect(harness.last.persist).toContainEqual({
        kind: 'region',
        region: voterOf(region, { generation: 9, begun: false, membership }),
      });
    }
    expect(harness.last.persist).toContainEqual({ kind: 'members', epoch: 1, changes: [] });
    for (const { round } of harness.sent) {
      expect(round).toMatchObject({ begin: true, takes: 0, role: 'voter', epoch: 1 });
    }
    expect(harness.core.status().founding).toBeNull();
  });

  it('answers the writes and reads that waited for it', () => {
    const harness = new CoreHarness({ stored: nothing });
    const ticket = harness.arrive(frameOf(['a']));
    const read = harness.read();
    expect([harness.answerTo(ticket), harness.readAnswerTo(read)]).toEqual([undefined, undefined]);
    harness.run(100);
    expect(harness.record(ticket).outcome).toBe('committed');
    const [lookup] = harness.snapshots;
    if (lookup === undefined) throw new Error('the read was given up');
    harness.endSnapshot(lookup, { kind: 'read', replies: [], locks: [] });
    expect(harness.readAnswerTo(read)).toMatchObject({ kind: 'read' });
  });

  it('refuses writes and strong reads if one region holds data and the others are empty', () => {
    const harness = counted({ near: 500 });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    expect(harness.answerTo(ticket)).toMatchObject({
      kind: 'unavailable',
      code: 'not-founded',
      faults: [
        { region: 'near', reason: 'it holds 500 keys' },
        { region: 'middle', reason: 'it holds 0 keys' },
        { region: 'far', reason: 'it holds 0 keys' },
      ],
    });
    expect(harness.readAnswerTo(harness.read())).toMatchObject({
      notFounded: expect.stringContaining('data'),
    });
    expect(harness.core.status().founding).toMatchObject({
      phase: 'waiting',
      keys: { near: 500, middle: 0, far: 0 },
    });
  });

  it('refuses the writes and reads that had waited, as soon as the regions have answered', () => {
    const harness = new CoreHarness({ stored: nothing });
    harness.holds.set('far', 1);
    const ticket = harness.arrive(frameOf(['a'], lasting));
    const read = harness.read();
    harness.executeAll();
    expect(harness.answerTo(ticket)).toMatchObject({ code: 'not-founded' });
    expect(harness.readAnswerTo(read)).toMatchObject({ kind: 'unavailable' });
  });

  it('stores and copies nothing while it waits for an operator, and asks at growing intervals', () => {
    const harness = counted({ near: 500, middle: 499, far: 500 });
    harness.run(600_000);
    expect(harness.persisted).toEqual([]);
    expect(copies(harness)).toEqual([]);
    const toNear = harness.rounds.filter(({ region }) => region === 'near').length;
    expect(toNear).toBeLessThan(20);
    expect(toNear).toBeGreaterThan(10);
  });

  it('begins by itself after an operator has emptied the regions that held data', () => {
    const harness = counted({ near: 500 });
    harness.holds.clear();
    harness.run(limits.foundingRecountBackoffMinMs + 10);
    expect(harness.core.status()).toMatchObject({ founding: null, epoch: 1 });
  });

  it('waits for a silent region, and says so after a while', () => {
    const harness = new CoreHarness({ stored: nothing });
    const ticket = harness.arrive(frameOf(['a'], lasting));
    harness.run(timing.outAfterMs - 200, ['near', 'middle']);
    expect(harness.answerTo(ticket)).toBeUndefined();
    harness.run(400, ['near', 'middle']);
    expect(harness.answerTo(ticket)).toMatchObject({
      code: 'not-founded',
      reason: expect.stringContaining('missing: far'),
      faults: [{}, {}, { region: 'far', reason: 'connection refused' }],
    });
    expect(harness.persisted.filter(({ kind }) => kind === 'region')).toEqual([]);
    harness.run(limits.outProbeBackoffMaxMs + 100);
    expect(harness.core.status().founding).toBeNull();
  });

  it('asks once more before it begins, as an earlier answer may be out of date', () => {
    const harness = counted({}, { regions: ['near'] });
    expect(harness.core.status().founding).toBeNull();
    const late = new CoreHarness({ stored: nothing });
    late.tick();
    late.run(limits.foundingCountsLastMs + 100, ['near', 'middle']);
    late.holds.set('near', 3);
    late.run(limits.outProbeBackoffMaxMs + 100);
    expect(late.core.status().founding).toMatchObject({ phase: 'waiting', keys: { near: 3 } });
  });

  it('begins with the remaining regions if an operator removes the silent one, and with one added', () => {
    const harness = new CoreHarness({ stored: nothing });
    harness.tick();
    harness.run(100, ['near', 'middle']);
    expect(harness.command({ kind: 'add', region: 'new' }).kind).toBe('taken');
    expect(harness.command({ kind: 'add', region: 'new' }).kind).toBe('refused');
    expect(harness.command({ kind: 'remove', region: 'far' }).kind).toBe('taken');
    harness.run(100, ['near', 'middle', 'new']);
    const states = harness.core.status().regions.map(({ region, state }) => `${region} ${state}`);
    expect(states.sort()).toEqual(['middle voter', 'near voter', 'new voter']);
  });

  it('takes no admin command about members before it has any, and keeps its last region', () => {
    const harness = counted({ near: 5 }, { regions: ['near', 'far'] });
    for (const order of [
      { kind: 'return', region: 'near', whole: true, force: true },
      { kind: 'believe', region: 'near' },
      { kind: 'put-out', region: 'near', reason: '' },
    ] as const) {
      expect(harness.command(order)).toMatchObject({ kind: 'refused' });
    }
    expect(harness.command({ kind: 'remove', region: 'far' }).kind).toBe('taken');
    expect(harness.command({ kind: 'remove', region: 'near' }).kind).toBe('refused');
  });

  it('finds the state of another Lockstep, and waits', () => {
    const harness = new CoreHarness({ stored: nothing });
    harness.tick();
    for (const send of harness.flights) harness.reportKeys(send, 40, 5);
    expect(harness.core.status().founding).toMatchObject({
      phase: 'waiting',
      detail: expect.stringContaining('another Lockstep'),
    });
    expect(found(harness, { agree: true }).kind).toBe('refused');
    const replace = { middle: 40, far: 40 };
    expect(found(harness, { source: 'near', replace }).kind).toBe('taken');
    expect(harness.flight('near').round.copy).toMatchObject({ kind: 'begin', agreed: 5 });
    for (const region of ['middle', 'far']) {
      expect(harness.tables.regions.get(region)).toMatchObject({ takes: 40, agreed: 5 });
    }
  });

  it('forgets all counts if its coordinator dies, and begins again', () => {
    const before = counted({ near: 500 });
    const harness = before.restarted();
    harness.tick();
    expect(harness.core.status().founding).toMatchObject({ phase: 'counting' });
    harness.executeAll();
    expect(harness.core.status().founding).toBeNull();
  });
});

describe('an admin command to found a shard', () => {
  it('from a region has it vote alone, over all its data, and everything copied to the others', () => {
    const harness = counted({ near: 500 });
    expect(found(harness, { source: 'near' })).toMatchObject({ kind: 'taken' });
    const [begin] = harness.sent;
    expect(begin).toMatchObject({
      region: 'near',
      round: { role: 'copying', takes: Number.MAX_SAFE_INTEGER, copy: { kind: 'begin' } },
    });
    harness.run(limits.outProbeBackoffMaxMs);
    expect(harness.core.status().regions.map(({ state }) => state)).toEqual([
      'voter',
      'voter',
      'voter',
    ]);
    expect(copies(harness).slice(0, 3)).toEqual(['near begin', 'middle begin', 'middle list']);
    const others = harness.rounds.filter(({ region, round }) => region !== 'near' && round.copy);
    for (const { round } of others) expect(round.takes).toBe(0);
    expect(harness.changes[0]).toMatchObject({ region: 'near', event: 'founded' });
  });

  it('is refused with the numbers if others would lose keys, until these are sent back', () => {
    const harness = counted({ near: 500, far: 12 });
    const refused = found(harness, { source: 'near' });
    expect(refused).toMatchObject({ kind: 'refused', detail: expect.stringContaining('12') });
    expect(keysOf(refused)).toEqual({ near: 500, middle: 0, far: 12 });
    expect(found(harness, { source: 'near', replace: { far: 11 } }).kind).toBe('refused');
    expect(harness.persisted.filter(({ kind }) => kind === 'region')).toEqual([]);
    expect(found(harness, { source: 'near', replace: { far: 12 } }).kind).toBe('taken');
    expect(harness.tables.regions.get('far')).toMatchObject({ takes: 12 });
  });

  it.each([
    [1, 'near votes alone until the others have copied its 1 key'],
    [2, 'near votes alone until the others have copied its 2 keys'],
  ])('says that the others copy the %i of the region that it begins with', (count, detail) => {
    const harness = counted({ near: count, middle: 0, far: 0 });
    expect(found(harness, { source: 'near' })).toEqual({ kind: 'taken', detail });
  });

  it('overwrites no region that was silent then, and proves to hold keys', () => {
    const harness = new CoreHarness({ stored: nothing });
    harness.holds.set('near', 500);
    harness.tick();
    harness.run(100, ['near', 'middle']);
    expect(found(harness, { source: 'far' }).kind).toBe('refused');
    expect(found(harness, { source: 'near' }).kind).toBe('taken');
    harness.run(limits.copyPauseMs, ['near', 'middle']);
    const until = harness.now + limits.outProbeBackoffMaxMs;
    while (harness.flightsTo('far').length === 0 && harness.now < until)
      harness.run(10, ['near', 'middle']);
    harness.reportKeys(harness.flight('far'), 7);
    expect(harness.statusOf('far')).toMatchObject({
      state: 'out',
      cause: 'foreign',
      held: true,
      detail: 'it holds 7 keys that Lockstep did not put there',
    });
    harness.run(2 * limits.outProbeBackoffMaxMs, ['near', 'middle']);
    expect(copies(harness).filter((step) => step.startsWith('far'))).toEqual([]);
  });

  it('survives the death of its coordinator at each moment: the named source is taken over, and no other', () => {
    const harness = counted({ near: 500 });
    found(harness, { source: 'near' });
    const next = harness.restarted();
    next.tick();
    expect(next.core.status().founding).toBeNull();
    expect(next.tables.regions.get('near')).toMatchObject({ takes: Number.MAX_SAFE_INTEGER });
    next.run(2 * limits.outProbeBackoffMaxMs);
    expect(next.core.status().regions.map(({ state }) => state)).toEqual([
      'voter',
      'voter',
      'voter',
    ]);
    expect(copies(next)[0]).toBe('near begin');
    // A permission that was given once does not last for ever.
    for (const { takes } of next.tables.regions.values()) expect(takes).toBe(0);
  });

  it('that all hold the same begins with the counts seen, and is refused if these differ', () => {
    const harness = counted({ near: 500, middle: 500, far: 499 });
    expect(keysOf(found(harness, { agree: true }))).toEqual({ near: 500, middle: 500, far: 499 });
    const alike = counted({ near: 3, middle: 3, far: 3 });
    expect(found(alike, { agree: true }).kind).toBe('taken');
    for (const { round } of alike.sent) expect(round).toMatchObject({ begin: true, takes: 3 });
    expect(alike.changes.map(({ event }) => event)).toEqual(['founded', 'founded', 'founded']);
    expect(found(alike, { agree: true }).kind).toBe('refused');
  });

  it('may come from the configuration, for one region with data among empty ones', () => {
    const harness = counted({ near: 500 }, { source: 'near' });
    expect(harness.flight('near').round).toMatchObject({ copy: { kind: 'begin' } });
    for (const counts of [{ far: 500 }, { near: 500, far: 1 }]) {
      const other = counted(counts, { source: 'near' });
      expect(other.core.status().founding).toMatchObject({ phase: 'waiting' });
    }
  });

  it('without a source has the regions asked once more', () => {
    const harness = counted({ near: 500 });
    harness.holds.clear();
    expect(found(harness, {}).kind).toBe('taken');
    harness.executeAll();
    expect(harness.core.status().founding).toBeNull();
  });
});

describe('regions that hold equally many keys', () => {
  const compared = { kind: 'compared', checked: 2, differing: 0 } as const;

  it('are compared slice by slice, and the shard begins if they hold the same', () => {
    const harness = counted({ near: 4, middle: 4, far: 4 });
    const first = harness.comparison;
    expect(first).toMatchObject({ regions: ['near', 'middle', 'far'], cursor: null });
    expect(harness.core.busy).toBe(true);
    expect(harness.answerTo(harness.arrive(frameOf(['a'])))).toMatchObject({ code: 'not-founded' });
    const { number } = first;
    harness.step({
      kind: 'comparison-completed',
      number,
      result: { ...compared, next: 'further' },
    });
    expect(harness.core.status().founding).toMatchObject({ phase: 'comparing', compared: 2 });
    const second = harness.comparison;
    expect(second.cursor).toBe('further');
    harness.step({ kind: 'comparison-completed', number, result: { ...compared, next: null } });
    expect(harness.core.status().founding).not.toBeNull();
    harness.step({
      kind: 'comparison-completed',
      number: second.number,
      result: { ...compared, next: null },
    });
    expect(harness.core.status().founding).toBeNull();
    for (const { round } of harness.sent) expect(round).toMatchObject({ begin: true, takes: 4 });
  });

  it('wait for an operator if one key differs, and are not compared again before he asks', () => {
    const harness = counted({ near: 4, middle: 4, far: 4 });
    const { number } = harness.comparison;
    harness.step({
      kind: 'comparison-completed',
      number,
      result: { ...compared, differing: 1, next: 'further' },
    });
    expect(harness.core.status().founding).toMatchObject({
      phase: 'waiting',
      detail: expect.stringContaining('hold different data, in 1 key'),
    });
    harness.run(100_000);
    expect(harness.steps.filter(({ comparison }) => comparison !== null)).toHaveLength(1);
    found(harness, {});
    harness.executeAll();
    expect(harness.steps.filter(({ comparison }) => comparison !== null)).toHaveLength(2);
  });

  it('resume a comparison that stopped at a silent region, and restart it with other counts', () => {
    const harness = counted({ near: 4, middle: 4, far: 4 });
    const { number } = harness.comparison;
    const result = { kind: 'silent', region: 'far', reason: 'no answer' } as const;
    harness.step({ kind: 'comparison-completed', number, result });
    expect(harness.last.comparison).toBeNull();
    harness.run(limits.foundingRecountBackoffMinMs + 10);
    const again = harness.steps.flatMap(({ comparison }) => comparison ?? []).at(-1);
    expect(again?.number).not.toBe(number);
    for (const region of harness.regions) harness.holds.set(region, 5);
    harness.run(2 * limits.foundingRecountBackoffMinMs + 10);
    const restarted = harness.steps.flatMap(({ comparison }) => comparison ?? []).at(-1);
    expect(restarted?.number).not.toBe(again?.number);
    expect(restarted?.cursor).toBeNull();
  });

  it('are compared again from the start if a region is added or removed meanwhile', () => {
    const harness = counted({ near: 4, middle: 4, far: 4, new: 4 });
    const { number } = harness.comparison;
    harness.command({ kind: 'add', region: 'new' });
    harness.step({ kind: 'comparison-completed', number, result: { ...compared, next: null } });
    expect(harness.core.status().founding).toMatchObject({ phase: 'counting' });
    harness.executeAll(['new']);
    const again = harness.comparison;
    expect(again.regions).toEqual(['near', 'middle', 'far', 'new']);
    harness.command({ kind: 'remove', region: 'new' });
    const { number: late } = again;
    harness.step({
      kind: 'comparison-completed',
      number: late,
      result: { ...compared, next: null },
    });
    expect(harness.core.status().founding).not.toBeNull();
  });

  it('need no comparison if there is only one', () => {
    const harness = counted({ near: 4 }, { regions: ['near'] });
    expect(harness.core.status().founding).toBeNull();
    expect(harness.flight('near').round).toMatchObject({ begin: true, takes: 4 });
  });
});

describe('a region with keys that Lockstep did not put there', () => {
  it('that is added or configured returns only manually, with their number, and nothing is copied over them', () => {
    const harness = CoreHarness.begun();
    harness.command({ kind: 'add', region: 'new' });
    harness.run(100, harness.regions);
    const probe = () => {
      for (let waited = 0; waited < 20_000 && harness.flightsTo('new').length === 0; waited += 10) {
        harness.run(10, harness.regions);
      }
      return harness.flight('new');
    };
    harness.reportKeys(probe(), 100);
    expect(harness.statusOf('new')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(harness.changes.at(-1)).toMatchObject({ region: 'new', cause: 'foreign' });
    const refused = harness.command({ kind: 'return', region: 'new', whole: false, force: true });
    expect(refused).toMatchObject({ kind: 'refused', keys: { new: 100 } });
    const order = { kind: 'return', region: 'new', whole: false, force: false } as const;
    expect(harness.command({ ...order, replace: 99 }).kind).toBe('refused');
    expect(harness.command({ ...order, replace: 100 }).kind).toBe('taken');
    harness.reportKeys(probe(), 100);
    expect(harness.flight('new').round).toMatchObject({ takes: 100, copy: { kind: 'begin' } });
  });

  it('is kept out as well if they come while a copy begins', () => {
    const harness = CoreHarness.begun();
    harness.command({ kind: 'add', region: 'new', replace: 2 });
    for (let waited = 0; waited < 20_000 && harness.flightsTo('new').length === 0; waited += 10) {
      harness.run(10, harness.regions);
    }
    harness.reportKeys(harness.flight('new'), 2);
    const begin = harness.flight('new');
    expect(begin.round).toMatchObject({ takes: 2, copy: { kind: 'begin' } });
    harness.reportKeys(begin, 3);
    expect(harness.statusOf('new')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
  });

  it('may return without a number after an operator has emptied it', () => {
    const harness = CoreHarness.begun();
    harness.command({ kind: 'add', region: 'new' });
    const probe = () => {
      for (let waited = 0; waited < 20_000 && harness.flightsTo('new').length === 0; waited += 10) {
        harness.run(10, harness.regions);
      }
      return harness.flight('new');
    };
    harness.reportKeys(probe(), 100);
    harness.reportKeys(probe(), 0);
    expect(harness.statusOf('new').held).toBe(true);
    const order = { kind: 'return', region: 'new', whole: false, force: false } as const;
    expect(harness.command(order).kind).toBe('taken');
  });

  it('is one that has lost acknowledged writes and was filled by somebody else', () => {
    const harness = CoreHarness.begun();
    harness.arrive(frameOf(['a'], lasting));
    harness.reportKeys(harness.flight('far'), 30);
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', cause: 'lost' });
    for (let waited = 0; waited < 20_000; waited += 50) {
      for (const send of harness.flightsTo('far')) harness.reportKeys(send, 30);
      harness.run(50, ['near', 'middle']);
    }
    const begun = harness.rounds.filter(({ round }) => round.copy?.kind === 'begin');
    expect(begun).toHaveLength(1);
    expect(harness.statusOf('far')).toMatchObject({ cause: 'foreign', held: true });
  });

  it('is not taken as a voter either: it stays out, and the others go on', () => {
    const harness = counted({}, {});
    harness.reportKeys(harness.flight('far'), 6);
    expect(harness.statusOf('far')).toMatchObject({ state: 'voter', health: 'foreign' });
    const before = harness.rounds.length;
    harness.run(0, ['near', 'middle']);
    expect(harness.rounds.length).toBeLessThan(before + 5);
    harness.arrive(frameOf(['a'], lasting));
    for (let waited = 0; waited < 10_000; waited += 50) {
      for (const send of harness.flightsTo('far')) harness.reportKeys(send, 6);
      harness.run(50, ['near', 'middle']);
    }
    expect(harness.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
  });
});
