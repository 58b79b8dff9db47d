/** Answers reads: from the nearest region with a lease (R25), through the coordinator (R40), or without a lease (R26). */
import { parseSnapshotReplies } from '../../../shared/commands/replies.ts';
import type { Directory, RegionFault } from '../../../shared/contracts/coordinator.ts';
import type { RegionConfiguration, RegionStatus } from '../../../shared/contracts/members.ts';
import { holdScript, type SnapshotRequest } from '../../../shared/contracts/round.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { Consistency } from '../../../shared/http/schemas.ts';
import type { RegionId, ShardId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { keysOfRead } from '../../../shared/shards/read-keys.ts';
import { type ShardMap, shardsOf } from '../../../shared/shards/shard-map.ts';
import { Circuits } from '../cache/circuit-breakers.ts';
import { Leases } from '../cache/lease-hints.ts';
import { type Background, RegionDirectory, statusOf } from '../cache/region-directory.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import type { EdgeDependencies, Location, ReadDependencies } from '../http/dependencies.ts';
import type { EdgeContext } from '../http/respond.ts';
import { keeperOf, oneShardOf, shardUnknown } from '../http/shards.ts';
import { foundingAdvice } from '../writes/present.ts';
import { byDistance } from './nearest.ts';
import { SharedSnapshots } from './shared-snapshots.ts';
import {
  type RegionOutcome,
  RegionSnapshotRead,
  type Snapshot,
  type SnapshotRead,
} from './snapshot-read.ts';

/** The consistency of a read, and the regions that may answer it. */
export interface ReadTarget {
  readonly consistency: Consistency;
  /** The only region to ask, or null for the nearest one that answers. */
  readonly region: RegionId | null;
  readonly location: Location | null;
  readonly background: Background;
}

/** A snapshot to take: compiled commands, and their target. */
export type SnapshotQuery = SnapshotRead & ReadTarget;

/** The target of a read, from its request. */
export function readTargetOf(
  context: EdgeContext,
  dependencies: EdgeDependencies,
  asked: { readonly consistency: Consistency; readonly region?: RegionId | null | undefined },
): ReadTarget {
  return {
    consistency: asked.consistency,
    region: asked.region ?? null,
    location: dependencies.locate(context.req.raw),
    background: (work) => dependencies.inBackground(context, work),
  };
}

/** The state of the regions as a shard has it, and the regions in which it has no lease. */
interface ShardReads {
  readonly directory: RegionDirectory;
  readonly leases: Leases;
}

/**
 * Reads from regions. Remembers, for the life of an isolate, the state of the regions, recent failures and missing
 * leases.
 */
export class RegionReader {
  readonly #dependencies: ReadDependencies;
  readonly #circuits: Circuits;
  readonly #shared: SharedSnapshots;
  readonly #shards = new Map<ShardId, ShardReads>();

  constructor(dependencies: ReadDependencies) {
    this.#dependencies = dependencies;
    this.#circuits = new Circuits(() => dependencies.now());
    this.#shared = new SharedSnapshots(dependencies);
  }

  /** The regions and their states, for streams: any shard knows them. */
  get directory(): RegionDirectory {
    return this.#readsOf(keeperOf(this.#dependencies)).directory;
  }

  #readsOf(shard: ShardId): ShardReads {
    const known = this.#shards.get(shard);
    if (known !== undefined) return known;
    const directory = new RegionDirectory(this.#dependencies, shard);
    const reads = { directory, leases: new Leases(this.#dependencies, directory) };
    this.#shards.set(shard, reads);
    return reads;
  }

  /**
   * Takes the snapshot in the nearest region that can answer. If none can, its problem names the fault of each region.
   * A read whose keys have moved to another shard is tried once more, by a newer map.
   */
  async read(query: SnapshotQuery): Promise<Result<Snapshot>> {
    const { shards } = this.#dependencies;
    const map = shards.now;
    const home = homeOf(query, map);
    if (!home.ok) return home;
    const answer = await this.#readIn(home.value, query);
    if (answer !== 'moved') return answer;
    const next = homeOf(query, await shards.renewed(map));
    if (!next.ok) return next;
    if (next.value === home.value) return shardUnknown();
    const again = await this.#readIn(next.value, query);
    return again === 'moved' ? shardUnknown() : again;
  }

  async #readIn(shard: ShardId, query: SnapshotQuery): Promise<Result<Snapshot> | 'moved'> {
    const reads = this.#readsOf(shard);
    const directory = await directoryFor(reads.directory, query);
    if (!directory.ok) return directory;
    const candidates = candidatesOf(query, directory.value);
    if (!candidates.ok) return candidates;
    const startedAt = this.#dependencies.now();
    const reading = new Reading(query, directory.value, reads);
    for (const region of candidates.value) {
      const ended = await this.#try(region, reading, 'if it answers lately');
      if (ended !== null) return ended;
      const ms = this.#dependencies.now() - startedAt;
      if (reading.contendedIn !== null || ms > limits.timeoutMsDefault) break;
    }
    // Regions that failed a moment ago are tried last, and only by local reads: the coordinator serves strong ones.
    if (query.consistency === 'strong') return this.#readThroughCoordinator(reading);
    for (const region of reading.avoided) {
      const ended = await this.#try(region, reading, 'in any case');
      if (ended !== null) return ended;
    }
    return unavailable(reading.faults);
  }

  /** Asks one region. Null means that the next way is to be tried. */
  async #try(
    region: RegionConfiguration,
    reading: Reading,
    when: 'if it answers lately' | 'in any case',
  ): Promise<Result<Snapshot> | null> {
    const { query, directory, reads } = reading;
    const status = statusOf(directory, region.id);
    const obstacle = obstacleOf(status, query.consistency);
    if (obstacle !== null) return reading.fault(region.id, obstacle);
    const isStrong = query.consistency === 'strong';
    if (isStrong && reads.leases.isMissing(region.id)) return this.#noLease(region.id, reading);
    const take = (request: SnapshotRequest) => this.#shared.take(region, request, query.background);
    const read = new RegionSnapshotRead(this.#dependencies, reads.directory, query, region, take);
    const outcome =
      when === 'in any case'
        ? await read.take(directory)
        : await this.#circuits.ask(region.id, () => read.take(directory));
    if (outcome === null) return reading.avoid(region);
    return this.#judge(outcome, region.id, reading);
  }

  #judge(outcome: RegionOutcome, region: RegionId, reading: Reading): Result<Snapshot> | null {
    switch (outcome.kind) {
      case 'answered':
        if (reading.query.consistency === 'strong') this.#requestLease(region, true, reading);
        return success(outcome.snapshot);
      case 'ended':
        return outcome.problem;
      case 'fault':
        if (outcome.isUnanswered) reading.unanswered += 1;
        reading.fault(region, outcome.reason);
        return reading.isSpent ? unanswered(reading.faults) : null;
      case 'no-lease':
        reading.reads.leases.noteMissing(region);
        return this.#noLease(region, reading);
      case 'contended':
        reading.contendedIn = region;
        return null;
    }
  }

  #noLease(region: RegionId, reading: Reading): null {
    this.#requestLease(region, false, reading);
    return reading.fault(region, 'it has no lease');
  }

  /**
   * Requests a lease for the nearest region that answers, once per read; a farther region may serve the read meanwhile.
   */
  #requestLease(region: RegionId, hasLease: boolean, reading: Reading): void {
    if (reading.hasRequestedLease) return;
    reading.hasRequestedLease = true;
    reading.reads.leases.request(region, hasLease, reading.query.background);
  }

  async #readThroughCoordinator({
    query,
    reads,
    faults,
    contendedIn,
    unanswered: sent,
  }: Reading): Promise<Result<Snapshot> | 'moved'> {
    const { keys, commands } = query;
    // The coordinator may read in another region, in which a key that is always locked here may be free.
    const request = { keys, commands, region: query.region, unanswered: sent };
    const { shard } = reads.directory;
    const answer = await callCoordinator(this.#dependencies, shard, 'read', request);
    if (answer.ok && answer.value.kind === 'moved') return 'moved';
    if (answer.ok && answer.value.kind === 'read') {
      const { region } = answer.value;
      const replies = parseSnapshotReplies(answer.value.replies, commands.length);
      if (replies !== null) {
        return success({ replies, region, attempts: 1, via: 'coordinator' });
      }
    }
    const busyIn =
      answer.ok && answer.value.kind === 'unavailable' ? answer.value.contendedIn : undefined;
    const busy = contendedIn ?? busyIn;
    if (busy !== undefined) return contended(busy);
    if (!answer.ok) return faults.length === 0 ? answer : unavailable(faults);
    if (answer.value.kind === 'unavailable' && answer.value.notFounded !== undefined) {
      const detail = `Nothing was read: ${answer.value.notFounded}. ${foundingAdvice}`;
      return failure(
        'not-founded',
        detail,
        { regions: answer.value.faults },
        { 'Retry-After': '1' },
      );
    }
    const reported = answer.value.kind === 'unavailable' ? answer.value.faults : [];
    // The coordinator knows better than this isolate why a region could not answer.
    const others = faults.filter(
      (fault) => !reported.some(({ region }) => region === fault.region),
    );
    const isSpent = answer.value.kind === 'unavailable' && answer.value.isUnanswered;
    return isSpent ? unanswered([...others, ...reported]) : unavailable([...others, ...reported]);
  }
}

