import type { RoundResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent, Ticket } from '../../shared/protocol/io/events.ts';
import type { CoordinatorReply, Send } from '../../shared/protocol/io/ready.ts';
import { ampleRoom } from '../../shared/protocol/io/room.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { RegionModel } from '../region/model.ts';
import { Random } from './random.ts';
import { configOf, nothingStored, start } from './single-instance.ts';
import { noHorizon } from './storage.ts';
import { Timeline } from './timeline.ts';

/** The times at which some regions begin to hang, are out, answer again, and the run ends, ms. */
const phases = { failure: 5_000, calm: 20_000, return: 45_000, end: 90_000 } as const;

/** A read waits this long for its turn, and for a round trip of the reads before it, ms; then its snapshot is taken. */
const readPatienceMs = 500;

/** A region that is out and can answer votes again within this time, while clients write. */
const returnPatienceMs = 25_000;

/** Two probes of one region are at most this far apart while clients write: a pause, a timeout, and its turn. */
const probePatienceMs = limits.outProbeBackoffMaxMs + limits.roundTimeoutMs + 1_000;

type Silence = Extract<RoundResult, { kind: 'silent' }>;

/** The results of a run. */
export interface Saturation {
  readonly writes: number;
  readonly reads: number;
  readonly slowestReadMs: number;
}

/**
 * One seeded run of a coordinator whose connections are always taken: more clients write, without a pause, than there
 * are connections, some read through it, one region has a lease, and some regions hang for a while and return. No
 * kind of request waits long for a connection: reads, leases, probes, copies and writes.
 */
export function run(seed: number): Saturation {
  return new SaturationTrial(new Random(seed)).run();
}

class SaturationTrial {
  readonly #random: Random;
  readonly #timeline = new Timeline();
  readonly #names: readonly string[];
  /** One way to each region, ms. */
  readonly #distances = new Map<string, number>();
  readonly #models = new Map<string, RegionModel>();
  readonly #core: CoordinatorCore;
  readonly #hanging = new Set<string>();
  /** Those that fail for a while; the last region never does. */
  readonly #failing: readonly string[];
  /** Of a failing region: its requests hang until their timeout; else they are refused at once. */
  readonly #hangs: boolean;
  readonly #waiting = new Map<Ticket, (reply: CoordinatorReply) => void>();
  readonly #probedAt = new Map<string, number>();
  #tickets = 0;
  #connections = 0;
  #entropy = 0;
  #wakes = 0;
  #writes = 0;
  #reads = 0;
  #slowestReadMs = 0;

