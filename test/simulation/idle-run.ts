import type { RoundResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent } from '../../shared/protocol/io/events.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { ampleRoom } from '../../shared/protocol/io/room.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { RegionModel } from '../region/model.ts';
import { Random } from './random.ts';
import { configOf, nothingStored } from './single-instance.ts';
import { Tables } from './storage.ts';
import { Timeline } from './timeline.ts';

const hourMs = 60 * 60 * 1_000;

/** An instance that finds open transactions has settled them by then, ms. */
const settledMs = 60_000;

/**
 * One seeded run of a coordinator that is mostly idle: now and then somebody writes, a region is unreachable for a
 * while, or the instance dies. A new instance then has no write to carry out, and still no lock is left after a
 * while; and from then on no region gets a message in an hour, regardless of the number of restarts in it.
 */
export function run(seed: number): { readonly rounds: number } {
  return new IdleTrial(new Random(seed)).run();
}

class IdleTrial {
  readonly #random: Random;
  readonly #timeline = new Timeline();
  readonly #names: readonly string[];
  readonly #models: ReadonlyMap<string, RegionModel>;
  readonly #tables = new Tables();
  readonly #deafUntil = new Map<string, number>();
  #core: CoordinatorCore;
  #life = 0;
  #wakes = 0;
  #tickets = 0;
  #rounds = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#names = ['near', 'middle', 'far'].slice(0, random.pick([1, 2, 3]));
    const modelOf = (name: string) => [name, new RegionModel(() => this.#timeline.now)] as const;
    this.#models = new Map(this.#names.map(modelOf));
    this.#core = this.#begin();
  }

  run(): { readonly rounds: number } {
    const random = this.#random;
    for (let turn = 0; turn < random.between(5, 25); turn += 1) {
      this.#happen();
      this.#pass(random.pick([5, 50, 500, limits.restAfterMs, 3 * limits.restAfterMs]));
    }
    this.#deafUntil.clear();
    if (random.chance(0.7)) this.#begin();
    this.#pass(settledMs);
    for (const [name, model] of this.#models) {
      const locks = model.locks();
      if (locks.length > 0) throw new Error(`${name} is left with the locks ${locks.join(' ')}`);
    }
    const before = this.#rounds;
    for (let life = 0; life < 6; life += 1) {
      this.#begin();
      this.#pass(hourMs / 6);
    }
    const sent = this.#rounds - before;
    if (sent > 0) throw new Error(`${sent} rounds left in an hour in which nothing happened`);
    return { rounds: this.#rounds };
  }

  #happen(): void {
    const { now } = this.#timeline;
    switch (this.#random.pick(['write', 'write', 'deaf', 'crash'] as const)) {
      case 'write':
        this.#write(now);
        break;
      case 'deaf':
        this.#write(now);
        this.#deafUntil.set(
          this.#random.pick(this.#names),
          now + this.#random.pick([10, 2_000, 9_000, 40_000]),
        );
        break;
      case 'crash':
        if (this.#random.chance(0.5)) this.#write(now);
        this.#pass(this.#random.pick([0, 5, 15, 25, 60]));
        this.#begin();
    }
  }

  #write(now: number): void {
    this.#tickets += 1;
    const frame = frameOf([this.#random.pick(['a', 'b'])], { notAfter: now + 4_000 });
    const ticket = this.#tickets;
    this.#step({
      kind: 'write-received',
      ticket,
      frame,
      async: false,
      recorded: null,
      again: false,
      abandoned: null,
      room: ampleRoom,
    });
  }

  #pass(ms: number): void {
    this.#timeline.run(this.#timeline.now + ms, 100_000);
  }

  /** A new instance on the stored state; messages of the last one may still arrive. */
  #begin(): CoordinatorCore {
    this.#life += 1;
    this.#tables.incarnation += 1;
    const stored = this.#tables.stored(nothingStored.generation);
    this.#core = new CheckedCore(
      configOf(this.#names, limits.connections),
      stored,
      this.#timeline.now,
    );
    this.#step({ kind: 'tick' });
    return this.#core;
  }

  #step(event: CoordinatorEvent): void {
    const life = this.#life;
    const { now } = this.#timeline;
    const ready = this.#core.step(event, now, `e${life}-${this.#random.between(0, 1e9)}-`);
    this.#tables.apply(ready.persist);
    for (const send of ready.sends) if (send.kind === 'round') this.#send(send, life);
    this.#wakes += 1;
    const wake = this.#wakes;
    if (ready.wakeAt === null) return;
    this.#timeline.after(ready.wakeAt - now, () => {
      if (wake === this.#wakes) this.#step({ kind: 'tick' });
    });
  }

  #send({ region, round, number, timeoutMs }: SentRound, life: number): void {
    this.#rounds += 1;
    const end = (result: RoundResult) => {
      if (life !== this.#life) return;
      const older = result.kind === 'executed' ? result.reply.older : [];
      const recorded = this.#tables
        .decisionsOf(older.map(({ transaction }) => transaction))
        .map(({ transaction }) => transaction);
      this.#step({ kind: 'round-completed', region, round: number, result, recorded });
    };
    const isDeaf = () => (this.#deafUntil.get(region) ?? 0) > this.#timeline.now;
    this.#timeline.after(this.#random.between(1, 20), () => {
      const result = this.#models.get(region)?.round(round);
      if (result === undefined) throw new Error(`no region ${region}`);
      if (isDeaf())
        this.#timeline.after(timeoutMs, () => end({ kind: 'silent', reason: 'no answer' }));
      else this.#timeline.after(this.#random.between(1, 20), () => end(result));
    });
  }
}
