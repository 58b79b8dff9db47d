import { assert } from '../../assert.ts';
import type { RegionFault } from '../../contracts/coordinator.ts';
import type { CopyProgress } from '../../contracts/members.ts';
import type { CopyReply, CopyStep } from '../../contracts/round.ts';
import { limits } from '../../limits.ts';
import type { Leaving } from '../io/stored.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { Copy } from './copy.ts';
import type { MemberChanges, MembersParts } from './members-parts.ts';

/**
 * How a region that is out gets its vote back: by a copy of the keys that it lacks, one region at a time (rules R34 to
 * R38). A new region, one that was unreachable, and one that lost writes or diverged all return this way.
 */
export class Rejoin {
  readonly #parts: MembersParts;
  readonly #members: MemberChanges;
  #copy: Copy | null = null;

  constructor(parts: MembersParts, members: MemberChanges) {
    this.#parts = parts;
    this.#members = members;
  }

  /** The copy under way, or null. */
  get copy(): Copy | null {
    return this.#copy;
  }

  /** True during the write pause at the end of a copy, in which nothing new may begin. */
  get admissionPaused(): boolean {
    return this.#copy !== null && this.#copy.pauseUntil !== null;
  }

  /** The region for which every write waits meanwhile. */
  get obstacles(): readonly RegionFault[] {
    if (this.#copy === null || !this.admissionPaused) return [];
    const reason = 'returns: writes wait until its last keys are copied';
    return [{ region: this.#copy.target.region, reason }];
  }

  /** The progress of the copy into a region; null if none is under way. */
  progressOf(link: RegionLink): CopyProgress | null {
    const copy = this.#copy?.target === link ? this.#copy : null;
    return copy === null ? null : copy.progress(this.#parts.ready.now);
  }

  /** A step of a copy has ended; null: without a usable answer. */
  onStepEnded(step: CopyStep, reply: CopyReply | null): void {
    const { target } = this.#copy ?? {};
    const turn = this.#copy?.onStepEnded(step, reply, this.#parts.state.sequence);
    if (turn?.kind !== 'failed' || target === undefined) return;
    const { leaving } = target;
    assert(leaving !== null, 'a copy has a reason');
    this.fail({ ...leaving, detail: turn.reason });
  }

  /** Begins a copy if one can begin, and advances the one that is under way. */
  advance(): void {
    if (this.#copy === null) this.#beginNext();
    if (this.#copy !== null) this.#advanceCopy(this.#copy);
  }

  /** Gives up the copy under way; its region is out again, for the reason of `leaving`. */
  fail(leaving: Leaving): void {
    const copy = this.#copy;
    if (copy === null) return;
    const { target } = copy;
    this.cancel();
    this.#parts.state.epoch += 1;
    this.#members.leave(target, leaving, 'copy-failed');
    target.copyAfter = this.#parts.ready.now + limits.copyPauseMs;
    if (target.refusals.isFull) target.fullSince = this.#parts.ready.now;
    this.#members.note(target.region, 'out', leaving.cause, leaving.detail);
  }

  /** No copy is under way any more. */
  cancel(): void {
    const copy = this.#copy;
    if (copy === null) return;
    this.#copy = null;
    copy.target.copyStep = null;
    copy.readFrom(null);
    this.#parts.attempts.requestBatch();
  }

  #beginNext(): void {
    const { links, ready } = this.#parts;
    const hasSource = this.#bestSource() !== null;
    const next = links.all.find((link) => {
      const { membership, reachable, copyAfter, fullSince } = link;
      const { isFull } = link.refusals;
      if (membership.state !== 'out' || membership.manualReturn || !reachable) return false;
      // As long as there is no voter, only a force-recovered region can begin, even if others come before it.
      if (!hasSource && !isForceRecovered(link)) return false;
      // A copy would fail; from time to time it is tried, since it may remove the keys that fill the region.
      const after = isFull ? Math.max(copyAfter, fullSince + limits.fullCopyPauseMs) : copyAfter;
      ready.schedule(after);
      return after <= ready.now;
    });
    if (next !== undefined) this.begin(next);
  }

  /** Begins to copy the region, which is out. A force-recovered one only drops its unfinished transactions. */
  begin(link: RegionLink): void {
    const { stored, state, ready } = this.#parts;
    const { now } = ready;
    const { membership } = link;
    assert(membership.state === 'out', 'only a region that is out is copied');
    state.epoch += 1;
    // A region that has not answered under its generation keeps it.
    const isRenewed = membership.whole && link.begun;
    const first = link.generation === 0 ? Math.max(now, stored.generation) : link.generation;
    link.beginCopy(isRenewed ? Math.max(now, link.generation + 1) : first);
    link.recover();
    const token = `${stored.incarnation}-${state.epoch}`;
    this.#members.set(link, { ...membership, state: 'copying', since: now, token }, 'copy-begun');
    this.#members.note(link.region, 'copying', membership.cause, membership.detail);
    const whole = membership.whole && !isForceRecovered(link);
    const replaces = membership.whole ? link.former : [];
    const agreed = membership.whole ? link.agreed : null;
    const isDoubtful = (source: RegionLink, key: string) =>
      this.#parts.loans.isLent(key) || source.unacknowledged.hasJointCommitOn([key]);
    this.#copy = new Copy(link, token, { whole, replaces, agreed, startedAt: now, isDoubtful });
  }

  #advanceCopy(copy: Copy): void {
    const { ready, config, state, attempts, loans } = this.#parts;
    const { health, leaving } = copy.target;
    if (health.kind !== 'answering') {
      ready.schedule(health.since + config.outAfterMs);
      if (health.since + config.outAfterMs <= ready.now && leaving !== null) {
        this.fail({ ...leaving, detail: health.reason });
        return;
      }
    }
    // A source that is silent for a moment may answer again; the scan of another one would begin from the start.
    if (copy.source?.isVoter !== true || copy.source.isQuarantined)
      copy.readFrom(this.#bestSource());
    if (this.#pauseOrFinish(copy)) return;
    const isOpen = attempts.undecided > 0 || loans.count > 0;
    const isStill = !isOpen && copy.source?.unacknowledged.count === 0;
    copy.plan(state.sequence, isStill);
  }

  /** Begins and ends write pauses. True if the copy is over: the region votes again, or cannot. */
  #pauseOrFinish(copy: Copy): boolean {
    const { ready, attempts } = this.#parts;
    const { now } = ready;
    const { leaving, refusals } = copy.target;
    if (copy.isComplete && refusals.isFull && leaving !== null) {
      // It would refuse the next write, and hold up all of them.
      this.fail({ ...leaving, detail: 'its server is out of memory' });
      return true;
    }
    if (copy.isComplete && attempts.undecided === 0 && this.#mayReturn(copy.target)) {
      this.#return(copy);
      return true;
    }
    if (copy.pauseUntil === null) {
      ready.schedule(copy.pauseNotBefore);
      if (!copy.nearsEnd || now < copy.pauseNotBefore) return false;
      copy.beginPause(now);
    } else if (copy.pauseUntil <= now || copy.isOutgrown) {
      copy.endPause(copy.isOutgrown ? now : now + limits.copyPauseMs);
      attempts.requestBatch();
    }
    ready.schedule(copy.pauseUntil ?? copy.pauseNotBefore);
    return false;
  }

  #return({ target }: Copy): void {
    const { state, ready, attempts } = this.#parts;
    this.#copy = null;
    state.epoch += 1;
    target.lease.drop();
    this.#members.set(target, { state: 'voter', since: ready.now, leaving: null }, 'returned');
    this.#members.note(target.region, 'returned', null, 'it has been copied, and votes again');
    attempts.requestBatch();
  }

  /** No loan is open (R65), and no lease of a region without a vote is left. */
  #mayReturn(target: RegionLink): boolean {
    return this.#parts.loans.count === 0 && this.#leasesAreOver(target);
  }

  /** No region without a vote may serve strong reads any more: after a force-recovery one may still have a lease. */
  #leasesAreOver(target: RegionLink): boolean {
    const { links, ready } = this.#parts;
    const absent = links.all.filter((link) => !link.isVoter && link !== target);
    const ends = absent.map(({ lease }) => lease.endsAt);
    ready.schedule(...ends);
    return ends.every((end) => end <= ready.now);
  }

  /** The nearest voter that stays. */
  #bestSource(): RegionLink | null {
    const sound = this.#parts.links.voters.filter((link) => link.isHealthy);
    const nearest = sound.sort((a, b) => (a.roundTripMs ?? 0) - (b.roundTripMs ?? 0));
    return nearest[0] ?? null;
  }
}

/** True if an operator has force-recovered the region and it does not vote yet: all others will be copied from it. */
export function isForceRecovered({ membership }: RegionLink): boolean {
  return membership.state !== 'voter' && membership.cause === 'believed';
}
