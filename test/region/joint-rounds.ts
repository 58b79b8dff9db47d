/** Random joint rounds, plain rounds and snapshots of several shards, and the comparison of regions' answers. */
import type { Operation } from '../../shared/contracts/frame.ts';
import type {
  JointResult,
  JointRound,
  JointRoundReply,
  JointVote,
} from '../../shared/contracts/joint.ts';
import type {
  Decision,
  Prepare,
  Round,
  RoundPair,
  RoundResult,
} from '../../shared/contracts/round.ts';
import type { Share } from '../../shared/contracts/share.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import type { SlotRange } from '../../shared/shards/shard-map.ts';
import { Random } from '../simulation/random.ts';
import {
  command,
  del,
  flush,
  increment,
  part,
  publish,
  roundOf,
  set,
  snapshotOf,
  write,
} from './fixtures.ts';
import type { Implementation } from './implementations.ts';

const hour = 3_600_000;
const slotsOfAll = 16_384;
const long = 'x'.repeat(9_000);

/** A transaction of one or several shards whose decision may come. */
interface Known {
  readonly shares: readonly Share[];
  readonly isJoint: boolean;
  isStaged: boolean;
}

/** The memory of a shard's coordinator. */
interface Shard {
  readonly id: number;
  readonly keys: readonly string[];
  epoch: number;
  incarnation: number;
  sequence: number;
  watermark: number;
  pairs: readonly RoundPair[];
}

/** A run: the regions that are compared, and all that was sent to them. */
export class JointRun {
  readonly #random: Random;
  readonly #regions: readonly Implementation[];
  readonly #shards: readonly Shard[];
  readonly #base = Date.now();
  readonly #sent: JointRound[] = [];
  #known: Known[] = [];
  #restore: (() => Promise<void>)[] | null = null;
  /** The joint votes by kind, for tests that must have seen some of them. */
  readonly votes = new Map<string, number>();

