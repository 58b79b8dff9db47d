import type { Resolution, WriteAnswer } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { JointResult, JointRound } from '../../shared/contracts/joint.ts';
import type { LoanAnswer, LoanCall } from '../../shared/contracts/loans.ts';
import type { RoundResult } from '../../shared/contracts/round.ts';
import type { RegionId, TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorEvent } from '../../shared/protocol/io/events.ts';
import type { CoordinatorReply, Ready } from '../../shared/protocol/io/ready.ts';
import { ampleRoom } from '../../shared/protocol/io/room.ts';
import { ownershipIn, type ShardMap } from '../../shared/shards/shard-map.ts';
import { RegionModel } from '../region/model.ts';
import { noHorizon, SimulatedStorage, type Tables } from '../simulation/storage.ts';
import { CheckedCore } from './checked-core.ts';
import { mapByDigit, ownerOfKey } from './keys-by-digit.ts';

/** Something on its way: it is delivered, or lost, as the test says. */
export interface MessageBetweenShards {
  readonly kind: LoanCall['kind'] | `${LoanCall['kind']}-answer` | 'joint-round' | 'round';
  /** The shard that sent it, or gets it as an answer. */
  readonly shard: number;
  /** The shard or region that gets it. */
  readonly to: number | RegionId;
  readonly call?: LoanCall;
  readonly round?: JointRound;
  deliver(): void;
  /** It arrives once more, now, and nobody waits for its answer. */
  repeat(): void;
  /** It is lost; whoever waits for an answer learns that. */
  lose(): void;
  /** It is lost, and nobody learns that before the time for its answer is over. */
  drop(): void;
}

/** Somebody waits for an answer until a moment, ms. */
interface Awaited {
  readonly until: number;
  end(): void;
}

/** One life of the coordinator of a shard, whose storage is durable at once. */
class Life {
  readonly core: CheckedCore;
  readonly tables: Tables;
  readonly steps: Ready[] = [];
  isOver = false;

  constructor(core: CheckedCore, tables: Tables) {
    this.core = core;
    this.tables = tables;
  }
}

/**
 * Coordinators of several shards over three regions, driven by hand: messages wait until the test delivers them, and only
 * the test moves the clock.
 */
export class ShardsHarness {
  now = 1_000_000;
  readonly regions = new Map<RegionId, RegionModel>();
  readonly messages: MessageBetweenShards[] = [];
  readonly #storages: readonly SimulatedStorage[];
  readonly #lives = new Map<number, Life>();
  readonly #answers = new Map<number, CoordinatorReply>();
  readonly #births: number[];
  readonly #map: ShardMap;
  /** How far the clock of each shard's machine is ahead, ms. */
  readonly ahead: number[];
  readonly #awaited = new Set<Awaited>();
  #tickets = 0;

