import type { WriteAnswer } from '../../contracts/coordinator.ts';
import type { LoanAnswer } from '../../contracts/loans.ts';
import type { Callback } from '../../contracts/webhooks-and-feed.ts';
import type { Clock } from './clock.ts';
import type { Ticket } from './events.ts';
import type {
  ComparisonRequest,
  CoordinatorReply,
  OutboxWriteEvent,
  Ready,
  Send,
  SentJointRound,
  SentLoanCall,
  StorageWrite,
} from './ready.ts';

/** Collects the output of one step, and the moment of the next tick. */
export class ReadyBuilder {
  /** The clock's reading in this step, ms. */
  now: number;
  /** Why this instance must end itself, once it must. */
  ended: string | null = null;
  #wakeAt = Number.POSITIVE_INFINITY;
  readonly #clock: Clock;
  #mustProve = false;
  /** The latest reading that this instance has stored, ms. */
  #storedNow = 0;
  #isLate = false;
  #persist: StorageWrite[] = [];
  #sends: Send[] = [];
  #jointRounds: SentJointRound[] = [];
  #calls: SentLoanCall[] = [];
  #comparison: ComparisonRequest | null = null;
  #asksRegistry = false;
  #replies: CoordinatorReply[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.now = clock.now;
  }

  /** True if this step stores anything. */
  get writes(): boolean {
    return this.#persist.length > 0;
  }

  /** True if a round that leaves with this step asks a region to lock something. */
  get sendsPrepares(): boolean {
    if (this.#jointRounds.length > 0) return true;
    return this.#sends.some((send) => send.kind === 'round' && send.round.prepares.length > 0);
  }

  /** True if keys are lent with this step: their home may ask a region to lock them. */
  get lends(): boolean {
    return this.#persist.some(({ kind }) => kind === 'lend');
  }

  /** True once the moment that was scheduled has come. */
  get due(): boolean {
    return this.now >= this.#wakeAt;
  }

  /** When the next tick is due by the coordinator's own clock, ms; infinity: not before another event. */
  get wakeAt(): number {
    return this.#wakeAt;
  }

  /** A step begins, at a reading of the source clock, ms. */
  begin(given: number): void {
    this.now = this.#clock.read(given);
    this.#mustProve = false;
    this.#isLate = false;
    this.#persist = [];
    this.#sends = [];
    this.#jointRounds = [];
    this.#calls = [];
    this.#comparison = null;
    this.#asksRegistry = false;
    this.#replies = [];
  }

  /** Adds a write to the storage transaction of this step. */
  persist(write: StorageWrite): void {
    const { kind } = write;
    if (kind === 'commit' || kind === 'reject' || kind === 'clock' || isLoanEnd(write)) {
      this.#storedNow = Math.max(this.#storedNow, write.now);
    }
    this.#persist.push(write);
  }

  /**
   * A caller hears that a write was too late by this clock: the next life, whose machine may be behind, must not decide
   * it after all (rule R18).
   */
  noteLateAnswer(): void {
    this.#isLate = true;
  }

  /** Something that leaves with this step must follow a storage write of it. */
  prove(): void {
    this.#mustProve = true;
  }

  /** The events are stored in the transaction of this step, so no crash comes between. */
  queueEvents(events: readonly OutboxWriteEvent[], callback: Callback | null): void {
    if (events.length > 0) this.persist({ kind: 'queue-events', events, callback });
  }

  /** Sends a request, once the storage writes of this step are durable. */
  send(send: Send): void {
    this.#sends.push(send);
  }

  /** Sends a round of several shards, once the storage writes of this step are durable. */
  sendJoint(round: SentJointRound): void {
    this.#jointRounds.push(round);
  }

  /** Calls another coordinator, once the storage writes of this step are durable. */
  call(call: SentLoanCall): void {
    this.#calls.push(call);
  }

  /** The latest clock reading that this instance has stored, ms; 0 before the first. */
  get storedNow(): number {
    return this.#storedNow;
  }

  /** Another shard has used `now` for a key of this one: no later transaction may come before it (rule R18). */
  raiseClock(now: number): void {
    this.#clock.raise(now);
    this.now = Math.max(this.now, this.#clock.now);
  }

  /** Asks for a slice of the comparison. */
  compare(comparison: ComparisonRequest): void {
    this.#comparison = comparison;
  }

  /** Asks the registry for the map of the shards. */
  askRegistry(): void {
    this.#asksRegistry = true;
  }

  /** Gives a reply, once the storage writes of this step are durable. */
  reply(reply: CoordinatorReply): void {
    this.#replies.push(reply);
  }

  /** Answers the caller of a write. */
  answer(ticket: Ticket, answer: WriteAnswer): void {
    this.reply({ kind: 'write', ticket, answer });
  }

  /** Makes sure that an event comes at the earliest of `moments`; those that have passed need none. */
  schedule(...moments: readonly number[]): void {
    for (const moment of moments) {
      if (moment > this.now && moment < this.#wakeAt) this.#wakeAt = moment;
    }
  }

  /** Forgets all moments; the caller schedules those that still matter again. */
  clearSchedule(): void {
    this.#wakeAt = Number.POSITIVE_INFINITY;
  }

  /**
   * The output of the step. An answer that says whether something was written must follow a storage write of its own
   * step: a stale instance does not know that it is stale, and only a write shows it (rule R17).
   */
  build(): Ready {
    const isLate = this.#isLate || this.#replies.some(showsTooLate);
    if (isLate && this.#storedNow < this.now) this.persist({ kind: 'clock', now: this.now });
    if ((this.#mustProve || this.#replies.some(showsState)) && !this.writes)
      this.persist({ kind: 'prove' });
    return {
      persist: this.#persist,
      sends: this.#sends,
      jointRounds: this.#jointRounds,
      calls: this.#calls,
      comparison: this.#comparison,
      asksRegistry: this.#asksRegistry,
      replies: this.#replies,
      wakeAt: Number.isFinite(this.#wakeAt) ? this.#clock.whenGiven(this.#wakeAt) : null,
      ended: this.ended,
    };
  }
}

function isLoanEnd(
  write: StorageWrite,
): write is Extract<StorageWrite, { kind: 'loan-commit' | 'loan-abort' }> {
  return write.kind === 'loan-commit' || write.kind === 'loan-abort';
}

/** That a frame was taken in, or that there was no room, does not say whether it was written. */
function showsState(reply: CoordinatorReply): boolean {
  if (reply.kind === 'loan') return !isPlainRefusal(reply.answer);
  if (reply.kind !== 'write') return true;
  const { kind } = reply.answer;
  return kind !== 'accepted' && kind !== 'busy' && kind !== 'full';
}

/** That keys cannot be lent now shows nothing that a later instance could contradict. */
function isPlainRefusal(answer: LoanAnswer): boolean {
  if (answer.kind !== 'join') return false;
  return ['held', 'members-differ', 'not-now'].includes(answer.reply.kind);
}

/** True if the answer is that nothing was or will be written: by the clock of this instance the time was over. */
function showsTooLate(reply: CoordinatorReply): boolean {
  if (reply.kind !== 'write') return false;
  const { answer } = reply;
  // An obstacle to every write, which has a code, stands in storage.
  if (answer.kind === 'unavailable') return (answer.code ?? null) === null;
  return answer.kind === 'too-late';
}
