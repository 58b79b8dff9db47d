import type { Resolution } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import type { JointResult } from '../../shared/contracts/joint.ts';
import type { LoanAnswer, LoanCall } from '../../shared/contracts/loans.ts';
import type { RoundResult, SnapshotResult } from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent, Ticket } from '../../shared/protocol/io/events.ts';
import type {
  CoordinatorReply,
  Ready,
  Send,
  SentJointRound,
} from '../../shared/protocol/io/ready.ts';
import { ampleRoom } from '../../shared/protocol/io/room.ts';
import { ownershipIn } from '../../shared/shards/shard-map.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import type { ShardsWorld } from './shards-world.ts';
import { noHorizon, type Tables } from './storage.ts';
import { generation } from './weather.ts';

type Give = (reply: CoordinatorReply | null) => void;

/** One instance of the coordinator of one shard, whose storage is durable a little later. */
export class CoordinatorOfShard {
  alive = true;
  readonly shard: number;
  readonly core: CoordinatorCore;
  readonly #world: ShardsWorld;
  readonly #tables: Tables;
  readonly #outputs: Ready[] = [];
  readonly #callers = new Map<Ticket, Give>();
  readonly #offset: number;
  #lastTicket = 0;
  #wakes = 0;
  #isFlushing = false;

  constructor(world: ShardsWorld, shard: number) {
    this.#world = world;
    this.shard = shard;
    const { random, skewMs } = world;
    this.#offset = random.between(-skewMs, skewMs);
    this.#tables = world.storages.of(shard).takeOver(this);
    this.#tables.ownership = ownershipIn(world.map, shard);
    const { voteDeadlineMs, roundTimeoutMs, outAfterMs, connections } = limits;
    const config = {
      shard,
      regions: [...world.regions.keys()],
      minVoters: 1,
      connections: world.shards > 2 ? connections + 2 : connections,
      jointMap: world.map,
      voteDeadlineMs,
      roundTimeoutMs,
      outAfterMs,
    };
    this.core = new CheckedCore(config, this.#tables.stored(generation + shard), this.#now);
    this.step({ kind: 'tick' });
  }

  /** Hands in a frame; the answer is null if the instance dies first. */
  write(frame: WriteFrame, again: boolean, give: Give): void {
    const ticket = this.#expect(give);
    const recorded = this.#tables.recordedOf(frame, again);
    const abandoned =
      again && this.#tables.outbox.has(`${frame.id}.write.aborted`) ? 'given up' : null;
    const arrival = { frame, async: false, recorded, again, abandoned, room: ampleRoom };
    this.step({ kind: 'write-received', ticket, ...arrival });
  }

  /** Asks for the outcomes of transactions; null if the instance dies first. */
  resolve(
    transactions: readonly TransactionOrder[],
    give: (resolutions: readonly Resolution[] | null) => void,
  ): void {
    const ticket = this.#expect((reply) =>
      give(reply?.kind === 'resolutions' ? reply.resolutions : null),
    );
    const recorded = this.#tables.decisionsOf(transactions);
    this.step({ kind: 'resolution-requested', ticket, transactions, recorded, horizon: noHorizon });
  }

