import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorStatus } from '../../shared/wire/answers.ts';
import type { RegionConfiguration, RegionStatus } from '../../shared/wire/members.ts';
import { type Attempt, success } from '../../shared/wire/problems.ts';
import { askCoordinator } from './coordinators.ts';
import { type EdgeDependencies, onlyShard } from './dependencies.ts';

/** The regions as their coordinator last told of them. */
export interface Directory {
  readonly regions: readonly RegionConfiguration[];
  readonly status: CoordinatorStatus;
}

/** How a request lets work go on after its answer. */
export type Background = (work: Promise<void>) => void;

/** Remembers, for the life of an isolate, which regions there are and how they stand. */
export class RegionDirectory {
  readonly #dependencies: EdgeDependencies;
  #known: { readonly directory: Directory; readonly at: number } | null = null;
  #renewedAt = 0;

  constructor(dependencies: EdgeDependencies) {
    this.#dependencies = dependencies;
  }

  /** What is known; where that is no longer fresh it is renewed beside the request. A problem where nobody could say. */
  async current(background: Background): Promise<Attempt<Directory>> {
    const now = this.#dependencies.now();
    const ageMs = this.#known === null ? Number.POSITIVE_INFINITY : now - this.#known.at;
    if (this.#known === null || ageMs >= limits.directoryStaleMs) return this.renewed();
    // Once in a while is enough: a request that renews it may have been cancelled, and the next one tries again.
    if (ageMs >= limits.directoryFreshMs && now - this.#renewedAt >= limits.directoryFreshMs) {
      this.#renewedAt = now;
      background(this.renewed().then(() => {}));
    }
    return success(this.#known.directory);
  }

  /** Asks the coordinator. Where it cannot be reached, what is known stands, however old. */
  async renewed(): Promise<Attempt<Directory>> {
    const [regions, status] = await Promise.all([
      allRegions(this.#dependencies),
      askCoordinator(this.#dependencies, onlyShard, 'read', (coordinator) =>
        coordinator.describe(),
      ),
    ]);
    if (!status.ok) return this.#known === null ? status : success(this.#known.directory);
    const directory = { regions, status: status.value };
    this.#known = { directory, at: this.#dependencies.now() };
    return success(directory);
  }
}

/** Every region that is configured or was added, without those removed; the configured ones where nobody can say. */
export async function allRegions(
  dependencies: EdgeDependencies,
): Promise<readonly RegionConfiguration[]> {
  const asked = await askCoordinator(dependencies, onlyShard, 'read', (coordinator) =>
    coordinator.regions(),
  );
  return asked.ok ? asked.value : dependencies.configuration.regions;
}

/** How a region stands, or null where its coordinator does not know it. */
export function statusOf({ status }: Directory, region: RegionId): RegionStatus | null {
  return status.regions.find((known) => known.region === region) ?? null;
}
