import type { JointRound } from '../../shared/contracts/joint.ts';
import type { LoanAnswer, LoanCall } from '../../shared/contracts/loans.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { keyOf, type ShardId } from '../../shared/ids.ts';
import type { StorageWrite } from '../../shared/protocol/io/ready.ts';
import type { ShardMap } from '../../shared/shards/shard-map.ts';
import { mapByDigit, ownerOfKey } from '../protocol/keys-by-digit.ts';
import { type ModelState, RegionModel } from '../region/model.ts';
import type { Random } from './random.ts';
import { CoordinatorOfShard } from './shards-instance.ts';
import { SimulatedStorage } from './storage.ts';
import type { Timeline } from './timeline.ts';

/** The rates of faults in a run of several shards. */
export interface ShardsWeather {
  readonly shards: number;
  readonly loss: number;
  readonly duplication: number;
  readonly straggling: number;
  /** The mean time between crashes, cuts and losses of data, ms; 0: none. */
  readonly crashEveryMs: number;
  readonly cutEveryMs: number;
  readonly lossEveryMs: number;
  /** The part of the crashes after which the old instance lives on without knowing. */
  readonly zombies: number;
  /** The probability with which a life ends right after it has stored something of a joint write. */
  readonly crashesAtSteps: number;
  /** The probability with which a fault is aimed at the round of a joint write. */
  readonly jolts: number;
}

/** The storages of all shards. */
class Storages {
  readonly #storages = new Map<number, SimulatedStorage>();

  of(shard: number): SimulatedStorage {
    const known = this.#storages.get(shard);
    if (known !== undefined) return known;
    const storage = new SimulatedStorage();
    this.#storages.set(shard, storage);
    return storage;
  }
}

/** The kinds of storage writes that belong to joint writes. */
const ofJointWrites: ReadonlySet<StorageWrite['kind']> = new Set([
  'lend',
  'loan-commit',
  'loan-abort',
  'guest-acknowledged',
]);

/** Coordinators of several shards over the same regions, a network between all of them, and their faults. */
export class ShardsWorld {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly weather: ShardsWeather;
  readonly shards: number;
  readonly regions = new Map<string, RegionModel>();
  readonly storages = new Storages();
  readonly skewMs = 20;
  /** The owner of each key: the digit at its end. */
  readonly map: ShardMap;
  readonly shardOf: (key: string) => ShardId;
  /** The living instance of each shard, and those that were left behind. */
  readonly #instances = new Map<number, CoordinatorOfShard>();
  readonly zombies: CoordinatorOfShard[] = [];
  calm = false;
  /** The clock reading of each transaction, by `keyOf` for shard 0, with the shard before it for others. */
  readonly clocks = new Map<string, number>();
  /** The ids of committed writes, in the order in which they became durable over all shards. */
  readonly order: string[] = [];
  readonly stats = { joint: 0, loans: 0, loanCommits: 0, loanAborts: 0, crashes: 0, losses: 0 };
  readonly #cutUntil = new Map<string, number>();
  readonly #distance = new Map<string, number>();
  readonly #moments = new Map<string, ModelState[]>();
  /** The region that has lost data, until it votes again everywhere. */
  #damaged: { readonly region: string; readonly at: number } | null = null;

  constructor(timeline: Timeline, random: Random, weather: ShardsWeather) {
    this.timeline = timeline;
    this.random = random;
    this.weather = weather;
    this.shards = weather.shards;
    this.map = mapByDigit(this.shards);
    this.shardOf = ownerOfKey(this.map);
    for (const region of ['r0', 'r1', 'r2']) {
      const offset = random.between(-20, 20);
      const model = new RegionModel(() => this.timeline.now + offset, true, this.shardOf);
      this.regions.set(region, model);
      this.#distance.set(region, random.between(2, 60));
      this.#moments.set(region, []);
    }
    this.#plan(weather.crashEveryMs, () => this.crash(random.between(0, this.shards - 1)));
    this.#plan(weather.cutEveryMs, () => this.#cutSomething());
    this.#plan(weather.lossEveryMs, () => this.lose(random.pick([...this.regions.keys()])));
  }

  /** The present coordinator of a shard; it is started if none lives. */
  coordinator(shard: number): CoordinatorOfShard {
    const known = this.#instances.get(shard);
    if (known?.alive === true) return known;
    const instance = new CoordinatorOfShard(this, shard);
    this.#instances.set(shard, instance);
    return instance;
  }

  /** The instance that a caller reaches: now and then one that was left behind. */
  reached(shard: number): CoordinatorOfShard {
    const zombie = this.zombies.find((one) => one.alive && one.shard === shard);
    return zombie !== undefined && this.random.chance(0.2) ? zombie : this.coordinator(shard);
  }

  /** The instance dies, or is left behind; the next one begins soon after. */
  crash(shard: number, livesOn = this.random.chance(this.weather.zombies)): void {
    const old = this.#instances.get(shard);
    if (old === undefined || !old.alive) return;
    this.stats.crashes += 1;
    this.#instances.delete(shard);
    if (livesOn) {
      this.zombies.push(old);
      this.timeline.after(this.random.between(500, 8_000), () => old.die());
    } else old.die();
    const pauseMs = this.random.pick([5, 50, 500, 3_000]);
    this.timeline.after(this.random.between(1, pauseMs), () => this.coordinator(shard));
  }

