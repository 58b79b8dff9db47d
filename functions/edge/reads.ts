import { assert } from '../../shared/assert.ts';
import { compareOrder, type RegionId, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { Decision, ReadCommand, SnapshotResult } from '../../shared/protocol/round.ts';
import type { RegionFault, Resolution } from '../../shared/wire/answers.ts';
import { type Attempt, failure, success } from '../../shared/wire/problems.ts';
import { parseSnapshotReplies, type SnapshotReply } from '../../shared/wire/replies.ts';
import type { Consistency } from '../../shared/wire/schemas.ts';
import { askCoordinator } from './coordinators.ts';
import { type EdgeDependencies, type Location, onlyShard } from './dependencies.ts';
import { byDistance } from './nearest.ts';

/** A snapshot to take: checked commands, and where and how. */
export interface SnapshotQuery {
  readonly keys: readonly string[];
  readonly commands: readonly ReadCommand[];
  readonly consistency: Consistency;
  /** The only region to ask, or null for the nearest that answers. */
  readonly region: RegionId | null;
  readonly location: Location | null;
}

/** A snapshot taken, and where. `attempts` counts the snapshots that it took in that region. */
export interface Snapshot {
  readonly replies: readonly SnapshotReply[];
  readonly region: RegionId;
  readonly attempts: number;
}

/** What one region came to: an answer, a reason to ask the next region, or the end of the whole read. */
type RegionOutcome =
  | { readonly kind: 'answered'; readonly snapshot: Snapshot }
  | { readonly kind: 'fault'; readonly reason: string }
  | { readonly kind: 'ended'; readonly problem: ReturnType<typeof failure> };

type RefusedResult = Extract<SnapshotResult, { kind: 'refused' }>;
type ReadResult = Extract<SnapshotResult, { kind: 'read' }>;

/** Reads the regions. Remembers, for the life of an isolate, which gave no answer and what generation is current. */
export class RegionReader {
  readonly #dependencies: EdgeDependencies;
  readonly #avoidedUntil = new Map<RegionId, number>();
  /** The coordinator says it, once an isolate and again where a region refuses it. */
  #generation: number | null = null;

  constructor(dependencies: EdgeDependencies) {
    this.#dependencies = dependencies;
  }

  /** Takes the snapshot in the nearest region that can answer. Its problem says what to do where none can. */
  async read(query: SnapshotQuery): Promise<Attempt<Snapshot>> {
    const candidates = this.#candidatesOf(query);
    if (!candidates.ok) return candidates;
    const startedAt = this.#dependencies.now();
    const faults: RegionFault[] = [];
    for (const region of candidates.value) {
      const outcome = await this.#readIn(region, query);
      if (outcome.kind === 'answered') {
        this.#avoidedUntil.delete(region);
        return success(outcome.snapshot);
      }
      if (outcome.kind === 'ended') return outcome.problem;
      this.#avoidedUntil.set(region, this.#dependencies.now() + limits.silentRegionAvoidedMs);
      faults.push({ region, reason: outcome.reason });
      if (this.#dependencies.now() - startedAt > limits.timeoutMsDefault) break;
    }
    return unavailable(faults);
  }

  #candidatesOf({ region, location }: SnapshotQuery): Attempt<readonly RegionId[]> {
    const ids = this.#dependencies.configuration.regions.map(({ id }) => id);
    if (region !== null) {
      if (ids.includes(region)) return success([region]);
      const detail = `The region is none of ${ids.join(', ')}: use one of these, or leave it out.`;
      return failure('invalid-request', detail, { regions: ids });
    }
    const near = byDistance(this.#dependencies.configuration.regions, location).map(({ id }) => id);
    // Each read would wait anew for a region that just let one wait, so that one goes to the end for a while.
    const isAvoided = (id: RegionId) =>
      (this.#avoidedUntil.get(id) ?? 0) > this.#dependencies.now();
    return success([...near.filter((id) => !isAvoided(id)), ...near.filter(isAvoided)]);
  }

  async #readIn(region: RegionId, query: SnapshotQuery): Promise<RegionOutcome> {
    let settle: readonly Decision[] = [];
    for (let attempts = 1; attempts <= limits.readAttempts; attempts += 1) {
      const generation = await this.#currentGeneration();
      if (!generation.ok) return { kind: 'ended', problem: generation };
      const result = await this.#take(region, query, generation.value, settle);
      if (result.kind === 'silent') return { kind: 'fault', reason: result.reason };
      if (result.kind === 'refused') {
        if (result.refusal.kind !== 'generation') return refused(result);
        this.#generation = null;
        const known = await this.#currentGeneration();
        if (!known.ok) return { kind: 'ended', problem: known };
        if (known.value === generation.value) return refused(result);
        continue;
      }
      const holders = distinctHolders(result);
      if (isOutrun(query, holders, settle)) return answered(result, region, query, attempts);
      const resolved = await this.#resolve(holders);
      if (!resolved.ok) return { kind: 'ended', problem: resolved };
      if (resolved.value.some(({ kind }) => kind === 'forgotten')) {
        return { kind: 'fault', reason: 'it holds a lock older than the kept log' };
      }
      settle = resolved.value.flatMap(commitOf);
      // No lock, or locks of transactions that nobody has seen: what stands there is the present state.
      if (settle.length === 0) return answered(result, region, query, attempts);
    }
    return { kind: 'ended', problem: contended(region) };
  }

  async #resolve(holders: readonly TransactionOrder[]): Promise<Attempt<readonly Resolution[]>> {
    if (holders.length === 0) return success([]);
    const resolved = await askCoordinator(this.#dependencies, onlyShard, 'read', (coordinator) =>
      coordinator.resolve(holders),
    );
    // A lock left without a word about it would let a committed value pass for an undecided one.
    if (resolved.ok) assert(resolved.value.length === holders.length, 'each holder is resolved');
    return resolved;
  }

  #take(
    region: RegionId,
    query: SnapshotQuery,
    generation: number,
    settle: readonly Decision[],
  ): Promise<SnapshotResult> {
    const request = {
      shard: onlyShard,
      generation,
      strong: query.consistency === 'strong',
      settle,
      keys: query.keys,
      commands: query.commands,
    };
    return this.#dependencies
      .regionOf(region)
      .snapshot(request, this.#dependencies.configuration.readTimeoutMs);
  }

  async #currentGeneration(): Promise<Attempt<number>> {
    if (this.#generation !== null) return success(this.#generation);
    const status = await askCoordinator(this.#dependencies, onlyShard, 'read', (coordinator) =>
      coordinator.describe(),
    );
    if (!status.ok) return status;
    this.#generation = status.value.generation;
    return success(status.value.generation);
  }
}

function answered(
  result: ReadResult,
  region: RegionId,
  query: SnapshotQuery,
  attempts: number,
): RegionOutcome {
  const replies = parseSnapshotReplies(result.replies, query.commands.length);
  if (replies === null) return { kind: 'fault', reason: 'its answer has no usable form' };
  return { kind: 'answered', snapshot: { replies, region, attempts } };
}

function distinctHolders({ locks }: ReadResult): readonly TransactionOrder[] {
  const holders: TransactionOrder[] = [];
  for (const { holder } of locks) {
    if (!holders.some((known) => compareOrder(known, holder) === 0)) holders.push(holder);
  }
  return holders;
}

/**
 * True where the one key of a read was locked by a commit that has now been applied, and is locked by a later
 * transaction. That one was prepared here after the first snapshot, so it was decided after the read had begun, if at all: the value
 * between the two was the present one for a moment of the read. Without this rule a key that is written all the time
 * could not be read. For several keys it would not do: two readers could see two writes in different orders.
 */
function isOutrun(
  { keys }: SnapshotQuery,
  holders: readonly TransactionOrder[],
  settled: readonly Decision[],
): boolean {
  if (keys.length !== 1 || settled.length === 0) return false;
  return !holders.some((holder) =>
    settled.some(({ transaction }) => compareOrder(transaction, holder) === 0),
  );
}

function commitOf(resolution: Resolution): readonly Decision[] {
  if (resolution.kind !== 'committed') return [];
  const { transaction, keys } = resolution;
  return [{ transaction, outcome: 'commit', keys }];
}

function refused(result: RefusedResult): RegionOutcome {
  return { kind: 'fault', reason: refusalReason(result) };
}

function refusalReason({ refusal }: RefusedResult): string {
  switch (refusal.kind) {
    case 'generation':
      return refusal.has === 0
        ? 'it has not taken part in a write yet'
        : `it belongs to generation ${refusal.has}`;
    case 'lost':
      return 'it has lost acknowledged writes';
    case 'history':
      return 'it does not remember that far back';
  }
}

function contended(region: RegionId): ReturnType<typeof failure> {
  const detail = `In ${region}, ${limits.readAttempts} snapshots met a write each time. Send it again.`;
  return failure('read-contended', detail, { region }, { 'Retry-After': '1' });
}

function unavailable(faults: readonly RegionFault[]): Attempt<Snapshot> {
  const named = faults.map(({ region, reason }) => `${region}: ${reason}`).join('; ');
  const detail = `No region could answer the read. ${named}. Send it again.`;
  return failure('region-unavailable', detail, { regions: faults }, { 'Retry-After': '1' });
}
