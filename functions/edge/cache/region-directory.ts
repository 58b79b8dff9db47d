import type { Directory, LeaseWish } from '../../../shared/contracts/coordinator.ts';
import type { RegionConfiguration, RegionStatus } from '../../../shared/contracts/members.ts';
import { type Result, success } from '../../../shared/http/problems.ts';
import type { RegionId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { askCoordinator } from '../http/coordinator-calls.ts';
import { onlyShard, type ReadDependencies } from '../http/dependencies.ts';

/** How a request lets work go on after its answer. */
export type Background = (work: Promise<void>) => void;

/** Remembers, for the life of an isolate, which regions there are and how they stand. */
export class RegionDirectory {
  readonly #dependencies: ReadDependencies;
  #known: { readonly directory: Directory; readonly at: number } | null = null;
  #renewedAt = 0;

  constructor(dependencies: ReadDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * What is known; where that is no longer fresh it is renewed beside the request. A problem where nobody could say. A
   * read notices by itself that a region is not what it was; a stream does not, and asks `forStreams` more often.
   */
  async current(background: Background, forStreams = false): Promise<Result<Directory>> {
    const staleMs = forStreams ? limits.directoryStreamStaleMs : limits.directoryStaleMs;
    const now = this.#dependencies.now();
    const ageMs = this.#known === null ? Number.POSITIVE_INFINITY : now - this.#known.at;
    if (this.#known === null || ageMs >= staleMs) return this.renewed();
    // Once in a while is enough: a request that renews it may have been cancelled, and the next one tries again.
    const freshMs = forStreams ? limits.directoryUnsettledMs : freshMsOf(this.#known.directory);
    if (ageMs >= freshMs && now - this.#renewedAt >= limits.directoryUnsettledMs) {
      this.#renewedAt = now;
      background(this.renewed().then(() => {}));
    }
    return success(this.#known.directory);
  }

  /** Asks the coordinator. Where it cannot be reached, what is known stands, however old. */
  async renewed(): Promise<Result<Directory>> {
    const asked = await this.#ask([]);
    return asked.ok || this.#known === null ? asked : success(this.#known.directory);
  }

  /** Tells the coordinator where strong reads go, and keeps what it answers. False if it could not be told. */
  async attend(wishes: readonly LeaseWish[]): Promise<boolean> {
    const asked = await this.#ask(wishes);
    return asked.ok;
  }

  async #ask(wishes: readonly LeaseWish[]): Promise<Result<Directory>> {
    const asked = await askCoordinator(this.#dependencies, onlyShard, (coordinator) =>
      coordinator.attend(wishes),
    );
    if (asked.ok) this.#known = { directory: asked.value, at: this.#dependencies.now() };
    return asked;
  }
}

/** A region that is not as it should be may be back at any moment; else little is to be heard. */
function freshMsOf({ status }: Directory): number {
  const isSettled = status.regions.every(
    ({ state, health }) => state === 'voter' && health === 'answering',
  );
  return isSettled ? limits.directoryFreshMs : limits.directoryUnsettledMs;
}

/** Every region that is configured or was added, without those removed; the configured ones where nobody can say. */
export async function allRegions(
  dependencies: ReadDependencies,
): Promise<readonly RegionConfiguration[]> {
  const asked = await askCoordinator(dependencies, onlyShard, (coordinator) =>
    coordinator.regions(),
  );
  return asked.ok ? asked.value : dependencies.configuration.regions;
}

/** How a region stands, or null where its coordinator does not know it. */
export function statusOf({ status }: Directory, region: RegionId): RegionStatus | null {
  return status.regions.find((known) => known.region === region) ?? null;
}