  constructor(shards = 2, regions: readonly RegionId[] = ['near', 'middle', 'far']) {
    this.#map = mapByDigit(shards);
    const shardOf = ownerOfKey(this.#map);
    for (const region of regions) {
      this.regions.set(region, new RegionModel(() => this.now, true, shardOf));
    }
    this.#storages = Array.from({ length: shards }, () => new SimulatedStorage());
    this.#births = this.#storages.map((_, shard) => 7 + shard);
    this.ahead = this.#storages.map(() => 0);
    for (let shard = 0; shard < shards; shard += 1) this.restart(shard);
    this.settle();
  }

  /** Begins a new life of a shard; the last one is dead. With another `birth` its storage is empty. */
  restart(shard: number, birth: number | null = null): void {
    const old = this.#lives.get(shard);
    if (old !== undefined) old.isOver = true;
    if (birth !== null) this.#births[shard] = birth;
    const storage = birth === null ? this.#storages[shard] : new SimulatedStorage();
    if (storage === undefined) throw new Error(`no shard ${shard}`);
    const tables = storage.takeOver({});
    tables.ownership = ownershipIn(this.#map, shard);
    const { voteDeadlineMs, roundTimeoutMs, outAfterMs } = limits;
    const config = {
      shard,
      regions: [...this.regions.keys()],
      minVoters: 1,
      connections: 20,
      jointMap: this.#map,
      voteDeadlineMs,
      roundTimeoutMs,
      outAfterMs,
    };
    const stored = tables.stored(this.#births[shard] ?? 0);
    const life = new Life(new CheckedCore(config, stored, this.#clockOf(shard)), storage.durable);
    this.#lives.set(shard, life);
    this.step(shard, { kind: 'tick' });
  }

  /** A client brings a frame to a shard; returns the ticket of its answer. */
  write(shard: number, frame: WriteFrame): number {
    const ticket = this.#nextTicket();
    const arrival = { frame, async: false, recorded: null, again: false, abandoned: null };
    this.step(shard, { kind: 'write-received', ticket, ...arrival, room: ampleRoom });
    return ticket;
  }

  /** The answer to a write; null while it waits. */
  answerTo(ticket: number): WriteAnswer | null {
    const reply = this.#answers.get(ticket);
    return reply?.kind === 'write' ? reply.answer : null;
  }

  /** A reader asks a shard about a lock; returns the ticket of its answer. */
  ask(shard: number, transaction: TransactionOrder): number {
    const ticket = this.#nextTicket();
    const recorded = this.tablesOf(shard).decisionsOf([transaction]);
    const transactions = [transaction];
    const question = { ticket, transactions, recorded, horizon: noHorizon };
    this.step(shard, { kind: 'resolution-requested', ...question });
    return ticket;
  }

  /** The answer to a reader; null while it waits. */
  resolutionOf(ticket: number): Resolution | null {
    const reply = this.#answers.get(ticket);
    return reply?.kind === 'resolutions' ? (reply.resolutions[0] ?? null) : null;
  }

  /** Another coordinator calls a shard; returns the ticket of its answer. */
  call(from: number, to: number, call: LoanCall): number {
    const ticket = this.#nextTicket();
    this.#call(from, to, call, ticket);
    return ticket;
  }

  /** The answer to a coordinator; null while it waits. */
  loanAnswerTo(ticket: number): LoanAnswer | null {
    const reply = this.#answers.get(ticket);
    return reply?.kind === 'loan' ? reply.answer : null;
  }

  tablesOf(shard: number): Tables {
    return this.#lifeOf(shard).tables;
  }

  /** The output of each step of the present life of a shard. */
  stepsOf(shard: number): readonly Ready[] {
    return this.#lifeOf(shard).steps;
  }

  coreOf(shard: number): CheckedCore {
    return this.#lifeOf(shard).core;
  }

  /** The messages of a kind that are on their way. */
  of(
    kind: MessageBetweenShards['kind'],
    shard: number | null = null,
  ): readonly MessageBetweenShards[] {
    return this.messages.filter(
      (message) => message.kind === kind && (shard === null || message.shard === shard),
    );
  }

  /** Delivers every message of a kind that is on its way now. */
  deliver(kind: MessageBetweenShards['kind']): void {
    for (const message of this.of(kind)) message.deliver();
  }

  /** Delivers messages, and moves the clock past the time for which commits linger, until nothing is on its way. */
  settle(except: (message: MessageBetweenShards) => boolean = () => false): void {
    for (let turn = 0; turn < 400; turn += 1) {
      const next = this.messages.find((message) => !except(message));
      if (next !== undefined) next.deliver();
      else if (turn % 2 === 0) this.advance(20);
      if (this.messages.every(except) && turn > 40) return;
    }
  }

  /** Moves the clock, with a tick at each requested time. */
  advance(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const wakes = [...this.#lives].flatMap(([shard, { steps }]) => {
        const wakeAt = steps.at(-1)?.wakeAt ?? null;
        return wakeAt === null ? [] : [{ shard, at: wakeAt - (this.ahead[shard] ?? 0) }];
      });
      const [first] = wakes.sort((a, b) => a.at - b.at);
      const [overdue] = [...this.#awaited].sort((a, b) => a.until - b.until);
      const at = Math.min(first?.at ?? until + 1, overdue?.until ?? until + 1);
      if (at > until) break;
      this.now = Math.max(this.now, at);
      if (overdue !== undefined && overdue.until <= this.now) overdue.end();
      else if (first !== undefined) this.step(first.shard, { kind: 'tick' });
    }
    this.now = until;
  }

  step(shard: number, event: CoordinatorEvent): Ready {
    const life = this.#lifeOf(shard);
    const entropy = `s${shard}e${life.steps.length}i${life.tables.incarnation}-`;
    const ready = life.core.step(event, this.#clockOf(shard), entropy);
    life.steps.push(ready);
    if (ready.ended !== null) return ready;
    life.tables.apply(ready.persist);
    for (const send of ready.sends) {
      if (send.kind !== 'round') continue;
      const { region, number, round } = send;
      const answer = this.#awaiting(send.timeoutMs, (result: RoundResult | null) => {
        if (life.isOver) return;
        const given = result ?? { kind: 'silent' as const, reason: 'lost' };
        const recorded = this.#recordedIn(life, given);
        const event = { kind: 'round-completed', region, round: number, recorded } as const;
        this.step(shard, { ...event, result: given });
      });
      const run = () => this.#model(region).round(round);
      this.#add('round', shard, region, {}, run, answer);
    }
    for (const { region, number, round, timeoutMs } of ready.jointRounds) {
      const answer = this.#awaiting(timeoutMs, (result: JointResult | null) => {
        if (life.isOver) return;
        const given = result ?? { kind: 'silent' as const, reason: 'lost' };
        const end = { region, round: number, result: given, recorded: [] };
        this.step(shard, { kind: 'joint-round-completed', ...end });
      });
      const run = () => this.#model(region).joint(round);
      this.#add('joint-round', shard, region, { round }, run, answer);
    }
    for (const { shard: to, number, call, timeoutMs } of ready.calls) {
      const answer = this.#awaiting(timeoutMs, (given: LoanAnswer | null) => {
        if (life.isOver) return;
        this.step(shard, { kind: 'loan-answered', shard: to, number, answer: given });
      });
      const arrive = () =>
        this.#call(shard, to, call, this.#nextTicket(), (given) =>
          this.#add(`${call.kind}-answer`, shard, to, { call }, () => given, answer),
        );
      this.#add(call.kind, shard, to, { call }, arrive, (lost) => {
        if (lost === null) answer(null);
      });
    }
    for (const reply of ready.replies) {
      this.#answers.set(reply.ticket, reply);
      const give = this.#gives.get(reply.ticket);
      if (give !== undefined && reply.kind === 'loan') give(reply.answer);
    }
    return ready;
  }

  readonly #gives = new Map<number, (answer: LoanAnswer) => void>();

  #call(
    from: number,
    to: number,
    call: LoanCall,
    ticket: number,
    give: (answer: LoanAnswer) => void = () => {},
  ): void {
    this.#gives.set(ticket, give);
    const name = call.kind === 'ask' ? call.question.name : null;
    const recorded =
      name === null
        ? null
        : (this.tablesOf(to).jointCommits.get(`${name.incarnation}.${name.sequence}`) ?? null);
    this.step(to, { kind: 'loan-called', ticket, from, call, recorded });
  }

  /** Adds a message. It arrives by `run`, and `give` gets the answer, or null if it is lost. */
  #add<Result>(
    kind: MessageBetweenShards['kind'],
    shard: number,
    to: number | RegionId,
    content: Pick<MessageBetweenShards, 'call' | 'round'>,
    run: () => Result,
    give: (result: Result | null) => void,
  ): void {
    const leave = (end: () => void) => {
      const at = this.messages.indexOf(message);
      if (at < 0) return;
      this.messages.splice(at, 1);
      end();
    };
    const message: MessageBetweenShards = {
      kind,
      shard,
      to,
      ...content,
      deliver: () => leave(() => give(run())),
      repeat: () => void run(),
      lose: () => leave(() => give(null)),
      drop: () => leave(() => {}),
    };
    this.messages.push(message);
  }

  /** The first answer counts; without one in time, there is none. */
  #awaiting<Result>(
    timeoutMs: number,
    give: (result: Result | null) => void,
  ): (result: Result | null) => void {
    const end = (result: Result | null) => {
      if (this.#awaited.delete(awaited)) give(result);
    };
    const awaited: Awaited = { until: this.now + timeoutMs, end: () => end(null) };
    this.#awaited.add(awaited);
    return end;
  }

  #recordedIn({ tables }: Life, result: RoundResult): readonly TransactionOrder[] {
    const older = result.kind === 'executed' ? result.reply.older : [];
    const asked = older.map(({ transaction }) => transaction);
    return tables.decisionsOf(asked).map(({ transaction }) => transaction);
  }

  #model(region: RegionId): RegionModel {
    const model = this.regions.get(region);
    if (model === undefined) throw new Error(`no region ${region}`);
    return model;
  }

  #lifeOf(shard: number): Life {
    const life = this.#lives.get(shard);
    if (life === undefined) throw new Error(`no shard ${shard}`);
    return life;
  }

  #clockOf(shard: number): number {
    return this.now + (this.ahead[shard] ?? 0);
  }

  #nextTicket(): number {
    this.#tickets += 1;
    return this.#tickets;
  }
}
