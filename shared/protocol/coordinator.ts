import { assert, unreachable } from '../assert.ts';
import { compareOrder, type RegionId, type ShardId, type TransactionOrder, type WriteId } from '../ids.ts';
import { limits } from '../limits.ts';
import type { CoordinatorStatus, RegionFault, Resolution, WriteAnswer } from '../wire/answers.ts';
import { type Caller, FrameQueue, takeBatch, type Waiting } from './admission.ts';
import { agreementOf } from './agreement.ts';
import { recordDecision } from './decision.ts';
import type {
  CoordinatorEvent,
  CoordinatorView,
  LiveWrite,
  Ready,
  Reply,
  Send,
  StorageWrite,
  Stored,
} from './events.ts';
import { type Flight, keyOf, RegionLink } from './region-link.ts';
import type { Decision, RoundReply, RoundResult, Vote } from './round.ts';
import { nextLink } from './schedule.ts';
import { type Ballot, Transaction } from './transaction.ts';

/** What stays the same for the life of an instance. */
export interface CoordinatorConfig {
  readonly shard: ShardId;
  /** The voters: every configured region. */
  readonly regions: readonly RegionId[];
  /** How many rounds may wait for an answer at once, over all regions. */
  readonly connections: number;
}

/** A commit that some region has not acknowledged, and who waits for that. */
interface Applying {
  readonly decision: Decision;
  readonly missing: Set<RegionId>;
  readonly writes: readonly WriteId[];
  readonly waiting: { readonly caller: Caller; readonly answer: WriteAnswer & { kind: 'decided' } }[];
}

type ArrivedEvent = Extract<CoordinatorEvent, { kind: 'arrived' }>;
type AnsweredEvent = Extract<CoordinatorEvent, { kind: 'answered' }>;
type AskedEvent = Extract<CoordinatorEvent, { kind: 'asked' }>;

/**
 * The coordinator of one shard: two-phase commit over all regions. It does no I/O; each event goes in by `step`, and
 * what is to be stored, sent and answered comes out. PROTOCOL.md says why each rule is there.
 */
export class CoordinatorCore implements CoordinatorView {
  readonly #config: CoordinatorConfig;
  readonly #stored: Stored;
  readonly #links = new Map<RegionId, RegionLink>();
  readonly #queue = new FrameQueue();
  readonly #undecided = new Map<string, Transaction>();
  readonly #holders = new Map<string, Transaction>();
  readonly #applying = new Map<string, Applying>();
  /** Frames not decided yet, by their id and by their idempotency key. */
  readonly #pending = new Map<WriteId, Waiting>();
  readonly #pendingByKey = new Map<string, Waiting>();
  readonly #applyingWrites = new Map<WriteId, Applying>();
  readonly #unavailable = new Map<WriteId, LiveWrite & { kind: 'unavailable' }>();
  #now: number;
  #sequence: number;
  #lastTransaction = 0;
  #arrivals = 0;
  #rounds = 0;
  #wakeAt = Number.POSITIVE_INFINITY;
  /** Set where a queued frame may be able to go that could not before. */
  #queueStirred = false;
  #ended: string | null = null;
  #persist: StorageWrite[] = [];
  #sends: Send[] = [];
  #replies: Reply[] = [];

  constructor(config: CoordinatorConfig, stored: Stored, now: number) {
    this.#config = config;
    this.#stored = stored;
    this.#now = Math.max(now, stored.now);
    this.#sequence = stored.sequence;
    for (const region of config.regions) {
      const known = stored.regions.find((one) => one.region === region);
      const link = new RegionLink(known ?? { region, begun: false, pair: null, lost: null });
      link.lingerUntil = this.#now + limits.commitLingerMs;
      this.#links.set(region, link);
    }
    this.#schedule(this.#now + limits.commitLingerMs);
    for (const { transaction, keys } of stored.unconfirmed) {
      this.#apply({ transaction, outcome: 'commit', keys }, [], false);
    }
  }

