import type { RegionId } from '../ids.ts';
import { compareOrder } from '../ids.ts';
import { limits } from '../limits.ts';
import { type CoordinatorInternals, must } from './invariants/must.ts';
import { checkOwnership } from './invariants/ownership-invariants.ts';
import { checkReady } from './invariants/ready-invariants.ts';
import { checkMembers, checkRegion } from './invariants/region-invariants.ts';
import {
  checkConfirmations,
  checkPending,
  checkQueue,
  checkTransactions,
} from './invariants/write-invariants.ts';
import type { Ready, StorageWrite } from './io/ready.ts';
import type { Membership } from './io/stored.ts';
import type { RegionLink } from './regions/region-link.ts';

/** The values of a region that may only rise. */
interface RegionBefore {
  readonly link: RegionLink;
  readonly generation: number;
  readonly begun: boolean;
  readonly counter: number;
}

/**
 * Claims that hold of a coordinator after each step, for any event. Tests and the simulation check them after every
 * step, and fail with an `InvariantViolation` that names the claim; production does not, since the check reads
 * everything in memory. An instance that has ended itself is not checked: nothing of its step leaves.
 */
export class Invariants {
  readonly #core: CoordinatorInternals;
  readonly #regions = new Map<RegionId, RegionBefore>();
  /** The membership of each region as storage has it. */
  readonly #memberships = new Map<RegionId, Membership>();
  #epoch: number;
  #sequence: number;
  #now: number;
  #newest: CoordinatorInternals['transactions']['newest'];
  #lastSend = 0;
  #wasPaused = false;

  constructor(core: CoordinatorInternals) {
    this.#core = core;
    this.#epoch = core.stored.epoch;
    this.#sequence = core.stored.sequence;
    this.#now = core.stored.now;
    this.#newest = core.transactions.newest;
    for (const { region, membership } of core.stored.regions) {
      this.#memberships.set(region, membership);
    }
  }

  /** Checks everything after the step whose output is `ready`. */
  check(ready: Ready): void {
    if (ready.ended !== null) return;
    const core = this.#core;
    checkOwnership(ready, core);
    this.#checkProgress(ready);
    checkTransactions(core);
    checkQueue(core);
    checkPending(core);
    checkConfirmations(core);
    checkMembers(core);
    for (const link of core.links.all) {
      // Before the shard knows its slots, its regions are as the last life has left them.
      if (core.slots.isKnown) checkRegion(link, core);
      this.#checkRegionProgress(link);
    }
    checkReady(ready, core);
    this.#checkConnections();
    this.#checkReads();
    this.#checkRest();
    this.#checkStored(ready.persist);
  }

