import type { MemberChange, MemberEvent } from '../../shared/contracts/members.ts';
import type { CopyReply, Round } from '../../shared/contracts/round.ts';
import { compareOrder, keyOf } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { Ready, StorageWrite } from '../../shared/protocol/io/ready.ts';
import { areAll } from '../../shared/reserved-keys.ts';
import type { RegionModel } from '../region/model.ts';
import { textOfEntry } from './history.ts';
import type { Instance } from './instance.ts';
import type { Simulation } from './simulation.ts';

type Commit = Extract<StorageWrite, { kind: 'commit' }>;

/** The writes that may change the record of missed keys. */
const marking = new Set<StorageWrite['kind']>(['commit', 'missed', 'region']);

/**
 * The events that may follow an event in the history of a region. A region that a new instance finds in a copy is
 * copied again.
 */
const successors: Record<MemberEvent, readonly MemberEvent[]> = {
  added: ['copying', 'out', 'removed'],
  leaving: ['leaving', 'stayed', 'diverged', 'out'],
  stayed: ['leaving', 'diverged', 'out'],
  diverged: ['leaving', 'diverged', 'out'],
  out: ['copying', 'out', 'removed'],
  believed: ['copying'],
  founded: ['copying', 'founded', 'leaving', 'out', 'diverged', 'removed'],
  copying: ['copying', 'out', 'returned', 'removed'],
  returned: ['leaving', 'diverged', 'out'],
  removed: ['added'],
};

/** Checks every step of a run for states that must never occur, even if no client would notice. */
export class StepMonitor {
  readonly #simulation: Simulation;
  readonly #lastEvents = new Map<string, MemberEvent>();
  /** The cursors from which scans may go on, by region. */
  readonly #cursors = new Map<string, Set<string>>();
  /** When the last step of a copy left that each region took. */
  readonly #steppedAt = new Map<string, number>();
  /** Regions that returned with less data than they had been given. */
  readonly #hollow = new Set<string>();
  #heldSince: { readonly instance: Instance; readonly at: number } | null = null;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  /** Checks that one step sends no more rounds than there are connections. */
  checkSends(ready: Ready): void {
    if (ready.sends.length > this.#simulation.weather.connections) {
      throw new Error('too many rounds at once');
    }
  }

  /** The writes of one step are about to become durable. */
  beforeStoring(writes: readonly StorageWrite[]): void {
    for (const write of writes) if (write.kind === 'commit') this.#committed(write);
  }

  /** The writes of one step have become durable. */
  afterStoring(writes: readonly StorageWrite[]): void {
    const changes = writes.flatMap((write) => (write.kind === 'members' ? write.changes : []));
    for (const change of changes) this.#changed(change);
    if (changes.length > 0) this.checkLeases();
    if (writes.some(({ kind }) => marking.has(kind))) this.#marks();
  }

  /** A round is about to leave: a scan goes on only from a cursor of the same region. */
  checkScan(region: string, { copy }: Round): void {
    if (copy?.kind !== 'scan' && copy?.kind !== 'list') return;
    const known = this.#cursors.get(`${copy.kind} ${region}`);
    if (copy.cursor !== '0' && known?.has(copy.cursor) !== true) {
      throw new Error(`${region} is asked to go on with the scan of another region`);
    }
  }

  /** A region has answered a round that left at `sentAt`. */
  noteCopyReply(region: string, sentAt: number, reply: CopyReply | null): void {
    if (reply !== null && reply.kind !== 'refused') this.#steppedAt.set(region, sentAt);
    if (reply?.kind !== 'read' && reply?.kind !== 'listed') return;
    const name = `${reply.kind === 'read' ? 'scan' : 'list'} ${region}`;
    const known = this.#cursors.get(name) ?? new Set();
    this.#cursors.set(name, known);
    if (reply.cursor !== null) known.add(reply.cursor);
  }