/** The shard that answers a read. A local read needs no lock and no lease, so any shard's region may answer it. */
function homeOf(query: SnapshotQuery, map: ShardMap): Result<ShardId> {
  if (query.consistency === 'local') return success(shardsOf(query.keys, map)[0]);
  return oneShardOf(map, () => keysOfRead(query));
}

/** A region that the directory lacks may be new, so the directory is renewed once. */
async function directoryFor(
  directory: RegionDirectory,
  { region, background }: SnapshotQuery,
): Promise<Result<Directory>> {
  const current = await directory.current(background);
  if (!current.ok || region === null) return current;
  const isKnown = current.value.regions.some(({ id }) => id === region);
  return isKnown ? current : directory.renewed();
}

/** The progress of one read. */
class Reading {
  readonly query: SnapshotQuery;
  readonly directory: Directory;
  readonly reads: ShardReads;
  readonly avoided: RegionConfiguration[] = [];
  readonly faults: RegionFault[] = [];
  /** The region in which locks of writes stood in the way of every attempt. */
  contendedIn: RegionId | null = null;
  /** The number of regions that got the read and did not answer. */
  unanswered = 0;
  /** True once this read has requested a lease. */
  hasRequestedLease = false;

  constructor(query: SnapshotQuery, directory: Directory, reads: ShardReads) {
    this.query = query;
    this.directory = directory;
    this.reads = reads;
  }