  constructor(random: Random) {
    this.#random = random;
    const count = random.pick([3, 4, 5, 5, 5]);
    this.#hangs = random.chance(0.5);
    this.#names = Array.from({ length: count }, (_, index) => `region-${index}`);
    for (const [index, name] of this.#names.entries()) {
      this.#distances.set(name, index === 0 ? 1 : random.between(20, 150));
      this.#models.set(name, new RegionModel(() => this.#timeline.now));
    }
    const first = random.between(0, 1);
    this.#failing = this.#names.slice(first, first + random.between(1, count > 4 ? 2 : 1));
    const config = configOf(this.#names, limits.connections);
    this.#core = new CheckedCore(config, nothingStored, this.#timeline.now);
  }

  run(): Saturation {
    const timeline = this.#timeline;
    const random = this.#random;
    const until = (ms: number) => timeline.run(start + ms, 4_000_000);
    this.#step({ kind: 'tick' });
    for (let client = 0; client < random.between(8, 40); client += 1) this.#write(client);
    this.#read();
    this.#requestLease();
    until(phases.failure);
    const failing = this.#failing;
    for (const name of failing) this.#hanging.add(name);
    until(phases.calm);
    for (const name of failing) this.#expectState(name, 'out');
    const writesBefore = this.#writes;
    for (const name of failing) this.#probedAt.set(name, timeline.now);
    until(phases.return);
    for (const name of failing) this.#checkProbe(name);
    if (this.#writes - writesBefore < 50) throw new Error('hardly anything is written meanwhile');
    this.#hanging.clear();
    until(phases.return + returnPatienceMs);
    for (const name of failing) this.#expectState(name, 'voter');
    until(phases.end);
    return { writes: this.#writes, reads: this.#reads, slowestReadMs: this.#slowestReadMs };
  }

  /** True if no region failed shortly before: requests that began then are answered in time. */
  #wasCalm(begunAt: number): boolean {
    const [begun, ended] = [begunAt - start, this.#timeline.now - start];
    return ended < phases.failure || begun > phases.calm;
  }

  /** A client writes again as soon as it is answered. */
  #write(client: number): void {
    const now = this.#timeline.now;
    const frame = frameOf([`key-${client}`], { notAfter: now + limits.timeoutMsDefault });
    const ticket = this.#expect((reply) => {
      const isDecided = reply.kind === 'write' && reply.answer.kind === 'decided';
      if (!isDecided && this.#wasCalm(now)) throw new Error(`a write got ${JSON.stringify(reply)}`);
      this.#writes += 1;
      this.#timeline.after(this.#random.between(0, 5), () => this.#write(client));
    });
    this.#step({
      kind: 'write-received',
      ticket,
      frame,
      async: false,
      recorded: null,
      again: false,
      abandoned: null,
      room: ampleRoom,
    });
  }

  /**
   * A client reads through the coordinator, about four times per second: more often than it can answer would prove
   * nothing.
   */
  #read(): void {
    const begunAt = this.#timeline.now;
    const ticket = this.#expect((reply) => {
      const tookMs = this.#timeline.now - begunAt;
      this.#reads += 1;
      if (reply.kind !== 'read' || reply.answer.kind !== 'read')
        throw new Error(`a read got ${JSON.stringify(reply)}`);
      this.#slowestReadMs = Math.max(this.#slowestReadMs, tookMs);
      const tripMs = 2 * (this.#distances.get(reply.answer.region) ?? 0);
      // Until it is known which regions hang, a read may wait for each of them once.
      const hangMs = this.#wasCalm(begunAt) ? 0 : this.#failing.length * limits.roundTimeoutMs;
      const mayTakeMs = readPatienceMs + 2 * tripMs + hangMs;
      if (tookMs > mayTakeMs) throw new Error(`a read took ${tookMs} ms, not ${mayTakeMs}`);
    });
    const request = { keys: ['unwritten'], commands: [], region: null };
    this.#step({ kind: 'read-requested', ticket, request });
    this.#timeline.after(this.#random.between(150, 350), () => this.#read());
  }

  /** Readers want a lease in the last region, which never fails; once it has one, it always does. */
  #requestLease(): void {
    const region = this.#names.at(-1) ?? '';
    const { leaseMs } = this.#statusOf(region);
    const { now } = this.#timeline;
    if (now > start + limits.leaseTtlMs && this.#wasCalm(now) && leaseMs <= limits.leaseDriftMs) {
      throw new Error(`${region} is read in, and has no lease`);
    }
    const forMs = limits.leaseReadersMinMs;
    this.#step({ kind: 'lease-requested', wishes: [{ region, forMs }] });
    this.#timeline.after(limits.leaseReadersMinMs / 4, () => this.#requestLease());
  }

  #statusOf(region: string) {
    const status = this.#core.status().regions.find((one) => one.region === region);
    if (status === undefined) throw new Error(`${region} is no member`);
    return status;
  }

  #expectState(region: string, state: string): void {
    const status = this.#statusOf(region);
    if (status.state !== state) {
      const { copy, health } = status;
      throw new Error(
        `${region} is ${status.state}, not ${state}: ${JSON.stringify({ copy, health })}`,
      );
    }
  }

  #checkProbe(region: string): void {
    const now = this.#timeline.now;
    const quietMs = now - (this.#probedAt.get(region) ?? now);
    if (quietMs > probePatienceMs) throw new Error(`${region} was not probed for ${quietMs} ms`);
    if (this.#probedAt.has(region)) this.#probedAt.set(region, now);
  }

  #expect(give: (reply: CoordinatorReply) => void): Ticket {
    this.#tickets += 1;
    this.#waiting.set(this.#tickets, give);
    return this.#tickets;
  }

  #step(event: CoordinatorEvent): void {
    this.#entropy += 1;
    const ready = this.#core.step(event, this.#timeline.now, `e${this.#entropy}-`);
    for (const send of ready.sends) this.#send(send);
    for (const reply of ready.replies) {
      const give = this.#waiting.get(reply.ticket);
      this.#waiting.delete(reply.ticket);
      give?.(reply);
    }
    this.#wakes += 1;
    const wake = this.#wakes;
    if (ready.wakeAt === null) return;
    this.#timeline.after(ready.wakeAt - this.#timeline.now, () => {
      if (wake === this.#wakes) this.#step({ kind: 'tick' });
    });
  }

  #send(send: Send): void {
    this.#connections += 1;
    if (this.#connections > limits.connections) throw new Error('more requests than connections');
    const { kind, region, number } = send;
    const model = this.#models.get(region);
    if (model === undefined) throw new Error(`no region ${region}`);
    if (kind === 'snapshot') {
      const horizon = noHorizon;
      const look = () => model.snapshot(send.request);
      this.#exchange(send, look, (result) =>
        this.#step({ kind: 'snapshot-completed', region, number, result, recorded: [], horizon }),
      );
    } else {
      const round = () => model.round(send.round);
      this.#exchange(send, round, (result) =>
        this.#step({ kind: 'round-completed', region, round: number, result, recorded: [] }),
      );
    }
  }

  #exchange<Result>(
    { region, timeoutMs }: Send,
    run: () => Result,
    take: (result: Result | Silence) => void,
  ): void {
    const end = (result: Result | Silence) => {
      this.#connections -= 1;
      take(result);
    };
    if (this.#hanging.has(region)) {
      this.#checkProbe(region);
      const silence = { kind: 'silent', reason: 'no answer' } as const;
      this.#timeline.after(this.#hangs ? timeoutMs : 1, () => end(silence));
      return;
    }
    const oneWayMs = this.#distances.get(region) ?? 0;
    this.#timeline.after(oneWayMs, () => {
      const result = run();
      this.#timeline.after(oneWayMs, () => end(result));
    });
  }
}
