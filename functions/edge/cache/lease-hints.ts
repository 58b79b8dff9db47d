/** Requests leases for the regions that strong reads come to, and remembers the regions without one. */
import type { LeaseWish } from '../../../shared/contracts/coordinator.ts';
import type { RegionId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { ReadDependencies } from '../http/dependencies.ts';
import type { Background, RegionDirectory } from './region-directory.ts';

/** The last lease request for a region: its time, and the time for which the lease was requested, in ms. */
interface SentRequest {
  readonly at: number;
  readonly forMs: number;
}

/**
 * Requests leases for the regions that strong reads come to. While reads go on, it requests them for longer each time,
 * and so less often. The answer also brings the state of the regions, so a steady reader needs no other call.
 */
export class Leases {
  readonly #dependencies: ReadDependencies;
  readonly #directory: RegionDirectory;
  readonly #noneUntil = new Map<RegionId, number>();
  readonly #sent = new Map<RegionId, SentRequest>();
  /** Regions with strong reads since their last lease request. */
  readonly #unsent = new Set<RegionId>();

  constructor(dependencies: ReadDependencies, directory: RegionDirectory) {
    this.#dependencies = dependencies;
    this.#directory = directory;
  }

  /** True if the region had no lease a moment ago, so that asking it would be in vain. */
  isMissing(region: RegionId): boolean {
    return (this.#noneUntil.get(region) ?? 0) > this.#dependencies.now();
  }

  /** Notes that the region has no lease now. Reads then avoid it for `limits.leaselessMs`. */
  noteMissing(region: RegionId): void {
    this.#noneUntil.set(region, this.#dependencies.now() + limits.leaselessMs);
  }

  /** Requests a lease for a region, in the background. `hasLease`: the region answered the read under a lease. */
  request(region: RegionId, hasLease: boolean, background: Background): void {
    this.#unsent.add(region);
    const last = this.#sent.get(region);
    const now = this.#dependencies.now();
    // A lease is renewed before it ends. One that is missing, although it was requested, is requested again sooner.
    const pauseMs = hasLease ? ((last?.forMs ?? 0) * 2) / 3 : limits.leaseMissedSaidEveryMs;
    if (last !== undefined && now - last.at < pauseMs) return;
    // The other regions with recent reads are added, so that one call serves all.
    const wishes = [...this.#unsent].map((one) => this.#wishFor(one, now));
    this.#unsent.clear();
    background(this.#send(wishes));
  }

  /** The lease request for a region, noted as sent. */
  #wishFor(region: RegionId, now: number): LeaseWish {
    const last = this.#sent.get(region);
    const goesOn = last !== undefined && now - last.at < 2 * last.forMs;
    const doubled = goesOn ? Math.min(2 * last.forMs, limits.leaseReadersMaxMs) : 0;
    const forMs = Math.max(doubled, limits.leaseReadersMinMs);
    this.#sent.set(region, { at: now, forMs });
    return { region, forMs };
  }

  async #send(wishes: readonly LeaseWish[]): Promise<void> {
    const isAccepted = await this.#directory.attend(wishes);
    // A request that failed is sent again with the next read, so that the lease does not lapse because of it.
    if (!isAccepted) for (const { region } of wishes) this.#sent.delete(region);
  }
}
