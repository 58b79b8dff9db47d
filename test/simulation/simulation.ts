import type { Round, SnapshotRequest, SnapshotResult } from '../../shared/contracts/round.ts';
import { keyOf } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { type ModelState, RegionModel } from '../region/model.ts';
import { Instance } from './instance.ts';
import { Operator } from './operator.ts';
import type { Random } from './random.ts';
import { StepMonitor } from './step-monitor.ts';
import { SimulatedStorage } from './storage.ts';
import type { Timeline } from './timeline.ts';
import type { Asker, Weather } from './weather.ts';

/** Regions, a network between them and the coordinator, and the faults of all of them. */
export class Simulation {
  readonly regions = new Map<string, RegionModel>();
  readonly storage = new SimulatedStorage();
  readonly monitor = new StepMonitor(this);
  readonly operator: Operator;
  readonly timeline: Timeline;
  readonly random: Random;
  readonly weather: Weather;
  /** The instance that gets the calls, and those that were left behind without knowing. */
  instance: Instance | null = null;
  readonly zombies: Instance[] = [];
  /** No faults happen any more. */
  calm = false;
  /** The clock reading that each transaction carried, for the replay. */
  readonly clocks = new Map<string, number>();
  readonly #clocks = new Map<string, () => number>();
  readonly #distance = new Map<string, number>();
  /** The time until which nothing gets through, by asker and region. */
  readonly #downUntil = new Map<string, number>();
  /** Older states of each region, as backups or lagging replicas would have them. */
  readonly #backups = new Map<string, ModelState[]>();
  readonly #moments = new Map<string, ModelState[]>();
  /**
   * Regions that have lost data, with the time of the loss: until they have been copied since, they do not count as
   * intact.
   */
  readonly #damagedAt = new Map<string, number>();

  constructor(timeline: Timeline, random: Random, weather: Weather) {
    this.timeline = timeline;
    this.random = random;
    this.weather = weather;
    for (let number = 0; number < weather.regions; number++) {
      const region = `region-${number}`;
      const clock = this.#clock();
      this.#clocks.set(region, clock);
      this.regions.set(region, new RegionModel(clock));
      this.#distance.set(region, random.between(1, weather.farMs));
      this.#backups.set(region, []);
    }
    this.operator = new Operator(this);
    this.#plan(weather.crashEveryMs, () => this.crash());
    this.#plan(weather.outageEveryMs, () => this.#outage());
    this.#plan(weather.lossEveryMs / 3, () => this.#backUp());
    this.#plan(weather.lossEveryMs, () => this.#loseData());
    this.#plan(weather.commandsEveryMs, () => this.#command());
    this.#plan(weather.changesEveryMs, () => this.operator.change());
  }

