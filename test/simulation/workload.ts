import type { WriteAnswer } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import { Frames } from './frames.ts';
import { checkHistory, contentsOf, type WriteEntry } from './history.ts';
import type { Random } from './random.ts';
import { Reader } from './reading.ts';
import type { Simulation } from './simulation.ts';

/** The results of a run. */
export interface Run {
  readonly committed: number;
  readonly rejected: number;
  readonly unavailable: number;
  readonly unknown: number;
  readonly reads: number;
  readonly incarnations: number;
}

/** Clients write and read through bad weather; then it clears up, and everything has to be right. */
export class Workload {
  readonly #simulation: Simulation;
  readonly #random: Random;
  readonly #writes: WriteEntry[] = [];
  readonly #frames: Frames;
  readonly #reader: Reader;
  #open = 0;

  constructor(simulation: Simulation, random: Random) {
    this.#simulation = simulation;
    this.#random = random;
    this.#frames = new Frames(simulation);
    this.#reader = new Reader(simulation, random);
  }

  run(): Run {
    const { timeline } = this.#simulation;
    for (const forMs of this.#phases()) timeline.run(timeline.now + forMs, 2_000_000);
    return this.#summary();
  }

  /** The same with reads at the edge, whose code waits for promises. */
  async runAtEdge(): Promise<Run> {
    const { timeline } = this.#simulation;
    for (const forMs of this.#phases()) {
      const until = timeline.now + forMs;
      await timeline.runAwaited(until, 2_000_000, () => this.#reader.isAwaited);
    }
    return this.#summary();
  }

  /** The phases of the run: after each, the yielded number of ms has to pass. */
  *#phases(): Generator<number> {
    const { weather } = this.#simulation;
    if (weather.fill)
      this.#write(
        this.#frames.of(
          weather.keys.map((key) => ['SET', key, key]),
          [],
        ),
        3,
        () => {},
      );
    const clients = this.#random.between(1, 6);
    const [least, most] = weather.turns;
    for (let client = 0; client < clients; client++) {
      this.#client(this.#random.between(least, most));
    }
    yield 40_000;
    this.#simulation.calm = true;
    this.#simulation.bringBack();
    for (const zombie of this.#simulation.zombies) zombie.die();
    yield limits.timeoutMsMaximum;
    void this.#simulation.coordinator;
    yield 20_000;
    this.#simulation.bringBack();
    // The next round finds the losses of regions that were unnoticed so far.
    this.#write(this.#frames.of([['INCR', 'n']], []), 0, () => {});
    yield 40_000;
    if (this.#open > 0) throw new Error(`${this.#open} clients were never answered`);
    this.#checkRegions();
    this.#checkEvents();
  }

  // A client does one thing after the other.

  #client(left: number): void {
    if (left === 0) return;
    this.#open += 1;
    const next = () => {
      this.#open -= 1;
      const pauseMs = this.#random.between(0, this.#simulation.weather.pauseMs);
      this.#simulation.timeline.after(pauseMs, () => this.#client(left - 1));
    };
    if (this.#random.chance(this.#simulation.weather.reads)) this.#reader.read(next);
    else this.#write(this.#frames.any(), this.#random.between(0, 3), next);
  }

  /** Sends a frame; if the answer is lost, a client with an idempotency key tries again. */
  #write(frame: WriteFrame, retries: number, done: () => void): void {
    const { timeline } = this.#simulation;
    const entry: WriteEntry = {
      kind: 'write',
      frame,
      invokedAt: timeline.now,
      answeredAt: Number.POSITIVE_INFINITY,
      answer: null,
    };
    this.#writes.push(entry);
    this.#send(entry, retries, false, done);
  }

