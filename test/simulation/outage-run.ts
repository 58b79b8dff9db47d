import type { WriteAnswer } from '../../shared/contracts/coordinator.ts';
import { limits } from '../../shared/limits.ts';
import { Frames } from './frames.ts';
import { contentsOf } from './history.ts';
import { Random } from './random.ts';
import { Simulation } from './simulation.ts';
import { Timeline } from './timeline.ts';
import { calmWeather } from './weather.ts';

/** The time at which the simulation begins, ms. */
const start = new Timeline().now;

/** The expectations of each write: when it was sent, and its answer with its time. */
interface Asked {
  readonly sentAt: number;
  readonly keys: readonly string[];
  answer: WriteAnswer | null;
  answeredAt: number;
}

/**
 * One way in which regions fail together, and the promises that Lockstep keeps then. It throws if a promise is
 * broken.
 */
type Outage = (trial: Trial) => void;

const outages: readonly Outage[] = [
  oneIsSilent,
  allAreSilent,
  tooFewAreLeft,
  allLoseData,
  oneLosesWhileOneLeaves,
  theSourceLosesData,
  oneIsFull,
  allAreFull,
];

/**
 * One seeded run in fair weather in which one thing goes wrong, for half a minute: a region or all are silent, or all
 * lose data. Writes come all the time; their answers are known beforehand, and the run ends in the state in which it
 * began.
 */
export function run(seed: number): { readonly writes: number } {
  const random = new Random(seed);
  const outage = outages[seed % outages.length] ?? oneIsSilent;
  const trial = new Trial(random, outage === tooFewAreLeft ? 2 : 1);
  outage(trial);
  return { writes: trial.asked.length };
}

/** P8: writes go on once the region has been evicted, and it returns. */
function oneIsSilent(trial: Trial): void {
  const { simulation, random } = trial;
  const from = trial.advance(2_000);
  simulation.cut(random.pick(trial.regions), ['coordinator', 'edge'], from + 30_000);
  trial.advance(30_000);
  trial.advance(15_000);
  trial.expectAll((sentAt) => sentAt < from - 1_000 || sentAt > from + 9_000, 'decided', 1_000);
  trial.expectBack();
}

/**
 * A region without memory leaves like a silent one, executes commands that need none until then, and returns by
 * itself (R31).
 */
function oneIsFull(trial: Trial): void {
  const { simulation, random } = trial;
  const from = trial.advance(2_000);
  const full = simulation.regions.get(random.pick(trial.regions));
  if (full === undefined) throw new Error('there is a region');
  full.memory = -1;
  for (let second = 0; second < 30; second++) {
    trial.remove('f');
    trial.advance(1_000);
  }
  const { epoch } = simulation.coordinator.core.status();
  if (epoch < 2 || epoch > 6) throw new Error(`a full region has led to epoch ${epoch}`);
  full.memory = Number.POSITIVE_INFINITY;
  trial.advance(20_000);
  // The copy that the full region cannot take may be in its write pause when a deletion comes (R37).
  trial.expectRemoved(1_000 + limits.copyWritePauseMs);
  trial.expectAll((sentAt) => sentAt < from - 1_000 || sentAt > from + 9_000, 'decided', 1_000);
  trial.expectBack();
}

/** If every region is full, commands that take memory are refused at once, and deletions make room (R31). */
function allAreFull(trial: Trial): void {
  const { simulation } = trial;
  const from = trial.advance(2_000);
  for (const model of simulation.regions.values()) model.memory = 0;
  trial.advance(15_000);
  const until = simulation.timeline.now;
  trial.expectAll((sentAt) => sentAt > from + 2_000 && sentAt < until, 'full', 1_500);
  for (const model of simulation.regions.values()) model.memory = 1_000;
  // The stored data exceeds the room until some of it is deleted.
  for (const model of simulation.regions.values()) model.run('SET', 'a', 'x'.repeat(2_000));
  trial.advance(5_000);
  trial.remove('a');
  trial.advance(10_000);
  trial.expectRemoved(1_000);
  trial.expectAll((sentAt) => sentAt > until + 8_000, 'decided', 1_000);
  const { history } = simulation.storage.durable;
  if (history.some(({ event }) => event === 'out'))
    throw new Error(`a region was evicted ${JSON.stringify(history)}`);
  trial.expectBack();
}

