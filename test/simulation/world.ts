import { keyOf, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type {
  CoordinatorEvent,
  Ready,
  Reply,
  Send,
  SentRound,
  SentSnapshot,
  Ticket,
} from '../../shared/protocol/events.ts';
import type { WriteFrame } from '../../shared/protocol/frame.ts';
import type {
  Round,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
} from '../../shared/protocol/round.ts';
import type { ReadRequest } from '../../shared/wire/answers.ts';
import type { MemberOrder } from '../../shared/wire/members.ts';
import { RegionModel, type RegionState } from '../region/model.ts';
import type { Random } from './random.ts';
import { noHorizon, SimulatedStorage, type Tables } from './storage.ts';
import type { Timeline } from './timeline.ts';

/** What goes wrong in a run, and how often. */
export interface Weather {
  readonly regions: number;
  readonly connections: number;
  /** Of each message, one way. */
  readonly loss: number;
  /** Of each round: it is executed a second time, later. */
  readonly duplication: number;
  /** Of each message: it takes seconds. */
  readonly straggling: number;
  /** Mean time between crashes of the coordinator, ms; 0: none. */
  readonly crashEveryMs: number;
  /** Of each crash: the old instance lives on without knowing. */
  readonly zombies: number;
  /** How far the clock of a region may be off, ms. */
  readonly skewMs: number;
  /** Mean time between outages of a region, ms; 0: none. An outage is of the region, or of its way to some. */
  readonly outageEveryMs: number;
  /** Mean time between losses of a region's data, ms; 0: none. */
  readonly lossEveryMs: number;
  readonly minVoters: number;
  /** Mean time between orders of an operator, ms; 0: none. */
  readonly ordersEveryMs: number;
}

/** Who asks a region. */
export type Asker = 'coordinator' | 'edge';

export const generation = 1_000;

/** The clock of a region is at most this far off, ms. */
export const clocksApartMs = 400;

/** One life of the coordinator: the core, with storage that is durable a little later, and a network that fails. */
export class Instance {
  alive = true;
  readonly core: CoordinatorCore;
  readonly #world: World;
  readonly #tables: Tables;
  readonly #outputs: Ready[] = [];
  readonly #callers = new Map<Ticket, (reply: Reply | null) => void>();
  #lastTicket = 0;
  #wakes = 0;
  #flushing = false;
  /** Instances run on different machines: their clocks differ, ms. */
  readonly #offset: number;

  constructor(world: World) {
    this.#world = world;
    this.#offset = world.random.between(-20, 20);
    this.#tables = world.storage.takeOver(this);
    const config = {
      shard: 0,
      regions: [...world.regions.keys()],
      connections: world.weather.connections,
      voteDeadlineMs: limits.voteDeadlineMs,
      roundTimeoutMs: limits.roundTimeoutMs,
      outAfterMs: limits.outAfterMs,
      minVoters: world.weather.minVoters,
    };
    this.core = new CoordinatorCore(config, this.#tables.stored(generation), this.#now);
    this.step({ kind: 'ticked' });
  }

  /** Hands in a frame; the answer is null where the instance dies first. */
  write(frame: WriteFrame, give: (reply: Reply | null) => void): void {
    const ticket = this.#expect(give);
    const key = frame.idempotency?.key;
    const recorded = key === undefined ? null : this.#tables.recordedUnder(key);
    this.step({ kind: 'arrived', ticket, frame, async: false, recorded });
  }

  /** Asks about transactions. */
  ask(transactions: readonly TransactionOrder[], give: (reply: Reply | null) => void): void {
    const ticket = this.#expect(give);
    const recorded = this.#tables.decisionsOf(transactions);
    this.step({ kind: 'asked', ticket, transactions, recorded, horizon: noHorizon });
  }

  /** Reads through the coordinator. */
  read(request: ReadRequest, give: (reply: Reply | null) => void): void {
    this.step({ kind: 'read', ticket: this.#expect(give), request });
  }

  /** Somebody reads there. */
  want(region: string): void {
    this.step({ kind: 'wanted', regions: [region] });
  }

  order(order: MemberOrder): void {
    this.step({ kind: 'ordered', ticket: this.#expect(() => {}), order });
  }

  get #now(): number {
    return this.#world.timeline.now + this.#offset;
  }

  die(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const give of this.#callers.values()) give(null);
    this.#callers.clear();
  }

  step(event: CoordinatorEvent): void {
    if (!this.alive) return;
    const { timeline, random } = this.#world;
    const entropy = random.between(0, 0xffffffff).toString(36);
    const ready = this.core.step(event, this.#now, entropy);
    this.#world.assertSpoken(ready);
    if (ready.ended !== null) {
      this.die();
      return;
    }
    this.#tables.apply(ready.persist);
    this.#outputs.push(ready);
    this.#flush();
    this.#wakes += 1;
    const wake = this.#wakes;
    if (ready.wakeAt === null) return;
    timeline.after(ready.wakeAt - this.#now, () => {
      if (wake === this.#wakes) this.step({ kind: 'ticked' });
    });
  }

  /** Outputs leave in order, each after everything stored before it is durable. */
  #flush(): void {
    if (this.#flushing) return;
    const [ready] = this.#outputs;
    if (ready === undefined || !this.alive) return;
    if (ready.persist.length === 0) {
      this.#outputs.shift();
      this.#perform(ready);
      this.#flush();
      return;
    }
    this.#flushing = true;
    this.#world.timeline.after(this.#world.random.between(0, 4), () => {
      this.#flushing = false;
      if (!this.alive) return;
      if (!this.#world.storage.commit(this, ready.persist)) {
        this.die();
        return;
      }
      this.#outputs.shift();
      this.#perform(ready);
      this.#flush();
    });
  }

  #perform(ready: Ready): void {
    for (const send of ready.sends) this.#send(send);
    for (const reply of ready.replies) {
      const give = this.#callers.get(reply.ticket);
      this.#callers.delete(reply.ticket);
      give?.(reply);
    }
  }

  #send(send: Send): void {
    let open = true;
    const once =
      <Result>(end: (result: Result) => void) =>
      (result: Result) => {
        if (!open) return;
        open = false;
        end(result);
      };
    if (send.kind === 'round') this.#sendRound(send, once);
    else this.#look(send, once);
  }

  #sendRound({ region, number, round, timeoutMs }: SentRound, once: Once): void {
    this.#world.noteClocks(round);
    const answer = once((result: RoundResult) => {
      const older = result.kind === 'executed' ? result.reply.older : [];
      const asked = older.map(({ transaction }) => transaction);
      const recorded = this.#tables.decisionsOf(asked).map(({ transaction }) => transaction);
      this.step({ kind: 'answered', region, round: number, result, recorded });
    });
    this.#world.timeline.after(timeoutMs, () => answer({ kind: 'silent', reason: 'timed out' }));
    this.#world.exchange(region, 'coordinator', (model) => model.round(round), answer);
  }

  #look({ region, number, request, timeoutMs }: SentSnapshot, once: Once): void {
    const answer = once((result: SnapshotResult) => {
      const locks = result.kind === 'read' ? result.locks : [];
      const recorded = this.#tables.decisionsOf(locks.map(({ holder }) => holder));
      this.step({ kind: 'looked', region, number, result, recorded, horizon: noHorizon });
    });
    this.#world.timeline.after(timeoutMs, () => answer({ kind: 'silent', reason: 'timed out' }));
    this.#world.exchange(region, 'coordinator', (model) => model.snapshot(request), answer);
  }

  #expect(give: (reply: Reply | null) => void): Ticket {
    this.#lastTicket += 1;
    this.#callers.set(this.#lastTicket, give);
    return this.#lastTicket;
  }
}

