import type { OutCause } from '../../contracts/members.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { Leaving } from '../io/stored.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { MemberChanges, MembersParts } from './members-parts.ts';

/**
 * Takes the vote of regions that fail (rules R31 and R32): it suspects voters whose server refuses writes, finds those
 * that are due, and evicts them once no lease of theirs is left and the voters that stay have shown that they are whole.
 */
export class Evictions {
  readonly #parts: MembersParts;
  readonly #members: MemberChanges;
  /** When each voter that is about to leave was first seen to, ms. */
  readonly #suspectedAt = new Map<RegionId, number>();

  constructor(parts: MembersParts, members: MemberChanges) {
    this.#parts = parts;
    this.#members = members;
  }

  /** Suspects and evicts as far as that is possible now. Called in each step, after its event. */
  advance(): void {
    this.#suspectRefusing();
    this.#evictDue();
  }

  /** Suspects a voter whose server keeps refusing writes that others carry out, as long as enough others stay. */
  #suspectRefusing(): void {
    const { links, config, ready } = this.#parts;
    const others = links.voters.filter((link) => link.isLeased && link.refusals.inRow === null);
    const isEnough = others.length >= Math.max(1, config.minVoters);
    for (const link of links.voters) {
      // It is measured against others, so the time counts from when these carry out the writes that it refuses.
      if (!isEnough) link.refusals.countFrom(ready.now);
      const { leaving } = link;
      const { inRow } = link.refusals;
      if (inRow === null || leaving !== null) continue;
      if (inRow.last - inRow.since < config.outAfterMs) continue;
      const detail = `its server refuses writes that others accept: ${inRow.reason}`;
      this.#members.suspect(link, { cause: 'refusing', detail, whole: false, manualReturn: false });
    }
  }

  #evictDue(): void {
    const { ready, links, config } = this.#parts;
    const { now } = ready;
    const due = links.voters.filter((link) => {
      const { health } = link;
      if (link.leaving !== null) return true;
      if (health.kind === 'answering') return false;
      ready.schedule(health.since + config.outAfterMs);
      return health.since + config.outAfterMs <= now;
    });
    for (const region of this.#suspectedAt.keys()) {
      if (!due.some((link) => link.region === region)) this.#suspectedAt.delete(region);
    }
    for (const { region } of due) {
      if (!this.#suspectedAt.has(region)) this.#suspectedAt.set(region, now);
    }
    const staying = links.voters.filter((link) => !due.includes(link));
    // Healthy ones may leave, but stay if without them no voter would be left.
    const willing = due.filter((link) => link.isHealthy);
    if (staying.length > 0) this.#evictIfSafe(due, staying);
    else if (willing.length < due.length && willing.length > 0) {
      this.#evictIfSafe(
        due.filter((link) => !link.isHealthy),
        willing,
      );
    }
  }

  /** They leave once no lease is left and every voter that stays has shown since that it has lost nothing (R32). */
  #evictIfSafe(due: readonly RegionLink[], staying: readonly RegionLink[]): void {
    if (due.length === 0) return;
    const { ready } = this.#parts;
    const leasesEndAt = Math.max(...due.map((link) => link.lease.endsAt));
    ready.schedule(leasesEndAt);
    if (leasesEndAt === Number.POSITIVE_INFINITY) {
      // The end is known once any region has answered in this life, and a resting instance has asked none.
      for (const { lossCheck } of staying) lossCheck.require(ready.now);
    }
    if (leasesEndAt > ready.now) return;
    // Required as late as can be: a voter that stays may lose its data while the leases run out.
    const since = Math.max(leasesEndAt, ...this.#suspectedAt.values());
    for (const { lossCheck } of staying) if (!lossCheck.hasPassed(since)) lossCheck.require(since);
    const isShown = staying.every(
      (link) => link.health.kind === 'answering' && link.lossCheck.hasPassed(since),
    );
    if (isShown && this.#areLoansOver(staying)) this.#evict(due);
  }

  /**
   * Before a region leaves, the open loans end, and those that stay have acknowledged the commits of joint
   * writes: this shard does not know which rounds of other shards have left something there (rule R64). After a while it
   * goes on around them.
   */
  #areLoansOver(staying: readonly RegionLink[]): boolean {
    const { loans, ready } = this.#parts;
    const isOpen =
      loans.count > 0 ||
      staying.some(({ unacknowledged }) => unacknowledged.hasJointCommitOn(null));
    if (!isOpen) return true;
    const until = Math.min(...this.#suspectedAt.values()) + limits.loanEndWaitMs;
    if (until <= ready.now) return true;
    loans.endAll();
    ready.schedule(until);
    return false;
  }

  #evict(due: readonly RegionLink[]): void {
    const { attempts, pendingConfirmations, state } = this.#parts;
    attempts.abortAll();
    state.epoch += 1;
    for (const link of due) {
      const { health } = link;
      const isForeign = health.kind === 'foreign';
      const leaving: Leaving = link.leaving ?? {
        cause: isForeign ? 'foreign' : causeOf(link),
        detail: health.kind === 'answering' ? '' : health.reason,
        whole: isForeign,
        manualReturn: isForeign,
      };
      pendingConfirmations.dismiss(link.region);
      this.#members.leave(link, leaving, 'evicted');
      this.#members.note(link.region, 'out', leaving.cause, leaving.detail);
    }
    this.#unblockRepaired(due);
    attempts.requestBatch();
  }

  /** The region that differed about a key has no vote any more, so the key may be written to again. */
  #unblockRepaired(evicted: readonly RegionLink[]): void {
    const { blocked, links } = this.#parts;
    const repaired = evicted.filter(({ leaving }) => leaving?.cause === 'repair');
    const keys = blocked.all
      .map(({ key }) => key)
      .filter((key) => repaired.some(({ missed }) => missed.has(key)))
      .filter((key) => !links.voters.some(({ missed }) => missed.has(key)));
    blocked.remove(keys);
  }
}

/** The cause of an eviction: its server refused to the last, or no usable answer came. */
function causeOf({ health, refusals: { inRow } }: RegionLink): OutCause {
  const isRefusing = health.kind !== 'answering' && inRow !== null;
  return isRefusing && inRow.last >= health.since ? 'refusing' : 'silent';
}
