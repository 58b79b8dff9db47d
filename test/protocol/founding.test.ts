import { describe, expect, it } from 'vitest';
import type { OrderAnswer } from '../../shared/contracts/members.ts';
import { limits } from '../../shared/limits.ts';
import { frameOf, Rig, type RigOptions, start, timing } from './core-harness.ts';
import { voterOf } from './stored.ts';

const lasting = { notAfter: Number.MAX_SAFE_INTEGER };
const nothing = { epoch: 0, regions: [], generation: 9 };

/** A shard without members, whose regions have said that they hold so many keys. */
function counted(counts: Readonly<Record<string, number>>, options: RigOptions = {}): Rig {
  const rig = new Rig({ stored: nothing, ...options });
  for (const [region, keys] of Object.entries(counts)) rig.holds.set(region, keys);
  rig.tick();
  rig.executeAll();
  return rig;
}

const found = (rig: Rig, given: { source?: string; agree?: boolean; replace?: object }) => {
  const { source = null, agree = false, replace = {} } = given;
  return rig.order({ kind: 'found', source, agree, replace: { ...replace } });
};

function keysOf(answer: OrderAnswer) {
  return answer.kind === 'refused' ? answer.keys : undefined;
}

/** Every copy step that has left, as `region kind`. */
function copies(rig: Rig): readonly string[] {
  return rig.rounds.flatMap(({ region, round }) =>
    round.copy === null ? [] : [`${region} ${round.copy.kind}`],
  );
}

