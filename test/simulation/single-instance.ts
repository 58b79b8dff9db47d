import type { WriteAnswer } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { RoundResult } from '../../shared/contracts/round.ts';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorConfig } from '../../shared/protocol/io/config.ts';
import type { CoordinatorEvent, Ticket } from '../../shared/protocol/io/events.ts';
import type { Ready, SentRound, StorageWrite } from '../../shared/protocol/io/ready.ts';
import { ampleRoom } from '../../shared/protocol/io/room.ts';
import type { Stored } from '../../shared/protocol/io/stored.ts';
import { initialMap, ownershipIn } from '../../shared/shards/shard-map.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import { RegionModel } from '../region/model.ts';

/** The time at which the clock begins, ms. */
export const start = 1_000_000;

/** A storage that was never written. */
export const nothingStored: Stored = {
  generation: 7,
  epoch: 0,
  incarnation: 1,
  sequence: 0,
  now: 0,
  unconfirmed: [],
  regions: [],
  missed: [],
  blocked: [],
  subscriptions: [],
  isResting: false,
  ownership: ownershipIn(initialMap(1), 0),
};

/** A coordinator of `regions` with the limits that it has everywhere. */
export function configOf(regions: readonly RegionId[], connections: number): CoordinatorConfig {
  const { voteDeadlineMs, roundTimeoutMs, outAfterMs } = limits;
  return {
    shard: 0,
    regions,
    minVoters: 1,
    outAfterMs,
    connections,
    voteDeadlineMs,
    roundTimeoutMs,
  };
}

/** One core that is driven by hand, and its regions; nothing happens by itself, and storage is durable at once. */
export class SingleInstance {
  now = start;
  readonly core: CoordinatorCore;
  readonly models: ReadonlyMap<RegionId, RegionModel>;
  /** The output of each step, oldest first. */
  readonly steps: Ready[] = [];
  readonly #flights = new Map<number, SentRound>();
  readonly #answers = new Map<Ticket, WriteAnswer>();
  #tickets = 0;

  constructor(regions: readonly RegionId[], stored: Partial<Stored> = {}) {
    this.models = new Map(regions.map((region) => [region, new RegionModel(() => this.now)]));
    const config = configOf(regions, limits.connections);
    this.core = new CheckedCore(config, { ...nothingStored, ...stored }, this.now);
  }

  /** The rounds on their way, oldest first. */
  get flights(): readonly SentRound[] {
    return [...this.#flights.values()];
  }

  /** Everything that was stored, oldest first. */
  get persisted(): readonly StorageWrite[] {
    return this.steps.flatMap((step) => step.persist);
  }

  /** A caller brings a frame; returns its ticket. */
  arrive(frame: WriteFrame): Ticket {
    this.#tickets += 1;
    const ticket = this.#tickets;
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
    return ticket;
  }

  /** An isolate of the edge reads in `region`: its lease is to be kept up for `forMs`. */
  requestLease(region: RegionId, forMs: number): void {
    this.#step({ kind: 'lease-requested', wishes: [{ region, forMs }] });
  }

  /** The answer to a caller; undefined while it waits. */
  answerTo(ticket: Ticket): WriteAnswer | undefined {
    return this.#answers.get(ticket);
  }

  /** Runs a round in its region. */
  run({ region, round }: SentRound): RoundResult {
    const result = this.models.get(region)?.round(round);
    if (result === undefined) throw new Error(`no region ${region}`);
    return result;
  }

  /** A round ends as `result` says. */
  end({ region, number }: SentRound, result: RoundResult): void {
    this.#flights.delete(number);
    this.#step({ kind: 'round-completed', region, round: number, result, recorded: [] });
  }

  /** Runs and ends every round on its way to `regions`, but not those that follow from it. */
  executeAll(regions: Iterable<RegionId> = this.models.keys()): void {
    const names = new Set(regions);
    for (const send of this.flights) if (names.has(send.region)) this.end(send, this.run(send));
  }

  /** Executes rounds, and lets the commits that linger go, until no round is on its way. */
  settle(): void {
    for (let turn = 0; turn < 100; turn += 1) {
      this.executeAll();
      this.advance(10);
      if (this.#flights.size === 0) return;
    }
    throw new Error('the rounds come to no end');
  }

  /** Moves the clock, with a tick at each requested time. */
  advance(ms: number): void {
    const until = this.now + ms;
    for (let wakeAt = this.#wakeAt; wakeAt !== null && wakeAt <= until; wakeAt = this.#wakeAt) {
      this.now = Math.max(this.now, wakeAt);
      this.tick();
    }
    this.now = until;
  }

  tick(): void {
    this.#step({ kind: 'tick' });
  }

  get #wakeAt(): number | null {
    return this.steps.at(-1)?.wakeAt ?? null;
  }

  #step(event: CoordinatorEvent): void {
    const ready = this.core.step(event, this.now, `e${this.steps.length}-`);
    this.steps.push(ready);
    for (const send of ready.sends) if (send.kind === 'round') this.#flights.set(send.number, send);
    for (const reply of ready.replies) {
      if (reply.kind === 'write') this.#answers.set(reply.ticket, reply.answer);
    }
    if (!ready.asksRegistry) return;
    this.#step({ kind: 'registry-answered', answer: { kind: 'map', map: initialMap(1) } });
  }
}
