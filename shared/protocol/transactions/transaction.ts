import { assert, unreachable } from '../../assert.ts';
import { type Bytes, bytesOfText } from '../../contracts/bytes.ts';
import type { RegionFault, VoteRecord } from '../../contracts/coordinator.ts';
import { operationAt } from '../../contracts/frame.ts';
import { isGrowing } from '../../contracts/growing.ts';
import type { JointPrepare, JointVote } from '../../contracts/joint.ts';
import type { Prepare, Vote } from '../../contracts/round.ts';
import type { Share } from '../../contracts/share.ts';
import { keyOf, type RegionId, type ShardId, type TransactionOrder } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { PendingWrite } from './admission.ts';
import type { Joint } from './joint.ts';
import { type Tally, tallyOf } from './tally.ts';
import {
  assertTransactionTransition,
  assertVoteTransition,
  type TransactionState,
  type VoteState,
} from './transaction-states.ts';

/** One voter's part in an undecided transaction. */
interface Voter {
  state: VoteState;
  /** When the prepare left, ms; null while it waits for a round. */
  sentAt: number | null;
  ms: number | null;
  reason: string | null;
  outcomes: readonly Bytes[];
  fingerprints: readonly string[];
}

/** How a transaction begins: the keys of this shard, and its part in others. */
export interface JointOrigin {
  readonly ownKeys: readonly string[];
  readonly joint: Joint | null;
}

/** A region's answer to a prepare: a yes with its outcomes, or why not. */
export type Ballot =
  | {
      readonly state: 'yes';
      readonly outcomes: readonly Bytes[];
      readonly fingerprints: readonly string[];
    }
  | { readonly state: 'no' | 'missing'; readonly reason: string };

/** A transaction: it locks its keys until it is decided. Each voter is counted exactly once. */
export class Transaction {
  readonly order: TransactionOrder;
  readonly parts: readonly PendingWrite[];
  /** All keys; of a joint transaction those of all shards, home's first. */
  readonly keys: readonly string[];
  /** The keys of this shard. */
  readonly ownKeys: readonly string[];
  /** The part that concerns other shards; null: it is of this shard alone. */
  readonly joint: Joint | null;
  readonly priority: number;
  readonly bytes: number;
  readonly #voters = new Map<RegionId, Voter>();
  #now: number;
  #deadline: number;
  #prepare: Prepare;
  #state: TransactionState = 'undecided';
  #isSearch = false;
  /** True if a region could not carry it out, or not in time. */
  isStalled = false;
  /** True if staging it took a region longer than its vote may. */
  isEndless = false;

  constructor(
    order: TransactionOrder,
    parts: readonly PendingWrite[],
    voters: readonly RegionId[],
    now: number,
    deadline: number,
    { joint, ownKeys }: JointOrigin = originOfOne(parts),
  ) {
    this.order = order;
    this.parts = parts;
    this.joint = joint;
    this.ownKeys = ownKeys;
    this.keys =
      joint === null ? ownKeys : [...ownKeys, ...joint.guests.flatMap(({ keys }) => keys)];
    this.priority = Math.max(...parts.map((part) => part.frame.priority));
    this.bytes = parts.reduce((sum, part) => sum + part.frame.bytes, 0);
    this.#now = now;
    this.#deadline = deadline;
    for (const region of voters) this.#voters.set(region, emptyVoter());
    this.#prepare = this.#prepareAt(now);
  }

  /** The clock's reading for its regions, ms. */
  get now(): number {
    return this.#now;
  }

  /** A vote not in by then is a no, ms. While loans are asked for: a loan. */
  get deadline(): number {
    return this.#deadline;
  }

  /** The prepare for its regions. */
  get prepare(): Prepare {
    return this.#prepare;
  }

  /** Every shard has given its keys: the regions vote until `deadline`, at the greatest of all clocks (rule R59). */
  beginVoting(now: number, deadline: number): void {
    assert(this.joint !== null, 'only a joint transaction is joined');
    this.joint.beginVoting();
    this.#now = now;
    this.#deadline = deadline;
    this.#prepare = this.#prepareAt(now);
  }

  /** The shares of all shards of a joint transaction, home's first. */
  sharesOf(shard: ShardId): readonly Share[] {
    const own = { shard, transaction: this.order, keys: this.ownKeys };
    return [own, ...(this.joint?.guests ?? []).map(({ share }) => share)];
  }

