import { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
import type { WriteAnswer, WriteRecord } from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent, Ticket } from '../../shared/protocol/io/events.ts';
import type { Ready, SentRound } from '../../shared/protocol/io/ready.ts';
import { MemoryStorage } from '../coordinator/sqlite.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { set } from '../region/fixtures.ts';
import { RegionModel } from '../region/model.ts';
import { Random } from './random.ts';
import { configOf, nothingStored, start } from './single-instance.ts';

const hour = 60 * 60 * 1_000;
const region = 'here';

/** A write whose answer named a time before which its key must not be forgotten. */
interface Promised {
  readonly frame: WriteFrame;
  readonly record: WriteRecord;
  readonly until: number;
}

/**
 * One coordinator on the SQLite of an object, with the platform's bounds: rows that are too large, a database that
 * gets full, statements that fail. A storage that fails ends the instance, and the next one begins on the stored
 * state.
 */
class Trial {
  now = start;
  readonly random: Random;
  readonly memory = new MemoryStorage();
  readonly #model = new RegionModel(() => this.now);
  readonly #retention: ConstructorParameters<typeof CoordinatorStorage>[1];
  readonly #answers = new Map<Ticket, WriteAnswer>();
  readonly promised: Promised[] = [];
  readonly refused: WriteFrame[] = [];
  storage: CoordinatorStorage;
  core: CoordinatorCore;
  /** The room that the platform has beyond the coordinator's own bound. */
  readonly roomBytes: number;
  /** Many writes come in little time. */
  readonly hurries: boolean;
  /** The region gives no answers. */
  isDown = false;
  committed = 0;
  full = 0;
  lives = 0;
  #lastTicket = 0;
  #wakeAt: number | null = null;