// R45: nothing is begun over data that Lockstep did not write.
describe('a shard that begins', () => {
  it('asks every region what it holds, by a round that none executes, and stores nothing before', () => {
    const rig = new Rig({ stored: nothing });
    rig.tick();
    expect(rig.sent.map(({ region }) => region).sort()).toEqual(['far', 'middle', 'near']);
    for (const { round } of rig.sent) {
      expect(round).toMatchObject({ role: 'out', begin: false, takes: 0, copy: null, epoch: 0 });
    }
    expect(rig.persisted).toEqual([]);
    expect(rig.core.status().founding).toMatchObject({ phase: 'counting', compared: null });
  });

  it('over empty regions begins with the last answer, and takes no key that was not there', () => {
    const rig = counted({});
    const membership = { state: 'voter', since: start, leaving: null } as const;
    for (const region of rig.regions) {
      expect(rig.last.persist).toContainEqual({
        kind: 'region',
        region: voterOf(region, { generation: 9, begun: false, membership }),
      });
    }
    expect(rig.last.persist).toContainEqual({ kind: 'members', epoch: 1, changes: [] });
    for (const { round } of rig.sent) {
      expect(round).toMatchObject({ begin: true, takes: 0, role: 'voter', epoch: 1 });
    }
    expect(rig.core.status().founding).toBeNull();
  });

  it('has writes and reads wait for it that came before, and answers them', () => {
    const rig = new Rig({ stored: nothing });
    const ticket = rig.arrive(frameOf(['a']));
    const read = rig.read();
    expect([rig.told(ticket), rig.toldRead(read)]).toEqual([undefined, undefined]);
    rig.run(100);
    expect(rig.record(ticket).outcome).toBe('committed');
    const [lookup] = rig.lookups;
    if (lookup === undefined) throw new Error('the read was given up');
    rig.look(lookup, { kind: 'read', replies: [], locks: [] });
    expect(rig.toldRead(read)).toMatchObject({ kind: 'read' });
  });

  it('refuses writes and strong reads where one region holds data and the others are empty', () => {
    const rig = counted({ near: 500 });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    expect(rig.told(ticket)).toMatchObject({
      kind: 'unavailable',
      code: 'not-founded',
      faults: [
        { region: 'near', reason: 'it holds 500 keys' },
        { region: 'middle', reason: 'it holds 0 keys' },
        { region: 'far', reason: 'it holds 0 keys' },
      ],
    });
    expect(rig.toldRead(rig.read())).toMatchObject({ notFounded: expect.stringContaining('data') });
    expect(rig.core.status().founding).toMatchObject({
      phase: 'waiting',
      keys: { near: 500, middle: 0, far: 0 },
    });
  });

  it('refuses those that had waited, as soon as the regions have said what they hold', () => {
    const rig = new Rig({ stored: nothing });
    rig.holds.set('far', 1);
    const ticket = rig.arrive(frameOf(['a'], lasting));
    const read = rig.read();
    rig.executeAll();
    expect(rig.told(ticket)).toMatchObject({ code: 'not-founded' });
    expect(rig.toldRead(read)).toMatchObject({ kind: 'unavailable' });
  });

  it('stores nothing and copies nothing while it waits for an operator, and asks less and less', () => {
    const rig = counted({ near: 500, middle: 499, far: 500 });
    rig.run(600_000);
    expect(rig.persisted).toEqual([]);
    expect(copies(rig)).toEqual([]);
    const toNear = rig.rounds.filter(({ region }) => region === 'near').length;
    expect(toNear).toBeLessThan(20);
    expect(toNear).toBeGreaterThan(10);
  });

  it('begins by itself once an operator has emptied what was full', () => {
    const rig = counted({ near: 500 });
    rig.holds.clear();
    rig.run(limits.foundingRecountBackoffMinMs + 10);
    expect(rig.core.status()).toMatchObject({ founding: null, epoch: 1 });
  });

  it('waits for a silent region, and says so after a while', () => {
    const rig = new Rig({ stored: nothing });
    const ticket = rig.arrive(frameOf(['a'], lasting));
    rig.run(timing.outAfterMs - 200, ['near', 'middle']);
    expect(rig.told(ticket)).toBeUndefined();
    rig.run(400, ['near', 'middle']);
    expect(rig.told(ticket)).toMatchObject({
      code: 'not-founded',
      reason: expect.stringContaining('missing: far'),
      faults: [{}, {}, { region: 'far', reason: 'connection refused' }],
    });
    expect(rig.persisted.filter(({ kind }) => kind === 'region')).toEqual([]);
    rig.run(limits.outProbeBackoffMaxMs + 100);
    expect(rig.core.status().founding).toBeNull();
  });

  it('asks once more before it begins, what was said a while ago may have changed', () => {
    const rig = counted({}, { regions: ['near'] });
    expect(rig.core.status().founding).toBeNull();
    const late = new Rig({ stored: nothing });
    late.tick();
    late.run(limits.foundingCountsLastMs + 100, ['near', 'middle']);
    late.holds.set('near', 3);
    late.run(limits.outProbeBackoffMaxMs + 100);
    expect(late.core.status().founding).toMatchObject({ phase: 'waiting', keys: { near: 3 } });
  });

  it('begins with the regions that are left where an operator removes the silent one, and with one added', () => {
    const rig = new Rig({ stored: nothing });
    rig.tick();
    rig.run(100, ['near', 'middle']);
    expect(rig.order({ kind: 'add', region: 'new' }).kind).toBe('taken');
    expect(rig.order({ kind: 'add', region: 'new' }).kind).toBe('refused');
    expect(rig.order({ kind: 'remove', region: 'far' }).kind).toBe('taken');
    rig.run(100, ['near', 'middle', 'new']);
    const states = rig.core.status().regions.map(({ region, state }) => `${region} ${state}`);
    expect(states.sort()).toEqual(['middle voter', 'near voter', 'new voter']);
  });

  it('takes no order about members that it does not have, and keeps its last region', () => {
    const rig = counted({ near: 5 }, { regions: ['near', 'far'] });
    for (const order of [
      { kind: 'return', region: 'near', whole: true, force: true },
      { kind: 'believe', region: 'near' },
      { kind: 'put-out', region: 'near', reason: '' },
    ] as const) {
      expect(rig.order(order)).toMatchObject({ kind: 'refused' });
    }
    expect(rig.order({ kind: 'remove', region: 'far' }).kind).toBe('taken');
    expect(rig.order({ kind: 'remove', region: 'near' }).kind).toBe('refused');
  });

  it('finds the state of another Lockstep, and waits', () => {
    const rig = new Rig({ stored: nothing });
    rig.tick();
    for (const send of rig.flights) rig.count(send, 40, 5);
    expect(rig.core.status().founding).toMatchObject({
      phase: 'waiting',
      detail: expect.stringContaining('another Lockstep'),
    });
    expect(found(rig, { agree: true }).kind).toBe('refused');
    const replace = { middle: 40, far: 40 };
    expect(found(rig, { source: 'near', replace }).kind).toBe('taken');
    expect(rig.flight('near').round.copy).toMatchObject({ kind: 'begin', agreed: 5 });
    for (const region of ['middle', 'far']) {
      expect(rig.tables.regions.get(region)).toMatchObject({ takes: 40, agreed: 5 });
    }
  });

  it('forgets all counts where its coordinator dies, and begins anew', () => {
    const before = counted({ near: 500 });
    const rig = before.restarted();
    rig.tick();
    expect(rig.core.status().founding).toMatchObject({ phase: 'counting' });
    rig.executeAll();
    expect(rig.core.status().founding).toBeNull();
  });
});

