import type { ReadRequest } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { AdminCommand } from '../../shared/contracts/members.ts';
import type { RoundResult, SnapshotResult } from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent, Ticket } from '../../shared/protocol/io/events.ts';
import type {
  CoordinatorReply,
  Ready,
  Send,
  SentRound,
  SentSnapshot,
} from '../../shared/protocol/io/ready.ts';
import { ampleRoom } from '../../shared/protocol/io/room.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import type { Simulation } from './simulation.ts';
import { noHorizon, type Tables } from './storage.ts';
import { type Asker, generation } from './weather.ts';

/** One instance of the coordinator: the core, with storage that is durable a little later, and a network that fails. */
export class Instance {
  alive = true;
  readonly core: CoordinatorCore;
  readonly #simulation: Simulation;
  readonly #tables: Tables;
  readonly #outputs: Ready[] = [];
  readonly #callers = new Map<Ticket, (reply: CoordinatorReply | null) => void>();
  #lastTicket = 0;
  #wakes = 0;
  #flushing = false;
  /** Instances run on different machines: their clocks differ, ms. */
  readonly #offset: number;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
    this.#offset = simulation.random.between(-20, 20);
    this.#tables = simulation.storage.takeOver(this);
    const config = {
      shard: 0,
      regions: [...simulation.operator.configured],
      connections: simulation.weather.connections,
      voteDeadlineMs: limits.voteDeadlineMs,
      roundTimeoutMs: limits.roundTimeoutMs,
      outAfterMs: limits.outAfterMs,
      minVoters: simulation.weather.minVoters,
    };
    this.core = new CheckedCore(config, this.#tables.stored(generation), this.#now);
    this.step({ kind: 'tick' });
  }

  /** Hands in a frame, `again` if the same came before; the answer is null if the instance dies first. */
  write(frame: WriteFrame, again: boolean, give: (reply: CoordinatorReply | null) => void): void {
    const ticket = this.#expect(give);
    const recorded = this.#tables.recordedOf(frame, again);
    const abandoned =
      again && this.#tables.outbox.has(`${frame.id}.write.aborted`) ? 'given up' : null;
    const arrival = { frame, async: false, recorded, again, abandoned, room: ampleRoom };
    this.step({ kind: 'write-received', ticket, ...arrival });
  }

  /** Asks for the outcomes of transactions. */
  ask(
    transactions: readonly TransactionOrder[],
    give: (reply: CoordinatorReply | null) => void,
  ): void {
    const ticket = this.#expect(give);
    const recorded = this.#tables.decisionsOf(transactions);
    this.step({ kind: 'resolution-requested', ticket, transactions, recorded, horizon: noHorizon });
  }

  /** Reads through the coordinator. */
  read(request: ReadRequest, give: (reply: CoordinatorReply | null) => void): void {
    this.step({ kind: 'read-requested', ticket: this.#expect(give), request });
  }

  /** A client reads there. */
  requestLease(region: string, forMs: number): void {
    this.step({ kind: 'lease-requested', wishes: [{ region, forMs }] });
  }

  /**
   * The status of the shard, after a storage write has proved this instance to own its storage; null if it dies
   * first.
   */
  describe(give: (status: ReturnType<CoordinatorCore['status']> | null) => void): void {
    const { timeline, random, storage } = this.#simulation;
    timeline.after(random.between(1, 4), () => {
      if (!this.alive) give(null);
      // A state that is not durable yet is not reported.
      else if (this.#outputs.length > 0) this.describe(give);
      else if (storage.commit(this, [])) give(this.core.status());
      else {
        this.die();
        give(null);
      }
    });
  }

  command(command: AdminCommand): void {
    this.step({ kind: 'admin-command', ticket: this.#expect(() => {}), command });
  }

  /** An instance that was left behind has a network path of its own. */
  get #asker(): Asker {
    return this.#simulation.instance === this ? 'coordinator' : 'stale';
  }

  get #now(): number {
    return this.#simulation.timeline.now + this.#offset;
  }

  die(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const give of this.#callers.values()) give(null);
    this.#callers.clear();
  }

  step(event: CoordinatorEvent): void {
    if (!this.alive) return;
    const { timeline, random } = this.#simulation;
    const entropy = random.between(0, 0xffffffff).toString(36);
    const ready = this.core.step(event, this.#now, entropy);
    this.#simulation.monitor.checkSends(ready);
    if (ready.ended !== null) {
      this.die();
      return;
    }
    this.#tables.apply(ready.persist);
    if (this.#tables.isCopying) this.#simulation.monitor.notePause(this, this.core.status().held);
    this.#outputs.push(ready);
    this.#flush();
    this.#wakes += 1;
    const wake = this.#wakes;
    if (ready.wakeAt === null) return;
    timeline.after(ready.wakeAt - this.#now, () => {
      if (wake === this.#wakes) this.step({ kind: 'tick' });
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
    this.#simulation.timeline.after(this.#simulation.random.between(0, 4), () => {
      this.#flushing = false;
      if (!this.alive) return;
      const { storage, monitor } = this.#simulation;
      if (storage.owner === this) monitor.beforeStoring(ready.persist);
      if (!storage.commit(this, ready.persist)) {
        this.die();
        return;
      }
      monitor.afterStoring(ready.persist);
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
    this.#simulation.noteClocks(round);
    this.#simulation.monitor.checkScan(region, round);
    const sentAt = this.#simulation.timeline.now;
    const answer = once((result: RoundResult) => {
      if (result.kind === 'executed') {
        this.#simulation.monitor.noteCopyReply(region, sentAt, result.reply.copy);
      }
      const older = result.kind === 'executed' ? result.reply.older : [];
      const asked = older.map(({ transaction }) => transaction);
      const recorded = this.#tables.decisionsOf(asked).map(({ transaction }) => transaction);
      this.step({ kind: 'round-completed', region, round: number, result, recorded });
    });
    this.#simulation.timeline.after(timeoutMs, () =>
      answer({ kind: 'silent', reason: 'timed out' }),
    );
    this.#simulation.exchange(
      region,
      this.#asker,
      (model) => {
        const result = model.round(round);
        if (round.lease !== null) this.#simulation.monitor.checkLeases();
        return result;
      },
      answer,
    );
  }

  #look({ region, number, request, timeoutMs }: SentSnapshot, once: Once): void {
    const answer = once((result: SnapshotResult) => {
      const locks = result.kind === 'read' ? result.locks : [];
      const recorded = this.#tables.decisionsOf(locks.map(({ holder }) => holder));
      this.step({
        kind: 'snapshot-completed',
        region,
        number,
        result,
        recorded,
        horizon: noHorizon,
      });
    });
    this.#simulation.timeline.after(timeoutMs, () =>
      answer({ kind: 'silent', reason: 'timed out' }),
    );
    this.#simulation.exchange(region, this.#asker, (model) => model.snapshot(request), answer);
  }

  #expect(give: (reply: CoordinatorReply | null) => void): Ticket {
    this.#lastTicket += 1;
    this.#callers.set(this.#lastTicket, give);
    return this.#lastTicket;
  }
}

/** Lets only the first of several ends count. */
type Once = <Result>(end: (result: Result) => void) => (result: Result) => void;