  /** The prepare of a joint transaction. */
  jointPrepare(shard: ShardId): JointPrepare {
    const { now, parts } = this.#prepare;
    return { now, shares: this.sharesOf(shard), parts };
  }

  #prepareAt(now: number): Prepare {
    const { parts } = this;
    return {
      transaction: this.order,
      keys: this.keys,
      now,
      parts: parts.map(({ frame: { checks, operations, continueOnError } }) => ({
        checks,
        operations: operations.map((operation) => operationAt(operation, now)),
        continueOnError,
      })),
    };
  }

  /** The regions that vote on it. */
  get voters(): readonly RegionId[] {
    return [...this.#voters.keys()];
  }

  /** The regions whose vote is still out. */
  get waitsFor(): readonly RegionId[] {
    return [...this.#voters].flatMap(([region, { state }]) =>
      state === 'waiting' ? [region] : [],
    );
  }

  /** The state of its votes together. */
  get tally(): Tally {
    return tallyOf([...this.#voters.values()].map((voter) => voter.state));
  }

  get state(): TransactionState {
    return this.#state;
  }

  /** It is decided; nothing changes it any more. */
  end(by: 'commit' | 'reject' | 'abort'): void {
    const next = ({ commit: 'committed', reject: 'rejected', abort: 'aborted' } as const)[by];
    assertTransactionTransition(by, this.#state, next);
    this.#state = next;
  }

  /** True if a part runs a user's script. */
  get hasScripts(): boolean {
    return this.parts.some(({ frame }) => frame.operations.some(({ kind }) => kind === 'script'));
  }

  /** The regions to which the prepare has gone: they may have staged it. */
  get reached(): readonly RegionId[] {
    return [...this.#voters].filter(([, voter]) => voter.sentAt !== null).map(([region]) => region);
  }

  /** The prepare leaves for `region`. */
  sent(region: RegionId, now: number): void {
    const voter = this.#voters.get(region);
    if (voter !== undefined) voter.sentAt = now;
  }

  /** Counts the vote of `region`, once: any later one is ignored. */
  count(region: RegionId, ballot: Ballot, now: number): void {
    const voter = this.#voters.get(region);
    if (this.#state !== 'undecided') return;
    if (voter === undefined || voter.state !== 'waiting') return;
    assertTransactionTransition('vote-counted', this.#state, this.#state);
    assertVoteTransition(voter.state, ballot.state);
    voter.state = ballot.state;
    if (ballot.state === 'missing') this.isStalled = true;
    if (ballot.state === 'yes') {
      voter.outcomes = ballot.outcomes;
      voter.fingerprints = ballot.fingerprints;
    } else voter.reason = ballot.reason;
    if (ballot.state !== 'missing' && voter.sentAt !== null) voter.ms = now - voter.sentAt;
  }

  /** Scripts of these parts touch keys that are not listed: lists them for the next attempt. */
  listFoundKeys(parts: Extract<Vote, { kind: 'unlisted' }>['parts']): void {
    this.#isSearch = true;
    for (const { part, keys } of parts) {
      const write = this.parts[part];
      if (write === undefined) continue;
      write.keyDiscoveryAttempts += 1;
      const { frame } = write;
      const found = keys.filter((key) => !frame.keys.includes(key));
      const bytes = found.reduce((sum, key) => sum + bytesOfText(key).length, frame.bytes);
      write.frame = { ...frame, keys: [...frame.keys, ...found], bytes };
    }
  }

  /** Only the replies of `most` parts have room: no more of these parts go together from now on. */
  limitParts(most: number): void {
    for (const part of this.parts) part.most = Math.max(1, Math.min(part.most, most));
  }

  /** A region's server does not know a command of a part, which is refused with this attempt. */
  noteUnknownCommand(
    region: RegionId,
    { part, command }: Extract<Vote, { kind: 'lacking' }>,
  ): void {
    const write = this.parts[part];
    if (write !== undefined) write.lacking = { region, command };
  }

  /** A region without memory refuses a part. The others that take memory would be next. */
  noteDenied({ part: denied }: Extract<Vote, { kind: 'denied' }>): void {
    this.parts.forEach((write, part) => {
      if (part === denied || write.frame.operations.some(isGrowing)) write.isDenied = true;
    });
  }

  /** The deadline has passed: every vote still out is missing. */
  closeVoting(): void {
    for (const [region, { sentAt }] of this.#voters) {
      const reason = sentAt === null ? 'no connection was free to ask it' : 'did not vote in time';
      this.count(region, { state: 'missing', reason }, this.now);
    }
  }

  /** The regions that did not say yes, and why. One whose vote is still on its way is at no fault. */
  get dissent(): readonly RegionFault[] {
    return this.votes.flatMap(({ region, reason }) =>
      reason === null ? [] : [{ region, reason }],
    );
  }

  /** Notes the obstacles to this attempt, for the callers. */
  setFaults(faults: readonly RegionFault[]): void {
    for (const part of this.parts) part.faults = faults;
  }

  /**
   * The pause before the parts are tried again, ms. It doubles with each attempt that a region refused; a vote that is
   * missing needs none, since nothing is prepared before the silent region has answered a probe. An attempt that found
   * keys needs none either.
   */
  get pauseMs(): number {
    if (this.#isSearch) return 0;
    const isRefused = [...this.#voters.values()].some((voter) => voter.state === 'no');
    if (!isRefused && this.joint?.pauses !== true) return 0;
    const attempts = Math.max(...this.parts.map((part) => part.attempts));
    const doubled = limits.retryBackoffMinMs * 2 ** Math.min(attempts - 1, 16);
    return Math.min(doubled, limits.retryBackoffMaxMs);
  }

  /** The yes votes, with their outcomes and fingerprints. */
  get yesVotes() {
    return [...this.#voters]
      .filter(([, voter]) => voter.state === 'yes')
      .map(([region, { outcomes, fingerprints }]) => ({ region, outcomes, fingerprints }));
  }

  /** The votes as they are recorded; one that is still out counts as missing. */
  get votes(): readonly VoteRecord[] {
    return [...this.#voters].map(([region, { state, ms, reason }]) => ({
      region,
      vote: state === 'waiting' ? ('missing' as const) : state,
      ms,
      reason,
    }));
  }

  /** The positions of the parts that touch the key at `position`. */
  partsOfKey(position: number): readonly number[] {
    const key = this.keys[position];
    return this.parts.flatMap(({ frame }, part) =>
      key !== undefined && frame.keys.includes(key) ? [part] : [],
    );
  }
}

/** A transaction of this shard alone. */
export function originOfOne(parts: readonly PendingWrite[]): JointOrigin {
  return { ownKeys: [...new Set(parts.flatMap((part) => part.frame.keys))], joint: null };
}

function emptyVoter(): Voter {
  return { state: 'waiting', sentAt: null, ms: null, reason: null, outcomes: [], fingerprints: [] };
}

/** How a region's vote counts. A duplicate's first answer is lost, and with it the vote. */
export function ballotOf(vote: Vote): Ballot {
  switch (vote.kind) {
    case 'yes':
      return { state: 'yes', outcomes: vote.outcomes, fingerprints: vote.fingerprints };
    case 'late':
      return { state: 'no', reason: 'had settled the transaction before its prepare came' };
    case 'duplicate':
      return { state: 'missing', reason: 'executed the prepare, but its first answer was lost' };
    case 'locked':
      return { state: 'no', reason: `holds a lock of transaction ${keyOf(vote.holder)} on a key` };
    case 'fenced':
      return { state: 'no', reason: `has seen a later ${vote.by}` };
    case 'unlisted':
      return { state: 'no', reason: 'found that a script touches keys that it does not declare' };
    case 'lacking':
      return { state: 'no', reason: `does not know ${vote.command}` };
    case 'denied':
      return { state: 'no', reason: `its server refuses: ${vote.reason}` };
    case 'refused':
      return { state: 'no', reason: vote.reason };
    default:
      return unreachable(vote);
  }
}

/** How a region's vote on a joint transaction counts: an objection of any shard is a no. */
export function jointBallotOf(vote: JointVote): Ballot {
  if (vote.kind !== 'objected') return ballotOf(vote);
  const { by, shard } = vote;
  switch (by.kind) {
    case 'round':
      return { state: 'no', reason: `refused the round of shard ${shard}` };
    case 'decision':
      return { state: 'no', reason: `lacks the locks that a decision of shard ${shard} names` };
    default: {
      const ballot = ballotOf(by);
      return ballot.state === 'yes'
        ? ballot
        : { state: ballot.state, reason: `${ballot.reason} (shard ${shard})` };
    }
  }
}
