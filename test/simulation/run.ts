import { keyOf, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { Check, WriteFrame } from '../../shared/protocol/frame.ts';
import type { Decision, SnapshotRequest } from '../../shared/protocol/round.ts';
import type { WriteAnswer } from '../../shared/wire/answers.ts';
import { compileReads, compileWrite } from '../../shared/wire/commands.ts';
import type { Callback } from '../../shared/wire/confirmations.ts';
import { checkHistory, contentsOf, type ReadEntry, type WriteEntry } from './history.ts';
import { Random } from './random.ts';
import { Timeline } from './timeline.ts';
import { generation, weatherOf } from './weather.ts';
import { World } from './world.ts';

const keys = ['a', 'b', 'c', 'd'];

const callback: Callback = {
  endpoint: 'cb_1',
  url: 'https://example.com/',
  secret: null,
  events: ['write.committed', 'write.confirmed', 'write.aborted'],
  values: true,
};

/** What a run came to. */
export interface Run {
  readonly committed: number;
  readonly rejected: number;
  readonly unavailable: number;
  readonly unknown: number;
  readonly reads: number;
  readonly incarnations: number;
}

/** One seeded run: clients write and read through bad weather; then it clears up, and everything has to be right. */
export function run(seed: number): Run {
  const random = new Random(seed);
  const world = new World(new Timeline(), random, weatherOf(random));
  const simulation = new Simulation(world, random);
  return simulation.run();
}

class Simulation {
  readonly #world: World;
  readonly #random: Random;
  readonly #writes: WriteEntry[] = [];
  readonly #reads: ReadEntry[] = [];
  #tokens = 0;
  #open = 0;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  run(): Run {
    const clients = this.#random.between(1, 6);
    for (let client = 0; client < clients; client++) this.#client(this.#random.between(4, 14));
    const { timeline } = this.#world;
    timeline.run(timeline.now + 40_000, 2_000_000);
    this.#world.calm = true;
    this.#world.bringBack();
    for (const zombie of this.#world.zombies) zombie.die();
    timeline.run(timeline.now + limits.timeoutMsMaximum, 2_000_000);
    void this.#world.coordinator;
    timeline.run(timeline.now + 20_000, 2_000_000);
    this.#world.bringBack();
    // What a region lost unnoticed is found by the next round.
    this.#write(this.#frameOf([['INCR', 'n']], []), 0, () => {});
    timeline.run(timeline.now + 40_000, 2_000_000);
    if (this.#open > 0) throw new Error(`${this.#open} clients were never answered`);
    this.#checkRegions();
    this.#checkEvents();
    return this.#summary();
  }

  // A client does one thing after the other.

  #client(left: number): void {
    if (left === 0) return;
    this.#open += 1;
    const next = () => {
      this.#open -= 1;
      this.#world.timeline.after(this.#random.between(0, 200), () => this.#client(left - 1));
    };
    if (this.#random.chance(0.35)) this.#read(next);
    else this.#write(this.#frame(), this.#random.between(0, 3), next);
  }

  #frame(): WriteFrame {
    const { random } = this.#world;
    const token = `${this.#tokens + 1},`;
    const key = random.pick(keys);
    const other = random.pick(keys);
    const checks: Check[] = random.chance(0.25)
      ? [
          random.pick<Check>([
            { kind: 'absent', key },
            { kind: 'exists', key: other },
          ]),
        ]
      : [];
    const ops = random.pick<string[][]>([
      [['APPEND', key, token]],
      [['APPEND', key, token]],
      [
        ['APPEND', key, token],
        ['APPEND', other, token],
      ],
      [['SET', key, token]],
      [
        ['SET', key, token],
        ['APPEND', key, token],
      ],
      [['INCR', 'n']],
      [['INCR', 'n']],
      [['HSET', 'h', key, token]],
      [
        ['RPUSH', key, token],
        ['SET', other, token],
      ],
      [['DEL', key]],
      [
        ['SADD', 's', token],
        ['SMEMBERS', 's'],
      ],
      [['SPOP', 's']],
      [['SET', 'x', token, 'PX', `${random.pick([5, 100, 800, 10_000_000])}`]],
      [['APPEND', 'x', token]],
      [
        ['SET', 'x', token, 'PX', '60'],
        ['APPEND', 'x', token],
      ],
      [['PERSIST', 'x']],
      [
        ['PEXPIRE', 'x', `${random.pick([1, 70, 900])}`],
        ['GET', 'x'],
      ],
    ]);
    return this.#frameOf(ops, checks);
  }

  #frameOf(ops: readonly string[][], checks: readonly Check[]): WriteFrame {
    this.#tokens += 1;
    const { random, timeline } = this.#world;
    const now = timeline.now;
    const compiled = compileWrite(ops, checks, { now, seed: () => random.between(0, 1_000_000) });
    if (!compiled.ok) throw new Error(compiled.detail);
    return {
      id: `0-${this.#tokens}`,
      operations: compiled.operations,
      checks,
      keys: compiled.keys,
      priority: random.pick([0, 0, 0, 0, 1, 5]),
      ack: random.pick(['committed', 'committed', 'confirmed']),
      notAfter: now + random.pick([300, 2_000, 10_000]),
      idempotency: random.chance(0.7) ? { key: `key-${this.#tokens}`, digest: 'same' } : null,
      callback: random.chance(0.3) ? callback : null,
      bytes: compiled.bytes,
    };
  }

  /** Sends a frame; where the answer is lost, a client with an idempotency key tries again. */
  #write(frame: WriteFrame, retries: number, done: () => void): void {
    const { timeline, random } = this.#world;
    const entry: WriteEntry = {
      kind: 'write',
      frame,
      invokedAt: timeline.now,
      answeredAt: Number.POSITIVE_INFINITY,
      answer: null,
    };
    this.#writes.push(entry);
    timeline.after(random.between(0, 30), () => {
      this.#world.anyCoordinator.write(frame, (reply) => {
        timeline.after(random.between(0, 30), () => {
          entry.answeredAt = timeline.now;
          if (reply?.kind === 'write') entry.answer = reply.answer;
          if (entry.answer?.kind === 'unavailable' && entry.answer.reason.includes('diverged')) {
            throw new Error(entry.answer.reason);
          }
          const again = reply === null && frame.idempotency !== null && retries > 0;
          if (entry.answer !== null) this.#duplicate(entry, entry.answer);
          if (!again) return done();
          this.#tokens += 1;
          const notAfter = timeline.now + 5_000;
          this.#write({ ...frame, id: `0-${this.#tokens}`, notAfter }, retries - 1, done);
        });
      });
    });
  }

  /** Delivers an answered request once more, much later: what its sender was told has to stay true. */
  #duplicate({ frame }: WriteEntry, first: WriteAnswer): void {
    const { timeline, random } = this.#world;
    if (frame.idempotency === null || !random.chance(0.3)) return;
    // One that was refused before its time was over, for want of voters, may be sent again.
    if (first.kind === 'unavailable' && first.code !== null) return;
    this.#tokens += 1;
    const late = { ...frame, id: `0-${this.#tokens}` };
    timeline.after(random.between(100, 5_000), () => {
      this.#world.anyCoordinator.write(late, (reply) => {
        if (reply?.kind !== 'write') return;
        const { answer } = reply;
        const same = first.kind === 'decided' || first.kind === 'unconfirmed';
        const kept = answer.kind === 'decided' || answer.kind === 'unconfirmed';
        if (same && (!kept || answer.record.id !== first.record.id)) {
          throw new Error(
            `a duplicate was answered ${answer.kind}, not as the first: ${first.record.part}`,
          );
        }
        if (first.kind === 'unavailable' && kept) {
          throw new Error('a duplicate was decided after its sender was told no');
        }
      });
    });
  }

  // Strong reads, as the edge does them.

  #read(done: () => void): void {
    const { random, timeline } = this.#world;
    const key = random.pick(keys);
    const other = random.pick(keys);
    const commands = random.pick<string[][]>([
      [
        ['TYPE', key],
        ['GET', key],
      ],
      [
        ['GET', key],
        ['GET', other],
        ['GET', 'n'],
      ],
      [
        ['GET', 'n'],
        ['HGETALL', 'h'],
      ],
      [
        ['TYPE', 'a'],
        ['TYPE', 'b'],
        ['TYPE', 'c'],
        ['TYPE', 'd'],
        ['GET', 'n'],
      ],
    ]);
    const compiled = compileReads(commands);
    if (!compiled.ok) throw new Error(compiled.detail);
    const region = random.pick([...this.#world.regions.keys()]);
    const known = this.#world.storage.durable.regions.get(region)?.generation ?? generation;
    const request = {
      shard: 0,
      generation: known,
      strong: true,
      leased: true,
      seen: null,
      settle: [],
      ...compiled,
    };
    timeline.after(random.between(0, 60), () => this.#world.anyCoordinator.want(region));
    if (random.chance(0.1)) this.#readThroughCoordinator(request, timeline.now, done);
    else this.#snapshot(region, request, timeline.now, 6, done);
  }

  #readThroughCoordinator(request: SnapshotRequest, invokedAt: number, done: () => void): void {
    const { timeline, random } = this.#world;
    const { keys: read, commands } = request;
    timeline.after(random.between(0, 60), () => {
      const asked = { keys: read, commands, region: null };
      this.#world.anyCoordinator.read(asked, (reply) => {
        timeline.after(random.between(0, 60), () => {
          if (reply?.kind === 'read' && reply.answer.kind === 'read') {
            const { replies } = reply.answer;
            const answeredAt = timeline.now;
            this.#reads.push({ kind: 'read', request, invokedAt, answeredAt, replies });
          }
          done();
        });
      });
    });
  }

  #snapshot(
    region: string,
    request: SnapshotRequest,
    invokedAt: number,
    attempts: number,
    done: () => void,
  ): void {
    const { timeline } = this.#world;
    let open = true;
    const once = (finish: () => void) => {
      if (!open) return;
      open = false;
      finish();
    };
    timeline.after(limits.readTimeoutMs, () => once(done));
    this.#world.snapshot(region, request, (result) =>
      once(() => {
        const isUnleased = result.kind === 'refused' && result.refusal.kind === 'lease';
        if (isUnleased) return this.#readThroughCoordinator(request, invokedAt, done);
        if (result.kind !== 'read' || attempts === 0) return done();
        const { replies, locks } = result;
        const answer = () => {
          const answeredAt = timeline.now;
          this.#reads.push({ kind: 'read', request, invokedAt, answeredAt, replies });
          done();
        };
        const settled = new Set(request.settle.map(({ transaction }) => keyOf(transaction)));
        const repeated = locks.some(({ holder }) => settled.has(keyOf(holder)));
        // Of one key, what stands between a commit that was applied and a later lock is an answer.
        const outrun = request.keys.length === 1 && settled.size > 0 && !repeated;
        if (locks.length === 0 || outrun) return answer();
        this.#resolve(
          locks.map(({ holder }) => holder),
          (settle) => {
            if (settle === null) done();
            else if (settle.length === 0) answer();
            else this.#snapshot(region, { ...request, settle }, invokedAt, attempts - 1, done);
          },
        );
      }),
    );
  }

  #resolve(
    holders: readonly TransactionOrder[],
    give: (settle: readonly Decision[] | null) => void,
  ): void {
    const { timeline, random } = this.#world;
    timeline.after(random.between(0, 60), () => {
      this.#world.anyCoordinator.ask(holders, (reply) => {
        timeline.after(random.between(0, 60), () => {
          if (reply?.kind !== 'resolutions') return give(null);
          give(
            reply.resolutions.flatMap((one) =>
              one.kind === 'committed'
                ? [{ transaction: one.transaction, outcome: 'commit' as const, keys: one.keys }]
                : [],
            ),
          );
        });
      });
    });
  }

  // After the storm.

  #checkRegions(): void {
    const { storage, regions, clocks, timeline } = this.#world;
    const { committed } = storage.durable;
    const expected = contentsOf(
      checkHistory(committed, this.#writes, this.#reads, clocks),
      timeline.now,
    );
    for (const [region, model] of regions) {
      const locks = model.locks();
      if (locks.length > 0) throw new Error(`${region} is left with the locks ${locks.join(' ')}`);
      const contents = contentsOf(model, timeline.now);
      if (contents !== expected) throw new Error(`${region} holds ${contents}, not ${expected}`);
    }
    for (const commit of storage.durable.commits.values()) {
      if (!commit.confirmed)
        throw new Error(`transaction ${commit.transaction} was never confirmed`);
    }
    for (const { region, membership } of storage.durable.regions.values()) {
      if (membership.state !== 'voter' || membership.leaving !== null) {
        throw new Error(`${region} has not come back: ${JSON.stringify(membership)}`);
      }
    }
  }

  /** Each committed write is confirmed once, each abandoned one is told of, and never both. */
  #checkEvents(): void {
    const { owed, committed } = this.#world.storage.durable;
    const decided = new Set(committed.map(({ id }) => id));
    for (const { frame, answer } of this.#writes) {
      const expected: string[] = [];
      const asked = frame.callback !== null;
      if (asked && decided.has(frame.id)) expected.push('write.committed', 'write.confirmed');
      else if (asked && isRefusal(answer, frame.id)) expected.push('write.aborted');
      const types = ['write.committed', 'write.confirmed', 'write.aborted'];
      const told = types.filter((type) => owed.has(`${frame.id}.${type}`));
      const unheard = asked && answer === null && told.join() === 'write.aborted';
      // Refused on arrival, nobody is told of it; given up while it waited, somebody is.
      if (answer?.kind === 'unavailable' && answer.code !== null) continue;
      if (!unheard && told.join() !== expected.join()) {
        throw new Error(`write ${frame.id} owes ${told.join()}, not ${expected.join()}`);
      }
    }
  }

  #summary(): Run {
    const answers = this.#writes.map(({ answer }) => answer);
    const count = (matches: (answer: WriteEntry['answer']) => boolean) =>
      answers.filter(matches).length;
    return {
      committed: this.#world.storage.durable.committed.length,
      rejected: count(
        (answer) => answer?.kind === 'decided' && answer.record.outcome === 'rejected',
      ),
      unavailable: count((answer) => answer?.kind === 'unavailable'),
      unknown: count((answer) => answer === null),
      reads: this.#reads.length,
      incarnations: this.#world.storage.durable.incarnation,
    };
  }
}

/** The frame itself was decided against or given up; one that only joined or repeated another was not. */
function isRefusal(answer: WriteAnswer | null, id: string): boolean {
  if (answer?.kind === 'unavailable') return answer.id === id && !answer.reason.includes('arrived');
  return (
    answer?.kind === 'decided' && answer.record.id === id && answer.record.outcome === 'rejected'
  );
}