describe('an order to found a shard', () => {
  it('from a region has it vote alone, over all that it holds, and everything copied to the others', () => {
    const rig = counted({ near: 500 });
    expect(found(rig, { source: 'near' })).toMatchObject({ kind: 'taken' });
    const [begin] = rig.sent;
    expect(begin).toMatchObject({
      region: 'near',
      round: { role: 'copying', takes: Number.MAX_SAFE_INTEGER, copy: { kind: 'begin' } },
    });
    rig.run(limits.outProbeBackoffMaxMs);
    expect(rig.core.status().regions.map(({ state }) => state)).toEqual([
      'voter',
      'voter',
      'voter',
    ]);
    expect(copies(rig).slice(0, 3)).toEqual(['near begin', 'middle begin', 'middle list']);
    const others = rig.rounds.filter(({ region, round }) => region !== 'near' && round.copy);
    for (const { round } of others) expect(round.takes).toBe(0);
    expect(rig.changes[0]).toMatchObject({ region: 'near', event: 'founded' });
  });

  it('is refused with the numbers where others would lose keys, until these are sent back', () => {
    const rig = counted({ near: 500, far: 12 });
    const refused = found(rig, { source: 'near' });
    expect(refused).toMatchObject({ kind: 'refused', detail: expect.stringContaining('12') });
    expect(keysOf(refused)).toEqual({ near: 500, middle: 0, far: 12 });
    expect(found(rig, { source: 'near', replace: { far: 11 } }).kind).toBe('refused');
    expect(rig.persisted.filter(({ kind }) => kind === 'region')).toEqual([]);
    expect(found(rig, { source: 'near', replace: { far: 12 } }).kind).toBe('taken');
    expect(rig.tables.regions.get('far')).toMatchObject({ takes: 12 });
  });

  it('holds back from a region that was silent then, and proves to hold keys', () => {
    const rig = new Rig({ stored: nothing });
    rig.holds.set('near', 500);
    rig.tick();
    rig.run(100, ['near', 'middle']);
    expect(found(rig, { source: 'far' }).kind).toBe('refused');
    expect(found(rig, { source: 'near' }).kind).toBe('taken');
    rig.run(limits.copyPauseMs, ['near', 'middle']);
    const until = rig.now + limits.outProbeBackoffMaxMs;
    while (rig.flightsTo('far').length === 0 && rig.now < until) rig.run(10, ['near', 'middle']);
    rig.count(rig.flight('far'), 7);
    expect(rig.statusOf('far')).toMatchObject({
      state: 'out',
      cause: 'foreign',
      held: true,
      detail: 'it holds 7 keys that Lockstep did not put there',
    });
    rig.run(2 * limits.outProbeBackoffMaxMs, ['near', 'middle']);
    expect(copies(rig).filter((step) => step.startsWith('far'))).toEqual([]);
  });

  it('survives the death of its coordinator at each moment: the source is taken over, and no other', () => {
    const rig = counted({ near: 500 });
    found(rig, { source: 'near' });
    const next = rig.restarted();
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
    // What was allowed once is not allowed for ever.
    for (const { takes } of next.tables.regions.values()) expect(takes).toBe(0);
  });

  it('that all hold the same begins with the counts seen, and is refused where these differ', () => {
    const rig = counted({ near: 500, middle: 500, far: 499 });
    expect(keysOf(found(rig, { agree: true }))).toEqual({ near: 500, middle: 500, far: 499 });
    const alike = counted({ near: 3, middle: 3, far: 3 });
    expect(found(alike, { agree: true }).kind).toBe('taken');
    for (const { round } of alike.sent) expect(round).toMatchObject({ begin: true, takes: 3 });
    expect(alike.changes.map(({ event }) => event)).toEqual(['founded', 'founded', 'founded']);
    expect(found(alike, { agree: true }).kind).toBe('refused');
  });

  it('may come from the configuration, for one region with data among empty ones', () => {
    const rig = counted({ near: 500 }, { source: 'near' });
    expect(rig.flight('near').round).toMatchObject({ copy: { kind: 'begin' } });
    for (const counts of [{ far: 500 }, { near: 500, far: 1 }]) {
      const other = counted(counts, { source: 'near' });
      expect(other.core.status().founding).toMatchObject({ phase: 'waiting' });
    }
  });

  it('that names nothing has the regions asked once more', () => {
    const rig = counted({ near: 500 });
    rig.holds.clear();
    expect(found(rig, {}).kind).toBe('taken');
    rig.executeAll();
    expect(rig.core.status().founding).toBeNull();
  });
});

