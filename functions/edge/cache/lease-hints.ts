import type { LeaseWish } from '../../../shared/contracts/coordinator.ts';
import type { RegionId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { ReadDependencies } from '../http/dependencies.ts';
import type { Background, RegionDirectory } from './region-directory.ts';

/** What was last said of a region: that reads come there, when, and for how long its lease was asked for, ms. */
interface Said {
  readonly at: number;
  readonly forMs: number;
}

/**
 * What an isolate remembers of leases: which regions had none just now, and of which it said that reads come. As long as
 * reads go on it asks for longer each time, and more seldom; the answer also says how the regions stand, so a steady
 * reader asks its coordinator nothing else.
 */
export class Leases {
  readonly #dependencies: ReadDependencies;
  readonly #directory: RegionDirectory;
  readonly #noneUntil = new Map<RegionId, number>();
  readonly #said = new Map<RegionId, Said>();
  /** Where something was read since that was last said. */
  readonly #readIn = new Set<RegionId>();

  constructor(dependencies: ReadDependencies, directory: RegionDirectory) {
    this.#dependencies = dependencies;
    this.#directory = directory;
  }

  /** True where asking the region would be in vain: a moment ago it had no lease. */
  isLacking(region: RegionId): boolean {
    return (this.#noneUntil.get(region) ?? 0) > this.#dependencies.now();
  }

  lacking(region: RegionId): void {
    this.#noneUntil.set(region, this.#dependencies.now() + limits.leaselessMs);
  }

  /** Tells the coordinator, beside the request, that strong reads come to this region, which has a lease or not. */
  want(region: RegionId, hasLease: boolean, background: Background): void {
    this.#readIn.add(region);
    const said = this.#said.get(region);
    const now = this.#dependencies.now();
    // A lease is asked for again in good time; one that has ended before its time, at once.
    const pauseMs = hasLease ? ((said?.forMs ?? 0) * 2) / 3 : limits.leaseMissedSaidEveryMs;
    if (said !== undefined && now - said.at < pauseMs) return;
    // What else is read in goes along, so that one call does for all.
    const wishes = [...this.#readIn].map((one) => this.#wishFor(one, now));
    this.#readIn.clear();
    background(this.#send(wishes));
  }

  /** The wish for a region; it has been said from now on. */
  #wishFor(region: RegionId, now: number): LeaseWish {
    const said = this.#said.get(region);
    const goesOn = said !== undefined && now - said.at < 2 * said.forMs;
    const doubled = goesOn ? Math.min(2 * said.forMs, limits.leaseWantedMaxMs) : 0;
    const forMs = Math.max(doubled, limits.leaseWantedMinMs);
    this.#said.set(region, { at: now, forMs });
    return { region, forMs };
  }

  async #send(wishes: readonly LeaseWish[]): Promise<void> {
    const isAccepted = await this.#directory.attend(wishes);
    // A word that got lost is said again with the next read, so that leases do not end for a while because of it.
    if (!isAccepted) for (const { region } of wishes) this.#said.delete(region);
  }
}
