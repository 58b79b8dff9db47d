import type {
  ReadAnswer,
  ReadRequest,
  Resolution,
  WriteAnswer,
  WriteRecord,
} from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type {
  AdminCommand,
  AdminCommandAnswer,
  MemberChange,
  RegionStatus,
} from '../../shared/contracts/members.ts';
import type {
  Decision,
  RoundReply,
  RoundResult,
  SnapshotResult,
} from '../../shared/contracts/round.ts';
import type { RegionId, TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent, RecordedWrite, Ticket } from '../../shared/protocol/io/events.ts';
import type {
  ComparisonRequest,
  CoordinatorReply,
  Ready,
  SentRound,
  SentSnapshot,
  StorageWrite,
} from '../../shared/protocol/io/ready.ts';
import { ampleRoom, type Room } from '../../shared/protocol/io/room.ts';
import type { Stored, StoredDecision } from '../../shared/protocol/io/stored.ts';
import type { ShardMap } from '../../shared/shards/shard-map.ts';
import { set } from '../region/fixtures.ts';
import type { Tables } from '../simulation/storage.ts';
import { CheckedCore } from './checked-core.ts';
import { Replies } from './replies.ts';
import { ownsAll, tablesOf, voterOf } from './stored.ts';

/** The time at which the clock of every harness begins, ms. */
export const start = 1_000_000;

/** The timings of a round, a vote and a silence here, ms. The last differs from its default, which must not be used. */
export const timing = { voteDeadlineMs: 2_000, roundTimeoutMs: 2_500, outAfterMs: 3_200 } as const;

/** Differences from three regions that have always voted, plenty of connections, and no other stored state. */
export interface HarnessOptions {
  /** Null: the shard takes part in no joint write. */
  readonly jointMap?: ShardMap | null;
  readonly regions?: readonly RegionId[];
  readonly connections?: number;
  readonly minVoters?: number;
  /** The region with whose data the shard is founded. */
  readonly source?: RegionId;
  readonly stored?: Partial<Stored>;
  readonly now?: number;
}

let framesMade = 0;

/** The last sequence that a storage with these commits and missed keys has assigned. */
function newestOf({ unconfirmed = [], missed = [] }: Partial<Stored> = {}): number {
  const marks = missed.flatMap(({ keys }) => keys.map(([, sequence]) => sequence));
  return Math.max(0, ...unconfirmed.map(({ sequence }) => sequence), ...marks);
}

/** A frame that sets each of `keys`, with the fields of `given`. It may be tried for ten seconds. */
export function frameOf(keys: readonly string[], given: Partial<WriteFrame> = {}): WriteFrame {
  framesMade += 1;
  return {
    id: `0-frame-${framesMade}`,
    operations: keys.map((key) => set(key, 'value')),
    checks: [],
    continueOnError: false,
    keys,
    priority: 0,
    ack: 'committed',
    notAfter: start + 10_000,
    idempotency: null,
    callback: null,
    bytes: 100,
    ...given,
  };
}

/**
 * Drives one core by hand: frames go in, rounds come out and are answered as the test says, and only the test moves
 * the clock. Nothing is random and nothing runs by itself.
 */
export class CoreHarness {
  now: number;
  readonly core: CoordinatorCore;
  readonly regions: readonly RegionId[];
  readonly #options: HarnessOptions;
  readonly #connections: number;
  /** The output of each step, oldest first. */
  readonly steps: Ready[] = [];
  /** The contents of storage after the last step. */
  readonly tables: Tables;
  /** The number of keys that each region holds before the shard begins; 0 for a region without an entry. */
  readonly holds = new Map<RegionId, number>();
  readonly #generation: number;
  readonly #flights = new Map<number, SentRound>();
  readonly #snapshots = new Map<number, SentSnapshot>();
  readonly #answers = new Map<Ticket, CoordinatorReply>();
  readonly #replies = new Replies();
  #tickets = 0;