  /** Values that never go back. */
  #checkProgress({ persist, sends, jointRounds, comparison }: Ready): void {
    const { state, ready, transactions, members } = this.#core;
    must(state.epoch >= this.#epoch, 'the epoch of the members rises', state.epoch);
    must(ready.now >= this.#now, 'the clock does not go back (R18)', ready.now, this.#now);
    must(
      compareOrder(transactions.newest, this.#newest) >= 0,
      'transactions are numbered upward',
      transactions.newest,
    );
    const isEpochNew = state.epoch > this.#epoch;
    const isEpochStored = persist.some(
      (write) => write.kind === 'members' && write.epoch === state.epoch,
    );
    must(!isEpochNew || isEpochStored, 'a new epoch is stored by the step that makes it (R1)');
    if (this.#wasPaused && members.isPaused) {
      const isQuiet = compareOrder(transactions.newest, this.#newest) === 0;
      must(isQuiet, 'nothing begins while writes pause (R37)', transactions.newest);
    }
    this.#checkSequences(persist);
    const numbers = [...sends, ...jointRounds].map(({ number }) => number).sort(byValue);
    for (const number of comparison === null
      ? numbers
      : [...numbers, comparison.number].sort(byValue)) {
      must(number > this.#lastSend, 'each request has a number of its own', number);
      this.#lastSend = number;
    }
    this.#epoch = state.epoch;
    this.#now = ready.now;
    this.#newest = transactions.newest;
    this.#wasPaused = members.isPaused;
  }

  /** Sequences rise by one with each change, and each is stored. */
  #checkSequences(persist: readonly StorageWrite[]): void {
    // A flush ends a copy, which is noted with a later sequence and before the flush itself (R41).
    for (const sequence of persist.flatMap(sequencesOf).sort(byValue)) {
      must(sequence === this.#sequence + 1, 'no sequence is skipped or used twice (P2)', sequence);
      this.#sequence = sequence;
    }
    const { sequence } = this.#core.state;
    must(sequence === this.#sequence, 'each sequence that is given out is stored', sequence);
  }

  #checkRegionProgress(link: RegionLink): void {
    const { region, generation, begun } = link;
    const before = this.#regions.get(region);
    const counter = link.pair?.[0] ?? -1;
    this.#regions.set(region, { link, generation, begun, counter });
    // A region that was forgotten and added again starts from the beginning.
    if (before === undefined || before.link !== link) return;
    must(generation >= before.generation, 'the generation of a region rises (R13)', region);
    if (generation !== before.generation) return;
    must(begun || !before.begun, 'a region that has begun has begun', region);
    must(counter >= before.counter, 'an acknowledged round stays acknowledged (R16)', region);
  }

  #checkConnections(): void {
    const { links, reads, config } = this.#core;
    const used = links.flightCount + reads.flightCount;
    must(used <= config.connections, 'connections are bounded (R20)', used);
    const probes = links.all.filter((link) => link.flights.hasProbe).length;
    must(probes <= limits.probesInFlight, 'silent regions share few connections (R20)', probes);
    must(reads.flightCount <= limits.readsInFlight, 'reads share few connections (R20)');
  }

  #checkReads(): void {
    const { reads, ready } = this.#core;
    const { deadlines } = reads;
    must(deadlines.length <= limits.readsQueued, 'reads that wait are bounded', deadlines.length);
    for (const until of deadlines) {
      must(until > ready.now, 'no read waits past its time', until);
      must(ready.wakeAt <= until, 'a tick ends the time of each read', until);
    }
  }

  /** While storage says that nothing is open, nothing is (R44). */
  #checkRest(): void {
    const { rest, links, pendingConfirmations } = this.#core;
    if (!rest.isStored) return;
    for (const { region, flights, unacknowledged } of links.voters) {
      const isPreparing = [...flights.values()].some(({ transactions }) => transactions.length > 0);
      must(!isPreparing, 'no prepare is on its way at rest (R44)', region);
      must(unacknowledged.count === 0, 'nothing is unacknowledged at rest (R44)', region);
    }
    must(pendingConfirmations.open.length === 0, 'nothing is unconfirmed at rest (R44)');
  }

  /** The members in memory are those in storage. */
  #checkStored(persist: readonly StorageWrite[]): void {
    for (const write of persist) {
      if (write.kind === 'region')
        this.#memberships.set(write.region.region, write.region.membership);
      if (write.kind === 'forget') this.#memberships.delete(write.region);
    }
    const { links, members, state } = this.#core;
    // Before a shard begins nothing of it is stored (R45).
    if (members.founding.isOpen || state.epoch === 0) return;
    must(this.#memberships.size === links.all.length, 'storage knows the regions of the shard');
    for (const { region, membership } of links.all) {
      const stored = this.#memberships.get(region);
      const isSame = stored !== undefined && isSameMembership(stored, membership);
      must(isSame, 'a membership is stored by the step that changes it (R1)', region);
    }
  }
}

function byValue(a: number, b: number): number {
  return a - b;
}

/** The sequences that a storage write uses, in order. */
function sequencesOf(write: StorageWrite): readonly number[] {
  if (write.kind === 'members') return write.changes.map(({ sequence }) => sequence);
  if (write.kind === 'loan-commit') return [write.sequence];
  if (write.kind !== 'commit') return [];
  return write.writes.flatMap(({ record: { outcome, sequence } }) =>
    outcome === 'committed' && sequence !== null ? [sequence] : [],
  );
}

/** True if both are the same but for their beginning: a later instance whose clock is behind counts from its own. */
function isSameMembership(a: Membership, b: Membership): boolean {
  if (a === b) return true;
  if (a.state === 'voter' || b.state === 'voter') {
    if (a.state !== b.state) return false;
    const [one, other] = [a, b].map((each) => (each.state === 'voter' ? each.leaving : null));
    return (
      one === other || (one?.whole === other?.whole && one?.manualReturn === other?.manualReturn)
    );
  }
  const isSameToken = a.state === 'copying' && b.state === 'copying' ? a.token === b.token : true;
  return (
    a.state === b.state &&
    a.cause === b.cause &&
    a.whole === b.whole &&
    a.manualReturn === b.manualReturn &&
    isSameToken
  );
}