  /**
   * True if the read was left unanswered as many times as it may be: a read that stops a region must not stop all
   * (R40).
   */
  get isSpent(): boolean {
    const isScript = holdScript(this.query.commands);
    return this.unanswered >= (isScript ? limits.unansweredPerScript : limits.unansweredPerRead);
  }

  fault(region: RegionId, reason: string): null {
    this.faults.push({ region, reason });
    return null;
  }

  avoid(region: RegionConfiguration): null {
    this.avoided.push(region);
    if (this.query.consistency === 'strong')
      this.fault(region.id, 'it did not answer a moment ago');
    return null;
  }
}

/** The regions to ask, in order: the nearest voters first, then the nearest others. */
function candidatesOf(
  { region, location }: SnapshotQuery,
  directory: Directory,
): Result<readonly RegionConfiguration[]> {
  const { regions } = directory;
  if (region === null) {
    const near = byDistance(regions, location);
    const isVoter = ({ id }: RegionConfiguration) => statusOf(directory, id)?.state === 'voter';
    return success([...near.filter(isVoter), ...near.filter((one) => !isVoter(one))]);
  }
  const asked = regions.filter(({ id }) => id === region);
  if (asked.length > 0) return success(asked);
  const ids = regions.map(({ id }) => id);
  const detail = `The region is none of ${ids.join(', ')}: use one of these, or omit \`region\`.`;
  return failure('region-unknown', detail, { regions: ids });
}

/**
 * The reason not to ask a region, or null. A region without a vote has no lease. A local read may be stale, but must
 * not come from a region that lacks keys or holds data that was never committed.
 */
function obstacleOf(status: RegionStatus | null, consistency: Consistency): string | null {
  if (status === null) return 'the coordinator does not know it yet';
  if (status.state === 'voter') return null;
  if (consistency === 'strong') return `it has no vote: ${status.state}`;
  if (status.state === 'copying') return 'it is being copied';
  const lacksNewest = ['silent', 'refusing', 'ordered'].includes(status.cause ?? '');
  return lacksNewest ? null : `it is out: ${status.cause ?? 'for an unknown reason'}`;
}

function contended(region: RegionId): ReturnType<typeof failure> {
  const detail = `In ${region}, ${limits.readAttempts} snapshots each met a write. Retry.`;
  return failure('read-contended', detail, { region }, { 'Retry-After': '1' });
}

function unavailable(faults: readonly RegionFault[]): Result<Snapshot> {
  const named = faults.map(({ region, reason }) => `${region}: ${reason}`).join('; ');
  const detail = `No region could answer the read. ${named}. Retry.`;
  return failure('region-unavailable', detail, { regions: faults }, { 'Retry-After': '1' });
}

/** The read itself may keep a region from answering, so it is not sent to further regions. */
function unanswered(faults: readonly RegionFault[]): Result<Snapshot> {
  const named = faults.map(({ region, reason }) => `${region}: ${reason}`).join('; ');
  const detail = `The read was sent, not answered, and not retried. ${named}.`;
  return failure('read-unanswered', detail, { regions: faults }, { 'Retry-After': '5' });
}
