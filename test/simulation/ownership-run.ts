import { RememberedMap } from '../../functions/edge/cache/known-map.ts';
import { WriteSender } from '../../functions/edge/writes/send-writes.ts';
import type {
  CoordinatorApi,
  WriteAnswer,
  WriteRequest,
} from '../../shared/contracts/coordinator.ts';
import type { WriteFrame } from '../../shared/contracts/frame.ts';
import { type ShardId, shardOfWriteId, writeIdOf } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CoordinatorEvent, MapAnswer, Ticket } from '../../shared/protocol/io/events.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { ampleRoom } from '../../shared/protocol/io/room.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { initialMap, type ShardMap, shardOf, shardsIn } from '../../shared/shards/shard-map.ts';
import { CheckedCore } from '../protocol/checked-core.ts';
import { frameOf } from '../protocol/core-harness.ts';
import { RegionModel } from '../region/model.ts';
import { Random } from './random.ts';
import { configOf, start } from './single-instance.ts';
import { Tables } from './storage.ts';

const names = ['near', 'middle', 'far'];

/** A caller of a shard, and its request. */
interface Asked {
  readonly frame: WriteFrame;
  answer: WriteAnswer | null;
}

/** The coordinator of one shard: its instances follow each other on one storage, which is durable at once. */
class Shard {
  readonly tables = new Tables();
  readonly #models: ReadonlyMap<string, RegionModel>;
  readonly #shard: ShardId;
  readonly #clock: { now: number };
  readonly #asked = new Map<Ticket, Asked>();
  #flights: SentRound[] = [];
  #tickets = 0;
  #steps = 0;
  #wakeAt: number | null = null;
  /** True while a question of its instance to the registry has no answer. */
  isAsking = false;
  #core: CheckedCore;

  constructor(shard: ShardId, clock: { now: number }) {
    this.#shard = shard;
    this.#clock = clock;
    this.tables.ownership = null;
    this.#models = new Map(names.map((name) => [name, new RegionModel(() => clock.now)]));
    this.#core = this.#begin();
    this.step({ kind: 'tick' });
  }

  /** The instance dies, with all that is on its way, and another one begins. */
  restart(): void {
    this.#flights = [];
    this.#asked.clear();
    this.isAsking = false;
    this.#core = this.#begin();
    this.step({ kind: 'tick' });
  }

  write(frame: WriteFrame): Asked {
    this.#tickets += 1;
    const ticket = this.#tickets;
    const asked: Asked = { frame, answer: null };
    this.#asked.set(ticket, asked);
    const arrival = { ticket, frame, async: false, recorded: null, again: false, abandoned: null };
    this.step({ kind: 'write-received', ...arrival, room: ampleRoom });
    return asked;
  }

  answerRegistry(answer: MapAnswer): void {
    this.isAsking = false;
    this.step({ kind: 'registry-answered', answer });
  }

