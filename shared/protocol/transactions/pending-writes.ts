import type { RegionFault, UnavailableCode, WriteAnswer } from '../../contracts/coordinator.ts';
import type { WriteId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { Arrival } from '../io/events.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { LiveWrite } from '../io/view.ts';
import type { OwnedSlots } from '../ownership/owned-slots.ts';
import type { Shards } from '../ownership/shards.ts';
import { FrameQueue, type PendingWrite } from './admission.ts';
import type { EventRouter } from './event-router.ts';

/** Every frame that has been admitted and not answered: queued, or part of an undecided transaction. */
export class PendingWrites {
  readonly queue = new FrameQueue();
  readonly #ready: ReadyBuilder;
  readonly #eventRouter: EventRouter;
  readonly #slots: OwnedSlots;
  readonly #shards: Shards;
  readonly #pending = new Map<WriteId, PendingWrite>();
  readonly #pendingByKey = new Map<string, PendingWrite>();
  readonly #unavailable = new Map<WriteId, LiveWrite & { kind: 'unavailable' }>();
  #arrivals = 0;
  /** Of all that were admitted and are not answered: undecided ones take memory as well as queued ones. */
  #pendingBytes = 0;

  constructor(ready: ReadyBuilder, eventRouter: EventRouter, slots: OwnedSlots, shards: Shards) {
    this.#ready = ready;
    this.#eventRouter = eventRouter;
    this.#slots = slots;
    this.#shards = shards;
  }

  /** Every admitted frame that is not answered, by its id. */
  get pending(): ReadonlyMap<WriteId, PendingWrite> {
    return this.#pending;
  }

  /** Those of them that came with an idempotency key, by that key. */
  get pendingByKey(): ReadonlyMap<string, PendingWrite> {
    return this.#pendingByKey;
  }

  /** The sum of their sizes when they were admitted, bytes. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** True if a frame of this size is one too many. */
  isFull(bytes: number): boolean {
    const many = this.#pending.size >= limits.framesQueued;
    return many || this.#pendingBytes + bytes > limits.queuedBytes;
  }

  /** The frame that is on its way under an idempotency key. */
  withKey(key: string): PendingWrite | undefined {
    return this.#pendingByKey.get(key);
  }

  /** The frame that is on its way under an id. */
  withId(id: WriteId): PendingWrite | undefined {
    return this.#pending.get(id);
  }

  /** The state of a write for those who ask: pending, given up by this instance, or unknown. */
  stateOf(id: WriteId): LiveWrite {
    if (this.#pending.has(id)) return { kind: 'pending' };
    return this.#unavailable.get(id) ?? { kind: 'unknown' };
  }

  /** The position among all arrivals of something that is no frame. */
  takeArrival(): number {
    this.#arrivals += 1;
    return this.#arrivals;
  }

  /** The position that the next frame gets among all arrivals. */
  get nextArrival(): number {
    return this.#arrivals + 1;
  }

  /** Takes a new frame in. It is not queued yet. */
  admit({ frame, room }: Arrival, together: number | null): PendingWrite {
    this.#arrivals += 1;
    const write: PendingWrite = {
      frame,
      arrival: this.#arrivals,
      arrivedAt: this.#ready.now,
      keysKeptMs: room.keysKeptMs,
      admittedBytes: frame.bytes,
      callers: [],
      attempts: 0,
      keyDiscoveryAttempts: 0,
      timeouts: 0,
      overruns: 0,
      most: limits.partsPerTransaction,
      together,
      lacking: null,
      isDenied: false,
      divergentAttempts: 0,
      isTooLarge: false,
      retryAt: 0,
      faults: [],
    };
    this.#pending.set(frame.id, write);
    this.#pendingBytes += frame.bytes;
    if (frame.idempotency !== null) this.#pendingByKey.set(frame.idempotency.key, write);
    return write;
  }

  /** One more caller waits for the frame; one that does not wait is answered that it has been taken in. */
  addCaller(write: PendingWrite, { async, ticket, frame }: Arrival): void {
    // A frame that was taken in has nobody to hear that its keys belong to another shard.
    if (async && this.#slots.isKnown) this.#accept(write, ticket);
    else write.callers.push({ ticket, ack: frame.ack, until: frame.notAfter, async });
  }

  /** The shard knows its slots now: frames for keys of others are answered so, and callers that only hand in hear it. */
  onSlotsKnown(): void {
    const isForeign = ({ frame: { keys } }: PendingWrite) => this.#shards.movedFor(keys) !== null;
    for (const write of this.queue.take(isForeign)) this.moveAway(write);
    const isNoneOfJoint = ({ frame }: PendingWrite) =>
      this.#shards.objectionTo(frame.keys) !== null;
    for (const write of this.queue.take(isNoneOfJoint)) this.refuseAsJoint(write);
    for (const write of this.queue.frames) {
      for (const { ticket, async } of write.callers) if (async) this.#accept(write, ticket);
      write.callers = write.callers.filter(({ async }) => !async);
    }
  }

  #accept({ frame }: PendingWrite, ticket: Arrival['ticket']): void {
    this.#ready.answer(ticket, { kind: 'accepted', id: frame.id });
  }

  /** Answers that another shard owns the keys of a frame. True if it does; no attempt is under way, and none will start. */
  moveAway(write: PendingWrite): boolean {
    const moved = this.#shards.movedFor(write.frame.keys);
    if (moved === null) return false;
    this.forget(write);
    for (const { ticket } of write.callers) this.#ready.answer(ticket, moved);
    return true;
  }

  /** Refuses a frame that no joint write can carry out. True if it does. */
  refuseAsJoint(write: PendingWrite): boolean {
    const objection = this.#shards.objectionTo(write.frame.keys);
    if (objection !== null) this.refuse(write, 'unsupported-command', objection);
    return objection !== null;
  }

  /** Queues a frame that cannot go, or not again before `write.retryAt`. */
  enqueue(write: PendingWrite): void {
    this.queue.add(write);
    this.#ready.schedule(write.frame.notAfter, write.retryAt);
  }

  /** Notes the obstacles of a waiting frame, if there are any: they may be gone when its time is over. */
  noteObstacles(write: PendingWrite, obstacles: readonly RegionFault[]): void {
    if (obstacles.length > 0) write.faults = obstacles;
  }

  /** The frame has been decided. */
  forget({ frame, admittedBytes }: PendingWrite): void {
    this.#pendingBytes -= admittedBytes;
    this.#pending.delete(frame.id);
    if (frame.idempotency !== null) this.#pendingByKey.delete(frame.idempotency.key);
  }

  /** Answers that nothing was written: no attempt is under way, and none will start. */
  giveUp(
    write: PendingWrite,
    faults: readonly RegionFault[],
    reason: string,
    code: UnavailableCode | null = null,
  ): void {
    const { id } = write.frame;
    if (code === null) this.#ready.noteLateAnswer();
    this.#unavailable.set(id, { kind: 'unavailable', faults, reason, code });
    this.#end(write, { kind: 'unavailable', id, faults, reason, code }, reason);
  }

  /** Answers that the frame can never be carried out as it is: nothing was written, and no attempt is under way. */
  refuse(
    write: PendingWrite,
    problem: Extract<WriteAnswer, { kind: 'refused' }>['problem'],
    detail: string,
  ): void {
    const { id } = write.frame;
    this.#unavailable.set(id, { kind: 'unavailable', faults: [], reason: detail, code: null });
    this.#end(write, { kind: 'refused', problem, detail }, detail);
  }

  #end(write: PendingWrite, answer: WriteAnswer, reason: string): void {
    this.forget(write);
    const [oldest] = this.#unavailable.keys();
    if (this.#unavailable.size > limits.framesQueued && oldest !== undefined) {
      this.#unavailable.delete(oldest);
    }
    const events = this.#eventRouter.abandoned(write.frame, this.#ready.now, reason);
    this.#ready.queueEvents(events, write.frame.callback);
    for (const { ticket } of write.callers) this.#ready.answer(ticket, answer);
  }

  /** Gives up the queued frames whose time is over, and plans for the others. */
  sweep(obstacles: readonly RegionFault[]): void {
    const { now } = this.#ready;
    const reason = this.#slots.waitsFor ?? tooLate;
    for (const write of this.queue.take(({ frame }) => frame.notAfter <= now)) {
      this.giveUp(write, obstacles.length > 0 ? obstacles : write.faults, reason);
    }
    for (const claim of this.queue.claims) {
      if (claim.until > now) {
        this.#ready.schedule(claim.until);
        continue;
      }
      this.queue.removeClaim(claim);
      claim.expire();
    }
    for (const write of this.queue.frames) {
      this.noteObstacles(write, obstacles);
      this.#ready.schedule(write.frame.notAfter, write.retryAt);
    }
  }
}

/** The reason in the answer to a write that was not decided in time. */
export const tooLate = 'it could not be decided in the time given';