describe('regions that hold equally many keys', () => {
  const compared = { kind: 'compared', checked: 2, differing: 0 } as const;

  it('are compared slice by slice, and the shard begins where they hold the same', () => {
    const rig = counted({ near: 4, middle: 4, far: 4 });
    const first = rig.comparison;
    expect(first).toMatchObject({ regions: ['near', 'middle', 'far'], cursor: null });
    expect(rig.core.busy).toBe(true);
    expect(rig.told(rig.arrive(frameOf(['a'])))).toMatchObject({ code: 'not-founded' });
    const { number } = first;
    rig.step({ kind: 'compared', number, result: { ...compared, next: 'further' } });
    expect(rig.core.status().founding).toMatchObject({ phase: 'comparing', compared: 2 });
    const second = rig.comparison;
    expect(second.cursor).toBe('further');
    rig.step({ kind: 'compared', number, result: { ...compared, next: null } });
    expect(rig.core.status().founding).not.toBeNull();
    rig.step({ kind: 'compared', number: second.number, result: { ...compared, next: null } });
    expect(rig.core.status().founding).toBeNull();
    for (const { round } of rig.sent) expect(round).toMatchObject({ begin: true, takes: 4 });
  });

  it('wait for an operator where one key differs, and are not compared again before he asks', () => {
    const rig = counted({ near: 4, middle: 4, far: 4 });
    const { number } = rig.comparison;
    rig.step({
      kind: 'compared',
      number,
      result: { ...compared, differing: 1, next: 'further' },
    });
    expect(rig.core.status().founding).toMatchObject({
      phase: 'waiting',
      detail: expect.stringContaining('1 keys differ'),
    });
    rig.run(100_000);
    expect(rig.steps.filter(({ comparison }) => comparison !== null)).toHaveLength(1);
    found(rig, {});
    rig.executeAll();
    expect(rig.steps.filter(({ comparison }) => comparison !== null)).toHaveLength(2);
  });

  it('are compared again from where it stopped when a region was silent, and anew with other counts', () => {
    const rig = counted({ near: 4, middle: 4, far: 4 });
    const { number } = rig.comparison;
    const result = { kind: 'silent', region: 'far', reason: 'no answer' } as const;
    rig.step({ kind: 'compared', number, result });
    expect(rig.last.comparison).toBeNull();
    rig.run(limits.foundingRecountBackoffMinMs + 10);
    const again = rig.steps.flatMap(({ comparison }) => comparison ?? []).at(-1);
    expect(again?.number).not.toBe(number);
    for (const region of rig.regions) rig.holds.set(region, 5);
    rig.run(2 * limits.foundingRecountBackoffMinMs + 10);
    const anew = rig.steps.flatMap(({ comparison }) => comparison ?? []).at(-1);
    expect(anew?.number).not.toBe(again?.number);
    expect(anew?.cursor).toBeNull();
  });

  it('are compared anew where a region comes or goes meanwhile', () => {
    const rig = counted({ near: 4, middle: 4, far: 4, new: 4 });
    const { number } = rig.comparison;
    rig.order({ kind: 'add', region: 'new' });
    rig.step({ kind: 'compared', number, result: { ...compared, next: null } });
    expect(rig.core.status().founding).toMatchObject({ phase: 'counting' });
    rig.executeAll(['new']);
    const again = rig.comparison;
    expect(again.regions).toEqual(['near', 'middle', 'far', 'new']);
    rig.order({ kind: 'remove', region: 'new' });
    const { number: late } = again;
    rig.step({ kind: 'compared', number: late, result: { ...compared, next: null } });
    expect(rig.core.status().founding).not.toBeNull();
  });

  it('need no comparison where there is only one', () => {
    const rig = counted({ near: 4 }, { regions: ['near'] });
    expect(rig.core.status().founding).toBeNull();
    expect(rig.flight('near').round).toMatchObject({ begin: true, takes: 4 });
  });
});