  constructor(random: Random) {
    this.random = random;
    this.hurries = random.chance(0.3);
    const keptBytes = this.hurries ? 400_000 : random.pick([400_000, 1_000_000, 4_000_000]);
    this.#retention = {
      keptMs: random.pick([60_000, hour, 30 * hour]),
      keptWrites: random.pick([5, 100, 100_000]),
      keptBytes,
      keysKeptMs: random.pick([hour, 24 * hour]),
    };
    // The platform's bound lies a little higher than the coordinator's own.
    this.roomBytes = keptBytes * 0.2;
    this.memory.limit(keptBytes + this.roomBytes);
    [this.storage, this.core] = this.#begin();
    this.#settle();
  }

  #begin(): [CoordinatorStorage, CoordinatorCore] {
    this.lives += 1;
    const storage = new CoordinatorStorage(this.memory, this.#retention, 0);
    // The registry has answered before the run begins.
    const { ownership } = nothingStored;
    const stored = { ...storage.begin(this.now), ownership };
    this.#wakeAt = null;
    return [storage, new CheckedCore(configOf([region], limits.connections), stored, this.now)];
  }

  /** A new instance, whose clock may be behind or ahead of the last one. */
  restart(): void {
    this.now += this.random.between(-2_000, 2_000);
    this.memory.fails = () => {};
    [this.storage, this.core] = this.#begin();
    this.#settle();
  }

  /** Sends a write and returns its answer; null if the instance ended first. */
  send(frame: WriteFrame, again: boolean): WriteAnswer | null {
    const { storage } = this;
    this.#lastTicket += 1;
    const ticket = this.#lastTicket;
    const { idempotency, id } = frame;
    const keyed = idempotency === null ? null : storage.recordedUnder(idempotency.key, this.now);
    const own = again ? (storage.recordOf(id)?.record ?? null) : null;
    const recorded = keyed ?? (own === null ? null : { record: own, digest: null });
    const abandoned = again ? storage.abandoned(id) : null;
    const arrival = { ticket, frame, async: false, recorded, again, abandoned };
    const rounds = this.#step({ kind: 'write-received', ...arrival, room: storage.room });
    if (rounds === null || !this.#run(rounds)) return null;
    if (!this.#answers.has(ticket)) this.#settle();
    return this.#answers.get(ticket) ?? null;
  }

  /** Drops slices; a storage that fails ends the instance. */
  prune(slices: number): void {
    try {
      for (let slice = 0; slice < slices; slice += 1) {
        const before = this.memory.rowsWritten;
        const more = this.storage.prune(this.now);
        // The rows of a slice in three tables, with their indexes, and little more.
        const rows = this.memory.rowsWritten - before;
        if (rows > limits.rowsPerPrune * 16 + 50) throw new Error(`a slice wrote ${rows} rows`);
        if (!more) return;
      }
    } catch (error) {
      if (!isOfStorage(error)) throw error;
      this.restart();
    }
  }

  #settle(): void {
    for (let turn = 0; turn < 60; turn += 1) {
      this.now = Math.max(this.now + 10, Math.min(this.#wakeAt ?? 0, this.now + 500));
      const rounds = this.#step({ kind: 'tick' });
      if (rounds === null || !this.#run(rounds)) return;
      if (!this.core.busy) return;
    }
  }

  /** Runs rounds, and those that follow from them; returns false if the instance ended. */
  #run(rounds: readonly SentRound[]): boolean {
    const waiting = [...rounds];
    for (let send = waiting.shift(); send !== undefined; send = waiting.shift()) {
      const silent = { kind: 'silent', reason: 'it is down' } as const;
      const result = this.isDown ? silent : this.#model.round(send.round);
      const older = result.kind === 'executed' ? result.reply.older : [];
      const recorded = this.storage
        .decisionsOf(older.map(({ transaction }) => transaction))
        .map(({ transaction }) => transaction);
      const round = send.number;
      const more = this.#step({ kind: 'round-completed', region, round, result, recorded });
      if (more === null) return false;
      waiting.push(...more);
    }
    return true;
  }

  /** Stores the step's writes first, then sends and answers; null if storing failed, and a new instance has begun. */
  #step(event: CoordinatorEvent): readonly SentRound[] | null {
    const ready = this.core.step(event, this.now, this.random.between(0, 1e9).toString(36));
    if (ready.ended !== null) throw new Error(ready.ended);
    try {
      this.storage.write(ready.persist);
    } catch (error) {
      if (!isOfStorage(error)) throw error;
      // By its bounds no row is too large, and no write is taken in that the platform has no room for.
      if (/too big|full/.test(String(error))) throw error;
      this.restart();
      return null;
    }
    this.#note(ready);
    this.#wakeAt = ready.wakeAt;
    return ready.sends.flatMap((send) => (send.kind === 'round' ? [send] : []));
  }

  #note({ replies }: Ready): void {
    for (const reply of replies) {
      if (reply.kind === 'write') this.#answers.set(reply.ticket, reply.answer);
    }
  }
}

function isOfStorage(error: unknown): boolean {
  return error instanceof Error && /full|failed by the test/.test(error.message);
}

/**
 * One seeded run of a storage with the platform's bounds: no key is forgotten before the time that its answer named,
 * no promise is shorter than an hour, a write that was answered as failed is never decided by a later instance, the
 * feed has no gap, and a storage that was full takes writes again once the promises are over.
 */
export function run(seed: number): {
  readonly committed: number;
  readonly full: number;
  readonly lives: number;
} {
  const random = new Random(seed);
  const trial = new Trial(random);
  const turns = random.between(30, 120);
  for (let turn = 0; turn < turns; turn += 1) {
    happen(trial, random, turn);
    check(trial);
  }
  trial.memory.fails = () => {};
  trial.refused.length = 0;
  trial.now += 100 * hour;
  trial.prune(1_000);
  trial.prune(1_000);
  const last = trial.send(frameOf(['last'], { notAfter: trial.now + 10_000 }), false);
  if (last?.kind !== 'decided') throw new Error(`in the end a write is answered ${last?.kind}`);
  return { committed: trial.committed, full: trial.full, lives: trial.lives };
}

