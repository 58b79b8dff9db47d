import { DurableObject } from 'cloudflare:workers';
import type { TransactionOrder, WriteId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { Confirmations } from '../../shared/protocol/confirmations.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type {
  CoordinatorEvent,
  DecidedWrite,
  Reply,
  Send,
  StorageWrite,
  Ticket,
} from '../../shared/protocol/events.ts';
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
import { parseConfiguration, type Retention } from '../../shared/wire/configuration.ts';
import type {
  Change,
  ChangesAnswer,
  ChangesQuery,
  EndpointId,
  HooksApi,
  OwedEvent,
  SigningKey,
  Subscription,
  SubscriptionPatch,
} from '../../shared/wire/confirmations.ts';
import { disabledEvents, owedEventsOf } from '../../shared/wire/event-text.ts';
import { connectRegion } from '../region/client.ts';
import { changeFrom, type RecoveredWrite } from './change-log.ts';
import { Handover } from './handover.ts';
import { Publisher } from './publisher.ts';
import { newSigningKey } from './signing-key.ts';
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
export class Coordinator extends DurableObject<Env> implements CoordinatorApi, HooksApi {
  readonly #storage: CoordinatorStorage;
  readonly #core: CoordinatorCore;
  readonly #handover: Handover;
  readonly #publisher: Publisher;
  readonly #regions = new Map<string, RegionClient>();
  readonly #callers = new Map<Ticket, Give>();
  /** Fulfilled when each region has answered once, or failed to. */
  readonly #acquainted = Promise.withResolvers<void>();
  #isAcquainted = false;
  #lastTicket = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #alarmArmed = false;
  readonly #retention: Retention;
  #prunedAt = 0;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    const parsed = parseConfiguration(environment);
    if (!parsed.ok) throw new Error(parsed.detail);
    const { regions, voteDeadlineMs, roundTimeoutMs, retention } = parsed.configuration;
    this.#retention = retention;
    for (const region of regions) this.#regions.set(region.id, connectRegion(region));
    this.#storage = new CoordinatorStorage(context.storage);
    const { hooks } = this.#storage;
    const { COURIER, FEED } = environment;
    const courierOf = (endpoint: string) => COURIER.get(COURIER.idFromName(endpoint));
    this.#handover = new Handover(hooks, courierOf, () => this.signingKey());
    this.#publisher = new Publisher(() => FEED.get(FEED.idFromName(`shard-${shard}`)));
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

  /** One page of the change feed. */
  async changes(query: ChangesQuery): Promise<ChangesAnswer> {
    this.#storage.prove();
    return this.#storage.changes.page(query, this.#core.status().sequence);
  }

  /** The feed has followers. Answers the newest sequence. */
  async follow(): Promise<number> {
    this.#storage.prove();
    this.#publisher.follow();
    return this.#core.status().sequence;
  }

