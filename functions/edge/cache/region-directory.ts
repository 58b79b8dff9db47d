/** Caches the coordinator's list of regions and their states. */
import type { Directory, LeaseWish } from '../../../shared/contracts/coordinator.ts';
import type { RegionConfiguration, RegionStatus } from '../../../shared/contracts/members.ts';
import { type Result, success } from '../../../shared/http/problems.ts';
import type { RegionId, ShardId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { callCoordinator } from '../http/coordinator-calls.ts';
import type { ReadDependencies } from '../http/dependencies.ts';
import { keeperOf } from '../http/shards.ts';

/** Keeps work running after the response. */
export type Background = (work: Promise<void>) => void;

/** Remembers the regions and their states as one shard has them, for the life of an isolate. */
export class RegionDirectory {
  readonly shard: ShardId;
  readonly #dependencies: ReadDependencies;
  #known: { readonly directory: Directory; readonly at: number } | null = null;
  #renewedAt = 0;

  constructor(dependencies: ReadDependencies, shard: ShardId) {
    this.#dependencies = dependencies;
    this.shard = shard;
  }

  /**
   * Returns the directory, and renews it in the background if it is not fresh. A problem if it is missing or too old
   * and the coordinator does not answer. A read notices by itself that a region's state has changed; a stream does not,
   * so `forStreams` renews it more often.
   */
  async current(background: Background, forStreams = false): Promise<Result<Directory>> {
    const staleMs = forStreams ? limits.directoryStreamStaleMs : limits.directoryStaleMs;
    const now = this.#dependencies.now();
    const ageMs = this.#known === null ? Number.POSITIVE_INFINITY : now - this.#known.at;
    if (this.#known === null || ageMs >= staleMs) return this.renewed();
    // Tried again after a pause only: a request that renews it may be cancelled, so that its outcome never arrives.
    const freshMs = forStreams ? limits.directoryUnsettledMs : freshMsOf(this.#known.directory);
    if (ageMs >= freshMs && now - this.#renewedAt >= limits.directoryUnsettledMs) {
      this.#renewedAt = now;
      background(this.renewed().then(() => {}));
    }
    return success(this.#known.directory);
  }

  /** Asks the coordinator. If it does not answer, returns the directory that is known, however old. */
  async renewed(): Promise<Result<Directory>> {
    const asked = await this.#ask([]);
    return asked.ok || this.#known === null ? asked : success(this.#known.directory);
  }

  /** Sends lease requests to the coordinator, and keeps the directory that it returns. False if the call failed. */
  async attend(wishes: readonly LeaseWish[]): Promise<boolean> {
    const asked = await this.#ask(wishes);
    return asked.ok;
  }

  async #ask(wishes: readonly LeaseWish[]): Promise<Result<Directory>> {
    const asked = await callCoordinator(this.#dependencies, this.shard, 'attend', wishes);
    if (asked.ok) this.#known = { directory: asked.value, at: this.#dependencies.now() };
    return asked;
  }
}

/** A region that is out or silent may be back at any moment; otherwise changes are rare. */
function freshMsOf({ status }: Directory): number {
  const isSettled = status.regions.every(
    ({ state, health }) => state === 'voter' && health === 'answering',
  );
  return isSettled ? limits.directoryFreshMs : limits.directoryUnsettledMs;
}

/**
 * The regions that were configured or added, and not removed; the configured ones if the coordinator does not answer.
 */
export async function allRegions(
  dependencies: ReadDependencies,
): Promise<readonly RegionConfiguration[]> {
  const asked = await callCoordinator(dependencies, keeperOf(dependencies), 'regions');
  return asked.ok ? asked.value : dependencies.configuration.regions;
}

/** The state of a region, or null if the coordinator does not know it. */
export function statusOf({ status }: Directory, region: RegionId): RegionStatus | null {
  return status.regions.find((known) => known.region === region) ?? null;
}
