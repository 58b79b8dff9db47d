import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { askCoordinator } from './coordinators.ts';
import { type EdgeDependencies, onlyShard } from './dependencies.ts';
import type { Background } from './directory.ts';

/** What an isolate remembers of leases: which regions had none just now, and of which it told that reads come. */
export class Leases {
  readonly #dependencies: EdgeDependencies;
  readonly #noneUntil = new Map<RegionId, number>();
  readonly #saidAt = new Map<RegionId, number>();

  constructor(dependencies: EdgeDependencies) {
    this.#dependencies = dependencies;
  }

  /** True where asking the region would be in vain: a moment ago it had no lease. */
  isLacking(region: RegionId): boolean {
    return (this.#noneUntil.get(region) ?? 0) > this.#dependencies.now();
  }

  lacking(region: RegionId): void {
    this.#noneUntil.set(region, this.#dependencies.now() + limits.leaselessMs);
  }

  /** Tells the coordinator, beside the request, that strong reads come to this region. */
  want(region: RegionId, background: Background): void {
    const now = this.#dependencies.now();
    const saidAt = this.#saidAt.get(region);
    if (saidAt !== undefined && now - saidAt < limits.leaseWantedSaidEveryMs) return;
    this.#saidAt.set(region, now);
    background(this.#tell(region));
  }

  async #tell(region: RegionId): Promise<void> {
    const told = await askCoordinator(this.#dependencies, onlyShard, 'read', (coordinator) =>
      coordinator.want([region]),
    );
    // A word that got lost is said again with the next read, so that leases do not end for a while because of it.
    if (!told.ok) this.#saidAt.delete(region);
  }
}
