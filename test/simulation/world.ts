import { keyOf, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent, Ready, Reply, Send, Ticket } from '../../shared/protocol/events.ts';
import type { WriteFrame } from '../../shared/protocol/frame.ts';
import type {
  Round,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
} from '../../shared/protocol/round.ts';
import { RegionModel } from '../region/model.ts';
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
  /** Mean time between outages of a region, ms; 0: none. */
  readonly outageEveryMs: number;
}

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

  constructor(world: World) {
    this.#world = world;
    this.#tables = world.storage.takeOver(this);
    const config = {
      shard: 0,
      regions: [...world.regions.keys()],
      connections: world.weather.connections,
      voteDeadlineMs: limits.voteDeadlineMs,
      roundTimeoutMs: limits.roundTimeoutMs,
    };
    this.core = new CoordinatorCore(config, this.#tables.stored(generation), world.timeline.now);
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
    const ready = this.core.step(event, timeline.now, entropy);
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
    timeline.after(ready.wakeAt - timeline.now, () => {
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

  #send({ region, number, round, timeoutMs }: Send): void {
    this.#world.noteClocks(round);
    let open = true;
    const answer = (result: RoundResult) => {
      if (!open) return;
      open = false;
      const older = result.kind === 'executed' ? result.reply.older : [];
      const asked = older.map(({ transaction }) => transaction);
      const recorded = this.#tables.decisionsOf(asked).map(({ transaction }) => transaction);
      this.step({ kind: 'answered', region, round: number, result, recorded });
    };
    this.#world.timeline.after(timeoutMs, () => answer({ kind: 'silent', reason: 'timed out' }));
    this.#world.exchange(region, (model) => model.round(round), answer);
  }

  #expect(give: (reply: Reply | null) => void): Ticket {
    this.#lastTicket += 1;
    this.#callers.set(this.#lastTicket, give);
    return this.#lastTicket;
  }
}

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
  readonly #downUntil = new Map<string, number>();

  constructor(timeline: Timeline, random: Random, weather: Weather) {
    this.timeline = timeline;
    this.random = random;
    this.weather = weather;
    for (let number = 0; number < weather.regions; number++) {
      const region = `region-${number}`;
      const skew = random.between(-weather.skewMs, weather.skewMs);
      this.regions.set(region, new RegionModel(() => timeline.now + skew));
      this.#distance.set(region, random.between(1, 120));
      this.#downUntil.set(region, 0);
    }
    this.#plan(weather.crashEveryMs, () => this.crash());
    this.#plan(weather.outageEveryMs, () => {
      const region = random.pick([...this.regions.keys()]);
      this.#downUntil.set(region, timeline.now + random.between(100, 6_000));
    });
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
    run: (model: RegionModel) => Answer,
    give: (answer: Answer) => void,
  ): void {
    const model = this.regions.get(region);
    if (model === undefined) throw new Error(`no region ${region}`);
    this.#carry(region, () => {
      const answer = run(model);
      this.#carry(region, () => give(answer));
    });
    if (!this.calm && this.random.chance(this.weather.duplication)) {
      this.timeline.after(this.random.between(0, 4_000), () => {
        if (!this.#isDown(region)) run(model);
      });
    }
  }

  snapshot(region: string, request: SnapshotRequest, give: (result: SnapshotResult) => void): void {
    this.exchange(region, (model) => model.snapshot(request), give);
  }

  noteClocks(round: Round): void {
    for (const { transaction, now } of round.prepares) this.clocks.set(keyOf(transaction), now);
  }

  /** Whether a connection limit or an order of output is broken shows here. */
  assertSpoken(ready: Ready): void {
    if (ready.sends.length > this.weather.connections) throw new Error('too many rounds at once');
  }

  #carry(region: string, arrive: () => void): void {
    const { random, weather } = this;
    if (!this.calm && (random.chance(weather.loss) || this.#isDown(region))) return;
    const straggles = !this.calm && random.chance(weather.straggling);
    const distance = this.#distance.get(region) ?? 0;
    const delay = straggles ? random.between(500, 6_000) : (distance * (1 + random.next())) / 2;
    this.timeline.after(delay, () => {
      if (this.calm || !this.#isDown(region)) arrive();
    });
  }

  #isDown(region: string): boolean {
    return (this.#downUntil.get(region) ?? 0) > this.timeline.now;
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