/** A coordinator without a network evicts no region (R32). */
function allAreSilent(trial: Trial): void {
  const { simulation } = trial;
  const from = trial.advance(2_000);
  for (const region of trial.regions)
    simulation.cut(region, ['coordinator', 'edge'], from + 30_000);
  trial.advance(30_000);
  const { history } = simulation.storage.durable;
  if (history.some(({ event }) => event === 'out')) throw new Error('a region was evicted');
  trial.advance(15_000);
  trial.expectAll((sentAt) => sentAt < from - 1_000 || sentAt > from + 35_000, 'decided', 1_000);
  trial.expectBack();
}

/** With fewer voters than `minVoters` every write is refused at once (R38). */
function tooFewAreLeft(trial: Trial): void {
  const { simulation, random } = trial;
  const from = trial.advance(2_000);
  simulation.cut(random.pick(trial.regions), ['coordinator', 'edge'], from + 30_000);
  const { minVoters } = simulation.weather;
  trial.advance(30_000);
  const isShort = trial.regions.length - 1 < minVoters;
  trial.advance(20_000);
  const within = (sentAt: number) => sentAt > from + 9_000 && sentAt < from + 29_000;
  trial.expectAll(within, isShort ? 'too-few-voters' : 'decided', isShort ? 100 : 1_000);
  trial.expectAll((sentAt) => sentAt > from + 46_000, 'decided', 1_000);
  trial.expectBack();
}

/** If every voter has lost writes, nothing is written before an operator has named the region to trust (R38). */
function allLoseData(trial: Trial): void {
  const { simulation, random } = trial;
  const backups = trial.regions.map((region) => simulation.regions.get(region)?.state());
  const from = trial.advance(5_000);
  trial.regions.forEach((region, index) => {
    const backup = backups[index];
    if (backup !== undefined) simulation.lose(region, backup);
  });
  trial.advance(20_000);
  trial.expectAll((sentAt) => sentAt > from + 9_000, 'lost', 100);
  const trusted = random.pick(trial.regions);
  simulation.coordinator.command({ kind: 'believe', region: trusted });
  const until = trial.advance(20_000);
  trial.expectAll((sentAt) => sentAt > until - 10_000, 'decided', 1_000);
  trial.expectBack();
}

/** A region that is to leave stays while the other one has lost its data, until that one is back (R32). */
function oneLosesWhileOneLeaves(trial: Trial): void {
  const { simulation, random } = trial;
  const [leaving, losing, ...others] = trial.regions;
  if (leaving === undefined || losing === undefined) throw new Error('there are two regions');
  const from = trial.advance(5_000);
  // Its lease keeps it in the vote for a while.
  simulation.requestLease(leaving);
  trial.advance(2_000);
  simulation.coordinator.command({ kind: 'put-out', region: leaving, reason: 'a test' });
  trial.advance(random.between(100, 1_000));
  for (const region of [losing, ...others]) simulation.lose(region, null);
  trial.advance(40_000);
  simulation.bringBack();
  const until = trial.advance(20_000);
  trial.expectAll((sentAt) => sentAt < from || sentAt > until - 10_000, 'decided', 1_000);
  trial.expectBack();
}

/** The source of the copy has lost data, and only the next step of the copy can show it (R35). */
function theSourceLosesData(trial: Trial): void {
  const { simulation, random } = trial;
  const { timeline, storage } = simulation;
  const from = trial.advance(2_000);
  const target = random.pick(trial.regions);
  simulation.cut(target, ['coordinator', 'edge'], from + 20_000);
  trial.advance(12_000);
  const backups = new Map(
    [...simulation.regions].map(([region, model]) => [region, model.state()]),
  );
  trial.advance(8_000);
  const isCopying = () => storage.durable.regions.get(target)?.membership.state === 'copying';
  const latest = timeline.now + 20_000;
  while (!isCopying() && timeline.now < latest) timeline.run(timeline.now + 1, 1_000);
  const copies = simulation.coordinator.core.status().regions.flatMap(({ copy }) => copy ?? []);
  const source = copies[0]?.source ?? '';
  // With two regions no other one holds the lost data.
  const backup = trial.regions.length > 2 ? backups.get(source) : undefined;
  if (backup !== undefined) simulation.lose(source, backup);
  timeline.run(timeline.now + 20_000, 1_000_000);
  const until = trial.advance(30_000);
  trial.expectAll((sentAt) => sentAt > until - 10_000, 'decided', 1_000);
  trial.expectBack();
}