function happen(trial: Trial, random: Random, turn: number): void {
  const { memory } = trial;
  if (random.chance(0.1)) {
    let left = random.between(1, 30);
    memory.fails = (statement) => {
      if (!/^(?:INSERT|UPDATE|DELETE)/.test(statement)) return;
      left -= 1;
      if (left === 0) throw new Error('failed by the test');
    };
  }
  if (!trial.hurries && random.chance(0.1)) {
    trial.now += random.pick([60_000, hour, 10 * hour]);
  }
  if (random.chance(0.2)) trial.prune(random.between(1, 5));
  if (random.chance(0.1)) trial.restart();
  trial.isDown = random.chance(0.2);
  write(trial, random, turn);
  trial.isDown = false;
  memory.fails = () => {};
}

function write(trial: Trial, random: Random, turn: number): void {
  const idempotency = random.chance(0.6) ? { key: `t::${turn}`, digest: 'd' } : null;
  // The platform keeps room for one write of any size beyond the coordinator's bound.
  const isLarge = trial.roomBytes > 700_000 && random.chance(0.03);
  const large = isLarge ? '\0'.repeat(limits.valueBytes - 10) : 'x'.repeat(20_000);
  const value = !trial.hurries && random.chance(0.4) ? 'v' : large;
  const key = random.pick(['a', 'b', 'c']);
  const notAfter = trial.now + random.pick([1, 1_000, 10_000]);
  const given = { idempotency, notAfter, bytes: value.length, operations: [set(key, value)] };
  const frame = frameOf([key], given);
  const answer = trial.send(frame, false) ?? trial.send(frame, true);
  if (answer?.kind === 'full') trial.full += 1;
  if (answer?.kind === 'too-late' || answer?.kind === 'unavailable') trial.refused.push(frame);
  if (answer?.kind !== 'decided') return;
  const { record } = answer;
  trial.committed += 1;
  if (idempotency === null) return;
  const until = record.keptUntil ?? 0;
  if (until < record.decidedAt + hour) throw new Error(`a key is promised for too short a time`);
  trial.promised.push({ frame: frame, record, until });
}

function check(trial: Trial): void {
  const { storage, now, promised, refused } = trial;
  for (const { frame, record, until } of promised) {
    if (until < now) continue;
    const found = storage.recordedUnder(frame.idempotency?.key ?? '', now);
    if (found?.record.id !== record.id) {
      throw new Error(`the key of ${record.id} was forgotten ${until - now} ms too early`);
    }
  }
  if (refused.length > 0 && trial.random.chance(0.2)) trial.restart();
  for (const frame of refused) {
    if (frame.idempotency === null || trial.random.chance(0.8)) continue;
    const duplicate = trial.send({ ...frame, id: `${frame.id}-late` }, false);
    if (duplicate?.kind === 'decided') {
      throw new Error('a duplicate was decided after its sender was refused');
    }
  }
  // That may have been a restart, and the storage of the life before knows only its own log.
  checkFeed(trial.storage, trial.core.status().sequence);
}

/** From its first change to its last the log has no gap. */
function checkFeed(storage: CoordinatorStorage, newest: number): void {
  const query = { limit: 1_000, prefixes: [], values: false, members: true };
  const asked = storage.changes.page({ ...query, since: 0 }, newest);
  const since = asked.kind === 'expired' ? asked.oldest - 1 : 0;
  const page = storage.changes.page({ ...query, since }, newest);
  if (page.kind !== 'page') throw new Error(`the log begins at ${since}, yet is ${page.kind}`);
  page.changes.forEach(({ sequence }, index) => {
    const expected = since + 1 + index;
    if (sequence !== expected)
      throw new Error(`the log has ${sequence} in the place of ${expected}`);
  });
}
