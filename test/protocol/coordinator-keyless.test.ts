import { beforeEach, describe, expect, it } from 'vitest';
import { frameOf as frameOfRequest } from '../../functions/coordinator/compile-frame.ts';
import { noScripts } from '../../shared/commands/user-scripts.ts';
import type { WriteRequest } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { requestOf } from '../coordinator/requests.ts';
import { RegionModel } from '../region/model.ts';
import { CoreHarness, start } from './core-harness.ts';
import { voterOf } from './stored.ts';

const regions: readonly RegionId[] = ['near', 'middle', 'far'];
/** Voters that have not taken their first round. */
const fresh = regions.map((region) => voterOf(region, { begun: false }));
const id = '0-keyless';

/** The frame of a request, as the coordinator makes it. */
function compiled(request: WriteRequest): WriteFrame {
  const frame = frameOfRequest({ ...request, timeoutMs: 60_000 }, start, noScripts);
  if ('kind' in frame) throw new Error(JSON.stringify(frame));
  return frame;
}

/** Writes that leave no value in a region, and the messages that each region is to publish for them. */
const writes: readonly (readonly [what: string, frame: WriteFrame, messages: readonly string[]])[] =
  [
    ['a message alone', compiled(requestOf(id, ['PUBLISH', 'news', 'one'])), ['news one']],
    [
      'messages of several channels',
      compiled(requestOf(id, ['PUBLISH', 'b', 'one'], ['PUBLISH', 'a', 'two'])),
      ['b one', 'a two'],
    ],
    [
      'a check alone',
      { ...compiled(requestOf(id, ['GET', 'k'])), checks: [{ kind: 'absent', key: 'k' }] },
      [],
    ],
    // A script that touches no key: the model has no scripts, so any operation without a key stands in for it.
    [
      'a script without a key',
      { ...compiled(requestOf(id, ['EVAL', 'return 1', '0'])), operations: [] },
      [],
    ],
  ];

let models: ReadonlyMap<RegionId, RegionModel>;
let harness: CoreHarness;

beforeEach(() => {
  models = new Map(regions.map((region) => [region, new RegionModel(() => harness.now)]));
  harness = beginning(new CoreHarness({ regions, stored: { regions: fresh } }));
});

function modelOf(region: RegionId): RegionModel {
  const model = models.get(region);
  if (model === undefined) throw new Error(`no region ${region}`);
  return model;
}

/** An instance whose first rounds have been answered. */
function beginning(life: CoreHarness): CoreHarness {
  harness = life;
  harness.tick();
  answerAll();
  return harness;
}

/** The round runs in its region, and is answered as that says. */
function carryOut(send: SentRound): void {
  harness.end(send, modelOf(send.region).round(send.round));
}

/** All rounds run until nothing is on its way, and commits that linger have gone. */
function answerAll(): void {
  for (let turn = 0; turn < 100; turn += 1) {
    for (const send of harness.flights) carryOut(send);
    harness.advance(limits.commitLingerMs);
    if (harness.flights.length === 0) return;
  }
  throw new Error('the rounds come to no end');
}

/** The write is decided and answered, and its commits are on their way to every region. */
function decided(frame: WriteFrame): readonly SentRound[] {
  const ticket = harness.arrive(frame);
  for (const send of harness.flights) carryOut(send);
  expect(harness.record(ticket).outcome).toBe('committed');
  harness.advance(limits.commitLingerMs);
  const commits = harness.flights.filter(({ round }) => round.decisions.length > 0);
  expect(commits.map(({ region }) => region)).toEqual(regions);
  return commits;
}

/** No region has left or is to leave, nothing is locked, and each has published the messages once, in order. */
function expectWhole(messages: readonly string[]): void {
  for (const region of regions) {
    expect(harness.statusOf(region)).toMatchObject({
      state: 'voter',
      cause: null,
      health: 'answering',
    });
    const published = modelOf(region).published.map(({ channel, text }) => `${channel} ${text}`);
    expect(published).toEqual(messages);
    expect(modelOf(region).locks()).toEqual([]);
  }
  expect(harness.changes).toEqual([]);
  expect([...harness.tables.commits.values()].map(({ confirmed }) => confirmed)).toEqual([true]);
}

/** Every choice of regions in which a commit ran before its coordinator died. */
const choices = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) =>
  regions.filter((_, at) => Math.floor(bits / 2 ** at) % 2 === 1),
);

describe.each(writes)('%s whose coordinator dies before its commit is acknowledged', (...row) => {
  const [, frame, messages] = row;

  it('locks a key in every region, so that a second commit is not mistaken for a loss', () => {
    const ticket = harness.arrive(frame);
    for (const send of harness.flights) carryOut(send);
    for (const region of regions) expect(modelOf(region).locks()).not.toEqual([]);
    expect(harness.record(ticket).outcome).toBe('committed');
  });

  it.each(choices.map((ran) => ({ ran })))(
    'is settled by the next instance if its commit ran in $ran',
    ({ ran }) => {
      const commits = decided(frame);
      for (const { region, round } of commits)
        if (ran.includes(region)) modelOf(region).round(round);
      beginning(harness.restarted());
      expectWhole(messages);
    },
  );

  it('is settled by the next instance, also if the commits of the dead one arrive later', () => {
    const commits = decided(frame);
    beginning(harness.restarted());
    for (const { region, round } of commits) modelOf(region).round(round);
    answerAll();
    expectWhole(messages);
  });

  it('is settled by a third instance if the second one dies with its own commits on their way', () => {
    const commits = decided(frame);
    const [first] = commits;
    if (first !== undefined) modelOf(first.region).round(first.round);
    harness = harness.restarted();
    harness.tick();
    harness.advance(limits.commitLingerMs);
    for (const { region, round } of harness.flights) {
      if (region !== 'far') modelOf(region).round(round);
    }
    beginning(harness.restarted());
    expectWhole(messages);
  });

  it('is aborted without a trace if it was not decided', () => {
    harness.arrive(frame);
    for (const { region, round } of harness.flights) {
      if (region !== 'far') modelOf(region).round(round);
    }
    beginning(harness.restarted());
    for (const region of regions) {
      expect(harness.statusOf(region)).toMatchObject({ state: 'voter', health: 'answering' });
      expect(modelOf(region).published).toEqual([]);
      expect(modelOf(region).locks()).toEqual([]);
    }
    expect(harness.changes).toEqual([]);
  });
});
