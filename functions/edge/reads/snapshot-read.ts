/** Reads a snapshot from one region (R25): meets locks, has their transactions resolved, and reads again. */
import { assert } from '../../../shared/assert.ts';
import { type SnapshotReply, snapshotReplyOf } from '../../../shared/commands/replies.ts';
import type { Directory, Resolution } from '../../../shared/contracts/coordinator.ts';
import type { RegionConfiguration } from '../../../shared/contracts/members.ts';
import {
  type Decision,
  holdScript,
  type ReadCommand,
  type SnapshotRequest,
  type SnapshotResult,
} from '../../../shared/contracts/round.ts';
import { type failure, type Result, success } from '../../../shared/http/problems.ts';
import type { Consistency } from '../../../shared/http/schemas.ts';
import { compareOrder, type RegionId, type TransactionOrder } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { type RegionDirectory, statusOf } from '../cache/region-directory.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import type { ReadDependencies } from '../http/dependencies.ts';

/** The keys and commands of a snapshot, and its consistency. */
export interface SnapshotRead {
  readonly keys: readonly string[];
  readonly commands: readonly ReadCommand[];
  readonly consistency: Consistency;
}

/** The path of a read: by a region's lease, through the coordinator, or from one region without a lease. */
export type ReadWay = 'lease' | 'coordinator' | 'local';

/** A snapshot, and its region. `attempts` is the number of requests to that region. */
export interface Snapshot {
  readonly replies: readonly SnapshotReply[];
  readonly region: RegionId;
  readonly attempts: number;
  readonly via: ReadWay;
}

/** The outcome in one region. */
export type RegionOutcome =
  | { readonly kind: 'answered'; readonly snapshot: Snapshot }
  /** The next region is to be asked. `isUnanswered`: the region got the read and may be executing it. */
  | { readonly kind: 'fault'; readonly reason: string; readonly isUnanswered?: true }
  /** It may not answer strong reads now. */
  | { readonly kind: 'no-lease' }
  /** Locks of commits stood in the way of every attempt. */
  | { readonly kind: 'contended' }
  /** The read ends here: no other region can answer it. */
  | { readonly kind: 'ended'; readonly problem: ReturnType<typeof failure> };

/** Takes a snapshot in the region of a read. */
type TakeSnapshot = (request: SnapshotRequest) => Promise<SnapshotResult>;

type RefusedResult = Extract<SnapshotResult, { kind: 'refused' }>;
type ReadResult = Extract<SnapshotResult, { kind: 'read' }>;

/** Reads from one region. While locks of commits stand in the way, it has them applied and reads again. */
export class RegionSnapshotRead {
  readonly #dependencies: ReadDependencies;
  readonly #directory: RegionDirectory;
  readonly #query: SnapshotRead;
  readonly #region: RegionConfiguration;
  readonly #take: TakeSnapshot;

  constructor(
    dependencies: ReadDependencies,
    directory: RegionDirectory,
    query: SnapshotRead,
    region: RegionConfiguration,
    take: TakeSnapshot,
  ) {
    this.#dependencies = dependencies;
    this.#directory = directory;
    this.#query = query;
    this.#region = region;
    this.#take = take;
  }

