import type { RegionId, TransactionOrder } from '../../shared/ids.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type {
  CoordinatorEvent,
  Ready,
  RecordedWrite,
  Reply,
  Send,
  StorageWrite,
  Stored,
  StoredDecision,
  Ticket,
} from '../../shared/protocol/events.ts';
import type { WriteFrame } from '../../shared/protocol/frame.ts';
import type { Decision, RoundPair, RoundReply, RoundResult } from '../../shared/protocol/round.ts';
import type { Resolution, WriteAnswer, WriteRecord } from '../../shared/wire/answers.ts';
import { set } from '../region/fixtures.ts';

/** Where the clock of every rig begins, ms. */
export const start = 1_000_000;

/** What a round or a deadline takes here, ms. They are other than the defaults, so that neither hides behind them. */
export const timing = { voteDeadlineMs: 2_000, roundTimeoutMs: 2_500 } as const;

/** How a rig differs from three regions, plenty of connections, and storage that was never written. */
export interface RigOptions {
  readonly regions?: readonly RegionId[];
  readonly connections?: number;
  readonly stored?: Partial<Stored>;
  readonly now?: number;
}

let framesMade = 0;

/** A frame that sets each of `keys`, with what `given` says. It may be tried for ten seconds. */
export function frameOf(keys: readonly string[], given: Partial<WriteFrame> = {}): WriteFrame {
  framesMade += 1;
  return {
    id: `0-frame-${framesMade}`,
    operations: keys.map((key) => set(key, 'value')),
    checks: [],
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
 * One core, driven by hand: frames go in, rounds come out and are answered as the test says, and the clock moves only
 * when told. Nothing is random and nothing runs by itself.
 */
export class Rig {
  now: number;
  readonly core: CoordinatorCore;
  readonly regions: readonly RegionId[];
  readonly #connections: number;
  /** What each step came to, oldest first. */
  readonly steps: Ready[] = [];
  readonly #flights = new Map<number, Send>();
  readonly #replies = new Map<Ticket, Reply>();
  readonly #pairs = new Map<RegionId, RoundPair>();
  #tickets = 0;

  constructor(options: RigOptions = {}) {
    this.regions = options.regions ?? ['near', 'middle', 'far'];
    this.#connections = options.connections ?? 100;
    this.now = options.now ?? start;
    const { regions } = this;
    const config = { shard: 0, regions, connections: this.#connections, ...timing };
    const stored: Stored = {
      generation: 7,
      epoch: 1,
      incarnation: 3,
      sequence: 0,
      now: 0,
      unconfirmed: [],
      regions: [],
      subscriptions: [],
      ...options.stored,
    };
    this.core = new CoordinatorCore(config, stored, this.now);
  }

  /** A rig whose regions have all answered their first round: nothing is owed, waiting or on its way. */
  static greeted(options: RigOptions = {}): Rig {
    const rig = new Rig(options);
    rig.tick();
    rig.advance(10);
    rig.settle();
    return rig;
  }

  /** What the last step came to. */
  get last(): Ready {
    const last = this.steps.at(-1);
    if (last === undefined) throw new Error('no step was made');
    return last;
  }

  /** Everything that was stored, oldest first. */
  get persisted(): readonly StorageWrite[] {
    return this.steps.flatMap((step) => step.persist);
  }

  /** The rounds on their way, oldest first. */
  get flights(): readonly Send[] {
    return [...this.#flights.values()];
  }

  /** The only round on its way to `region`; it throws where there is none or several. */
  flight(region: RegionId): Send {
    const [only, ...more] = this.flightsTo(region);
    if (only === undefined || more.length > 0) {
      throw new Error(`${more.length + (only ? 1 : 0)} rounds are on their way to ${region}`);
    }
    return only;
  }

  flightsTo(region: RegionId): readonly Send[] {
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

  /** A caller brings a frame; its ticket comes back. */
  arrive(
    frame: WriteFrame,
    how: { readonly async?: boolean; readonly recorded?: RecordedWrite | null } = {},
  ): Ticket {
    this.#tickets += 1;
    const { async = false, recorded = null } = how;
    this.step({ kind: 'arrived', ticket: this.#tickets, frame, async, recorded });
    return this.#tickets;
  }

  /** A reader asks; what it is told comes back. */
  ask(
    transactions: readonly TransactionOrder[],
    recorded: readonly StoredDecision[] = [],
    horizon: TransactionOrder = [0, 0],
  ): readonly Resolution[] | null {
    this.#tickets += 1;
    this.step({ kind: 'asked', ticket: this.#tickets, transactions, recorded, horizon });
    const reply = this.#replies.get(this.#tickets);
    return reply?.kind === 'resolutions' ? reply.resolutions : null;
  }

  /** What a caller was told; undefined while it waits. */
  told(ticket: Ticket): WriteAnswer | undefined {
    const reply = this.#replies.get(ticket);
    return reply?.kind === 'write' ? reply.answer : undefined;
  }

  /** The record that a caller was told; it throws where the write was not decided. */
  record(ticket: Ticket): WriteRecord {
    const answer = this.told(ticket);
    if (answer?.kind !== 'decided') throw new Error(`not decided: ${JSON.stringify(answer)}`);
    return answer.record;
  }

  /** A round is executed: every decision is acknowledged and every prepare gets a yes, unless `given` says otherwise. */
  execute(
    send: Send,
    given: Partial<RoundReply> = {},
    recorded: readonly TransactionOrder[] = [],
  ): void {
    this.end(send, { kind: 'executed', reply: { ...this.#replyTo(send), ...given } }, recorded);
  }

  /** A round ends without a usable answer. */
  silence(send: Send, reason = 'connection refused'): void {
    this.end(send, { kind: 'silent', reason });
  }

  /** A round ends as `result` says. */
  end(send: Send, result: RoundResult, recorded: readonly TransactionOrder[] = []): void {
    this.#flights.delete(send.number);
    this.step({ kind: 'answered', region: send.region, round: send.number, result, recorded });
  }

  /** Executes every round on its way to `regions`, those that this brings about not. */
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
    this.step({ kind: 'ticked' });
  }

  /** One event. Whatever a test is about, no step may use more connections than there are (R20). */
  step(event: CoordinatorEvent): void {
    const ready = this.core.step(event, this.now, `e${this.steps.length}-`);
    this.steps.push(ready);
    for (const send of ready.sends) this.#flights.set(send.number, send);
    for (const reply of ready.replies) {
      if (this.#replies.has(reply.ticket)) throw new Error(`${reply.ticket} is answered twice`);
      this.#replies.set(reply.ticket, reply);
    }
    if (this.#flights.size > this.#connections) throw new Error('more rounds than connections');
  }

  #replyTo({ region, round }: Send): RoundReply {
    const empty = round.decisions.length + round.prepares.length === 0;
    const counter = this.#pairs.get(region)?.[0] ?? round.seen?.[0] ?? 0;
    if (!empty) this.#pairs.set(region, [counter + 1, round.mark]);
    const pair = this.#pairs.get(region);
    return {
      decisions: round.decisions.map(() => 'acknowledged'),
      votes: round.prepares.map(({ keys, parts }) =>
        yes(
          keys.map(() => ''),
          ...parts.map(() => '[0,{"s":"OK"}]'),
        ),
      ),
      marks: pair === undefined ? [] : [pair],
      older: [],
      olderTruncated: false,
    };
  }
}

/** A yes vote with one outcome a part. */
export function yes(fingerprints: readonly string[], ...parts: readonly string[]) {
  return { kind: 'yes', outcomes: `[${parts.join(',')}]`, fingerprints } as const;
}