  /** Takes in one event at `now` (ms). `entropy` is fresh randomness in hex, for the marks of rounds. */
  step(event: CoordinatorEvent, now: number, entropy: string): Ready {
    assert(this.#ended === null, 'an instance that has ended takes no events');
    this.#now = Math.max(this.#now, now);
    this.#persist = [];
    this.#sends = [];
    this.#replies = [];
    switch (event.kind) {
      case 'arrived':
        this.#onArrived(event);
        break;
      case 'answered':
        this.#onAnswered(event);
        break;
      case 'asked':
        this.#onAsked(event);
        break;
      case 'ticked':
        break;
      default:
        unreachable(event);
    }
    if (this.#now >= this.#wakeAt) this.#sweep();
    this.#batch();
    this.#sendRounds(entropy);
    return this.#ready();
  }

  /** True while something is undecided, unacknowledged or unsaid: the instance has to be woken after a crash. */
  get busy(): boolean {
    return this.#pending.size > 0 || [...this.#links.values()].some((link) => !link.settled);
  }

  write(id: WriteId): LiveWrite {
    if (this.#pending.has(id)) return { kind: 'pending' };
    const applying = this.#applyingWrites.get(id);
    if (applying === undefined) return this.#unavailable.get(id) ?? { kind: 'unknown' };
    const appliedIn = this.#config.regions.filter((region) => !applying.missing.has(region));
    return { kind: 'applying', appliedIn };
  }

  status(): CoordinatorStatus {
    return {
      shard: this.#config.shard,
      incarnation: this.#stored.incarnation,
      epoch: this.#stored.epoch,
      generation: this.#stored.generation,
      sequence: this.#sequence,
      queued: this.#queue.length,
      undecided: this.#undecided.size,
      regions: [...this.#links.values()].map((link) => ({
        region: link.region,
        state: 'voter',
        health: link.health.kind,
        detail: link.health.kind === 'answering' ? null : link.health.reason,
        roundTripMs: link.roundTripMs,
        unacknowledged: link.owedCount,
        roundsInFlight: link.flightCount,
      })),
    };
  }

  // A frame comes in.

  #onArrived(event: ArrivedEvent): void {
    const { frame, ticket } = event;
    const waiting = frame.idempotency === null ? undefined : this.#pendingByKey.get(frame.idempotency.key);
    const known = event.recorded ?? null;
    const digest = known?.digest ?? waiting?.frame.idempotency?.digest;
    if (digest !== undefined && digest !== frame.idempotency?.digest) {
      const id = known?.record.id ?? waiting?.frame.id ?? frame.id;
      this.#answer(ticket, { kind: 'key-reused', id });
    } else if (known !== null) this.#replay(event, known.record);
    else if (waiting !== undefined) this.#wait(waiting, event);
    else this.#admit(event);
  }

