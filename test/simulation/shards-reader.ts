import { encodeReply } from '../../shared/contracts/reply.ts';
import type { Decision, SnapshotRequest } from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { keyOf } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { ReadEntry } from './history.ts';
import type { ShardsWorld } from './shards-world.ts';
import { generation } from './weather.ts';

interface Settled {
  readonly shard: number;
  readonly decision: Decision;
}

/** Strong reads over shards: one snapshot in one region that has the leases of all, and questions about locks. */
export class ShardsReader {
  readonly reads: ReadEntry[] = [];
  readonly #world: ShardsWorld;

  constructor(world: ShardsWorld) {
    this.#world = world;
  }

  /** Reads the keys given, or any. */
  read(done: () => void, given: readonly string[] | null = null): void {
    const { random, shards, timeline, regions } = this.#world;
    const region = random.pick([...regions.keys()]);
    const pick = () => `${random.pick(['a', 'b'])}${random.between(0, shards - 1)}`;
    const keys = given ?? random.pick([[pick()], [...new Set([pick(), pick()])], ['p0', 'p1']]);
    const named = [...new Set(keys.map((key) => this.#world.shardOf(key)))];
    for (const shard of named) this.#world.coordinator(shard).requestLease(region);
    const invokedAt = timeline.now;
    this.#attempt(region, keys, named, [], 0, (replies) => {
      if (replies !== null) {
        const request: SnapshotRequest = {
          shard: 0,
          generation,
          strong: true,
          leased: true,
          lastAcknowledged: null,
          settle: [],
          keys,
          commands: commandsOf(keys),
        };
        this.reads.push({ kind: 'read', request, invokedAt, answeredAt: timeline.now, replies });
      }
      done();
    });
  }

  #attempt(
    region: string,
    keys: readonly string[],
    named: readonly number[],
    settle: readonly Settled[],
    tries: number,
    give: (replies: string | null) => void,
  ): void {
    const { timeline, shardOf } = this.#world;
    if (tries > 8) {
      give(null);
      return;
    }
    const again = (more: readonly Settled[]) =>
      timeline.after(200, () =>
        this.#attempt(region, keys, named, [...settle, ...more], tries + 1, give),
      );
    let isOpen = true;
    const request = {
      strong: true,
      leased: true,
      commands: commandsOf(keys),
      shards: named.map((shard) => ({
        shard,
        generation: this.#generationOf(shard, region),
        lastAcknowledged: null,
        settle: settle.filter((one) => one.shard === shard).map(({ decision }) => decision),
        keys: keys.filter((key) => shardOf(key) === shard),
      })),
    };
    timeline.after(1_500, () => {
      if (!isOpen) return;
      isOpen = false;
      again([]);
    });
    this.#world.exchange(
      'reader',
      region,
      (model) => {
        const result = model.jointSnapshot(request);
        // Until its leases are over a region that has lost data may answer from the rest: no promise covers that.
        return this.#mayBeOld(region) ? null : result;
      },
      (result) => {
        if (!isOpen) return;
        isOpen = false;
        if (result === null || result.kind !== 'read') {
          again([]);
          return;
        }
        const text = encodeReply(result.replies);
        this.#resolve(result.locks, (decisions) => {
          if (decisions === null || decisions.length > 0) again(decisions ?? []);
          else give(text);
        });
      },
    );
  }

  /** Asks the shards of locks for their outcomes; null if one did not answer. */
  #resolve(
    locks: readonly { readonly shard: number; readonly holder: TransactionOrder }[],
    give: (decisions: readonly Settled[] | null) => void,
  ): void {
    const byShard = new Map<number, Map<string, TransactionOrder>>();
    for (const { shard, holder } of locks) {
      const known = byShard.get(shard) ?? new Map<string, TransactionOrder>();
      known.set(keyOf(holder), holder);
      byShard.set(shard, known);
    }
    let left = byShard.size;
    let isOpen = true;
    const found: Settled[] = [];
    const end = (decisions: readonly Settled[] | null) => {
      if (!isOpen) return;
      isOpen = false;
      give(decisions);
    };
    if (left === 0) {
      end([]);
      return;
    }
    this.#world.timeline.after(3_000, () => end(null));
    for (const [shard, holders] of byShard) {
      this.#world.reached(shard).resolve([...holders.values()], (resolutions) => {
        if (resolutions === null) return end(null);
        for (const one of resolutions) {
          if (one.kind !== 'committed') continue;
          const { transaction, keys, otherShares } = one;
          const base = { transaction, outcome: 'commit', keys } as const;
          const decision = otherShares === undefined ? base : { ...base, otherShares };
          found.push({ shard, decision });
        }
        left -= 1;
        if (left === 0) end(found);
      });
    }
  }

  #generationOf(shard: number, region: string): number {
    return this.#world.storages.of(shard).durable.regions.get(region)?.generation ?? 0;
  }

  #mayBeOld(region: string): boolean {
    const damaged = this.#world.damagedAt;
    if (damaged === null || damaged.region !== region) return false;
    // A guest learns of a loss with the conclusion of its loan at last; until then it does not renew its lease (R63).
    const lastsMs = limits.leaseTtlMs + limits.leaseDriftMs + 2 * limits.roundTimeoutMs;
    return this.#world.timeline.now <= damaged.at + lastsMs;
  }
}

function commandsOf(keys: readonly string[]) {
  return keys.map((key) => ({ args: ['GET', key], reads: [1], reply: null }));
}
