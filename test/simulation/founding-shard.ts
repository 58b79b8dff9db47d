import type { RoundResult } from '../../shared/contracts/round.ts';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent } from '../../shared/protocol/io/events.ts';
import type { ComparisonRequest, Ready, SentRound } from '../../shared/protocol/io/ready.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import type { Random } from './random.ts';
import { configOf } from './single-instance.ts';
import { Tables } from './storage.ts';

/** One instance of a coordinator: its messages on their way, and the answers of its regions. */
export interface ShardInstance {
  readonly core: CoordinatorCore;
  flights: SentRound[];
  /** The comparison that it waits for, or null. */
  compares: ComparisonRequest | null;
  /** By region: the number of keys in its last answer. */
  readonly reported: Map<RegionId, number>;
  /** The regions that a comparison has found to hold the same; null: none has ended so. */
  equal: ReadonlySet<RegionId> | null;
}

/** The point of a step at which its instance dies; the rest of the step is lost. */
type Death = 'before it stores' | 'before it sends';

/**
 * The coordinators of one storage: one owns it, and one that was left behind may go on until its next write is
 * refused. Messages that an instance had on their way when it died may still arrive in the regions.
 */
export class FoundingShard {
  readonly tables = new Tables();
  /** By region: the number of keys that operators of this shard have agreed to lose there. */
  readonly agreed = new Map<RegionId, number>();
  /** By region: the number of keys it held when this shard took it. */
  readonly taken = new Map<RegionId, number>();
  /** By region: the generations under which this shard has taken it. */
  readonly #generations = new Map<RegionId, Set<number>>();
  configured: readonly RegionId[] = ['near', 'middle', 'far'];
  /** True after an operator has reported that all hold the same: differing keys may then be lost, or stay so. */
  isTrusted = false;
  instance: ShardInstance;
  /** An older instance that does not know yet that it owns nothing any more. */
  stale: ShardInstance | null = null;
  /** Rounds of which nobody waits for the answer any more. */
  late: SentRound[] = [];
  readonly #generation: number;
  readonly #aheadMs: number;
  readonly #random: Random;
  readonly #clock: () => number;
  #tickets = 0;

  /** Its clock is `aheadMs` ahead of `clock`. */
  constructor(given: {
    readonly generation: number;
    readonly aheadMs: number;
    readonly random: Random;
    readonly clock: () => number;
  }) {
    this.#generation = given.generation;
    this.#aheadMs = given.aheadMs;
    this.#random = given.random;
    this.#clock = given.clock;
    this.instance = this.#born();
    this.step(this.instance, { kind: 'tick' });
  }

  get now(): number {
    return this.#clock() + this.#aheadMs;
  }

  nextTicket(): number {
    this.#tickets += 1;
    return this.#tickets;
  }

  /** A region that held `keys` keys has taken a generation in a round of this shard. */
  noteGeneration(region: RegionId, generation: number, keys: number): void {
    const known = this.#generations.get(region) ?? new Set();
    if (known.size === 0 || !known.has(generation)) this.taken.set(region, keys);
    this.#generations.set(region, known.add(generation));
  }

  /** True if the state of this generation in the region was put there by this shard. */
  owns(region: RegionId, generation: number): boolean {
    return this.#generations.get(region)?.has(generation) === true;
  }

  agree(region: RegionId, keys: number): void {
    this.agreed.set(region, Math.max(this.agreed.get(region) ?? 0, keys));
  }

  /** The instance is replaced by the next one; it may go on for a while without knowing. */
  replace(): void {
    if (this.stale !== null) this.late.push(...this.stale.flights);
    this.stale = null;
    if (this.#random.chance(0.4)) this.stale = this.instance;
    else this.late.push(...this.instance.flights.filter(() => this.#random.chance(0.5)));
    this.instance = this.#born();
    this.step(this.instance, { kind: 'tick' });
  }

  /** A round has ended for the instance that sent it. */
  answered(instance: ShardInstance, { region, number }: SentRound, result: RoundResult): void {
    if (result.kind === 'refused' && result.refusal.kind === 'generation') {
      instance.reported.set(region, result.refusal.keys);
    }
    this.step(instance, { kind: 'round-completed', region, round: number, result, recorded: [] });
  }

  /** One event; `death`: the instance dies in the midst of it. */
  step(instance: ShardInstance, event: CoordinatorEvent, death: Death | null = null): Ready {
    const ready = instance.core.step(event, this.now, `e${this.#random.between(0, 1e9)}-`);
    if (instance === this.stale) {
      this.#stepOfStale(instance, ready);
      return ready;
    }
    if (death === 'before it stores') {
      this.#die();
      return ready;
    }
    this.#checkBeginning(instance, ready, event);
    this.tables.apply(ready.persist);
    if (death !== null || ready.ended !== null) this.#die();
    else this.#leave(instance, ready);
    return ready;
  }

  /** Its first write shows it that it no longer owns the storage: then nothing of that step is sent. */
  #stepOfStale(instance: ShardInstance, ready: Ready): void {
    if (ready.persist.length === 0 && ready.ended === null) {
      this.#leave(instance, ready);
      return;
    }
    this.late.push(...instance.flights);
    this.stale = null;
  }

  #die(): void {
    this.late.push(...this.instance.flights);
    this.instance = this.#born();
    this.step(this.instance, { kind: 'tick' });
  }

  #leave(instance: ShardInstance, ready: Ready): void {
    for (const send of ready.sends) if (send.kind === 'round') instance.flights.push(send);
    if (ready.comparison !== null) instance.compares = ready.comparison;
  }

  #born(): ShardInstance {
    this.tables.incarnation += 1;
    const config = configOf(this.configured, limits.connections);
    const core = new CheckedCore(config, this.tables.stored(this.#generation), this.now);
    return { core, flights: [], compares: null, reported: new Map(), equal: null };
  }

  /**
   * A shard gets members once: when every region has reported its keys, and all hold the same or an operator names
   * one.
   */
  #checkBeginning(
    { reported, equal }: ShardInstance,
    { persist }: Ready,
    event: CoordinatorEvent,
  ): void {
    const begins = persist.some((write) => write.kind === 'members' && write.epoch > 0);
    if (!begins || this.tables.epoch > 0) return;
    const stored = persist.flatMap((write) =>
      write.kind === 'region' ? [write.region.region] : [],
    );
    const members = [...new Set(stored)];
    const isOrdered = event.kind === 'admin-command' && event.command.kind === 'found';
    if (isOrdered && event.command.source !== null) return;
    const counts = members.map((region) => reported.get(region));
    if (counts.includes(undefined)) throw new Error('it begins before every region has been asked');
    if (new Set(counts).size > 1) throw new Error('it begins although the regions differ');
    const isEqual = members.length === 1 || members.every((region) => equal?.has(region));
    if (!isOrdered && counts[0] !== 0 && !isEqual) {
      throw new Error('it begins before the regions have been compared');
    }
  }
}
