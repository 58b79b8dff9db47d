import { compileWrite } from '../../shared/commands/compile.ts';
import type { WriteAnswer } from '../../shared/contracts/coordinator.ts';
import type { Check, WriteFrame } from '../../shared/contracts/frame.ts';
import { keyOfWrite } from '../../shared/reserved-keys.ts';
import { checkHistory, contentsOf, type ReadEntry, type WriteEntry } from './history.ts';
import { Random } from './random.ts';
import { ShardsReader } from './shards-reader.ts';
import { type ShardsWeather, ShardsWorld } from './shards-world.ts';
import { Timeline } from './timeline.ts';

/** The results of a run. */
export interface ShardsRun {
  readonly committed: number;
  readonly joint: number;
  readonly loans: number;
  readonly loanAborts: number;
  readonly reads: number;
  readonly unavailable: number;
  readonly crashes: number;
  readonly losses: number;
}

/** One seeded run of several shards in the weather of the seed. */
export function run(seed: number): ShardsRun {
  const random = new Random(seed);
  const world = new ShardsWorld(new Timeline(), random, weatherOf(random));
  return new ShardsWorkload(world).run();
}

/** The weather of a seed: fair, or with faults of some kinds, often aimed at joint writes. */
export function weatherOf(random: Random): ShardsWeather {
  const shards = random.pick([2, 2, 3, 4]);
  const fair = {
    shards,
    loss: 0,
    duplication: 0,
    straggling: 0,
    crashEveryMs: 0,
    cutEveryMs: 0,
    lossEveryMs: 0,
    zombies: 0,
    crashesAtSteps: 0,
    jolts: 0,
  };
  if (random.chance(0.1)) return fair;
  return {
    shards,
    loss: random.pick([0, 0.01, 0.05]),
    duplication: random.pick([0, 0.05, 0.2]),
    straggling: random.pick([0, 0.01, 0.05]),
    crashEveryMs: random.pick([0, 0, 4_000, 1_500]),
    cutEveryMs: random.pick([0, 0, 5_000, 2_000]),
    lossEveryMs: random.pick([0, 0, 0, 8_000]),
    zombies: random.pick([0, 0.4]),
    crashesAtSteps: random.pick([0, 0, 0.03]),
    jolts: random.pick([0, 0.05, 0.2]),
  };
}

/** Clients of all shards, and the checks once the weather has cleared up. */
export class ShardsWorkload {
  readonly #world: ShardsWorld;
  readonly #writes: WriteEntry[] = [];
  readonly #reader: ShardsReader;
  #frames = 0;
  #open = 0;

  constructor(world: ShardsWorld) {
    this.#world = world;
    this.#reader = new ShardsReader(world);
  }

  run(): ShardsRun {
    const { timeline, random, shards } = this.#world;
    for (let shard = 0; shard < shards; shard += 1) this.#world.coordinator(shard);
    // Every shard begins before any writes: a region that holds keys would be foreign to it.
    this.#world.calm = true;
    timeline.run(timeline.now + 1_000, 200_000);
    this.#world.calm = false;
    const clients = random.between(2, 6);
    for (let client = 0; client < clients; client += 1) this.#client(random.between(5, 14));
    timeline.run(timeline.now + 25_000, 2_000_000);
    this.#world.calm = true;
    for (const zombie of this.#world.zombies) zombie.die();
    for (let shard = 0; shard < shards; shard += 1) this.#world.coordinator(shard);
    timeline.run(timeline.now + 40_000, 2_000_000);
    // Rounds of every shard find losses that nobody has noticed.
    for (let shard = 0; shard < shards; shard += 1) {
      this.#write(this.#frameOf([['INCR', `n${shard}`]], []), 0, () => {});
    }
    timeline.run(timeline.now + 60_000, 2_000_000);
    if (this.#open > 0) throw new Error(`${this.#open} clients were never answered`);
    this.#check();
    const { joint, loans, loanAborts, crashes, losses } = this.#world.stats;
    const answers = this.#writes.map(({ answer }) => answer);
    return {
      committed: this.#world.order.length,
      joint,
      loans,
      loanAborts,
      reads: this.#reader.reads.length,
      unavailable: answers.filter((answer) => answer?.kind === 'unavailable').length,
      crashes,
      losses,
    };
  }

  #client(left: number): void {
    if (left === 0) return;
    this.#open += 1;
    const { random, timeline } = this.#world;
    const next = () => {
      this.#open -= 1;
      timeline.after(random.between(0, random.pick([20, 300, 2_000])), () =>
        this.#client(left - 1),
      );
    };
    if (random.chance(0.3)) {
      this.#reader.read(next);
      return;
    }
    const frame = this.#anyFrame();
    const keys = frame.keys.filter((key) => /^[abp]/.test(key));
    // Who has an answer reads its own write, now and then at once.
    const readsBack = keys.length > 0 && random.chance(0.3);
    this.#write(frame, random.between(0, 3), () =>
      readsBack ? this.#reader.read(next, keys.slice(0, 2)) : next(),
    );
  }