  /** Keeps a standing subscription; what is decided from now on is owed to it. */
  async subscribe(subscription: Subscription): Promise<'created' | 'full'> {
    if (this.#storage.hooks.subscriptions().length >= limits.subscriptions) return 'full';
    this.#storage.hooks.keepSubscription(subscription);
    this.#resubscribe();
    return 'created';
  }

  /** All standing subscriptions. */
  async subscriptions(): Promise<readonly Subscription[]> {
    this.#storage.prove();
    return this.#storage.hooks.subscriptions();
  }

  /** Changes a subscription; null where there is none. */
  async changeSubscription(
    endpoint: EndpointId,
    patch: SubscriptionPatch,
  ): Promise<Subscription | null> {
    const { hooks } = this.#storage;
    const known = hooks.subscriptions().find((one) => one.endpoint === endpoint);
    if (known === undefined) return null;
    const changed = { ...known, ...patch };
    hooks.keepSubscription(changed);
    this.#resubscribe();
    return changed;
  }

  /** Ends a subscription, with all that it is owed; false where there is none. */
  async unsubscribe(endpoint: EndpointId): Promise<boolean> {
    const known = this.#storage.hooks.dropSubscription(endpoint);
    this.#resubscribe();
    return known;
  }

  /**
   * Owes a subscription once more what it asks for of the committed writes since a moment (ms): also what was decided
   * while it was disabled. What its courier has already, it keeps as it is. Answers how many events that were; null
   * where there is no such subscription.
   */
  async recover(endpoint: EndpointId, since: number): Promise<number | null> {
    const { hooks, changes } = this.#storage;
    let place = changes.placeOf(since) ?? Number.MAX_SAFE_INTEGER;
    let writes = 0;
    let events = 0;
    while (writes < limits.writesPerRecovery) {
      const known = hooks.subscriptions().find((one) => one.endpoint === endpoint);
      if (known === undefined) return null;
      const recovered = changes.recoverable(place);
      const owed = recovered.flatMap((write) => this.#recoveredEvents(known, write));
      hooks.owe(owed);
      this.#armAlarm();
      this.#handover.run();
      events += owed.length;
      writes += recovered.length;
      place = recovered.at(-1)?.sequence ?? Number.MAX_SAFE_INTEGER;
      if (recovered.length === 0) break;
      // All at once, it would hold up the writes of others.
      await new Promise((resolve) => setTimeout(resolve));
    }
    return events;
  }

  #recoveredEvents(
    subscription: Subscription,
    { write, confirmedAt }: RecoveredWrite,
  ): readonly OwedEvent[] {
    const confirmations = new Confirmations([{ ...subscription, disabled: null }]);
    const regions = Object.fromEntries([...this.#regions.keys()].map((id) => [id, null]));
    const uncalled = { ...write, callback: null };
    const decided = owedEventsOf(confirmations.decided(uncalled));
    if (confirmedAt === null) return decided;
    const confirmed = confirmations.confirmed(uncalled, confirmedAt, regions);
    return [...decided, ...owedEventsOf(confirmed)];
  }

  /** The key that signs confirmations; made when it is first asked for. */
  async signingKey(): Promise<SigningKey> {
    const { hooks } = this.#storage;
    return hooks.signingKey() ?? hooks.keepSigningKey(await newSigningKey());
  }

  /** A courier has given up an endpoint: nothing more is owed to it until it is enabled, and the others are told. */
  async disabled(endpoint: EndpointId, reason: string): Promise<void> {
    const { hooks } = this.#storage;
    const at = Date.now();
    const known = hooks.subscriptions().find((one) => one.endpoint === endpoint);
    // The courier says it again where it did not hear that it was heard.
    if (known !== undefined && known.disabled !== null) return;
    if (known !== undefined) hooks.keepSubscription({ ...known, disabled: { at, reason } });
    this.#resubscribe();
    hooks.owe(disabledEvents(hooks.subscriptions(), endpoint, reason, at));
    this.#armAlarm();
    this.#handover.run();
  }

  /** Wakes an instance that a crash left with work; the constructor has taken that work up already. */
  override async alarm(): Promise<void> {
    this.#alarmArmed = false;
    const now = Date.now();
    // Looking for old rows reads many, and rows read are billed.
    if (now - this.#prunedAt >= limits.pruneEveryMs) {
      this.#prunedAt = now;
      this.#storage.prune(now, this.#retention);
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
      if (ready.sends.length > 0 || this.#isBusy || owesMore(ready.persist)) this.#armAlarm();
      this.#storage.write(ready.persist);
      for (const send of ready.sends) void this.#send(send);
      for (const reply of ready.replies) this.#give(reply);
      this.#tell(ready.persist);
      this.#arm(ready.wakeAt);
      if (!this.#isAcquainted) this.#noteAcquaintance();
    } catch (error) {
      console.error('the coordinator ends itself', error);
      this.ctx.abort(String(error));
      throw error;
    }
  }

  get #isBusy(): boolean {
    return this.#core.busy || this.#storage.hooks.owes;
  }

  /** What was stored goes on to those who hook in. The output gate holds it until it is durable. */
  #tell(writes: readonly StorageWrite[]): void {
    const changes = writes.flatMap((write) =>
      write.kind === 'commit' ? changesOf(write.writes) : [],
    );
    if (changes.length > 0) void this.#publisher.publish(changes);
    this.#handover.run();
  }

  #resubscribe(): void {
    const subscriptions = this.#storage.hooks.subscriptions();
    this.#step({ kind: 'subscribed', subscriptions });
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
  const { id, ops, checks, ack, timeoutMs, priority, idempotency, callback } = request;
  const compiled = compileWrite(ops, checks, { now, seed });
  if (!compiled.ok) return { kind: 'refused', problem: compiled.problem, detail: compiled.detail };
  const { operations, keys, bytes } = compiled;
  const notAfter = Math.min(now + timeoutMs, request.notAfter ?? Number.POSITIVE_INFINITY);
  return { id, operations, checks, keys, priority, ack, notAfter, idempotency, callback, bytes };
}

function owesMore(writes: readonly StorageWrite[]): boolean {
  return writes.some(({ kind }) => kind === 'owe');
}

function changesOf(writes: readonly DecidedWrite[]): readonly Change[] {
  return writes.flatMap((write) => {
    const { sequence } = write.record;
    return sequence === null ? [] : [changeFrom(write, sequence, true)];
  });
}

function entropy(): string {
  const [bits = 0] = crypto.getRandomValues(new Uint32Array(1));
  return bits.toString(36);
}

function seed(): number {
  const [bits = 0] = crypto.getRandomValues(new Uint32Array(1));
  return bits >>> 1;
}