/** A simulation in fair weather, with writes that come again and again. */
class Trial {
  readonly simulation: Simulation;
  readonly random: Random;
  readonly asked: Asked[] = [];
  /** The deletions, which take no memory. */
  readonly removed: Asked[] = [];
  readonly #frames: Frames;

  constructor(random: Random, minVoters: number) {
    this.random = random;
    this.simulation = new Simulation(new Timeline(), random, { ...calmWeather(random), minVoters });
    this.#frames = new Frames(this.simulation);
  }

  get regions(): readonly string[] {
    return [...this.simulation.regions.keys()];
  }

  /** Lets time pass, with a write every now and then; returns the time after it. */
  advance(ms: number): number {
    const { timeline } = this.simulation;
    const end = timeline.now + ms;
    while (timeline.now < end) {
      this.#write();
      timeline.run(Math.min(end, timeline.now + this.random.between(200, 900)), 100_000);
    }
    return end;
  }

  /** The writes that were sent at these times were all answered so, within `ms`. */
  expectAll(isMeant: (sentAt: number) => boolean, how: string, ms: number): void {
    const { timeline } = this.simulation;
    for (const { sentAt, answer, answeredAt } of this.asked) {
      if (!isMeant(sentAt) || sentAt > timeline.now - 2_000) continue;
      const got = answer?.kind === 'unavailable' ? answer.code : (answer?.kind ?? 'nothing');
      if (got !== how || answeredAt - sentAt > ms) {
        const tookMs = answeredAt - sentAt;
        throw new Error(
          `the write at ${sentAt - start} was answered ${got} after ${tookMs} ms, not ${how}`,
        );
      }
    }
  }

  /** A client deletes a key. */
  remove(key: string): void {
    this.removed.push(this.#send([['DEL', key]], key));
  }

  /** Every deletion was carried out within `ms`. */
  expectRemoved(ms: number): void {
    for (const { sentAt, answer, answeredAt } of this.removed) {
      if (answer?.kind !== 'decided' || answeredAt - sentAt > ms) {
        throw new Error(`a deletion was answered ${answer?.kind} after ${answeredAt - sentAt} ms`);
      }
    }
  }

  /** In the end every region votes and holds the same. */
  expectBack(): void {
    const { timeline, storage, regions } = this.simulation;
    timeline.run(timeline.now + 15_000, 1_000_000);
    for (const { region, membership } of storage.durable.regions.values()) {
      const stays = membership.state === 'voter' && membership.leaving === null;
      if (!stays) throw new Error(`${region} has not come back`);
    }
    const contents = new Set([...regions.values()].map((one) => contentsOf(one, timeline.now)));
    if (contents.size > 1) throw new Error(`the regions hold ${[...contents].join(' and ')}`);
  }

  #write(): void {
    const key = this.random.pick(['a', 'b', 'c', 'd', 'e']);
    this.asked.push(this.#send([['APPEND', key, 'x']], key));
  }

  #send(ops: readonly string[][], key: string): Asked {
    const { timeline } = this.simulation;
    const frame = { ...this.#frames.of(ops, []), ack: 'committed' as const };
    const asked: Asked = { sentAt: timeline.now, keys: [key], answer: null, answeredAt: Infinity };
    this.simulation.coordinator.write(
      { ...frame, notAfter: timeline.now + 5_000 },
      false,
      (reply) => {
        asked.answeredAt = timeline.now;
        if (reply?.kind === 'write') asked.answer = reply.answer;
      },
    );
    return asked;
  }
}