  /** Answers from storage; the proof makes sure that storage is still this instance's own (rule Proof). */
  #replay(event: ArrivedEvent, record: Extract<WriteAnswer, { kind: 'decided' }>['record']): void {
    this.#persist.push({ kind: 'prove' });
    const applying = this.#applyingWrites.get(record.id);
    const answer = { kind: 'decided', record, replayed: true } as const;
    if (event.frame.ack === 'confirmed' && applying !== undefined && !event.async) {
      applying.waiting.push({ caller: callerOf(event), answer });
      this.#schedule(event.frame.notAfter);
    } else this.#answer(event.ticket, answer);
  }

  #wait(waiting: Waiting, event: ArrivedEvent): void {
    if (event.async) this.#answer(event.ticket, { kind: 'accepted', id: waiting.frame.id });
    else waiting.callers.push(callerOf(event));
  }

  #admit(event: ArrivedEvent): void {
    const { frame, ticket } = event;
    const refusal = this.#refusalOf(event);
    if (refusal !== null) {
      this.#answer(ticket, refusal);
      return;
    }
    this.#arrivals += 1;
    const waiting: Waiting = {
      frame,
      arrival: this.#arrivals,
      arrivedAt: this.#now,
      callers: [],
      attempts: 0,
      retryAt: 0,
      faults: [],
    };
    this.#wait(waiting, event);
    this.#pending.set(frame.id, waiting);
    if (frame.idempotency !== null) this.#pendingByKey.set(frame.idempotency.key, waiting);
    const free = !frame.keys.some((key) => this.#holders.has(key)) && !this.#queue.waitsFor(frame.keys);
    if (free && this.#obstacles().length === 0) this.#begin([waiting]);
    else {
      this.#queue.add(waiting);
      this.#schedule(frame.notAfter);
      if (frame.priority > 0) this.#queueStirred = true;
    }
  }

  #refusalOf({ frame }: ArrivedEvent): WriteAnswer | null {
    const full = this.#pending.size >= limits.framesQueued;
    if (full || this.#queue.bytes + frame.bytes > limits.queuedBytes) {
      const slowest = Math.max(...[...this.#links.values()].map((link) => link.roundTripMs ?? 0));
      return { kind: 'busy', retryAfterMs: Math.max(1_000, Math.ceil(slowest)) };
    }
    const { id } = frame;
    if (frame.notAfter <= this.#now) {
      const reason = 'its notAfter had passed when it arrived at the coordinator';
      return { kind: 'unavailable', id, faults: [], reason };
    }
    const faults = this.#obstacles().filter(({ region }) => this.#link(region).health.kind === 'lost');
    if (faults.length === 0) return null;
    return { kind: 'unavailable', id, faults, reason: 'a region that must vote has lost writes' };
  }

  /** The regions because of which nothing can be prepared now. While there is one, none is asked to lock anything. */
  #obstacles(): readonly RegionFault[] {
    const faults: RegionFault[] = [];
    for (const { region, health, owedCount } of this.#links.values()) {
      if (health.kind !== 'answering') faults.push({ region, reason: health.reason });
      else if (owedCount >= limits.unacknowledgedPerRegion) {
        faults.push({ region, reason: `has ${owedCount} decisions to acknowledge` });
      }
    }
    return faults;
  }

  // Transactions begin and end.

  #batch(): void {
    if (!this.#queueStirred || this.#obstacles().length > 0) return;
    this.#queueStirred = false;
    this.#preempt();
    const held = (key: string) => this.#holders.has(key);
    for (const parts of takeBatch(this.#queue, held, this.#now)) this.#begin(parts);
  }

  /** Aborts undecided transactions whose keys a frame of higher priority waits for (rule Preemption). */
  #preempt(): void {
    for (const { frame, retryAt } of [...this.#queue.frames]) {
      if (frame.priority === 0) return;
      const holders = new Set(frame.keys.flatMap((key) => this.#holders.get(key) ?? []));
      const lower = [...holders].every((holder) => holder.priority < frame.priority);
      if (!lower || retryAt > this.#now) continue;
      for (const holder of holders) this.#abort(holder, this.#now);
    }
  }

  #begin(parts: readonly Waiting[]): void {
    this.#lastTransaction += 1;
    const order: TransactionOrder = [this.#stored.incarnation, this.#lastTransaction];
    const patience = Math.max(...parts.map((part) => part.frame.notAfter));
    const deadline = Math.min(this.#now + limits.voteDeadlineMs, patience);
    const transaction = new Transaction(order, parts, this.#config.regions, this.#now, deadline);
    for (const part of parts) part.attempts += 1;
    this.#undecided.set(keyOf(order), transaction);
    for (const key of transaction.keys) this.#holders.set(key, transaction);
    for (const link of this.#links.values()) link.enqueue(transaction);
    this.#schedule(deadline);
  }

  /** Decides where the votes allow it. */
  #settle(transaction: Transaction): void {
    if (this.#undecided.get(keyOf(transaction.order)) !== transaction) return;
    const { tally } = transaction;
    if (tally === 'pending') return;
    if (tally === 'lost') {
      const faults = transaction.votes.flatMap(({ region, vote, reason }) =>
        vote === 'yes' ? [] : [{ region, reason: reason ?? 'did not vote in time' }],
      );
      for (const part of transaction.parts) part.faults = faults;
      const asked = transaction.votes.some(({ vote }) => vote === 'no');
      this.#abort(transaction, asked ? this.#now + pauseAfter(transaction) : this.#now);
      return;
    }
    const { yesVotes, keys } = transaction;
    const agreement = agreementOf(yesVotes, keys, (position) => transaction.partsOfKey(position));
    switch (agreement.kind) {
      case 'agreed':
        this.#decide(transaction, agreement.parts);
        break;
      case 'expiring': {
        const reason = 'a key of the write expires just now; it is tried again once that has passed';
        for (const part of transaction.parts) part.faults = yesVotes.map(({ region }) => ({ region, reason }));
        this.#abort(transaction, agreement.retryAt);
        break;
      }
      case 'diverged':
        this.#refuseDiverged(transaction, agreement.parts, agreement.detail);
        break;
      default:
        unreachable(agreement);
    }
  }

  #refuseDiverged(transaction: Transaction, parts: readonly number[], detail: string): void {
    this.#abort(transaction, this.#now);
    const wrong = new Set(parts.map((position) => transaction.parts[position]));
    for (const part of this.#queue.take((waiting) => wrong.has(waiting))) {
      const faults = this.#config.regions.map((region) => ({ region, reason: detail }));
      this.#giveUp(part, faults, `the regions have diverged: ${detail}`);
    }
  }

  #release(transaction: Transaction): void {
    this.#undecided.delete(keyOf(transaction.order));
    for (const key of transaction.keys) this.#holders.delete(key);
    this.#queueStirred = true;
  }

  /** Aborts, and queues the parts again in their old places. Nothing is stored: no record means aborted. */
  #abort(transaction: Transaction, retryAt: number): void {
    this.#release(transaction);
    this.#oweAbort(transaction);
    for (const part of transaction.parts) {
      part.retryAt = retryAt;
      if (part.frame.notAfter <= this.#now) this.#giveUp(part, part.faults, tooLate);
      else this.#queue.add(part);
      this.#schedule(Math.min(part.frame.notAfter, Math.max(retryAt, this.#now + 1)));
    }
  }

  #oweAbort(transaction: Transaction): void {
    const { order, keys, bytes } = transaction;
    const reached = new Set(transaction.reached);
    for (const link of this.#links.values()) {
      if (!reached.has(link.region)) link.withdraw(transaction);
      else this.#owe(link, { transaction: order, outcome: 'abort', keys }, bytes, false);
    }
  }

  /** All voters said yes and agree: the decision is stored, and only then does anything below leave. */
  #decide(transaction: Transaction, parts: readonly string[]): void {
    assert(parts.length === transaction.parts.length, 'a yes vote has one outcome a part');
    const decided = recordDecision(transaction, parts, this.#config.shard, this.#sequence, this.#now);
    this.#release(transaction);
    this.#sequence = decided.sequence;
    this.#persist.push(decided.storage);
    const confirmers: Applying['waiting'] = [];
    let urgent = false;
    decided.writes.forEach(({ record }, position) => {
      const part = transaction.parts[position];
      assert(part !== undefined, 'each part is recorded');
      this.#forget(part);
      const answer = { kind: 'decided', record, replayed: false } as const;
      for (const caller of part.callers) {
        if (caller.ack === 'confirmed' && record.outcome === 'committed') {
          confirmers.push({ caller, answer });
          this.#schedule(caller.until);
        } else this.#answer(caller.ticket, answer);
      }
      urgent ||= part.frame.ack === 'confirmed';
    });
    if (decided.storage.kind === 'reject') {
      this.#oweAbort(transaction);
      return;
    }
    const { order, keys } = transaction;
    const committed = decided.writes.map(({ record }) => record.id);
    const applying = this.#apply({ transaction: order, outcome: 'commit', keys }, committed, urgent);
    applying.waiting.push(...confirmers);
  }

  #apply(decision: Decision, writes: readonly WriteId[], urgent: boolean): Applying {
    const bytes = decision.keys.reduce((sum, key) => sum + 3 * key.length + 8, 32);
    for (const link of this.#links.values()) this.#owe(link, decision, bytes, urgent);
    const applying = { decision, missing: new Set(this.#config.regions), writes, waiting: [] };
    this.#applying.set(keyOf(decision.transaction), applying);
    for (const id of writes) this.#applyingWrites.set(id, applying);
    return applying;
  }

  #owe(link: RegionLink, decision: Decision, bytes: number, urgent: boolean): void {
    const lingering = link.hasUnsaid;
    link.owe(decision, bytes);
    if (urgent) link.lingerUntil = this.#now;
    else if (!lingering) link.lingerUntil = this.#now + limits.commitLingerMs;
    this.#schedule(link.lingerUntil);
  }

  #forget(part: Waiting): void {
    this.#pending.delete(part.frame.id);
    if (part.frame.idempotency !== null) this.#pendingByKey.delete(part.frame.idempotency.key);
  }

  /** Answers that nothing was written. No attempt is under way, and none will start. */
  #giveUp(part: Waiting, faults: readonly RegionFault[], reason: string): void {
    this.#forget(part);
    this.#unavailable.set(part.frame.id, { kind: 'unavailable', faults, reason });
    const [oldest] = this.#unavailable.keys();
    if (this.#unavailable.size > limits.framesQueued && oldest !== undefined) {
      this.#unavailable.delete(oldest);
    }
    const answer: WriteAnswer = { kind: 'unavailable', id: part.frame.id, faults, reason };
    for (const { ticket } of part.callers) this.#answer(ticket, answer);
  }

  // A round ends.

  #onAnswered(event: AnsweredEvent): void {
    const link = this.#link(event.region);
    const flight = link.land(event.round);
    if (link.health.kind !== 'lost') this.#take(link, flight, event.result, event.recorded);
    const reason = event.result.kind === 'silent' ? event.result.reason : 'gave no vote';
    for (const transaction of flight.transactions) {
      transaction.count(link.region, { state: 'missing', reason }, this.#now);
      this.#settle(transaction);
    }
    if (this.#queue.length > 0 && link.health.kind === 'answering') this.#queueStirred = true;
  }

  #take(
    link: RegionLink,
    flight: Flight,
    result: RoundResult,
    recorded: readonly TransactionOrder[],
  ): void {
    switch (result.kind) {
      case 'silent':
        this.#fail(link, result.reason);
        break;
      case 'refused':
        this.#onRefused(link, result.refusal);
        break;
      case 'executed': {
        const { decisions, votes } = result.reply;
        if (decisions.length !== flight.decisions.length || votes.length !== flight.transactions.length) {
          this.#fail(link, 'answered another round than it was sent');
          return;
        }
        const loss = link.learn(result.reply, flight, this.#now);
        if (loss === null) this.#onExecuted(link, flight, result.reply, recorded);
        else this.#lose(link, loss);
        break;
      }
      default:
        unreachable(result);
    }
  }

  #onRefused(link: RegionLink, refusal: Extract<RoundResult, { kind: 'refused' }>['refusal']): void {
    switch (refusal.kind) {
      case 'lost':
        this.#lose(link, 'it no longer holds a round that it had acknowledged');
        break;
      case 'history':
        this.#fail(link, 'its history has moved past the last acknowledged round');
        break;
      case 'generation':
        if (refusal.has === 0 && link.begun) this.#lose(link, 'it holds no state any more');
        else {
          const reason = `it holds the state of another Lockstep (generation ${refusal.has})`;
          link.fail(reason, this.#now, 'foreign');
          this.#schedule(this.#now + limits.probePauseMsLast);
        }
        break;
      default:
        unreachable(refusal);
    }
  }

  #onExecuted(
    link: RegionLink,
    flight: Flight,
    reply: RoundReply,
    recorded: readonly TransactionOrder[],
  ): void {
    flight.decisions.forEach((decision, position) => {
      const said = reply.decisions[position];
      if (said === 'acknowledged') this.#acknowledge(link, decision.transaction);
      else if (said === 'lost') this.#lose(link, `it no longer holds transaction ${keyOf(decision.transaction)}`);
      else this.#fail(link, 'its server refused to apply a decision (out of memory?)');
    });
    const committed = new Set(recorded.map(keyOf));
    for (const { transaction, keys } of reply.older) {
      if (link.owes(transaction)) continue;
      if (committed.has(keyOf(transaction))) {
        this.#lose(link, `it locks transaction ${keyOf(transaction)} again, which it had applied`);
      } else this.#owe(link, { transaction, outcome: 'abort', keys }, 0, false);
    }
    flight.transactions.forEach((transaction, position) => {
      const vote = reply.votes[position];
      if (vote !== undefined) this.#count(link, transaction, vote);
    });
  }

  #count(link: RegionLink, transaction: Transaction, vote: Vote): void {
    if (vote.kind === 'fenced') {
      this.#ended ??= `${link.region} has seen a later ${vote.by}`;
      return;
    }
    if (vote.kind === 'locked' && vote.holder[0] < this.#stored.incarnation) link.greetAgain();
    transaction.count(link.region, ballotOf(vote), this.#now);
  }

  #acknowledge(link: RegionLink, order: TransactionOrder): void {
    link.acknowledged(order);
    const applying = this.#applying.get(keyOf(order));
    if (applying === undefined || !applying.missing.delete(link.region) || applying.missing.size > 0) return;
    this.#applying.delete(keyOf(order));
    for (const id of applying.writes) this.#applyingWrites.delete(id);
    this.#persist.push({ kind: 'confirm', transactions: [order], now: this.#now });
    for (const { caller, answer } of applying.waiting) {
      const record = { ...answer.record, appliedIn: this.#config.regions };
      this.#answer(caller.ticket, { ...answer, record });
    }
  }

  #fail(link: RegionLink, reason: string): void {
    link.fail(reason, this.#now);
    if (link.health.kind !== 'answering' && link.health.kind !== 'lost') this.#schedule(link.health.probeAt);
  }

  /** The region has lost what it acknowledged: it votes no more, and that is stored (rule Loss). */
  #lose(link: RegionLink, reason: string): void {
    if (link.health.kind === 'lost') return;
    link.health = { kind: 'lost', reason };
    this.#persist.push({ kind: 'region', region: link.stored });
    const faults = [{ region: link.region, reason }];
    for (const transaction of [...this.#undecided.values()]) this.#abort(transaction, this.#now);
    for (const part of this.#queue.take(() => true)) {
      this.#giveUp(part, faults, 'a region that must vote has lost writes');
    }
  }

  // A reader asks.

  #onAsked(event: AskedEvent): void {
    const later = event.transactions.find(([incarnation]) => incarnation > this.#stored.incarnation);
    if (later !== undefined) {
      this.#ended ??= `asked about transaction ${keyOf(later)} of a later incarnation`;
      return;
    }
    this.#persist.push({ kind: 'prove' });
    const resolutions = event.transactions.map((transaction): Resolution => {
      const decision = event.recorded.find((one) => compareOrder(one.transaction, transaction) === 0);
      if (decision !== undefined) return { kind: 'committed', transaction, keys: decision.keys };
      if (this.#undecided.has(keyOf(transaction))) return { kind: 'pending', transaction };
      const dropped = compareOrder(transaction, event.horizon) <= 0;
      return { kind: dropped ? 'forgotten' : 'aborted', transaction };
    });
    this.#replies.push({ kind: 'resolutions', ticket: event.ticket, resolutions });
  }

  // Time, rounds, answers.

  #sweep(): void {
    for (const transaction of [...this.#undecided.values()]) {
      if (transaction.deadline > this.#now) continue;
      transaction.closeVoting('did not vote in time');
      this.#settle(transaction);
    }
    const faults = this.#obstacles();
    for (const part of this.#queue.take(({ frame }) => frame.notAfter <= this.#now)) {
      this.#giveUp(part, faults.length > 0 ? faults : part.faults, tooLate);
    }
    for (const applying of this.#applying.values()) this.#stopWaiting(applying);
    if (this.#queue.length > 0) this.#queueStirred = true;
    this.#wakeAt = Number.POSITIVE_INFINITY;
    for (const { frame, retryAt } of this.#queue.frames) this.#schedule(frame.notAfter, retryAt);
    for (const { deadline } of this.#undecided.values()) this.#schedule(deadline);
    for (const { waiting } of this.#applying.values()) {
      for (const { caller } of waiting) this.#schedule(caller.until);
    }
    for (const { health, lingerUntil } of this.#links.values()) {
      this.#schedule(lingerUntil);
      if (health.kind === 'silent' || health.kind === 'foreign') this.#schedule(health.probeAt);
    }
  }

  #stopWaiting(applying: Applying): void {
    const patient = applying.waiting.filter(({ caller, answer }) => {
      if (caller.until > this.#now) return true;
      const appliedIn = this.#config.regions.filter((region) => !applying.missing.has(region));
      const record = { ...answer.record, appliedIn };
      this.#answer(caller.ticket, { kind: 'unconfirmed', record });
      return false;
    });
    applying.waiting.splice(0, applying.waiting.length, ...patient);
  }

  #sendRounds(entropy: string): void {
    const links = [...this.#links.values()];
    for (;;) {
      const free = this.#config.connections - links.reduce((sum, link) => sum + link.flightCount, 0);
      const link = this.#ended === null ? nextLink(links, free, this.#now) : null;
      if (link === null) return;
      this.#rounds += 1;
      const [oldest] = this.#undecided.values();
      const head = {
        shard: this.#config.shard,
        generation: this.#stored.generation,
        epoch: this.#stored.epoch,
        incarnation: this.#stored.incarnation,
        newest: [this.#stored.incarnation, this.#lastTransaction],
        oldestUndecided: oldest?.order ?? null,
      } as const;
      const mark = `${entropy}${this.#rounds.toString(36)}`;
      const round = link.nextRound(this.#rounds, head, mark, this.#now);
      const { region } = link;
      this.#sends.push({ region, number: this.#rounds, round, timeoutMs: limits.roundTimeoutMs });
    }
  }

  #ready(): Ready {
    for (const link of this.#links.values()) {
      const region = link.takeStorable(this.#persist.length > 0);
      if (region !== null) this.#persist.push({ kind: 'region', region });
    }
    return {
      persist: this.#persist,
      sends: this.#sends,
      replies: this.#replies,
      wakeAt: Number.isFinite(this.#wakeAt) ? this.#wakeAt : null,
      ended: this.#ended,
    };
  }

  /** Makes sure that an event comes at the earliest of `moments`; those that have passed need none. */
  #schedule(...moments: readonly number[]): void {
    for (const moment of moments) {
      if (moment > this.#now && moment < this.#wakeAt) this.#wakeAt = moment;
    }
  }

  #answer(ticket: number, answer: WriteAnswer): void {
    this.#replies.push({ kind: 'write', ticket, answer });
  }

  #link(region: RegionId): RegionLink {
    const link = this.#links.get(region);
    assert(link !== undefined, `${region} is a configured region`);
    return link;
  }
}

const tooLate = 'it could not be decided in the time given';

function callerOf({ ticket, frame }: ArrivedEvent): Caller {
  return { ticket, ack: frame.ack, until: frame.notAfter };
}

/** The pause after a refused attempt: it doubles with each. Ms. */
function pauseAfter(transaction: Transaction): number {
  const attempts = Math.max(...transaction.parts.map((part) => part.attempts));
  const doubled = limits.retryPauseMsFirst * 2 ** Math.min(attempts - 1, 16);
  return Math.min(doubled, limits.retryPauseMsLast);
}

function ballotOf(vote: Exclude<Vote, { kind: 'fenced' }>): Ballot {
  switch (vote.kind) {
    case 'yes':
      return { state: 'yes', outcomes: vote.outcomes, fingerprints: vote.fingerprints };
    case 'late':
      return { state: 'no', reason: 'had settled the transaction before its prepare came' };
    case 'duplicate':
      return { state: 'missing', reason: 'executed the prepare, but its first answer was lost' };
    case 'locked':
      return { state: 'no', reason: `holds a lock of transaction ${keyOf(vote.holder)} on a key` };
    case 'refused':
      return { state: 'no', reason: vote.reason };
    default:
      return unreachable(vote);
  }
}