  /** If no answer came, the edge sends it again under its own id, and a client under its key and a new id. */
  #send(entry: WriteEntry, retries: number, again: boolean, done: () => void): void {
    const { timeline, random } = this.#simulation;
    const { frame } = entry;
    timeline.after(random.between(0, 30), () => {
      this.#simulation.anyCoordinator().write(frame, again, (reply) => {
        timeline.after(random.between(0, 30), () => {
          entry.answeredAt = timeline.now;
          if (reply?.kind === 'write') entry.answer = reply.answer;
          if (entry.answer?.kind === 'unavailable' && entry.answer.reason.includes('diverged')) {
            throw new Error(entry.answer.reason);
          }
          if (entry.answer !== null) this.#duplicate(entry, entry.answer);
          if (reply !== null || retries === 0) return done();
          if (frame.idempotency === null || random.chance(0.5)) {
            return this.#send(entry, retries - 1, true, done);
          }
          const id = this.#frames.nextId();
          const notAfter = timeline.now + 5_000;
          this.#write({ ...frame, id, notAfter }, retries - 1, done);
        });
      });
    });
  }

  /** Delivers an answered request once more, much later: the first answer has to stay true. */
  #duplicate({ frame }: WriteEntry, first: WriteAnswer): void {
    const { timeline, random } = this.#simulation;
    if (frame.idempotency === null || !random.chance(0.3)) return;
    // A write that was refused early, for want of voters, may be sent again.
    if (first.kind === 'unavailable' && first.code !== null) return;
    const { renewals } = this.#simulation.weather;
    if (renewals > 0 && random.chance(renewals)) {
      timeline.after(random.between(100, 5_000), () => this.#repeatAnew(frame, first));
      return;
    }
    const late = { ...frame, id: this.#frames.nextId() };
    timeline.after(random.between(100, 5_000), () => {
      this.#simulation.anyCoordinator().write(late, false, (reply) => {
        if (reply?.kind !== 'write') return;
        const { answer } = reply;
        const kept = checkRepeated(first, answer);
        if ((first.kind === 'unavailable' || first.kind === 'too-late') && kept) {
          throw new Error('a duplicate was decided after its sender was refused');
        }
      });
    });
  }

  /** A request without a `notAfter` gets a new one on each arrival, so a refused one may be carried out now. */
  #repeatAnew(frame: WriteFrame, first: WriteAnswer): void {
    const { timeline, random } = this.#simulation;
    const notAfter = timeline.now + random.between(300, 5_000);
    const at = this.#writes.length;
    this.#write({ ...frame, id: this.#frames.nextId(), notAfter }, 0, () => {
      const answer = this.#writes[at]?.answer ?? null;
      if (answer !== null) checkRepeated(first, answer);
    });
  }

  // After the storm.

  #checkRegions(): void {
    const { storage, regions, clocks, timeline } = this.#simulation;
    const { committed } = storage.durable;
    const expected = contentsOf(
      checkHistory(committed, this.#writes, this.#reader.reads, clocks),
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

  /** Each committed write is confirmed once, each abandoned one is reported as aborted, and no write is both. */
  #checkEvents(): void {
    const { outbox, committed } = this.#simulation.storage.durable;
    const decided = new Set(committed.map(({ id }) => id));
    for (const { frame, answer } of this.#writes) {
      const expected: string[] = [];
      const asked = frame.callback !== null;
      if (asked && decided.has(frame.id)) expected.push('write.committed', 'write.confirmed');
      else if (asked && isRefusal(answer, frame.id)) expected.push('write.aborted');
      const types = ['write.committed', 'write.confirmed', 'write.aborted'];
      const found = types.filter((type) => outbox.has(`${frame.id}.${type}`));
      const unheard = asked && answer === null && found.join() === 'write.aborted';
      // A write refused on arrival has no event; one that was given up while it waited has.
      if (answer?.kind === 'unavailable' && answer.code !== null) continue;
      if (!unheard && found.join() !== expected.join()) {
        throw new Error(`write ${frame.id} has the events ${found.join()}, not ${expected.join()}`);
      }
    }
  }

  #summary(): Run {
    const answers = this.#writes.map(({ answer }) => answer);
    const count = (matches: (answer: WriteEntry['answer']) => boolean) =>
      answers.filter(matches).length;
    return {
      committed: this.#simulation.storage.durable.committed.length,
      rejected: count(
        (answer) => answer?.kind === 'decided' && answer.record.outcome === 'rejected',
      ),
      unavailable: count((answer) => answer?.kind === 'unavailable'),
      unknown: count((answer) => answer === null),
      reads: this.#reader.reads.length,
      incarnations: this.#simulation.storage.durable.incarnation,
    };
  }
}

/** The frame itself was decided against or given up; one that only joined or repeated another was not. */
function isRefusal(answer: WriteAnswer | null, id: string): boolean {
  if (answer?.kind === 'unavailable') return answer.id === id;
  return (
    answer?.kind === 'decided' && answer.record.id === id && answer.record.outcome === 'rejected'
  );
}

/** A request that was decided is answered the same when it arrives again. True if the repeated one was decided. */
function checkRepeated(first: WriteAnswer, answer: WriteAnswer): boolean {
  const same = first.kind === 'decided' || first.kind === 'unconfirmed';
  const kept = answer.kind === 'decided' || answer.kind === 'unconfirmed';
  if (same && (!kept || answer.record.id !== first.record.id)) {
    throw new Error(
      `a duplicate was answered ${answer.kind}, not as the first: ${first.record.part}`,
    );
  }
  return kept;
}