  #write(frame: WriteFrame, retries: number, done: () => void): void {
    const entry: WriteEntry = {
      kind: 'write',
      frame,
      invokedAt: this.#world.timeline.now,
      answeredAt: Number.POSITIVE_INFINITY,
      answer: null,
    };
    this.#writes.push(entry);
    this.#send(entry, retries, false, done);
  }

  /** If no answer came, the same comes again under its own id, or under its key and a new id. */
  #send(entry: WriteEntry, retries: number, again: boolean, done: () => void): void {
    const { timeline, random, shardOf } = this.#world;
    const { frame } = entry;
    const home = shardOf(frame.keys.find((key) => !key.startsWith('lockstep:')) ?? '0');
    timeline.after(random.between(0, 20), () => {
      this.#world.reached(home).write(frame, again, (reply) => {
        timeline.after(random.between(0, 20), () => {
          entry.answeredAt = timeline.now;
          if (reply?.kind === 'write') entry.answer = reply.answer;
          if (entry.answer?.kind === 'unavailable' && entry.answer.reason.includes('diverged')) {
            throw new Error(entry.answer.reason);
          }
          if (entry.answer !== null) this.#repeat(entry, entry.answer);
          if (reply !== null || retries === 0) return done();
          if (frame.idempotency === null || random.chance(0.5)) {
            return this.#send(entry, retries - 1, true, done);
          }
          const id = this.#nextId();
          this.#write({ ...frame, id, notAfter: timeline.now + 5_000 }, retries - 1, done);
        });
      });
    });
  }

  /** An answered request comes once more, later: the first answer stays true. */
  #repeat({ frame }: WriteEntry, first: WriteAnswer): void {
    const { timeline, random, shardOf } = this.#world;
    if (frame.idempotency === null || !random.chance(0.2)) return;
    if (first.kind === 'unavailable' && first.code !== null) return;
    const home = shardOf(frame.keys.find((key) => !key.startsWith('lockstep:')) ?? '0');
    const late = { ...frame, id: this.#nextId() };
    timeline.after(random.between(50, 3_000), () => {
      this.#world.reached(home).write(late, false, (reply) => {
        if (reply?.kind !== 'write') return;
        const { answer } = reply;
        const isRefused = first.kind === 'unavailable' || first.kind === 'too-late';
        if (isRefused && answer.kind === 'decided') {
          throw new Error('a repeated write was decided after its sender was refused');
        }
        if (first.kind !== 'decided' || answer.kind !== 'decided') return;
        if (first.record.part !== answer.record.part) throw new Error('a repeated write differs');
      });
    });
  }

  #nextId(): string {
    this.#frames += 1;
    return `0-${this.#frames}`;
  }

  /** A write of one shard or of several. */
  #anyFrame(): WriteFrame {
    const { random, shards } = this.#world;
    const token = `${this.#frames + 1},`;
    const key = () => `${random.pick(['a', 'b'])}${random.between(0, shards - 1)}`;
    const [one, other, third] = [key(), key(), key()];
    const expiring = `x${random.between(0, shards - 1)}`;
    const checks: Check[] = random.chance(0.15) ? [{ kind: 'exists', key: other }] : [];
    if (random.chance(0.1)) return this.#script(one, other, token);
    const ops = random.pick<string[][]>([
      [['APPEND', one, token]],
      [['APPEND', one, token]],
      [['SET', one, token]],
      [
        ['SET', 'p0', token],
        ['SET', 'p1', token],
      ],
      [
        ['SET', 'p1', token],
        ['SET', 'p0', token],
      ],
      [
        ['APPEND', one, token],
        ['APPEND', other, token],
      ],
      [
        ['APPEND', one, token],
        ['APPEND', other, token],
        ['APPEND', third, token],
      ],
      [
        ['SET', one, token],
        ['COPY', one, other, 'REPLACE'],
      ],
      [
        ['SET', one, token],
        ['RENAME', one, other],
      ],
      [['DEL', one, other]],
      [
        ['SET', expiring, token, 'PX', `${random.pick([100, 900, 10_000_000])}`],
        ['APPEND', other, token],
      ],
      [
        ['APPEND', expiring, token],
        ['APPEND', other, token],
      ],
    ]);
    return this.#frameOf(ops, checks);
  }

  /** A script that declares one of its keys, and touches one of another shard. */
  #script(key: string, other: string, token: string): WriteFrame {
    const frame = this.#frameOf([['GET', key]], []);
    const commands = [
      ['GET', other],
      ['APPEND', key, token],
      ['APPEND', other, token],
    ];
    const args = ['sha', JSON.stringify(commands), key];
    const operation = {
      kind: 'script',
      args,
      writes: [2],
      reads: [],
      reply: null,
      seed: 1,
    } as const;
    return { ...frame, keys: [key], operations: [operation] };
  }

  #frameOf(ops: readonly string[][], checks: readonly Check[]): WriteFrame {
    const id = this.#nextId();
    const { random, timeline } = this.#world;
    const now = timeline.now;
    const compiled = compileWrite(ops, checks, { now, seed: () => random.between(0, 1_000_000) });
    if (!compiled.ok) throw new Error(compiled.detail);
    return {
      id,
      operations: compiled.operations,
      checks,
      continueOnError: false,
      keys: compiled.keys.length > 0 ? compiled.keys : [keyOfWrite(id)],
      priority: random.pick([0, 0, 0, 0, 1, 5]),
      ack: random.pick(['committed', 'committed', 'confirmed']),
      notAfter: now + random.pick([500, 3_000, 10_000]),
      idempotency: random.chance(0.7) ? { key: `key-${this.#frames}`, digest: 'same' } : null,
      callback: null,
      bytes: compiled.bytes,
    };
  }

  #check(): void {
    const { timeline, regions, shards, storages, order, clocks } = this.#world;
    const records = new Map(
      Array.from({ length: shards }, (_, shard) => storages.of(shard).durable)
        .flatMap(({ committed }) => committed)
        .map((record) => [record.id, record]),
    );
    const committed = order.map((id, position) => {
      const record = records.get(id);
      if (record === undefined) throw new Error(`the record of ${id} is lost`);
      return { ...record, sequence: position + 1 };
    });
    const reads: readonly ReadEntry[] = this.#reader.reads;
    const state = checkHistory(committed, this.#writes, reads, clocks);
    const expected = contentsOf(state, timeline.now);
    for (const [region, model] of regions) {
      for (let shard = 0; shard < shards; shard += 1) {
        const locks = model.locks(shard);
        if (locks.length > 0)
          throw new Error(`${region} is left with ${locks.join(' ')} of ${shard}`);
      }
      const contents = contentsOf(model, timeline.now);
      if (contents !== expected) throw new Error(`${region} holds ${contents}, not ${expected}`);
    }
    for (let shard = 0; shard < shards; shard += 1) this.#checkShard(shard);
  }

  #checkShard(shard: number): void {
    const { durable } = this.#world.storages.of(shard);
    if (durable.loans.size > 0) throw new Error(`shard ${shard} is left with a loan`);
    for (const { transaction, unacknowledged } of durable.jointCommits.values()) {
      if (unacknowledged.length > 0)
        throw new Error(`${transaction} of ${shard} was never concluded`);
    }
    for (const { confirmed, transaction } of durable.commits.values()) {
      if (!confirmed) throw new Error(`${transaction} of ${shard} was never confirmed`);
    }
    for (const { region, membership } of durable.regions.values()) {
      if (membership.state !== 'voter' || membership.leaving !== null) {
        throw new Error(`${region} has not come back to ${shard}: ${JSON.stringify(membership)}`);
      }
    }
  }
}
