import type { AdminCommand } from '../../shared/contracts/members.ts';
import type { RoundResult } from '../../shared/contracts/round.ts';
import type { RegionId } from '../../shared/ids.ts';
import type { ComparisonRequest, SentRound } from '../../shared/protocol/io/ready.ts';
import { RegionModel } from '../region/model.ts';
import { FoundingShard, type ShardInstance } from './founding-shard.ts';
import { Random } from './random.ts';
import { start } from './single-instance.ts';

/**
 * One seeded run of coordinators that begin over regions with foreign data: rounds are lost and late, instances die
 * in the middle of a step or go on without owning their storage, a second shard may begin over the same regions,
 * others write to the regions, and operators found, add, remove and return regions. A region never loses a key that
 * Lockstep did not put there, unless an operator has named at least as many keys for it; a shard is founded once; and
 * in calm weather all voters end with the same data.
 */
export function run(seed: number): { readonly founded: number; readonly lost: number } {
  return new FoundingTrial(new Random(seed)).run();
}

const silent = { kind: 'silent', reason: 'lost' } as const;

class FoundingTrial {
  readonly #random: Random;
  readonly #models = new Map<RegionId, RegionModel>();
  readonly #shard: FoundingShard;
  /** Another coordinator with a storage of its own, over the same regions, or null. */
  readonly #rival: FoundingShard | null;
  /** Its operators agree to few losses, so that few losses are excused. */
  readonly #isCareful: boolean;
  #now = start;
  #lost = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#isCareful = random.chance(0.6);
    const isAlike = random.chance(0.3);
    const keys = random.between(0, 3);
    for (const region of ['near', 'middle', 'far', 'extra']) {
      const model = new RegionModel(() => this.#now);
      const count = isAlike ? keys : random.pick([0, 0, random.between(1, 3)]);
      for (let key = 0; key < count; key += 1) model.run('SET', `theirs:${key}`, 'v');
      this.#models.set(region, model);
    }
    const clock = () => this.#now;
    this.#shard = new FoundingShard({ generation: 7, aheadMs: 0, random, clock });
    // Generations are clock readings, so that two shards have different ones.
    this.#rival = random.chance(0.3)
      ? new FoundingShard({ generation: 9, aheadMs: 1e9, random, clock })
      : null;
  }

  run(): { readonly founded: number; readonly lost: number } {
    for (let turn = 0; turn < 250; turn += 1) {
      const isRival = this.#rival !== null && this.#random.chance(0.4);
      const shard = isRival && this.#rival !== null ? this.#rival : this.#shard;
      const instance =
        shard.stale !== null && this.#random.chance(0.3) ? shard.stale : shard.instance;
      if (instance.compares !== null && this.#random.chance(0.1)) {
        // The regions under comparison are not the ones with which it is to begin.
        this.#command(shard, instance, { kind: 'add', region: 'extra', replace: 0 });
        continue;
      }
      const chance = this.#random.next();
      if (chance < 0.52) this.#answer(shard, instance);
      else if (chance < 0.77) this.#wait(shard, instance, this.#random.between(1, 2_000));
      else if (chance < 0.84) this.#command(shard, instance, this.#anyCommand());
      else if (chance < 0.88) this.#arriveLate(shard);
      else if (chance < 0.96) this.#changeOutside();
      else shard.replace();
    }
    for (const shard of this.#shards) this.#checkHistory(shard);
    if (this.#rival === null) this.#calm(this.#shard);
    return { founded: Number(this.#shard.tables.epoch > 0), lost: this.#lost };
  }

  get #shards(): readonly FoundingShard[] {
    return this.#rival === null ? [this.#shard] : [this.#shard, this.#rival];
  }

  /** One round runs and is answered, or is lost before or after that; or the comparison ends. */
  #answer(shard: FoundingShard, instance: ShardInstance): void {
    if (instance.compares !== null) this.#compare(shard, instance, instance.compares);
    if (instance.flights.length === 0) return;
    const flight = this.#random.pick(instance.flights);
    instance.flights = instance.flights.filter((other) => other !== flight);
    const fate = this.#random.next();
    const result = fate < 0.05 ? silent : this.#carryOut(shard, flight);
    shard.answered(instance, flight, fate < 0.1 ? silent : result);
  }

  /** A round runs of which nobody waits for the answer. */
  #arriveLate(shard: FoundingShard): void {
    if (shard.late.length === 0) return;
    const flight = this.#random.pick(shard.late);
    shard.late = shard.late.filter((other) => other !== flight);
    this.#carryOut(shard, flight);
  }

  #carryOut(shard: FoundingShard, { region, round }: SentRound): RoundResult {
    const model = this.#modelOf(region);
    const held = theirs(model);
    const before = model.shard().head?.generation ?? null;
    const result = model.round(round);
    const after = model.shard().head?.generation ?? null;
    if (after !== null && after !== before) {
      const isOwn = before !== null && shard.owns(region, before);
      shard.noteGeneration(region, after, isOwn ? (shard.taken.get(region) ?? 0) : held);
    }
    const lost = held - theirs(model);
    if (lost > 0) this.#judge(shard, region, lost);
    return result;
  }