  /** Another coordinator calls. */
  loan(from: number, call: LoanCall, give: (answer: LoanAnswer) => void): void {
    const ticket = this.#expect((reply) => {
      if (reply?.kind === 'loan') give(reply.answer);
    });
    const recorded =
      call.kind === 'ask'
        ? (this.#tables.jointCommits.get(
            `${call.question.name.incarnation}.${call.question.name.sequence}`,
          ) ?? null)
        : null;
    this.step({ kind: 'loan-called', ticket, from, call, recorded });
  }

  /** A client reads in the region. */
  requestLease(region: string): void {
    this.step({ kind: 'lease-requested', wishes: [{ region, forMs: limits.leaseReadersMinMs }] });
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
    const entropy = `${this.shard}${random.between(0, 0xffffffff).toString(36)}`;
    const ready = this.core.step(event, this.#now, entropy);
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
      if (wake === this.#wakes) this.step({ kind: 'tick' });
    });
  }

  get #now(): number {
    return this.#world.timeline.now + this.#offset;
  }

  #flush(): void {
    if (this.#isFlushing) return;
    const [ready] = this.#outputs;
    if (ready === undefined || !this.alive) return;
    if (ready.persist.length === 0) {
      this.#outputs.shift();
      this.#perform(ready);
      this.#flush();
      return;
    }
    this.#isFlushing = true;
    const { timeline, random } = this.#world;
    timeline.after(random.between(0, 4), () => {
      this.#isFlushing = false;
      if (!this.alive) return;
      if (!this.#world.storages.of(this.shard).commit(this, ready.persist)) {
        this.die();
        return;
      }
      this.#world.noteStored(this.shard, ready.persist);
      this.#outputs.shift();
      // A life may end right after it has stored a step, before anything of it leaves.
      if (this.#world.diesAfter(this, ready.persist)) return;
      this.#perform(ready);
      this.#flush();
    });
  }

  #perform(ready: Ready): void {
    for (const send of ready.sends) this.#send(send);
    for (const send of ready.jointRounds) this.#sendJoint(send);
    for (const { shard, number, call, timeoutMs } of ready.calls) {
      const answer = once((given: LoanAnswer | null) =>
        this.step({ kind: 'loan-answered', shard, number, answer: given }),
      );
      this.#world.timeline.after(timeoutMs, () => answer(null));
      this.#world.call(this, shard, call, answer);
    }
    for (const reply of ready.replies) {
      const give = this.#callers.get(reply.ticket);
      this.#callers.delete(reply.ticket);
      give?.(reply);
    }
  }

  #send(send: Send): void {
    const { region, number, timeoutMs } = send;
    const { timeline } = this.#world;
    const silent = { kind: 'silent', reason: 'timed out' } as const;
    if (send.kind === 'snapshot') {
      const answer = once((result: SnapshotResult) => {
        const locks = result.kind === 'read' ? result.locks : [];
        const recorded = this.#tables.decisionsOf(locks.map(({ holder }) => holder));
        const horizon = noHorizon;
        this.step({ kind: 'snapshot-completed', region, number, result, recorded, horizon });
      });
      timeline.after(timeoutMs, () => answer(silent));
      this.#world.exchange(this, region, (model) => model.snapshot(send.request), answer);
      return;
    }
    const { round } = send;
    const answer = once((result: RoundResult) => {
      const recorded = this.#recordedIn(result);
      this.step({ kind: 'round-completed', region, round: number, result, recorded });
    });
    timeline.after(timeoutMs, () => answer(silent));
    this.#world.noteClocks(round.shard, round.prepares);
    this.#world.exchange(this, region, (model) => model.round(round), answer);
  }

  #sendJoint({ region, number, round, timeoutMs }: SentJointRound): void {
    const answer = once((result: JointResult) => {
      const [own] = result.kind === 'executed' ? result.replies : [];
      const recorded = own === undefined ? [] : this.#recordedIn(own);
      this.step({ kind: 'joint-round-completed', region, round: number, result, recorded });
    });
    this.#world.timeline.after(timeoutMs, () => answer({ kind: 'silent', reason: 'timed out' }));
    const { now, shares } = round.prepare;
    const [home] = shares;
    if (home !== undefined) {
      this.#world.noteClocks(home.shard, [{ transaction: home.transaction, now }]);
    }
    this.#world.jolt(this, region, round);
    this.#world.exchange(this, region, (model) => model.joint(round), answer);
  }

  #recordedIn(
    result: Pick<RoundResult, 'kind'> & Partial<RoundResult>,
  ): readonly TransactionOrder[] {
    const older = 'reply' in result && result.reply !== undefined ? result.reply.older : [];
    const asked = older.map(({ transaction }) => transaction);
    return this.#tables.decisionsOf(asked).map(({ transaction }) => transaction);
  }

  #expect(give: Give): Ticket {
    this.#lastTicket += 1;
    this.#callers.set(this.#lastTicket, give);
    return this.#lastTicket;
  }
}

/** Lets only the first of several ends count. */
function once<Result>(end: (result: Result) => void): (result: Result) => void {
  let isOpen = true;
  return (result) => {
    if (!isOpen) return;
    isOpen = false;
    end(result);
  };
}
