import type { SlotsStatus, WriteAnswer } from '../../contracts/coordinator.ts';
import type { ShardId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import {
  type Ownership,
  ownershipIn,
  owns,
  ownsEverySlot,
  ownsNothing,
} from '../../shards/shard-map.ts';
import { slotCount, slotsOf } from '../../shards/slots.ts';
import type { MapAnswer } from '../io/events.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';

/** The answer to a write for a key that the shard does not own. */
type Moved = Extract<WriteAnswer, { kind: 'moved' }>;

/**
 * The slots that the shard owns. It is born owning nothing: until the registry has answered, and that is stored, nothing
 * is sent to a region (rule R49). From then on the stored slots are the truth, and the registry is not asked again.
 */
export class OwnedSlots {
  readonly #shard: ShardId;
  readonly #ready: ReadyBuilder;
  #ownership: Ownership | null;
  #isAsked = false;
  #askAt = 0;
  #pauseMs: number = limits.registryBackoffMinMs;
  /** Why the last question had no answer; null if none has failed. */
  #fault: string | null = null;

  constructor(shard: ShardId, ownership: Ownership | null, ready: ReadyBuilder) {
    this.#shard = shard;
    this.#ownership = ownership;
    this.#ready = ready;
  }

  /** True once the shard knows its slots. */
  get isKnown(): boolean {
    return this.#ownership !== null;
  }

  /** True if the shard is known to own no slot. */
  get areNone(): boolean {
    return this.#ownership !== null && ownsNothing(this.#ownership);
  }

  /** Why nothing can begin, for people; null once the shard knows its slots. */
  get waitsFor(): string | null {
    if (this.isKnown) return null;
    const why = this.#fault === null ? '' : `: ${this.#fault}`;
    return `the shard has not learned from the registry yet which keys it owns${why}`;
  }

  /** The state of the slots, for operators. */
  get status(): SlotsStatus {
    if (this.#ownership !== null) {
      const { version, slots } = this.#ownership;
      const ranges = slots.flatMap((one) => one.ranges);
      const count = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
      return { phase: 'known', version, count, of: slotCount };
    }
    if (this.#fault === null) return { phase: 'asking' };
    return { phase: 'waiting', detail: this.waitsFor ?? '' };
  }

  /** True if the shard owns the slots of all `keys`. Before it knows, it owns nothing. */
  own(keys: readonly string[]): boolean {
    const ownership = this.#ownership;
    if (ownership === null) return false;
    return ownsEverySlot(ownership) || owns(ownership, slotsOf(keys));
  }

  /** The answer to a write with `keys` that another shard owns, or null: then it may be carried out, or has to wait. */
  movedFor(keys: readonly string[]): Moved | null {
    const ownership = this.#ownership;
    if (ownership === null || this.own(keys)) return null;
    return { kind: 'moved', version: ownership.version, keys };
  }

  /** Asks the registry, unless the shard knows, has asked already, or pauses. Called in each step, after its event. */
  advance(): void {
    if (this.isKnown || this.#isAsked) return;
    if (this.#askAt > this.#ready.now) {
      this.#ready.schedule(this.#askAt);
      return;
    }
    this.#isAsked = true;
    this.#ready.askRegistry();
  }

  /** Takes the answer of the registry. True if the shard knows its slots from now on; this step stores them. */
  take(answer: MapAnswer): boolean {
    this.#isAsked = false;
    if (this.isKnown) return false;
    if (answer.kind === 'silent') {
      this.#fault = answer.reason;
      this.#askAt = this.#ready.now + this.#pauseMs;
      this.#pauseMs = Math.min(2 * this.#pauseMs, limits.registryBackoffMaxMs);
      return false;
    }
    const ownership = ownershipIn(answer.map, this.#shard);
    this.#ready.persist({ kind: 'own', ownership });
    this.#ownership = ownership;
    return true;
  }
}
