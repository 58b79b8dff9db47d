import { assert } from '../../assert.ts';
import type { JointRoundReply } from '../../contracts/joint.ts';
import type { GrantedLoan } from '../../contracts/loans.ts';
import type { Share } from '../../contracts/share.ts';
import type { RegionId, ShardId, TransactionName } from '../../ids.ts';
import type { KeysOfShard } from '../ownership/shards.ts';
import type { Claim } from './admission.ts';
import {
  assertGuestTransition,
  assertJointTransition,
  type GuestState,
  type JointPhase,
} from './loan-states.ts';

/** Another shard of a joint transaction. */
export class Guest {
  readonly shard: ShardId;
  readonly keys: readonly string[];
  loan: GrantedLoan | null = null;
  /** The replies to its lent rounds. */
  readonly replies = new Map<RegionId, JointRoundReply>();
  #state: GuestState = 'unasked';

  constructor({ shard, keys }: KeysOfShard) {
    this.shard = shard;
    this.keys = keys;
  }

  get state(): GuestState {
    return this.#state;
  }

  /** The request for its loan leaves. */
  ask(): void {
    assertGuestTransition(this.#state, 'asked');
    this.#state = 'asked';
  }

  /** It has lent. */
  lend(loan: GrantedLoan): void {
    assertGuestTransition(this.#state, 'lent');
    this.#state = 'lent';
    this.loan = loan;
  }

  /** It does not lend, so it need not hear how the try ends. */
  refuse(): void {
    assertGuestTransition(this.#state, 'refused');
    this.#state = 'refused';
  }

  /** Its share of the transaction, once it has lent. */
  get share(): Share {
    assert(this.loan !== null, 'a guest has a share once it has lent');
    return { shard: this.shard, transaction: this.loan.transaction, keys: this.keys };
  }
}

/** The part of a transaction that concerns other shards (rules R56 and R57). */
export class Joint {
  readonly name: TransactionName;
  readonly guests: readonly Guest[];
  /** Each shard is asked for itself, in ascending order, and may wait for its keys. */
  readonly isOrdered: boolean;
  /** Home holds its own keys. In an ordered try it takes them when its turn comes. */
  holdsOwn: boolean;
  /** Home's own keys are awaited in its queue. */
  claim: Claim | null = null;
  /** The try has ended for a reason that may pass, so there is a pause before another try. */
  pauses = false;
  /** The regions that disagreed with the majority. */
  minority: readonly RegionId[] = [];
  #phase: JointPhase = 'joining';

  constructor(name: TransactionName, guests: readonly KeysOfShard[], isOrdered: boolean) {
    this.name = name;
    this.guests = guests.map((guest) => new Guest(guest));
    this.isOrdered = isOrdered;
    this.holdsOwn = !isOrdered;
  }

  get phase(): JointPhase {
    return this.#phase;
  }

  /** Every key is held: the regions are asked. */
  beginVoting(): void {
    assert(
      this.holdsOwn && this.guests.every(({ state }) => state === 'lent'),
      'a joint transaction is voted on once every shard has given its keys',
    );
    assertJointTransition(this.#phase, 'voting');
    this.#phase = 'voting';
  }

  /** The guest with this shard, or null. */
  guest(shard: ShardId): Guest | null {
    return this.guests.find((guest) => guest.shard === shard) ?? null;
  }
}
