import type { MemberOrder } from '../../shared/contracts/members.ts';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent, SentRound } from '../../shared/protocol/io/events.ts';
import { RegionModel } from '../region/model.ts';
import { configOf, start } from './lone.ts';
import { Random } from './random.ts';
import { Tables } from './storage.ts';

/**
 * One seeded run of a coordinator that begins over regions with data of somebody else's: rounds are lost and late, it
 * dies, others write to the regions, and operators found, add, remove and call back. A region never loses a key that
 * Lockstep did not put there, unless an operator has named at least so many keys for it.
 */
export function run(seed: number): { readonly founded: number; readonly lost: number } {
  return new Beginning(new Random(seed)).run();
}

class Beginning {
  readonly #random: Random;
  readonly #models = new Map<RegionId, RegionModel>();
  readonly #tables = new Tables();
  /** By region: how many keys an operator has agreed to lose there. */
  readonly #agreed = new Map<RegionId, number>();
  /** By region: how many keys it held when Lockstep took it. */
  readonly #taken = new Map<RegionId, number>();
  #configured: readonly RegionId[];
  #core: CoordinatorCore;
  #now = start;
  #flights: SentRound[] = [];
  #compares: number | null = null;
  #tickets = 0;
  #lost = 0;

  constructor(random: Random) {
    this.#random = random;
    const isAlike = random.chance(0.3);
    const keys = random.between(0, 3);
    for (const region of ['near', 'middle', 'far', 'extra']) {
      const model = new RegionModel(() => this.#now);
      const count = isAlike ? keys : random.pick([0, 0, random.between(1, 3)]);
      for (let key = 0; key < count; key += 1) model.run('SET', `theirs:${key}`, 'v');
      this.#models.set(region, model);
    }
    this.#configured = ['near', 'middle', 'far'];
    this.#core = this.#begun();
  }

  run(): { readonly founded: number; readonly lost: number } {
    this.#step({ kind: 'ticked' });
    for (let turn = 0; turn < 250; turn += 1) {
      const chance = this.#random.next();
      if (chance < 0.6) this.#answer();
      else if (chance < 0.85) this.#wait(this.#random.between(1, 2_000));
      else if (chance < 0.93) this.#order();
      else if (chance < 0.97) this.#meddle();
      else this.#die();
    }
    return { founded: Number(this.#tables.epoch > 0), lost: this.#lost };
  }

  #begun(): CoordinatorCore {
    this.#tables.incarnation += 1;
    const config = configOf(this.#configured, limits.connections);
    return new CoordinatorCore(config, this.#tables.stored(7), this.#now);
  }

  /** One round runs and is answered, or is lost before or after that; or the comparison ends. */
  #answer(): void {
    if (this.#compares !== null) this.#compare(this.#compares);
    if (this.#flights.length === 0) return;
    const flight = this.#random.pick(this.#flights);
    this.#flights = this.#flights.filter((other) => other !== flight);
    const { region, number, round } = flight;
    const fate = this.#random.next();
    const model = this.#models.get(region);
    if (model === undefined) throw new Error(`no region ${region}`);
    const held = theirs(model);
    const wasFree = model.state().meta === null;
    const result = fate < 0.05 ? null : model.round(round);
    if (wasFree && model.state().meta !== null) this.#taken.set(region, held);
    this.#judge(region, held - theirs(model));
    const answer = fate < 0.1 || result === null;
    this.#step({
      kind: 'answered',
      region,
      round: number,
      result: answer ? { kind: 'silent', reason: 'lost' } : result,
      recorded: [],
    });
  }

  #judge(region: RegionId, lost: number): void {
    if (lost <= 0) return;
    this.#lost += lost;
    const held = this.#taken.get(region) ?? Number.POSITIVE_INFINITY;
    if (held > (this.#agreed.get(region) ?? 0)) {
      throw new Error(`${region} lost ${lost} of ${held} keys that nobody has agreed to lose`);
    }
  }

  #compare(number: number): void {
    this.#compares = null;
    const contents = this.#configured.map((region) => {
      const data = [...(this.#models.get(region)?.state().data ?? [])];
      return JSON.stringify(data.sort());
    });
    const differing = new Set(contents).size > 1 ? 1 : 0;
    const result = { kind: 'compared', checked: 1, differing, next: null } as const;
    this.#step({ kind: 'compared', number, result });
  }

  #wait(ms: number): void {
    this.#now += ms;
    this.#step({ kind: 'ticked' });
  }

  /** An operator names some number of keys, which may be what a region holds. */
  #order(): void {
    const region = this.#random.pick([...this.#models.keys()]);
    const number = this.#random.pick([0, 0, 1, 2, 5]);
    const order = this.#random.pick<MemberOrder>([
      { kind: 'found', source: region, agree: false, replace: {} },
      { kind: 'found', source: region, agree: false, replace: this.#allOf(number) },
      { kind: 'found', source: null, agree: true, replace: {} },
      { kind: 'found', source: null, agree: false, replace: {} },
      { kind: 'add', region: 'extra', replace: number },
      { kind: 'remove', region },
      { kind: 'return', region, whole: false, force: this.#random.chance(0.3), replace: number },
    ]);
    // A number counts from the moment at which it is sent, since the order may be carried out before it is answered.
    if (order.kind === 'found')
      for (const [id, keys] of Object.entries(order.replace)) this.#agree(id, keys);
    // Whoever says wrongly that all hold the same may lose what differs.
    if (order.kind === 'found' && order.agree) {
      for (const [id, model] of this.#models) this.#agree(id, theirs(model));
    }
    if (order.kind === 'add' || order.kind === 'return') this.#agree(order.region, number);
    if (order.kind === 'add') this.#configured = [...new Set([...this.#configured, 'extra'])];
    this.#tickets += 1;
    this.#step({ kind: 'ordered', ticket: this.#tickets, order });
  }

  #agree(region: RegionId, keys: number): void {
    this.#agreed.set(region, Math.max(this.#agreed.get(region) ?? 0, keys));
  }

  #allOf(number: number): Readonly<Record<RegionId, number>> {
    return Object.fromEntries([...this.#models.keys()].map((region) => [region, number]));
  }

  /** Somebody writes to a region that Lockstep has not taken yet. */
  #meddle(): void {
    const model = this.#random.pick([...this.#models.values()]);
    if (model.state().meta === null) model.run('SET', `theirs:${this.#random.between(0, 4)}`, 'v');
  }

  #die(): void {
    this.#flights = [];
    this.#compares = null;
    this.#core = this.#begun();
    this.#step({ kind: 'ticked' });
  }

  #step(event: CoordinatorEvent): void {
    const ready = this.#core.step(event, this.#now, `e${this.#random.between(0, 1e9)}-`);
    this.#tables.apply(ready.persist);
    if (ready.ended !== null) {
      this.#die();
      return;
    }
    for (const send of ready.sends) if (send.kind === 'round') this.#flights.push(send);
    if (ready.comparison !== null) this.#compares = ready.comparison.number;
  }
}

function theirs(model: RegionModel): number {
  return [...model.state().data.keys()].filter((key) => key.startsWith('theirs:')).length;
}