  constructor(seed: number, regions: readonly Implementation[]) {
    this.#random = new Random(seed);
    this.#regions = regions;
    const count = this.#random.between(2, 4);
    this.#shards = Array.from({ length: count }, (_, id) => ({
      id: id * 3,
      keys: [`s${id}a`, `s${id}b`, `s${id}set`],
      epoch: 1,
      incarnation: 1,
      sequence: 0,
      watermark: 0,
      pairs: [],
    }));
  }

  async run(steps: number): Promise<void> {
    for (const region of this.#regions) await region.wipe();
    for (let step = 0; step < steps; step += 1) await this.#step();
    await this.#compareContents();
  }

  async #step(): Promise<void> {
    const random = this.#random;
    if (random.chance(0.05)) random.pick(this.#shards).epoch += 1;
    if (random.chance(0.05)) random.pick(this.#shards).incarnation += 1;
    if (random.chance(0.04)) await this.#goBack();
    const next = random.next();
    if (next < 0.5) await this.#joint();
    else if (next < 0.75) await this.#plain();
    else if (next < 0.85) await this.#read();
    else await this.#readJointly();
  }

  /** The regions save their data, or go back to their saved state. */
  async #goBack(): Promise<void> {
    if (this.#restore === null) {
      this.#restore = await Promise.all(this.#regions.map((region) => region.backupWhole()));
      return;
    }
    await Promise.all(this.#restore.map((restore) => restore()));
    this.#restore = null;
  }

  async #joint(): Promise<void> {
    const random = this.#random;
    const repeated = random.chance(0.1) ? this.#sent.at(-random.between(1, 3)) : undefined;
    const round = repeated ?? this.#newJoint();
    this.#sent.push(round);
    const result = await this.#agree('joint', round, async (region) =>
      comparableJoint(await region.joint(round), round),
    );
    if (result.kind !== 'executed') throw new Error(`no answer: ${JSON.stringify(result)}`);
    const { kind } = result.vote;
    const known = this.#known.find(({ shares }) => shares === round.prepare.shares);
    if (known !== undefined && kind === 'yes') known.isStaged = true;
    this.votes.set(kind, (this.votes.get(kind) ?? 0) + 1);
    for (const [index, each] of result.replies.entries()) {
      if (each.kind === 'executed') this.#noteHistory(round.rounds[index], each.reply.history);
    }
  }

  #noteHistory(round: Round | undefined, history: readonly RoundPair[]): void {
    const shard = this.#shards.find(({ id }) => id === round?.shard);
    if (shard !== undefined) shard.pairs = history;
  }

  #newJoint(): JointRound {
    const random = this.#random;
    const isFlush = random.chance(0.08);
    // A shard without a share of a flush owns no slots.
    const count = random.between(isFlush ? 1 : 2, this.#shards.length);
    const shards = shuffled(this.#shards, random).slice(0, count);
    const rounds = shards.map((shard) => this.#roundFor(shard, true));
    const shares = shards.map((shard, index) =>
      isFlush ? this.#flushOf(shard, slotsOf(index, count)) : this.#shareOf(shard),
    );
    this.#known.push({ shares, isJoint: true, isStaged: false });
    const parts = isFlush
      ? [part(flush)]
      : [
          part(...shares.flatMap(({ keys }) => keys.map((key) => this.#operation(key)))),
          ...(random.chance(0.3) ? [part(write('INCR', random.pick(shares[0]?.keys ?? [])))] : []),
        ];
    return { rounds, prepare: { now: this.#base + random.pick([0, hour]), shares, parts } };
  }

  #flushOf(shard: Shard, slots: readonly SlotRange[]): Share {
    const transaction = this.#orderOf(shard);
    return { shard: shard.id, transaction, keys: [everyKey, flushedKey], slots };
  }

  #shareOf(shard: Shard): Share {
    const transaction = this.#orderOf(shard);
    const keys = shard.keys.filter(() => this.#random.chance(0.5));
    const channel = this.#random.chance(0.1) ? [`lockstep:channel:c${shard.id}`] : [];
    const all = [...(keys.length === 0 ? shard.keys.slice(0, 1) : keys), ...channel];
    return { shard: shard.id, transaction, keys: all };
  }

  #orderOf(shard: Shard): TransactionOrder {
    shard.sequence += 1;
    const isStale = this.#random.chance(0.05);
    return [isStale ? Math.max(1, shard.incarnation - 1) : shard.incarnation, shard.sequence];
  }

  #operation(key: string): Operation {
    const random = this.#random;
    const channel = /^lockstep:channel:(.*)$/.exec(key)?.[1];
    if (channel !== undefined) return publish(channel, random.pick(['one', 'two']));
    const at = String(this.#base + random.pick([hour, 2 * hour]));
    // It has no room in the state, so its lock is in a hash of its own.
    if (!key.endsWith('set') && random.chance(0.08)) return set(key, long);
    if (key.endsWith('set')) {
      return random.pick([
        write('SADD', key, random.pick(['x', 'y', 'z'])),
        write('SREM', key, random.pick(['x', 'y'])),
        write('PEXPIREAT', key, at),
        del(key),
      ]);
    }
    return random.pick([
      set(key, random.pick(['1', '2'])),
      set(key, '3', at),
      increment(key),
      del(key),
      write('APPEND', key, '4'),
    ]);
  }

  /** A round with decisions, and for a joint one nothing else. */
  #roundFor(shard: Shard, isJoint: boolean): Round {
    const random = this.#random;
    const isLate = random.chance(0.05);
    if (random.chance(0.1)) shard.watermark = Math.max(0, shard.sequence - random.between(2, 6));
    return roundOf({
      shard: shard.id,
      generation: random.chance(0.02) ? 2 : 1,
      begin: random.chance(0.95),
      epoch: isLate ? Math.max(1, shard.epoch - 1) : shard.epoch,
      incarnation: isLate ? Math.max(1, shard.incarnation - 1) : shard.incarnation,
      askOlder: random.chance(0.1),
      lowWatermark: [1, random.chance(0.1) ? 0 : shard.watermark],
      lastAcknowledged: this.#acknowledgedOf(shard),
      decisions: random.chance(0.8) ? this.#decisionsOf(shard) : [],
      prepares: isJoint || random.chance(0.5) ? [] : [this.#localPrepare(shard)],
      lease: random.chance(0.3) ? { reading: this.#base, ttlMs: hour } : null,
    });
  }

  #acknowledgedOf({ pairs }: Shard): RoundPair | null {
    const random = this.#random;
    if (random.chance(0.03)) return [random.between(1, 9), 'other'];
    if (random.chance(0.5)) return null;
    return pairs.at(-1) ?? null;
  }

  /** Decisions about recent transactions of the shard, some of which have come before. */
  #decisionsOf(shard: Shard): readonly Decision[] {
    const recent = this.#known
      .filter(({ shares }) => shares.some((share) => share.shard === shard.id))
      .slice(-4);
    return recent
      .filter(() => this.#random.chance(0.8))
      .flatMap(({ shares, isStaged, isJoint }): readonly Decision[] => {
        const own = shares.find((share) => share.shard === shard.id);
        if (own === undefined) return [];
        const { transaction, keys } = own;
        if (this.#random.chance(isStaged ? 0.2 : 0.97))
          return [{ transaction, outcome: 'abort', keys }];
        const others = shares.filter((share) => share !== own);
        const commit: Decision = { transaction, outcome: 'commit', keys };
        return [isJoint ? { ...commit, otherShares: others } : commit];
      });
  }

  #localPrepare(shard: Shard): Prepare {
    const keys = [this.#random.pick(shard.keys)];
    const transaction = this.#orderOf(shard);
    const shares = [{ shard: shard.id, transaction, keys }];
    this.#known.push({ shares, isJoint: false, isStaged: true });
    const now = this.#base + this.#random.pick([0, hour]);
    return { transaction, keys, now, parts: [part(...keys.map((key) => this.#operation(key)))] };
  }

  async #plain(): Promise<void> {
    const shard = this.#random.pick(this.#shards);
    const round = this.#roundFor(shard, false);
    const result = await this.#agree('round', round, async (region) =>
      comparableRound(await region.round(round)),
    );
    if (result.kind === 'executed') shard.pairs = result.reply.history;
  }

  async #read(): Promise<void> {
    const random = this.#random;
    const shard = random.pick(this.#shards);
    const request = snapshotOf(shard.keys, this.#commands([shard]), {
      shard: shard.id,
      lastAcknowledged: this.#acknowledgedOf(shard),
      settle: random.chance(0.6) ? this.#decisionsOf(shard) : [],
      leased: random.chance(0.2),
      strong: random.chance(0.8),
    });
    await this.#agree('snapshot', request, (region) => region.snapshot(request));
  }

  async #readJointly(): Promise<void> {
    const random = this.#random;
    const shards = shuffled(this.#shards, random).slice(0, random.between(1, this.#shards.length));
    const request = {
      strong: random.chance(0.8),
      leased: random.chance(0.2),
      shards: shards.map((shard) => ({
        shard: shard.id,
        generation: random.chance(0.03) ? 2 : 1,
        lastAcknowledged: this.#acknowledgedOf(shard),
        settle: random.chance(0.4) ? this.#decisionsOf(shard) : [],
        keys: shard.keys,
      })),
      commands: this.#commands(shards),
    };
    await this.#agree('joint snapshot', request, (region) => region.jointSnapshot(request));
  }

  #commands(shards: readonly Shard[]) {
    return shards.flatMap(({ keys }) =>
      keys.map((key) =>
        key.endsWith('set') ? command(['SMEMBERS', key], 'members') : command(['GET', key]),
      ),
    );
  }

  async #compareContents(): Promise<void> {
    const commands = this.#commands(this.#shards);
    for (const { args } of commands) {
      // Servers list the members of a set in orders of their own.
      const sorted = async (region: Implementation) =>
        (await region.run(...args)).replaceAll(/[[\]]/g, '').split(',').toSorted().join();
      await this.#agree('contents', args, sorted);
    }
    await this.#agree('messages', null, (region) => region.published());
  }

  /** The answer of the first region; fails unless all answer alike. */
  async #agree<Answer>(
    name: string,
    asked: unknown,
    ask: (region: Implementation) => Promise<Answer>,
  ): Promise<Answer> {
    const answers = await Promise.all(this.#regions.map(ask));
    const [first, ...others] = answers;
    for (const other of others) {
      if (JSON.stringify(other) !== JSON.stringify(first)) {
        const [expected, found] = [JSON.stringify(first), JSON.stringify(other)];
        throw new Error(`${name} ${JSON.stringify(asked)}: ${expected} is not ${found}`);
      }
    }
    if (first === undefined) throw new Error('there is a region');
    return first;
  }
}

/** An equal part of all slots. */
function slotsOf(index: number, count: number): readonly SlotRange[] {
  const first = Math.floor((index * slotsOfAll) / count);
  return [[first, Math.floor(((index + 1) * slotsOfAll) / count) - 1]];
}

function shuffled<Item>(items: readonly Item[], random: Random): readonly Item[] {
  return items
    .map((item) => [random.next(), item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item);
}

/** Without the parts that may differ: the clock, and which of several locks is in the way of a transaction about all keys. */
function comparableJoint(result: JointResult, { prepare }: JointRound): JointResult {
  if (result.kind !== 'executed') return result;
  const replies = result.replies.map(
    (each): JointRoundReply =>
      each.kind === 'executed' ? { ...each, reply: { ...each.reply, clock: null } } : each,
  );
  const isAboutAll = prepare.shares[0]?.keys.includes(everyKey) === true;
  return { ...result, replies, vote: isAboutAll ? withoutHolder(result.vote) : result.vote };
}

function withoutHolder(vote: JointVote): JointVote {
  if (vote.kind !== 'objected' || vote.by.kind !== 'locked') return vote;
  return { ...vote, by: { kind: 'locked', key: '', holder: [0, 0] } };
}

function comparableRound(result: RoundResult): RoundResult {
  if (result.kind !== 'executed') return result;
  return { ...result, reply: { ...result.reply, clock: null, isFull: null } };
}