  /** A clock that is off by a constant, and besides runs fast and slow in turn, by up to 5 %. */
  #clock(): () => number {
    const { skewMs } = this.weather;
    const skew = this.random.between(-skewMs, skewMs);
    const wobble = this.random.pick([0, ...this.weather.wobblesMs]);
    const phase = this.random.between(0, 8_000);
    return () => {
      const { now } = this.timeline;
      const position = ((now + phase) % 8_000) / 8_000;
      const swing = position < 0.5 ? 4 * position - 1 : 3 - 4 * position;
      return Math.round(now + skew + wobble * swing);
    };
  }

  /** The outage of one region, or of several at once. */
  #outage(): void {
    const count = this.random.between(1, this.weather.outagesAtOnce);
    for (let number = 0; number < count; number += 1) {
      const lasts = this.random.between(100, this.random.pick([1_000, 6_000, 20_000]));
      this.#failOne(this.random.pick([...this.regions.keys()]), this.timeline.now + lasts);
    }
  }

  #failOne(region: string, until: number): void {
    if (this.instance !== null && this.random.chance(this.weather.splits)) {
      this.cut(region, ['coordinator'], this.timeline.now + this.random.between(9_000, 20_000));
      this.#replace(this.instance, true);
      return;
    }
    const askers = this.random.pick<readonly Asker[]>([
      ['coordinator', 'stale', 'edge'],
      ['coordinator', 'stale', 'edge'],
      ['coordinator', 'stale'],
      ['coordinator'],
      ['edge'],
    ]);
    this.cut(region, askers, until);
  }

  /** Until then nothing gets through between them. */
  cut(region: string, askers: readonly Asker[], until: number): void {
    for (const asker of askers) this.#downUntil.set(`${asker} ${region}`, until);
  }

  /** The states of a region before the last few things that it did. */
  #remember(region: string, model: RegionModel): void {
    if (this.weather.recentLosses === 0) return;
    const moments = this.#moments.get(region) ?? [];
    this.#moments.set(region, moments);
    moments.push(model.state());
    if (moments.length > 4) moments.shift();
  }

  #backUp(): void {
    for (const [region, model] of this.regions) {
      const backups = this.#backups.get(region);
      backups?.push(model.state());
      if (backups !== undefined && backups.length > 4) backups.shift();
    }
  }

  /**
   * A region goes back to an older state, or loses everything. Lockstep relies on one voter that keeps its
   * acknowledged writes, so there is always another one that has not lost anything since it was last copied.
   */
  #loseData(chosen: string | null = null): void {
    const { regions } = this.storage.durable;
    const sound = [...regions.values()].filter(
      ({ region, membership }) =>
        membership.state === 'voter' && membership.leaving === null && !this.isDamaged(region),
    );
    const victim = chosen ?? this.random.pick([...this.regions.keys()]);
    // A region that gives no answers may be about to be evicted, with all its data.
    const answering = new Set(
      this.instance?.core
        .status()
        .regions.flatMap(({ region, health }) => (health === 'answering' ? [region] : [])),
    );
    const isKept = ({ region }: { readonly region: string }) =>
      region !== victim && answering.has(region);
    if (!sound.some(isKept)) return;
    const isRecent = this.random.chance(this.weather.recentLosses);
    const states = (isRecent ? this.#moments : this.#backups).get(victim) ?? [];
    this.lose(victim, this.random.pick([null, ...states]));
  }

  /** A region goes back to an older state; null: to none. */
  lose(region: string, backup: ModelState | null): void {
    const model = this.regions.get(region);
    this.#damagedAt.set(region, this.timeline.now);
    if (backup === null) model?.wipe();
    else model?.restore(backup);
  }

  /** True from a loss of data on, until the region has become a voter by a copy that began after it. */
  isDamaged(region: string): boolean {
    const at = this.#damagedAt.get(region);
    if (at === undefined) return false;
    const membership = this.storage.durable.regions.get(region)?.membership;
    const isBack = membership?.state === 'voter' && membership.since > at + 1_000;
    return !isBack || this.monitor.isHollow(region);
  }

  /** When the region last lost data, ms; 0 if it never did. */
  lostAt(region: string): number {
    return this.#damagedAt.get(region) ?? 0;
  }

  /** The time for which the region may serve strong reads by its own clock, ms. */
  leaseLeftMs(region: string): number {
    const until = this.regions.get(region)?.shard().lease ?? 0;
    return Math.max(0, until - (this.#clocks.get(region)?.() ?? 0));
  }

  #command(): void {
    const region = this.random.pick([...this.regions.keys()]);
    const { coordinator } = this;
    if (this.random.chance(0.5)) coordinator.command({ kind: 'put-out', region, reason: 'a test' });
    else {
      const whole = this.random.chance(0.5);
      coordinator.command({ kind: 'return', region, whole, force: false });
    }
  }

  /** A copy has begun: the coordinator dies, or a region loses its data, before it is over. */
  disturb(): void {
    if (this.calm || !this.random.chance(this.weather.disturbs)) return;
    this.timeline.after(this.random.between(0, this.random.pick([100, 400, 1_500])), () => {
      if (this.calm) return;
      const copies = this.instance?.core.status().regions.flatMap(({ copy }) => copy ?? []) ?? [];
      if (this.random.chance(0.3)) this.crash();
      else if (this.weather.lossEveryMs > 0) this.#loseData(copies[0]?.source || null);
    });
  }

  /** A client reads there; every living instance may hear of it. */
  requestLease(region: string, forMs: number = limits.leaseReadersMinMs): void {
    this.coordinator.requestLease(region, forMs);
    if (!this.weather.staleLeaseRequests) return;
    for (const zombie of this.zombies) if (zombie.alive) zombie.requestLease(region, forMs);
  }

  /** The present coordinator; it is started if none lives. */
  get coordinator(): Instance {
    if (this.instance === null || !this.instance.alive) this.instance = new Instance(this);
    return this.instance;
  }

  /** The instance that a caller with an old connection may reach. */
  anyCoordinator(strayCallers = this.weather.strayCallers): Instance {
    const zombie = this.zombies.find((one) => one.alive);
    return zombie !== undefined && this.random.chance(strayCallers) ? zombie : this.coordinator;
  }

  /** An operator returns every region that waits for one. */
  bringBack(): void {
    for (const { region, membership } of this.storage.durable.regions.values()) {
      if (membership.state !== 'out' || !membership.manualReturn) continue;
      this.coordinator.command({ kind: 'return', region, whole: false, force: false });
    }
  }

  /** The instance dies, or is left behind without knowing; its alarm brings up the next one. */
  crash(): void {
    const old = this.instance;
    if (old === null) return;
    this.#replace(old, this.random.chance(this.weather.zombies));
  }

  #replace(old: Instance, livesOn: boolean): void {
    this.instance = null;
    if (livesOn) this.zombies.push(old);
    else old.die();
    this.timeline.after(this.random.between(0, 1_500), () => this.coordinator);
  }

  /** One request to a region: each way it may be lost, late, or run twice. Silence is no answer at all. */
  exchange<Answer>(
    region: string,
    asker: Asker,
    run: (model: RegionModel) => Answer,
    give: (answer: Answer) => void,
  ): void {
    const model = this.regions.get(region);
    if (model === undefined) throw new Error(`no region ${region}`);
    this.#carry(region, asker, () => {
      this.#remember(region, model);
      const answer = run(model);
      this.#carry(region, asker, () => give(answer));
    });
    if (!this.calm && this.random.chance(this.weather.duplication)) {
      this.timeline.after(this.random.between(0, this.random.pick([500, 4_000])), () => {
        if (!this.#isDown(region, asker)) run(model);
      });
    }
  }

  snapshot(region: string, request: SnapshotRequest, give: (result: SnapshotResult) => void): void {
    const look = (model: RegionModel): SnapshotResult => {
      const result = model.snapshot(request);
      // Until its lease is over a region that has lost data may answer from the remaining data, as no promise covers
      // that.
      if (!request.leased || !this.#mayBeOld(region)) return result;
      return { kind: 'silent', reason: 'its answer may be old' };
    };
    this.exchange(region, 'edge', look, give);
  }

  #mayBeOld(region: string): boolean {
    const at = this.#damagedAt.get(region) ?? Number.NEGATIVE_INFINITY;
    return this.timeline.now <= at + limits.leaseTtlMs + limits.leaseDriftMs;
  }

  noteClocks(round: Round): void {
    for (const { transaction, now } of round.prepares) this.clocks.set(keyOf(transaction), now);
  }

  #carry(region: string, asker: Asker, arrive: () => void): void {
    const { random, weather } = this;
    if (!this.calm && (random.chance(weather.loss) || this.#isDown(region, asker))) return;
    const reading = asker === 'edge' ? weather.readerStraggling : undefined;
    const rate = reading ?? weather.straggling;
    const straggles = !this.calm && random.chance(rate);
    const distance = this.#distance.get(region) ?? 0;
    const delay = straggles ? random.between(500, 6_000) : (distance * (1 + random.next())) / 2;
    this.timeline.after(delay, () => {
      if (this.calm || !this.#isDown(region, asker)) arrive();
    });
  }

  #isDown(region: string, asker: Asker): boolean {
    return (this.#downUntil.get(`${asker} ${region}`) ?? 0) > this.timeline.now;
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