  /** True if the life of `instance` ends here: something of a joint write is stored, and nothing has left. */
  diesAfter(instance: CoordinatorOfShard, writes: readonly StorageWrite[]): boolean {
    if (this.calm || !this.random.chance(this.weather.crashesAtSteps)) return false;
    const isJoint = writes.some(
      (write) => ofJointWrites.has(write.kind) || (write.kind === 'commit' && 'joint' in write),
    );
    if (!isJoint || this.#instances.get(instance.shard) !== instance) return false;
    this.crash(instance.shard, false);
    // Now and then another shard dies at the same moment.
    if (this.random.chance(0.3)) this.crash(this.random.between(0, this.shards - 1));
    return true;
  }

  noteStored(shard: number, writes: readonly StorageWrite[]): void {
    for (const write of writes) {
      if (write.kind === 'lend') this.stats.loans += 1;
      if (write.kind === 'loan-commit') this.stats.loanCommits += 1;
      if (write.kind === 'loan-abort') this.stats.loanAborts += 1;
      if (write.kind !== 'commit') continue;
      if (write.joint !== undefined) this.stats.joint += 1;
      for (const { record } of write.writes) {
        if (record.outcome === 'committed') this.order.push(record.id);
      }
    }
    void shard;
  }

  noteClocks(
    shard: number,
    prepares: readonly { readonly transaction: TransactionOrder; readonly now: number }[],
  ): void {
    for (const { transaction, now } of prepares) {
      this.clocks.set(shard === 0 ? keyOf(transaction) : `${shard}.${keyOf(transaction)}`, now);
    }
  }

  /** One call between coordinators: each way it may be lost, late, or come twice. */
  call(
    from: CoordinatorOfShard,
    to: number,
    call: LoanCall,
    give: (answer: LoanAnswer) => void,
  ): void {
    const path = `s${from.shard} s${to}`;
    const arrive = () =>
      this.reached(to).loan(from.shard, call, (answer) => this.#carry(path, 4, () => give(answer)));
    if (this.#joltsCall(from, to, arrive)) return;
    this.#carry(path, 4, arrive);
    if (!this.calm && this.random.chance(this.weather.duplication)) {
      this.timeline.after(this.random.between(0, this.random.pick([50, 500, 4_000])), () =>
        this.#carry(path, 4, arrive),
      );
    }
  }

  /** One request to a region. */
  exchange<Answer>(
    from: CoordinatorOfShard | 'reader',
    region: string,
    run: (model: RegionModel) => Answer,
    give: (answer: Answer) => void,
  ): void {
    const model = this.regions.get(region);
    if (model === undefined) throw new Error(`no region ${region}`);
    const path = `${from === 'reader' ? from : `s${from.shard}`} ${region}`;
    const distance = this.#distance.get(region) ?? 0;
    const execute = (): Answer => {
      this.#remember(region, model);
      const answer = run(model);
      this.#checkPairs(region, model);
      return answer;
    };
    this.#carry(path, distance, () => {
      const answer = execute();
      this.#carry(path, distance, () => give(answer));
    });
    if (!this.calm && this.random.chance(this.weather.duplication)) {
      this.timeline.after(this.random.between(0, this.random.pick([50, 500, 4_000])), execute);
    }
  }

  /** Aims at one call between coordinators; true if it does not go its usual way. */
  #joltsCall(from: CoordinatorOfShard, to: number, arrive: () => void): boolean {
    const { random, timeline } = this;
    if (this.calm || !random.chance(this.weather.jolts)) return false;
    return random.pick([
      () => true,
      () => {
        timeline.after(random.between(100, 5_000), arrive);
        return true;
      },
      () => {
        timeline.after(random.between(20, 3_000), arrive);
        return false;
      },
      () => {
        arrive();
        this.crash(to);
        return true;
      },
      () => {
        this.crash(to);
        return false;
      },
      () => {
        arrive();
        this.crash(from.shard);
        return true;
      },
    ])();
  }

  /** Aims at one joint write, as its round leaves for a region. */
  jolt(home: CoordinatorOfShard, region: string, round: JointRound): void {
    const { random, timeline } = this;
    if (this.calm || !random.chance(this.weather.jolts)) return;
    const guests = round.rounds.slice(1).map(({ shard }) => shard);
    const guest = random.pick(guests);
    const soon = (run: () => void) =>
      timeline.after(random.between(0, random.pick([5, 60, 150])), () => {
        if (!this.calm) run();
      });
    const forMs = random.pick([100, 600, 2_500, 5_000]);
    random.pick([
      () => soon(() => this.crash(home.shard)),
      () => soon(() => this.crash(guest)),
      () => {
        soon(() => this.crash(home.shard));
        soon(() => this.crash(guest));
      },
      () => this.cut(`s${home.shard} ${region}`, forMs),
      () => this.cut(`s${guest} ${region}`, forMs),
      () => soon(() => this.cut(`s${home.shard} s${guest}`, forMs)),
      () => soon(() => this.cut(`s${guest} s${home.shard}`, forMs)),
      () => {
        const model = this.regions.get(region);
        timeline.after(random.between(50, 6_000), () => {
          if (this.calm || model === undefined) return;
          model.joint(round);
          this.#checkPairs(region, model);
        });
      },
      () => {
        if (this.weather.lossEveryMs > 0) soon(() => this.lose(region));
      },
    ])();
  }