  /** The write pause begins, or ends (R37). */
  notePause(instance: Instance, isHeld: boolean): void {
    const { now } = this.#simulation.timeline;
    if (!isHeld) this.#heldSince = null;
    else if (this.#heldSince?.instance !== instance) this.#heldSince = { instance, at: now };
    else if (now - this.#heldSince.at > limits.copyWritePauseMaxMs + 50) {
      throw new Error(`writes have been held for ${now - this.#heldSince.at} ms`);
    }
  }

  /** At the moment of a decision every voter holds the write, or somebody could lose it (P1, P3). */
  #committed({ transaction, keys }: Commit): void {
    const { storage, weather } = this.#simulation;
    const voters = [...storage.durable.regions.values()].filter(
      ({ membership }) => membership.state === 'voter',
    );
    if (voters.length < weather.minVoters) {
      throw new Error(`a write was decided with ${voters.length} voters`);
    }
    for (const { region } of voters) {
      const model = this.#simulation.regions.get(region);
      if (model === undefined || this.#simulation.isDamaged(region)) continue;
      if (!holds(model, keyOf(transaction), keys)) {
        throw new Error(`${region} votes and does not hold ${keyOf(transaction)}, now decided`);
      }
    }
  }

  #changed({ region, event }: MemberChange): void {
    const last = this.#lastEvents.get(region) ?? 'returned';
    // A force-recovery evicts all other regions.
    if (event === 'believed') {
      for (const one of this.#simulation.regions.keys()) {
        if (this.#lastEvents.get(one) !== 'removed') this.#lastEvents.set(one, 'out');
      }
    } else if (!successors[last].includes(event)) {
      throw new Error(`in the history of ${region} "${event}" follows "${last}"`);
    }
    this.#lastEvents.set(region, event);
    if (event === 'returned') this.#returned(region);
    if (event === 'copying') this.#simulation.disturb();
  }

  /** True if it votes again without data that it lost after its last copy step, which no round has found so far. */
  isHollow(region: string): boolean {
    return this.#hollow.has(region);
  }

  /**
   * A region that votes again holds the same data as every other voter, except for keys with writes under way (R37).
   */
  #returned(region: string): void {
    const { storage, timeline } = this.#simulation;
    // Data that it has lost since its last copy step is found with its first round as a voter.
    const isHollow = this.#simulation.lostAt(region) >= (this.#steppedAt.get(region) ?? 0);
    if (isHollow) this.#hollow.add(region);
    else this.#hollow.delete(region);
    if (isHollow) return;
    const own = entriesOf(this.#simulation.regions.get(region));
    for (const other of storage.durable.regions.values()) {
      const { membership } = other;
      const isHealthy = membership.state === 'voter' && membership.leaving === null;
      const isLost = this.#simulation.isDamaged(other.region) || this.#hollow.has(other.region);
      if (other.region === region || !isHealthy || isLost) continue;
      const model = this.#simulation.regions.get(other.region);
      const theirs = entriesOf(model);
      const locked = new Set(model?.locks().map(([key]) => key));
      if (areAll([...locked])) continue;
      for (const key of new Set([...own.keys(), ...theirs.keys()])) {
        const entries = [own.get(key), theirs.get(key)];
        const expires = entries.some((entry) => (entry?.expiry ?? -1) > -1);
        const soonest = Math.min(
          ...entries.map((entry) => entry?.expiry ?? -1).filter((x) => x > -1),
        );
        if (locked.has(key) || (expires && soonest < timeline.now + 2_000)) continue;
        const [mine, its] = entries.map((entry) => (entry === undefined ? '' : textOfEntry(entry)));
        if (mine === its) continue;
        throw new Error(`${region} votes again, with ${key} as ${mine}, not ${its}`);
      }
    }
  }

  /** A region without a vote has no lease: no write waits for it any more (R30, R32). */
  checkLeases(): void {
    // A region evicted by a force-recovery keeps its lease: nothing is decided before that is over, as the history
    // shows.
    if (this.#simulation.weather.forceRecoveries > 0) return;
    for (const { region, membership } of this.#simulation.storage.durable.regions.values()) {
      if (membership.state === 'voter') continue;
      const leftMs = this.#simulation.leaseLeftMs(region);
      if (leftMs > 0) throw new Error(`${region} has no vote and a lease for ${leftMs} ms`);
    }
  }

  /** A region that votes has missed nothing; the record of one that does not is bounded (R33). */
  #marks(): void {
    const { regions, missed } = this.#simulation.storage.durable;
    for (const [region, keys] of missed) {
      const membership = regions.get(region)?.membership;
      const stays = membership?.state === 'voter' && membership.leaving === null;
      if (stays && keys.size > 0)
        throw new Error(`${region} votes and has missed ${keys.size} keys`);
      if (keys.size > limits.missedKeysPerRegion) {
        throw new Error(`${keys.size} missed keys of ${region} are remembered`);
      }
    }
  }
}

/** True if all keys are under the transaction's locks, or it is settled already. */
function holds(model: RegionModel, transaction: string, keys: readonly string[]): boolean {
  const holders = new Map(model.locks());
  const isHeld = keys.every((key) => {
    const holder = holders.get(key);
    return holder !== undefined && keyOf(holder) === transaction;
  });
  if (isHeld) return true;
  const { settled, head } = model.shard();
  const [incarnation = 0, sequence = 0] = transaction.split('.').map(Number);
  const isBelow = head !== null && compareOrder([incarnation, sequence], head.lowWatermark) <= 0;
  return isBelow || settled.has(transaction);
}

function entriesOf(model: RegionModel | undefined) {
  return model?.state().data ?? new Map<string, never>();
}