  #judge({ taken, agreed }: FoundingShard, region: RegionId, lost: number): void {
    this.#lost += lost;
    const held = taken.get(region) ?? Number.POSITIVE_INFINITY;
    if (held > (agreed.get(region) ?? 0)) {
      throw new Error(`${region} lost ${lost} of ${held} keys that nobody has agreed to lose`);
    }
  }

  #compare(
    shard: FoundingShard,
    instance: ShardInstance,
    { number, regions }: ComparisonRequest,
  ): void {
    instance.compares = null;
    const contents = regions.map((region) => contentsOf(this.#modelOf(region)));
    const differing = new Set(contents).size > 1 ? 1 : 0;
    instance.equal = differing === 0 ? new Set(regions) : null;
    const result = { kind: 'compared', checked: 1, differing, next: null } as const;
    shard.step(instance, { kind: 'comparison-completed', number, result });
  }

  #wait(shard: FoundingShard, instance: ShardInstance, ms: number): void {
    this.#now += ms;
    shard.step(instance, { kind: 'tick' });
  }

  /** An operator names a number of keys, which may be the region's own. */
  #anyCommand(): AdminCommand {
    const region = this.#random.pick([...this.#models.keys()]);
    const number = this.#random.pick(this.#isCareful ? [0, 0, 0, 0, 1] : [0, 0, 1, 2, 5]);
    return this.#random.pick<AdminCommand>([
      { kind: 'found', source: region, agree: false, replace: {} },
      { kind: 'found', source: region, agree: false, replace: this.#allOf(number) },
      { kind: 'found', source: null, agree: !this.#isCareful, replace: {} },
      { kind: 'found', source: null, agree: false, replace: {} },
      { kind: 'add', region: 'extra', replace: number },
      { kind: 'remove', region },
      { kind: 'return', region, whole: false, force: this.#random.chance(0.3), replace: number },
    ]);
  }

  /** Now and then the instance dies while it handles the command: before it stores, or before it sends. */
  #command(
    shard: FoundingShard,
    instance: ShardInstance,
    command: AdminCommand,
    isCalm = false,
  ): void {
    // A number counts from the moment at which it is sent, since the command may be carried out before it is
    // answered.
    if (command.kind === 'found')
      for (const [id, keys] of Object.entries(command.replace)) shard.agree(id, keys);
    // An operator who says wrongly that all hold the same may lose the differing keys.
    if (command.kind === 'found' && command.agree) {
      shard.isTrusted = true;
      for (const [id, model] of this.#models) shard.agree(id, theirs(model));
    }
    if (command.kind === 'add' || command.kind === 'return') {
      shard.agree(command.region, command.replace ?? 0);
    }
    if (command.kind === 'add') shard.configured = [...new Set([...shard.configured, 'extra'])];
    const deaths = [null, null, 'before it stores', 'before it sends'] as const;
    const death = isCalm ? null : this.#random.pick(deaths);
    shard.step(instance, { kind: 'admin-command', ticket: shard.nextTicket(), command }, death);
  }

  #allOf(number: number): Readonly<Record<RegionId, number>> {
    return Object.fromEntries([...this.#models.keys()].map((region) => [region, number]));
  }

  /** Somebody writes to a region that Lockstep has not taken yet. */
  #changeOutside(): void {
    const model = this.#random.pick([...this.#models.values()]);
    if (model.shard().head === null) model.run('SET', `theirs:${this.#random.between(0, 4)}`, 'v');
  }

  /** A shard is founded by one step, with one source or none. */
  #checkHistory({ tables }: FoundingShard): void {
    const founded = tables.history.filter(({ event }) => event === 'founded');
    const causes = new Set(founded.map(({ at, detail }) => `${at} ${detail}`));
    if (causes.size > 1) throw new Error(`founded ${causes.size} times: ${[...causes].join('; ')}`);
  }

  /** No message is lost any more, and an operator founds the shard if it waits for one; then checks the final state. */
  #calm(shard: FoundingShard): void {
    if (shard.stale !== null) shard.replace();
    for (let turn = 0; turn < 400; turn += 1) {
      const { instance } = shard;
      if (instance.compares !== null) this.#compare(shard, instance, instance.compares);
      for (const flight of shard.instance.flights.splice(0)) {
        shard.answered(instance, flight, this.#carryOut(shard, flight));
      }
      if (turn % 20 === 19) this.#help(shard);
      this.#wait(shard, shard.instance, 500);
    }
    this.#checkHistory(shard);
    const { regions, founding } = shard.instance.core.status();
    const voters = regions.filter(({ state }) => state === 'voter').map(({ region }) => region);
    if (founding !== null || voters.length === 0) {
      throw new Error(`it does not begin: ${JSON.stringify(founding)}`);
    }
    const waiting = regions.filter(({ state, held }) => state !== 'voter' && held !== true);
    if (waiting.length > 0) throw new Error(`not copied: ${JSON.stringify(waiting)}`);
    const contents = new Set(voters.map((region) => contentsOf(this.#modelOf(region))));
    if (contents.size > 1 && !shard.isTrusted) {
      throw new Error(`voters hold different data: ${[...contents].join(' ')}`);
    }
  }

  /** Acts as an operator if the shard does not begin by itself. */
  #help(shard: FoundingShard): void {
    if (shard.tables.epoch === 0) {
      this.#foundByCounts(shard);
      return;
    }
    const { regions } = shard.instance.core.status();
    const voters = regions.filter(({ state }) => state === 'voter');
    const [first] = voters;
    // Others have written to all of them between the last count and the first round.
    const haveBegun = voters.some(({ region }) => this.#modelOf(region).shard().head !== null);
    if (first === undefined || haveBegun) return;
    this.#command(shard, shard.instance, { kind: 'believe', region: first.region }, true);
  }

  /** An operator names the region that holds most, and sends the numbers of all others back. */
  #foundByCounts(shard: FoundingShard): void {
    const keys = shard.instance.core.status().founding?.keys ?? {};
    const counts = Object.entries(keys).map(([region, count]) => [region, count ?? 0] as const);
    const [most] = counts.toSorted(([, a], [, b]) => b - a);
    if (most === undefined) return;
    const replace = Object.fromEntries(counts);
    const command = { kind: 'found', source: most[0], agree: false, replace } as const;
    this.#command(shard, shard.instance, command, true);
  }

  #modelOf(region: RegionId): RegionModel {
    const model = this.#models.get(region);
    if (model === undefined) throw new Error(`no region ${region}`);
    return model;
  }
}

function theirs(model: RegionModel): number {
  return [...model.state().data.keys()].filter((key) => key.startsWith('theirs:')).length;
}

function contentsOf(model: RegionModel): string {
  return JSON.stringify([...model.state().data.keys()].sort());
}