  /** Until then nothing gets through on the path. */
  cut(path: string, forMs: number): void {
    this.#cutUntil.set(path, this.timeline.now + forMs);
  }

  /** A region goes back in time, or loses everything. No two lack data at the same time, and each votes everywhere before. */
  lose(region: string): void {
    if (this.#isDamaged || !this.#areAllVoting) return;
    const model = this.regions.get(region);
    const moments = this.#moments.get(region) ?? [];
    this.stats.losses += 1;
    this.#damaged = { region, at: this.timeline.now };
    const state = this.random.chance(0.15) ? null : this.random.pick([null, ...moments]);
    if (state === null) model?.wipe();
    else model?.restore(state);
    this.#moments.set(region, []);
  }

  /** True if the region may lack writes that it acknowledged. */
  isDamaged(region: string): boolean {
    return this.#isDamaged && this.#damaged?.region === region;
  }

  /** When the region last lost data, ms. */
  get damagedAt(): { readonly region: string; readonly at: number } | null {
    return this.#damaged;
  }

  get #isDamaged(): boolean {
    const damaged = this.#damaged;
    if (damaged === null) return false;
    return !this.#everyShard((shard) => {
      const stored = this.storages.of(shard).durable.regions.get(damaged.region)?.membership;
      return (
        stored?.state === 'voter' && stored.leaving === null && stored.since > damaged.at + 100
      );
    });
  }

  /** True if every region votes in every shard, and none is about to leave or silent. */
  get #areAllVoting(): boolean {
    return this.#everyShard((shard) => {
      const statuses = this.#instances.get(shard)?.core.status().regions ?? [];
      const stored = [...this.storages.of(shard).durable.regions.values()];
      return (
        stored.length === this.regions.size &&
        stored.every(
          ({ membership, begun }) =>
            begun && membership.state === 'voter' && membership.leaving === null,
        ) &&
        statuses.every(({ health }) => health === 'answering')
      );
    });
  }

  #everyShard(claim: (shard: number) => boolean): boolean {
    return Array.from({ length: this.shards }, (_, shard) => shard).every(claim);
  }

  /** The two keys of a pair are only ever written together: whoever reads a whole region sees both or none. */
  #checkPairs(region: string, model: RegionModel): void {
    if (this.isDamaged(region)) return;
    const votes = this.#everyShard((shard) => {
      const membership = this.storages.of(shard).durable.regions.get(region)?.membership;
      return membership?.state === 'voter' && membership.leaving === null;
    });
    if (!votes) return;
    const { data } = model.state();
    const [one, other] = ['p0', 'p1'].map((key) => JSON.stringify(data.get(key)?.value ?? null));
    if (one !== other) throw new Error(`${region} shows half of a joint write: ${one}, ${other}`);
  }

  #remember(region: string, model: RegionModel): void {
    if (this.weather.lossEveryMs === 0) return;
    const moments = this.#moments.get(region) ?? [];
    moments.push(model.state());
    if (moments.length > 6) moments.splice(this.random.between(0, 5), 1);
  }

  #cutSomething(): void {
    const { random } = this;
    const shard = random.between(0, this.shards - 1);
    const region = random.pick([...this.regions.keys()]);
    const forMs = random.pick([100, 600, 2_500, 6_000]);
    const every = Array.from({ length: this.shards }, (_, number) => number);
    const paths = random.pick([
      [`s${shard} ${region}`],
      [`s${shard} s${(shard + 1) % this.shards}`],
      every.map((number) => `s${number} ${region}`),
      [`reader ${region}`],
    ]);
    for (const path of paths) this.cut(path, forMs);
  }

  #carry(path: string, distance: number, arrive: () => void): void {
    const { random, weather } = this;
    if (!this.calm && (random.chance(weather.loss) || this.#isCut(path))) return;
    const isLate = !this.calm && random.chance(weather.straggling);
    const delay = isLate ? random.between(200, 5_000) : (distance * (1 + random.next())) / 2;
    this.timeline.after(delay, () => {
      if (this.calm || !this.#isCut(path)) arrive();
    });
  }

  #isCut(path: string): boolean {
    return (this.#cutUntil.get(path) ?? 0) > this.timeline.now;
  }

  #plan(everyMs: number, happen: () => void): void {
    if (everyMs === 0) return;
    this.timeline.after(this.random.between(1, 2 * everyMs), () => {
      if (this.calm) return;
      happen();
      this.#plan(everyMs, happen);
    });
  }
}