  /**
   * Takes the snapshot under the generation that `known` has for the region; if that is refused, under its present one.
   */
  async take(known: Directory): Promise<RegionOutcome> {
    let generation = statusOf(known, this.#region.id)?.generation ?? 0;
    let settle: readonly Decision[] = [];
    for (let attempts = 1; attempts <= limits.readAttempts; attempts += 1) {
      const result = await this.#snapshot(generation, settle);
      if (result.kind === 'silent') {
        const { reason, isUnanswered } = result;
        return isUnanswered ? { kind: 'fault', reason, isUnanswered } : { kind: 'fault', reason };
      }
      if (result.kind === 'refused') {
        const newer = result.refusal.kind === 'generation' ? await this.#generation() : null;
        if (newer?.ok === false) return { kind: 'ended', problem: newer };
        const next = newer?.value ?? null;
        if (next === null || next === generation) return outcomeOfRefusal(result);
        generation = next;
        continue;
      }
      const holders = distinctHolders(result);
      if (isOutrun(this.#query, holders, settle)) return this.#answered(result, attempts);
      const resolved = await this.#resolve(holders);
      if (!resolved.ok) return { kind: 'ended', problem: resolved };
      if (resolved.value.some(({ kind }) => kind === 'forgotten')) {
        return { kind: 'fault', reason: 'it holds a lock older than the kept log' };
      }
      settle = resolved.value.flatMap(commitOf);
      // No lock, or only locks of undecided and aborted transactions: the values beneath them are current.
      if (settle.length === 0) return this.#answered(result, attempts);
    }
    return { kind: 'contended' };
  }

  #snapshot(generation: number, settle: readonly Decision[]): Promise<SnapshotResult> {
    const { keys, commands, consistency } = this.#query;
    const strong = consistency === 'strong';
    const request = {
      shard: this.#directory.shard,
      generation,
      strong,
      leased: strong,
      lastAcknowledged: null,
      settle,
      keys,
      commands,
    };
    return this.#take(request);
  }

  async #generation(): Promise<Result<number | null>> {
    const renewed = await this.#directory.renewed();
    if (!renewed.ok) return renewed;
    return success(statusOf(renewed.value, this.#region.id)?.generation ?? null);
  }

  async #resolve(holders: readonly TransactionOrder[]): Promise<Result<readonly Resolution[]>> {
    if (holders.length === 0) return success([]);
    const { shard } = this.#directory;
    const resolved = await callCoordinator(this.#dependencies, shard, 'resolve', holders);
    // A lock without a resolution would let a committed value pass for an undecided one.
    if (resolved.ok) assert(resolved.value.length === holders.length, 'each holder is resolved');
    return resolved;
  }

  #answered(result: ReadResult, attempts: number): RegionOutcome {
    if (result.replies.length !== this.#query.commands.length) {
      return { kind: 'fault', reason: 'its response is malformed' };
    }
    const replies = result.replies.map(snapshotReplyOf);
    const via = this.#query.consistency === 'strong' ? 'lease' : 'local';
    const snapshot: Snapshot = { replies, region: this.#region.id, attempts, via };
    return { kind: 'answered', snapshot };
  }
}

function distinctHolders({ locks }: ReadResult): readonly TransactionOrder[] {
  const holders: TransactionOrder[] = [];
  for (const { holder } of locks) {
    if (!holders.some((known) => compareOrder(known, holder) === 0)) holders.push(holder);
  }
  return holders;
}

/**
 * True if the one key of a read was locked by a commit that has been applied now, and is locked by another transaction.
 * That one was prepared after the first attempt, so it was decided, if at all, after the read began: the value between
 * the two was current during the read. Without this rule, a key that is written all the time could not be read. For
 * several keys it would be wrong: two readers could see two writes in different orders.
 */
function isOutrun(
  { keys, commands }: SnapshotRead,
  holders: readonly TransactionOrder[],
  settled: readonly Decision[],
): boolean {
  // A script may read keys that it does not declare.
  const isOfOneKey = keys.length === 1 && !holdScript(commands);
  if (!isOfOneKey || settled.length === 0) return false;
  return !holders.some((holder) =>
    settled.some(({ transaction }) => compareOrder(transaction, holder) === 0),
  );
}

function commitOf(resolution: Resolution): readonly Decision[] {
  if (resolution.kind !== 'committed') return [];
  const { transaction, keys } = resolution;
  return [{ transaction, outcome: 'commit', keys }];
}

function outcomeOfRefusal({ refusal }: RefusedResult): RegionOutcome {
  switch (refusal.kind) {
    case 'lease':
      return { kind: 'no-lease' };
    case 'generation':
      return refusal.has === 0
        ? { kind: 'fault', reason: 'it has not taken part in a write yet' }
        : { kind: 'fault', reason: `it belongs to generation ${refusal.has}` };
    case 'lost':
      return { kind: 'fault', reason: 'it has lost acknowledged writes' };
    case 'history':
      return { kind: 'fault', reason: 'its history does not go back that far' };
    case 'phase':
      return { kind: 'fault', reason: 'it is being copied' };
  }
}