/** Lets only the first of several ends count. */
type Once = <Result>(end: (result: Result) => void) => (result: Result) => void;

/** Regions, a network between them and the coordinator, and what befalls them. */
export class World {
  readonly regions = new Map<string, RegionModel>();
  readonly storage = new SimulatedStorage();
  readonly timeline: Timeline;
  readonly random: Random;
  readonly weather: Weather;
  /** The instance that calls are led to, and those that do not know that they are not. */
  instance: Instance | null = null;
  readonly zombies: Instance[] = [];
  /** No faults happen any more. */
  calm = false;
  /** The clock reading that each transaction went out with, for the replay. */
  readonly clocks = new Map<string, number>();
  readonly #distance = new Map<string, number>();
  /** Until when nothing gets through, by asker and region. */
  readonly #downUntil = new Map<string, number>();
  /** Older states of each region, as backups or lagging replicas would have them. */
  readonly #backups = new Map<string, RegionState[]>();
  /** Regions that have lost data, and when: until they have been copied since, they are not to be relied on. */
  readonly #damagedAt = new Map<string, number>();

  constructor(timeline: Timeline, random: Random, weather: Weather) {
    this.timeline = timeline;
    this.random = random;
    this.weather = weather;
    for (let number = 0; number < weather.regions; number++) {
      const region = `region-${number}`;
      this.regions.set(region, new RegionModel(this.#clock()));
      this.#distance.set(region, random.between(1, 120));
      this.#backups.set(region, []);
    }
    this.#plan(weather.crashEveryMs, () => this.crash());
    this.#plan(weather.outageEveryMs, () => this.#outage());
    this.#plan(weather.lossEveryMs / 3, () => this.#backUp());
    this.#plan(weather.lossEveryMs, () => this.#loseData());
    this.#plan(weather.ordersEveryMs, () => this.#order());
  }

  /** A clock that is off by a constant, and besides runs fast and slow in turn, by up to 5 %. */
  #clock(): () => number {
    const { skewMs } = this.weather;
    const skew = this.random.between(-skewMs, skewMs);
    const wobble = this.random.pick([0, 0, 50, 100]);
    const phase = this.random.between(0, 8_000);
    return () => {
      const { now } = this.timeline;
      const position = ((now + phase) % 8_000) / 8_000;
      const swing = position < 0.5 ? 4 * position - 1 : 3 - 4 * position;
      return Math.round(now + skew + wobble * swing);
    };
  }

  #outage(): void {
    const region = this.random.pick([...this.regions.keys()]);
    const until =
      this.timeline.now + this.random.between(100, this.random.pick([1_000, 6_000, 20_000]));
    const askers = this.random.pick<readonly Asker[]>([
      ['coordinator', 'edge'],
      ['coordinator', 'edge'],
      ['coordinator'],
      ['edge'],
    ]);
    for (const asker of askers) this.#downUntil.set(`${asker} ${region}`, until);
  }

