import { assert } from '../../assert.ts';
import type { WriteAnswer } from '../../contracts/coordinator.ts';
import type { WriteFrame } from '../../contracts/frame.ts';
import type { Arrival } from '../io/events.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { BlockedKeys } from '../membership/blocked-keys.ts';
import type { Members } from '../membership/members.ts';
import type { OwnedSlots } from '../ownership/owned-slots.ts';
import type { Shards } from '../ownership/shards.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import type { PendingWrite } from '../transactions/admission.ts';
import type { EventRouter } from '../transactions/event-router.ts';
import type { Confirming, PendingConfirmations } from '../transactions/pending-confirmations.ts';
import { type PendingWrites, tooLate } from '../transactions/pending-writes.ts';
import { storageFault } from '../transactions/stored-size.ts';
import type { Transactions } from '../transactions/transactions.ts';

/** The parts of the coordinator that the intake of frames changes. */
export interface WriteIntakeParts {
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly pendingWrites: PendingWrites;
  readonly transactions: Transactions;
  readonly pendingConfirmations: PendingConfirmations;
  readonly eventRouter: EventRouter;
  readonly members: Members;
  readonly blocked: BlockedKeys;
  readonly slots: OwnedSlots;
  readonly shards: Shards;
}

/** Takes in frames: a repeated one finds the answer of the first, others are queued, refused, or may begin at once. */
export class WriteIntake {
  readonly #ready: ReadyBuilder;
  readonly #links: RegionLinks;
  readonly #pendingWrites: PendingWrites;
  readonly #transactions: Transactions;
  readonly #pendingConfirmations: PendingConfirmations;
  readonly #eventRouter: EventRouter;
  readonly #members: Members;
  readonly #blocked: BlockedKeys;
  readonly #slots: OwnedSlots;
  readonly #shards: Shards;

  constructor(parts: WriteIntakeParts) {
    this.#ready = parts.ready;
    this.#links = parts.links;
    this.#pendingWrites = parts.pendingWrites;
    this.#transactions = parts.transactions;
    this.#pendingConfirmations = parts.pendingConfirmations;
    this.#eventRouter = parts.eventRouter;
    this.#members = parts.members;
    this.#blocked = parts.blocked;
    this.#slots = parts.slots;
    this.#shards = parts.shards;
  }

  /**
   * Takes in a frame. Returns it if it meets no obstacle, so that a transaction may begin with it now. `together` is
   * the same for frames that came in together.
   */
  receive(event: Arrival, together: number | null = null): PendingWrite | null {
    const { frame, ticket, recorded } = event;
    const underway = this.#underway(event);
    const first = underway?.frame.idempotency?.digest;
    const digest = recorded === null ? first : recorded.digest;
    const given = frame.idempotency?.digest;
    if (digest !== undefined && digest !== null && digest !== given) {
      const id = recorded?.record.id ?? underway?.frame.id ?? frame.id;
      this.#ready.answer(ticket, { kind: 'key-reused', id });
    } else if (recorded !== null) this.#replay(event, recorded.record);
    else if (underway !== undefined) this.#pendingWrites.addCaller(underway, event);
    else if (!this.#wasGivenUp(event)) return this.#admit(event, together);
    return null;
  }

  /** The same request on its way: under its key, or under its own id if it came again. */
  #underway({ frame, again }: Arrival): PendingWrite | undefined {
    const key = frame.idempotency?.key;
    const known = key === undefined ? undefined : this.#pendingWrites.withKey(key);
    return known ?? (again ? this.#pendingWrites.withId(frame.id) : undefined);
  }

  /** One that came again, and was answered as not written before, gets the same answer. */
  #wasGivenUp({ frame, ticket, again }: Arrival): boolean {
    const { id } = frame;
    const live = again ? this.#pendingWrites.stateOf(id) : null;
    if (live?.kind !== 'unavailable') return false;
    this.#ready.answer(ticket, { ...live, id });
    return true;
  }

  /** Answers from storage, at once or when the write is confirmed. */
  #replay(event: Arrival, record: Confirming['answer']['record']): void {
    const { frame, ticket, async } = event;
    const replayed = record.id !== frame.id;
    const answer = { kind: 'decided', record, replayed } as const;
    const caller = { ticket, ack: frame.ack, until: frame.notAfter, async };
    const appliedIn =
      frame.ack === 'confirmed' ? this.#pendingConfirmations.appliedIn(record) : null;
    if (appliedIn === null) this.#ready.answer(ticket, answer);
    else if (!async && frame.notAfter > this.#ready.now) {
      this.#pendingConfirmations.join({ caller, answer });
    } else this.#ready.answer(ticket, { kind: 'unconfirmed', record: { ...record, appliedIn } });
  }

  #admit(event: Arrival, together: number | null): PendingWrite | null {
    const { keys } = event.frame;
    assert(keys.length > 0, 'a write locks a key, since its lock is what shows that it was staged');
    const refusal = this.#refusalOf(event);
    if (refusal !== null) {
      this.#ready.answer(event.ticket, refusal);
      return null;
    }
    const write = this.#pendingWrites.admit(event, together);
    this.#pendingWrites.addCaller(write, event);
    if (!this.#slots.isKnown) {
      this.#pendingWrites.enqueue(write);
      return null;
    }
    const isLocked = keys.some((key) => this.#transactions.isLocked(key));
    const isFree = !isLocked && !this.#pendingWrites.queue.waitsFor(keys);
    const obstacles = [...this.#links.obstacles, ...this.#members.obstacles];
    if (isFree && obstacles.length === 0) return write;
    this.#pendingWrites.noteObstacles(write, obstacles);
    this.#pendingWrites.enqueue(write);
    return null;
  }

  #refusalOf({ frame, room, again, abandoned }: Arrival): WriteAnswer | null {
    const { id, bytes, notAfter, keys } = frame;
    if (abandoned !== null) return unavailable(frame, abandoned);
    const moved = this.#shards.movedFor(keys);
    if (moved !== null) return moved;
    if (again && notAfter <= this.#ready.now) {
      const events = this.#eventRouter.abandoned(frame, this.#ready.now, tooLate);
      this.#ready.queueEvents(events, frame.callback);
      return unavailable(frame, tooLate);
    }
    const objection = this.#shards.objectionTo(keys);
    if (objection !== null) {
      return { kind: 'refused', problem: 'unsupported-command', detail: objection };
    }
    const fault = storageFault(frame);
    if (fault !== null) return { kind: 'refused', problem: 'too-large', detail: fault };
    if (room.isFull) return { kind: 'full', what: 'writes' };
    if (frame.idempotency !== null && room.keysKeptMs === 0) return { kind: 'full', what: 'keys' };
    if (this.#pendingWrites.isFull(bytes)) {
      return { kind: 'busy', retryAfterMs: Math.max(1_000, Math.ceil(this.#links.slowestMs)) };
    }
    if (notAfter <= this.#ready.now) {
      this.#ready.noteLateAnswer();
      return { kind: 'too-late', id };
    }
    // Until the shard knows its slots it asks no region, so it knows nothing of them.
    if (!this.#slots.isKnown) return null;
    const refusal = this.#blocked.refusalOf(keys) ?? this.#members.refusal;
    return refusal === null ? null : { kind: 'unavailable', id, ...refusal };
  }
}

/** The instance that had the frame is dead: it was not carried out, and it will not be. */
function unavailable({ id }: WriteFrame, reason: string): WriteAnswer {
  return { kind: 'unavailable', id, faults: [], reason, code: null };
}