  constructor(options: HarnessOptions = {}) {
    this.#options = options;
    this.regions = options.regions ?? ['near', 'middle', 'far'];
    this.#connections = options.connections ?? 100;
    this.now = options.now ?? start;
    const { regions } = this;
    const { minVoters = 1, source = null, jointMap = null } = options;
    const config = {
      shard: 0,
      regions,
      connections: this.#connections,
      minVoters,
      source,
      jointMap,
      ...timing,
    };
    const stored: Stored = {
      generation: 7,
      epoch: 1,
      incarnation: 3,
      sequence: newestOf(options.stored),
      now: 0,
      unconfirmed: [],
      regions: regions.map((region) => voterOf(region)),
      missed: [],
      blocked: [],
      subscriptions: [],
      isResting: false,
      ownership: ownsAll,
      ...options.stored,
    };
    this.#generation = stored.generation;
    this.tables = tablesOf(stored);
    this.core = new CheckedCore(config, stored, this.now);
  }

  /** A harness whose regions have all answered their first round: nothing is unacknowledged, waiting or on its way. */
  static begun(options: HarnessOptions = {}): CoreHarness {
    const harness = new CoreHarness(options);
    harness.tick();
    harness.advance(10);
    harness.settle();
    return harness;
  }

  /** A harness that has begun, and in which no lease of an earlier instance can last any more. */
  static calm(options: HarnessOptions = {}): CoreHarness {
    const harness = CoreHarness.begun(options);
    harness.run(limits.leaseTtlMs + limits.leaseDriftMs);
    return harness;
  }