  #backUp(): void {
    for (const [region, model] of this.regions) {
      const backups = this.#backups.get(region);
      backups?.push(model.state());
      if (backups !== undefined && backups.length > 4) backups.shift();
    }
  }

  /**
   * A region goes back to an older state, or loses everything. Lockstep rests on one voter that keeps what it
   * acknowledged, so there is always another one that has not lost anything since it was last copied. A restart takes
   * longer than a lease: within the lease of an older state, reads there may be old, and nobody promises otherwise.
   */
  #loseData(): void {
    const { regions } = this.storage.durable;
    for (const [region, at] of this.#damagedAt) {
      const membership = regions.get(region)?.membership;
      const isCopied = membership?.state === 'voter' && membership.since > at + 1_000;
      if (isCopied) this.#damagedAt.delete(region);
    }
    const sound = [...regions.values()].filter(
      ({ region, membership }) =>
        membership.state === 'voter' && membership.leaving === null && !this.#damagedAt.has(region),
    );
    const victim = this.random.pick([...this.regions.keys()]);
    // One that cannot be reached may be about to be put out, with all that it holds.
    const isKept = ({ region }: { readonly region: string }) =>
      region !== victim && !this.#isDown(region, 'coordinator');
    if (!sound.some(isKept)) return;
    const model = this.regions.get(victim);
    const backup = this.random.pick([null, ...(this.#backups.get(victim) ?? [])]);
    this.#damagedAt.set(victim, this.timeline.now);
    if (backup === null) model?.wipe();
    else model?.restore({ ...backup, lease: 0 });
  }

  #order(): void {
    const region = this.random.pick([...this.regions.keys()]);
    const { coordinator } = this;
    if (this.random.chance(0.5)) coordinator.order({ kind: 'put-out', region, reason: 'a test' });
    else {
      const whole = this.random.chance(0.5);
      coordinator.order({ kind: 'return', region, whole, force: false });
    }
  }

  /** The present coordinator; it is started where none lives. */
  get coordinator(): Instance {
    if (this.instance === null || !this.instance.alive) this.instance = new Instance(this);
    return this.instance;
  }

  /** Whoever a caller with an old connection may reach. */
  get anyCoordinator(): Instance {
    const zombie = this.zombies.find((one) => one.alive);
    return zombie !== undefined && this.random.chance(0.5) ? zombie : this.coordinator;
  }

  /** An operator lets every region return that waits for one. */
  bringBack(): void {
    for (const { region, membership } of this.storage.durable.regions.values()) {
      if (membership.state !== 'out' || !membership.held) continue;
      this.coordinator.order({ kind: 'return', region, whole: false, force: false });
    }
  }

  /** The instance dies, or is left behind without knowing; its alarm brings up the next one. */
  crash(): void {
    const old = this.instance;
    if (old === null) return;
    this.instance = null;
    if (this.random.chance(this.weather.zombies)) this.zombies.push(old);
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
      const answer = run(model);
      this.#carry(region, asker, () => give(answer));
    });
    if (!this.calm && this.random.chance(this.weather.duplication)) {
      this.timeline.after(this.random.between(0, 4_000), () => {
        if (!this.#isDown(region, asker)) run(model);
      });
    }
  }

  snapshot(region: string, request: SnapshotRequest, give: (result: SnapshotResult) => void): void {
    this.exchange(region, 'edge', (model) => model.snapshot(request), give);
  }

  noteClocks(round: Round): void {
    for (const { transaction, now } of round.prepares) this.clocks.set(keyOf(transaction), now);
  }

  /** Whether a connection limit or an order of output is broken shows here. */
  assertSpoken(ready: Ready): void {
    if (ready.sends.length > this.weather.connections) throw new Error('too many rounds at once');
  }

  #carry(region: string, asker: Asker, arrive: () => void): void {
    const { random, weather } = this;
    if (!this.calm && (random.chance(weather.loss) || this.#isDown(region, asker))) return;
    const straggles = !this.calm && random.chance(weather.straggling);
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
