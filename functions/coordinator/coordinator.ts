import { DurableObject } from 'cloudflare:workers';
import type { TransactionOrder, WriteId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { CoordinatorEvent, Reply, Send, Ticket } from '../../shared/protocol/events.ts';
import type { WriteFrame } from '../../shared/protocol/frame.ts';
import type { RegionClient } from '../../shared/protocol/round.ts';
import type {
  CoordinatorApi,
  CoordinatorStatus,
  Resolution,
  WriteAnswer,
  WriteRequest,
  WriteStatus,
} from '../../shared/wire/answers.ts';
import { compileWrite } from '../../shared/wire/commands.ts';
import { parseConfiguration } from '../../shared/wire/configuration.ts';
import { connectRegion } from '../region/client.ts';
import { CoordinatorStorage } from './storage.ts';

/** How a waiting caller gets its answer. */
type Give = (reply: Reply) => void;

/** The one shard that exists. */
const shard = 0;

/**
 * The coordinator of one shard as a Durable Object: it feeds events to the core, stores what the core says, and only
 * then sends and answers. Writes to storage are synchronous, and the runtime's output gate holds every request and
 * answer that follows until they are durable; if one fails, the gate drops them and the object is reset. So
 * "persist before send" is the order of the statements in {@link Coordinator.step}.
 */
export class Coordinator extends DurableObject<Env> implements CoordinatorApi {
  readonly #storage: CoordinatorStorage;
  readonly #core: CoordinatorCore;
  readonly #regions = new Map<string, RegionClient>();
  readonly #callers = new Map<Ticket, Give>();
  /** Fulfilled when each region has answered once, or failed to. */
  readonly #acquainted = Promise.withResolvers<void>();
  #isAcquainted = false;
  #lastTicket = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #alarmArmed = false;
  #prunedAt = 0;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    const parsed = parseConfiguration(environment);
    if (!parsed.ok) throw new Error(parsed.detail);
    const { regions, voteDeadlineMs, roundTimeoutMs } = parsed.configuration;
    for (const region of regions) this.#regions.set(region.id, connectRegion(region));
    this.#storage = new CoordinatorStorage(context.storage);
    const now = Date.now();
    const config = {
      shard,
      regions: regions.map(({ id }) => id),
      connections: limits.connections,
      voteDeadlineMs,
      roundTimeoutMs,
    };
    this.#core = new CoordinatorCore(config, this.#storage.begin(now), now);
    this.#step({ kind: 'ticked' });
  }

  /** Takes in a write and answers once it is decided, or confirmed where that was asked for. */
  write(request: WriteRequest): Promise<WriteAnswer> {
    return this.#arrive(request, false);
  }

  /** Takes in a write and answers as soon as it is queued. */
  accept(request: WriteRequest): Promise<WriteAnswer> {
    return this.#arrive(request, true);
  }

  /** What is known of a write. */
  async status(id: WriteId): Promise<WriteStatus> {
    this.#storage.prove();
    const recorded = this.#storage.recordOf(id);
    if (recorded === null) return this.#core.write(id);
    const { record, confirmed } = recorded;
    const everywhere = confirmed ? [...this.#regions.keys()] : [];
    const appliedIn = this.#core.appliedIn(record) ?? everywhere;
    return { kind: 'recorded', record: { ...record, appliedIn }, confirmed };
  }

  /** What became of transactions whose locks a reader met. */
  resolve(transactions: readonly TransactionOrder[]): Promise<readonly Resolution[]> {
    return new Promise((give) => {
      const ticket = this.#expect((reply) => {
        if (reply.kind === 'resolutions') give(reply.resolutions);
      });
      const recorded = this.#storage.decisionsOf(transactions);
      this.#step({ kind: 'asked', ticket, transactions, recorded, horizon: this.#storage.horizon });
    });
  }

  /**
   * The shard's state. Its first callers wait until each region has answered once or failed to: a region that has never
   * heard of this coordinator would refuse the read for which they ask.
   */
  async describe(): Promise<CoordinatorStatus> {
    await this.#acquainted.promise;
    this.#storage.prove();
    return this.#core.status();
  }

  /** Wakes an instance that a crash left with work; the constructor has taken that work up already. */
  override async alarm(): Promise<void> {
    this.#alarmArmed = false;
    const now = Date.now();
    // Looking for old rows reads many, and rows read are billed.
    if (now - this.#prunedAt >= limits.pruneEveryMs) {
      this.#prunedAt = now;
      this.#storage.prune(now);
    }
    this.#step({ kind: 'ticked' });
  }

  #arrive(request: WriteRequest, async: boolean): Promise<WriteAnswer> {
    const now = Date.now();
    const frame = frameOf(request, now);
    if ('kind' in frame) return Promise.resolve(frame);
    return new Promise((give) => {
      const ticket = this.#expect((reply) => {
        if (reply.kind === 'write') give(reply.answer);
      });
      const key = frame.idempotency?.key;
      const recorded = key === undefined ? null : this.#storage.recordedUnder(key);
      this.#step({ kind: 'arrived', ticket, frame, async, recorded });
    });
  }

  #expect(give: Give): Ticket {
    this.#lastTicket += 1;
    this.#callers.set(this.#lastTicket, give);
    return this.#lastTicket;
  }

  /** One turn: event in, state stored, rounds sent, callers answered. A bug or a failed write ends the instance. */
  #step(event: CoordinatorEvent): void {
    try {
      const ready = this.#core.step(event, Date.now(), entropy());
      if (ready.ended !== null) throw new Error(`another instance has taken over: ${ready.ended}`);
      if (ready.sends.length > 0 || this.#core.busy) this.#armAlarm();
      this.#storage.write(ready.persist);
      for (const send of ready.sends) void this.#send(send);
      for (const reply of ready.replies) this.#give(reply);
      this.#arm(ready.wakeAt);
      if (!this.#isAcquainted) this.#noteAcquaintance();
    } catch (error) {
      console.error('the coordinator ends itself', error);
      this.ctx.abort(String(error));
      throw error;
    }
  }

  #noteAcquaintance(): void {
    const { regions } = this.#core.status();
    this.#isAcquainted = regions.every(
      ({ health, roundTripMs }) => health !== 'answering' || roundTripMs !== null,
    );
    if (this.#isAcquainted) this.#acquainted.resolve();
  }

  async #send({ region, number, round, timeoutMs }: Send): Promise<void> {
    const client = this.#regions.get(region);
    const result =
      client === undefined
        ? ({ kind: 'silent', reason: 'it is not configured' } as const)
        : await client.round(round, timeoutMs);
    const older = result.kind === 'executed' ? result.reply.older : [];
    const recorded = this.#storage
      .decisionsOf(older.map(({ transaction }) => transaction))
      .map(({ transaction }) => transaction);
    this.#step({ kind: 'answered', region, round: number, result, recorded });
  }

  #give(reply: Reply): void {
    const give = this.#callers.get(reply.ticket);
    this.#callers.delete(reply.ticket);
    give?.(reply);
  }

  #arm(wakeAt: number | null): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (wakeAt === null) return;
    const waitMs = Math.max(0, wakeAt - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#step({ kind: 'ticked' });
    }, waitMs);
  }

  /** Before work goes out it is made sure that the object is woken again, should it die in the midst of it. */
  #armAlarm(): void {
    if (this.#alarmArmed) return;
    this.#alarmArmed = true;
    void this.ctx.storage.setAlarm(Date.now() + limits.alarmMs);
  }
}

/** The write frame of a request, or the answer that refuses it. */
function frameOf(request: WriteRequest, now: number): WriteFrame | WriteAnswer {
  const { id, ops, checks, ack, timeoutMs, priority, idempotency } = request;
  const compiled = compileWrite(ops, checks, { now, seed });
  if (!compiled.ok) return { kind: 'refused', problem: compiled.problem, detail: compiled.detail };
  const { operations, keys, bytes } = compiled;
  const notAfter = Math.min(now + timeoutMs, request.notAfter ?? Number.POSITIVE_INFINITY);
  return { id, operations, checks, keys, priority, ack, notAfter, idempotency, bytes };
}

function entropy(): string {
  const [bits = 0] = crypto.getRandomValues(new Uint32Array(1));
  return bits.toString(36);
}

function seed(): number {
  const [bits = 0] = crypto.getRandomValues(new Uint32Array(1));
  return bits >>> 1;
}