describe('a region with keys that Lockstep did not put there', () => {
  it('that is added or configured is held, with their number, and nothing is copied over them', () => {
    const rig = Rig.greeted();
    rig.order({ kind: 'add', region: 'new' });
    rig.run(100, rig.regions);
    const probe = () => {
      for (let waited = 0; waited < 20_000 && rig.flightsTo('new').length === 0; waited += 10) {
        rig.run(10, rig.regions);
      }
      return rig.flight('new');
    };
    rig.count(probe(), 100);
    expect(rig.statusOf('new')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
    expect(rig.changes.at(-1)).toMatchObject({ region: 'new', cause: 'foreign' });
    const refused = rig.order({ kind: 'return', region: 'new', whole: false, force: true });
    expect(refused).toMatchObject({ kind: 'refused', keys: { new: 100 } });
    const order = { kind: 'return', region: 'new', whole: false, force: false } as const;
    expect(rig.order({ ...order, replace: 99 }).kind).toBe('refused');
    expect(rig.order({ ...order, replace: 100 }).kind).toBe('taken');
    rig.count(probe(), 100);
    expect(rig.flight('new').round).toMatchObject({ takes: 100, copy: { kind: 'begin' } });
  });

  it('that come while a copy begins keep it out as well', () => {
    const rig = Rig.greeted();
    rig.order({ kind: 'add', region: 'new', replace: 2 });
    for (let waited = 0; waited < 20_000 && rig.flightsTo('new').length === 0; waited += 10) {
      rig.run(10, rig.regions);
    }
    rig.count(rig.flight('new'), 2);
    const begin = rig.flight('new');
    expect(begin.round).toMatchObject({ takes: 2, copy: { kind: 'begin' } });
    rig.count(begin, 3);
    expect(rig.statusOf('new')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
  });

  it('may return without a number once an operator has emptied it', () => {
    const rig = Rig.greeted();
    rig.order({ kind: 'add', region: 'new' });
    const probe = () => {
      for (let waited = 0; waited < 20_000 && rig.flightsTo('new').length === 0; waited += 10) {
        rig.run(10, rig.regions);
      }
      return rig.flight('new');
    };
    rig.count(probe(), 100);
    rig.count(probe(), 0);
    expect(rig.statusOf('new').held).toBe(true);
    const order = { kind: 'return', region: 'new', whole: false, force: false } as const;
    expect(rig.order(order).kind).toBe('taken');
  });

  it('is one that has lost what it acknowledged and was filled by somebody else', () => {
    const rig = Rig.greeted();
    rig.arrive(frameOf(['a'], lasting));
    rig.count(rig.flight('far'), 30);
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', cause: 'lost' });
    for (let waited = 0; waited < 20_000; waited += 50) {
      for (const send of rig.flightsTo('far')) rig.count(send, 30);
      rig.run(50, ['near', 'middle']);
    }
    const begun = rig.rounds.filter(({ round }) => round.copy?.kind === 'begin');
    expect(begun).toHaveLength(1);
    expect(rig.statusOf('far')).toMatchObject({ cause: 'foreign', held: true });
  });

  it('is not taken as a voter either: it stays out, and the others go on', () => {
    const rig = counted({}, {});
    rig.count(rig.flight('far'), 6);
    expect(rig.statusOf('far')).toMatchObject({ state: 'voter', health: 'foreign' });
    const before = rig.rounds.length;
    rig.run(0, ['near', 'middle']);
    expect(rig.rounds.length).toBeLessThan(before + 5);
    rig.arrive(frameOf(['a'], lasting));
    for (let waited = 0; waited < 10_000; waited += 50) {
      for (const send of rig.flightsTo('far')) rig.count(send, 6);
      rig.run(50, ['near', 'middle']);
    }
    expect(rig.statusOf('far')).toMatchObject({ state: 'out', cause: 'foreign', held: true });
  });
});