  /** Ends every round on its way, and lets the tick come that is due. */
  turn(): void {
    for (const send of this.#flights.splice(0)) {
      const result = this.#models.get(send.region)?.round(send.round);
      if (result === undefined) throw new Error(`no region ${send.region}`);
      const { region, number: round } = send;
      this.step({ kind: 'round-completed', region, round, result, recorded: [] });
    }
    if (this.#wakeAt !== null && this.#wakeAt <= this.#clock.now) this.step({ kind: 'tick' });
  }

  step(event: CoordinatorEvent): void {
    this.#steps += 1;
    const ready = this.#core.step(event, this.#clock.now, `${this.#steps}-`);
    const knew = this.tables.ownership !== null;
    this.tables.apply(ready.persist);
    if (ready.sends.length > 0 && this.tables.ownership === null) {
      throw new Error(`shard ${this.#shard} asks a region before it has stored its slots`);
    }
    if (ready.asksRegistry && knew) throw new Error('a shard that has stored its slots asks again');
    this.isAsking ||= ready.asksRegistry;
    this.#wakeAt = ready.wakeAt;
    for (const send of ready.sends) if (send.kind === 'round') this.#flights.push(send);
    for (const reply of ready.replies) {
      const asked = this.#asked.get(reply.ticket);
      if (asked !== undefined && reply.kind === 'write') asked.answer = reply.answer;
    }
  }

  #begin(): CheckedCore {
    this.tables.incarnation += 1;
    const config = { ...configOf(names, limits.connections), shard: this.#shard };
    return new CheckedCore(config, this.tables.stored(7), this.#clock.now);
  }
}

/**
 * One seeded run of the coordinators of a few shards that are born, die, and are asked for keys of their own and of
 * others, while the registry is silent now and then; and of an edge whose map is old. Each write is carried out by the
 * owner of its keys alone, and once the registry answers again, all that are sent to the owner are.
 */
export async function run(
  seed: number,
): Promise<{ readonly decided: number; readonly moved: number }> {
  const random = new Random(seed);
  const counts = runShards(random);
  await runEdge(random);
  return counts;
}

function runShards(random: Random): { readonly decided: number; readonly moved: number } {
  const clock = { now: start };
  const map = initialMap(random.between(1, 3));
  const numbers = shardsIn(map);
  const shards = new Map(numbers.map((number) => [number, new Shard(number, clock)]));
  const asked: { readonly shard: ShardId; readonly of: Asked }[] = [];
  let isDown = random.chance(0.5);
  const send = (shard: ShardId, keys: readonly string[]) => {
    const frame = frameOf(keys, { notAfter: clock.now + random.between(500, 5_000) });
    const of = shards.get(shard)?.write(frame);
    if (of !== undefined) asked.push({ shard, of });
    return of;
  };
  const keysOf = () => {
    if (random.chance(0.1)) return [everyKey, flushedKey];
    const first = `key:${random.between(0, 20)}`;
    return random.chance(0.2) ? [first, `key:${random.between(0, 20)}`] : [first];
  };
  const turn = (shard: Shard) => {
    if (shard.isAsking && random.chance(0.5)) {
      const isSilent = isDown || random.chance(0.3);
      const answer = { kind: 'map', map } as const;
      shard.answerRegistry(isSilent ? { kind: 'silent', reason: 'it is down' } : answer);
    } else if (!shard.isAsking && shard.tables.ownership !== null && random.chance(0.02)) {
      // A late answer, of a registry whose map has changed since.
      const shardsThen = initialMap(1).shards.map((one) => ({ ...one, shard: 9 }));
      shard.answerRegistry({ kind: 'map', map: { version: 2, shards: shardsThen } });
    }
    if (random.chance(0.03)) shard.restart();
    shard.turn();
  };
  for (let step = 0; step < 150; step += 1) {
    if (random.chance(0.05)) isDown = !isDown;
    if (random.chance(0.4)) send(random.pick(numbers), keysOf());
    for (const shard of shards.values()) turn(shard);
    clock.now += random.between(1, 200);
  }
  for (let step = 0; step < 300; step += 1) {
    for (const shard of shards.values()) {
      if (shard.isAsking) shard.answerRegistry({ kind: 'map', map });
      shard.turn();
    }
    clock.now += 50;
  }
  const last = Array.from({ length: 10 }, (_, at) => `last:${at}`);
  const sent = last.map((key) => send(shardOf(key, map), [key]));
  for (let step = 0; step < 100; step += 1) {
    for (const shard of shards.values()) shard.turn();
    clock.now += 20;
  }
  const undecided = sent.filter((of) => of?.answer?.kind !== 'decided');
  if (undecided.length > 0)
    throw new Error(`${undecided.length} writes to owners were not decided`);
  return judge(asked, map);
}

/** The claim by itself, without the code that coordinators judge by. */
function isOwnedBy(shard: ShardId, keys: readonly string[], map: ShardMap): boolean {
  if (keys.includes(everyKey)) return map.shards.length === 1;
  return keys.every((key) => shardOf(key, map) === shard);
}

function judge(
  asked: readonly { readonly shard: ShardId; readonly of: Asked }[],
  map: ShardMap,
): { readonly decided: number; readonly moved: number } {
  let decided = 0;
  let moved = 0;
  for (const { shard, of } of asked) {
    const { answer, frame } = of;
    const isOwn = isOwnedBy(shard, frame.keys, map);
    if (answer?.kind === 'decided') {
      decided += 1;
      if (!isOwn) throw new Error(`shard ${shard} decided about keys of another: ${frame.keys}`);
    }
    if (answer?.kind === 'moved') {
      moved += 1;
      if (isOwn) throw new Error(`shard ${shard} does not know its own keys: ${frame.keys}`);
    }
  }
  return { decided, moved };
}

/** Writes by an edge whose map may be any, to shards of which each knows its own keys alone. */
async function runEdge(random: Random): Promise<void> {
  const map: ShardMap = { ...initialMap(random.between(1, 4)), version: random.between(1, 3) };
  let questions = 0;
  const decided: WriteRequest[] = [];
  const write = async (shard: ShardId, request: WriteRequest): Promise<WriteAnswer> => {
    const keys = request.ops.map(([, key = '']) => key);
    if (!isOwnedBy(shard, keys, map)) return { kind: 'moved', version: 1, keys };
    if (shardOfWriteId(request.id) !== shard) throw new Error(`${request.id} is of another shard`);
    decided.push(request);
    return { kind: 'accepted', id: request.id };
  };
  const coordinatorOf = (shard: ShardId) => {
    const methods: Pick<CoordinatorApi, 'accept'> = { accept: (request) => write(shard, request) };
    return methods as CoordinatorApi;
  };
  const registry = {
    map: async () => {
      questions += 1;
      return map;
    },
  };
  const calls = { log: () => {}, withTimeout: <Value>(promise: Promise<Value>) => promise };
  const shards = new RememberedMap(random.between(1, 4), registry, calls);
  const sender = new WriteSender({
    ...calls,
    coordinatorOf,
    shards,
    now: () => 0,
    pause: async () => {},
  });
  for (let number = 0; number < 20; number += 1) {
    const uuid = `01990a5c-7d3e-7c1a-9b64-${String(number).padStart(12, '0')}`;
    const answered = await sender.accept(requestOf(writeIdOf(0, uuid), `key:${number}`));
    if (!answered.ok) throw new Error(`a write was refused: ${answered.problem.detail}`);
  }
  if (decided.length !== 20) throw new Error(`${decided.length} of 20 writes were carried out`);
  if (questions > 1) throw new Error(`the registry was asked ${questions} times for one change`);
}

function requestOf(id: string, key: string): WriteRequest {
  return {
    id,
    ops: [['SET', key, 'v']],
    checks: [],
    continueOnError: false,
    ack: 'committed',
    timeoutMs: 1_000,
    priority: 0,
    idempotency: null,
    notAfter: null,
    callback: null,
    again: false,
  };
}