  /** A new instance on the stored state, at the same moment. All messages on their way are lost. */
  restarted(options: HarnessOptions = {}): CoreHarness {
    this.tables.incarnation += 1;
    const stored = { ...this.tables.stored(this.#generation), ...options.stored };
    return new CoreHarness({ ...this.#options, now: this.now, ...options, stored });
  }

  /** The output of the last step. */
  get last(): Ready {
    const last = this.steps.at(-1);
    if (last === undefined) throw new Error('no step was made');
    return last;
  }

  /** Everything that was stored, oldest first. */
  get persisted(): readonly StorageWrite[] {
    return this.steps.flatMap((step) => step.persist);
  }

  /** The history of members, oldest first. */
  get changes(): readonly MemberChange[] {
    return this.persisted.flatMap((write) => (write.kind === 'members' ? write.changes : []));
  }

  /** The rounds on their way, oldest first. */
  get flights(): readonly SentRound[] {
    return [...this.#flights.values()];
  }

  /** The snapshots on their way, oldest first. */
  get snapshots(): readonly SentSnapshot[] {
    return [...this.#snapshots.values()];
  }

  /** The rounds that left with the last step. */
  get sent(): readonly SentRound[] {
    return this.last.sends.filter((send) => send.kind === 'round');
  }

  /** Every round that has left, oldest first. */
  get rounds(): readonly SentRound[] {
    return this.steps.flatMap(({ sends }) => sends.filter((send) => send.kind === 'round'));
  }

  /** The only round on its way to `region`; it throws if there is none or several. */
  flight(region: RegionId): SentRound {
    const [only, ...more] = this.flightsTo(region);
    if (only === undefined || more.length > 0) {
      throw new Error(`${more.length + (only ? 1 : 0)} rounds are on their way to ${region}`);
    }
    return only;
  }

  flightsTo(region: RegionId): readonly SentRound[] {
    return this.flights.filter((send) => send.region === region);
  }

  /** The transactions whose prepares are on their way to `region`. */
  preparing(region: RegionId): readonly TransactionOrder[] {
    return this.flightsTo(region).flatMap(({ round }) =>
      round.prepares.map(({ transaction }) => transaction),
    );
  }

  /** The decisions that are on their way to `region`. */
  deciding(region: RegionId): readonly Decision[] {
    return this.flightsTo(region).flatMap(({ round }) => round.decisions);
  }

  /** A region as operators are shown it. */
  statusOf(region: RegionId): RegionStatus {
    const status = this.core.status().regions.find((one) => one.region === region);
    if (status === undefined) throw new Error(`${region} is no member`);
    return status;
  }

  /** A caller brings a frame; returns its ticket. */
  arrive(
    frame: WriteFrame,
    how: {
      readonly async?: boolean;
      readonly recorded?: RecordedWrite | null;
      readonly again?: boolean;
      readonly abandoned?: string | null;
      readonly room?: Room;
    } = {},
  ): Ticket {
    this.#tickets += 1;
    const { async = false, recorded = null, again = false, room = ampleRoom } = how;
    const { abandoned = null } = how;
    this.step({
      kind: 'write-received',
      ticket: this.#tickets,
      frame,
      async,
      recorded,
      again,
      abandoned,
      room,
    });
    return this.#tickets;
  }

  /** A caller brings frames that go together, or a call has those of several; returns their tickets. */
  arriveTogether(frames: readonly WriteFrame[], inOrder = true): readonly Ticket[] {
    const arrivals = frames.map((frame, index) => {
      return {
        ticket: this.#tickets + index + 1,
        frame,
        async: false,
        recorded: null,
        again: false,
        abandoned: null,
        room: ampleRoom,
      };
    });
    this.#tickets += frames.length;
    this.step({ kind: 'writes-received', arrivals, inOrder });
    return arrivals.map(({ ticket }) => ticket);
  }

  /** A reader asks for outcomes; returns the answer. */
  resolve(
    transactions: readonly TransactionOrder[],
    recorded: readonly StoredDecision[] = [],
    horizon: TransactionOrder = [0, 0],
  ): readonly Resolution[] | null {
    this.#tickets += 1;
    this.step({
      kind: 'resolution-requested',
      ticket: this.#tickets,
      transactions,
      recorded,
      horizon,
    });
    const reply = this.#answers.get(this.#tickets);
    return reply?.kind === 'resolutions' ? reply.resolutions : null;
  }

  /** A client reads through the coordinator; returns its ticket. */
  read(given: Partial<ReadRequest> = {}): Ticket {
    this.#tickets += 1;
    const request = { keys: ['a'], commands: [], region: null, ...given };
    this.step({ kind: 'read-requested', ticket: this.#tickets, request });
    return this.#tickets;
  }

  /** Clients want to read strongly in `regions`. */
  requestLease(...regions: readonly RegionId[]): void {
    const wishes = regions.map((region) => ({ region, forMs: limits.leaseReadersMinMs }));
    this.step({ kind: 'lease-requested', wishes });
  }

  /** An operator sends an admin command; returns the answer. */
  command(command: AdminCommand): AdminCommandAnswer {
    this.#tickets += 1;
    this.step({ kind: 'admin-command', ticket: this.#tickets, command });
    const reply = this.#answers.get(this.#tickets);
    if (reply?.kind !== 'admin-command') throw new Error('a command is answered with its step');
    return reply.answer;
  }

  /** The answer to a caller; undefined while it waits. */
  answerTo(ticket: Ticket): WriteAnswer | undefined {
    const reply = this.#answers.get(ticket);
    return reply?.kind === 'write' ? reply.answer : undefined;
  }

  /** The answer to a client that reads through the coordinator; undefined while it waits. */
  readAnswerTo(ticket: Ticket): ReadAnswer | undefined {
    const reply = this.#answers.get(ticket);
    return reply?.kind === 'read' ? reply.answer : undefined;
  }

  /** The record that answered a caller; it throws if the write was not decided. */
  record(ticket: Ticket): WriteRecord {
    const answer = this.answerTo(ticket);
    if (answer?.kind !== 'decided') throw new Error(`not decided: ${JSON.stringify(answer)}`);
    return answer.record;
  }

  /**
   * Executes a round: every decision is acknowledged, every prepare gets a yes, and a step of a copy finds or takes
   * everything that it names, unless `given` says otherwise.
   */
  execute(
    send: SentRound,
    given: Partial<RoundReply> = {},
    recorded: readonly TransactionOrder[] = [],
  ): void {
    if (send.round.epoch === 0) {
      this.reportKeys(send);
      return;
    }
    this.end(
      send,
      { kind: 'executed', reply: { ...this.#replies.to(send, this.now), ...given } },
      recorded,
    );
  }

  /** A region without the shard's state refuses a round, and reports its number of keys. */
  reportKeys(send: SentRound, keys = this.holds.get(send.region) ?? 0, has = 0): void {
    this.end(send, { kind: 'refused', refusal: { kind: 'generation', has, keys } });
  }

  /** The comparison that the last step requested; it throws if there is none. */
  get comparison(): ComparisonRequest {
    const { comparison } = this.last;
    if (comparison === null) throw new Error('nothing is to be compared');
    return comparison;
  }

  /** A round ends without a usable answer. */
  silence(send: SentRound, reason = 'connection refused'): void {
    this.end(send, { kind: 'silent', reason });
  }

  /** A round ends as `result` says. */
  end(send: SentRound, result: RoundResult, recorded: readonly TransactionOrder[] = []): void {
    this.#flights.delete(send.number);
    this.step({
      kind: 'round-completed',
      region: send.region,
      round: send.number,
      result,
      recorded,
    });
  }

  /** A snapshot ends as `result` says. */
  endSnapshot(
    { region, number }: SentSnapshot,
    result: SnapshotResult,
    recorded: readonly StoredDecision[] = [],
    horizon: TransactionOrder = [0, 0],
  ): void {
    this.#snapshots.delete(number);
    this.step({ kind: 'snapshot-completed', region, number, result, recorded, horizon });
  }

  /** Executes every round on its way to `regions`, but not those that follow from it. */
  executeAll(regions: readonly RegionId[] = this.regions): void {
    for (const send of this.flights) if (regions.includes(send.region)) this.execute(send);
  }

  /** Executes rounds, and lets the commits that linger go, until no round is on its way. */
  settle(): void {
    for (let turn = 0; turn < 100; turn++) {
      this.executeAll();
      this.advance(10);
      if (this.#flights.size === 0) return;
    }
    throw new Error('the rounds come to no end');
  }

  /**
   * Lets `ms` pass, in which rounds to `answering` are executed as soon as they leave, and all others end without an
   * answer after a hundred ms, but for those that are `delayed`.
   */
  run(
    ms: number,
    answering: readonly RegionId[] = this.regions,
    delayed: readonly SentRound[] = [],
  ): void {
    const until = this.now + ms;
    const overAt = new Map<SentRound, number>();
    for (;;) {
      const sends = this.flights.filter((send) => !delayed.includes(send));
      for (const send of sends) if (!overAt.has(send)) overAt.set(send, this.now + 100);
      const next = sends.find((send) => answering.includes(send.region));
      const silent = sends.find((send) => (overAt.get(send) ?? until) <= this.now);
      if (next !== undefined) this.execute(next);
      else if (silent !== undefined) this.silence(silent);
      else if (this.now >= until) return;
      else this.#toNext(until, [...overAt.values()]);
    }
  }

  /** Moves the clock, with a tick wherever one was asked for. */
  advance(ms: number): void {
    const until = this.now + ms;
    for (let wakeAt = this.last.wakeAt; wakeAt !== null && wakeAt <= until; ) {
      if (wakeAt <= this.now) throw new Error('a tick was asked for that is not in the future');
      this.now = wakeAt;
      this.tick();
      wakeAt = this.last.wakeAt;
    }
    this.now = until;
  }

  tick(): void {
    this.step({ kind: 'tick' });
  }

  /** Handles one event. In every test, no step may use more connections than there are (R20). */
  step(event: CoordinatorEvent): void {
    const ready = this.core.step(event, this.now, `e${this.steps.length}-`);
    this.steps.push(ready);
    this.tables.apply(ready.persist);
    for (const send of ready.sends) {
      if (send.kind === 'round') this.#flights.set(send.number, send);
      else this.#snapshots.set(send.number, send);
    }
    for (const reply of ready.replies) {
      if (this.#answers.has(reply.ticket)) throw new Error(`${reply.ticket} is answered twice`);
      this.#answers.set(reply.ticket, reply);
    }
    const waiting = this.#flights.size + this.#snapshots.size;
    if (waiting > this.#connections) throw new Error('more rounds than connections');
  }

  /** To the next tick or moment, not beyond `until`. */
  #toNext(until: number, moments: readonly number[]): void {
    const wakeAt = this.last.wakeAt ?? until;
    const next = Math.min(until, wakeAt, ...moments.filter((moment) => moment > this.now));
    this.now = next;
    if (next >= wakeAt) this.tick();
  }
}
