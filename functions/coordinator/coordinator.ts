import { DurableObject } from 'cloudflare:workers';
import type { RegionId, TransactionOrder, WriteId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type {
  Arrival,
  CoordinatorEvent,
  Send,
  StorageWrite,
  Ticket,
} from '../../shared/protocol/events.ts';
import type { WriteFrame } from '../../shared/protocol/frame.ts';
import type {
  CoordinatorApi,
  CoordinatorStatus,
  MembersApi,
  ReadAnswer,
  ReadRequest,
  Resolution,
  ScriptsApi,
  WriteAnswer,
  WriteRequest,
  WriteStatus,
} from '../../shared/wire/answers.ts';
import { parseConfiguration, type Retention } from '../../shared/wire/configuration.ts';
import type {
  ChangesAnswer,
  ChangesQuery,
  EndpointId,
  HooksApi,
  SigningKey,
  Subscription,
  SubscriptionPatch,
} from '../../shared/wire/confirmations.ts';
import type {
  InDoubt,
  MemberChange,
  MemberOrder,
  OrderAnswer,
  RegionConfiguration,
} from '../../shared/wire/members.ts';
import { connectRegion } from '../region/client.ts';
import { Acquaintance } from './acquaintance.ts';
import { Callers } from './callers.ts';
import { changesIn } from './change-log.ts';
import { coreConfig, entropy, owesMore, shard } from './core-config.ts';
import { frameOf, orderLocks } from './frame.ts';
import { Handover } from './handover.ts';
import { HookDesk } from './hook-desk.ts';
import { Publisher } from './publisher.ts';
import { RegionBook } from './region-book.ts';
import { ScriptDesk } from './script-desk.ts';
import { perform } from './sending.ts';
import { newSigningKey } from './signing-key.ts';
import { CoordinatorStorage } from './storage.ts';
import { Waking } from './waking.ts';

/**
 * The coordinator of one shard as a Durable Object: it feeds events to the core, stores what the core says, and only
 * then sends and answers. Writes to storage are synchronous, and the runtime's output gate holds every request and
 * answer that follows until they are durable; if one fails, the gate drops them and the object is reset. So
 * "persist before send" is the order of the statements in {@link Coordinator.step}.
 */
export class Coordinator
  extends DurableObject<Env>
  implements CoordinatorApi, MembersApi, HooksApi, ScriptsApi
{
  readonly #storage: CoordinatorStorage;
  readonly #core: CoordinatorCore;
  readonly #handover: Handover;
  readonly #publisher: Publisher;
  readonly #desk: HookDesk;
  readonly #scripts: ScriptDesk;
  readonly #regions: RegionBook;
  readonly #callers = new Callers();
  readonly #acquaintance: Acquaintance;
  readonly #waking: Waking;
  readonly #retention: Retention;
  #prunedAt = 0;

  constructor(context: DurableObjectState, environment: Env) {
    super(context, environment);
    const parsed = parseConfiguration(environment);
    if (!parsed.ok) throw new Error(parsed.detail);
    const { configuration } = parsed;
    this.#retention = configuration.retention;
    this.#storage = new CoordinatorStorage(context.storage);
    const { hooks, changes, members, scripts } = this.#storage;
    this.#scripts = new ScriptDesk(scripts, () => this.#storage.prove());
    const { COURIER, FEED } = environment;
    const courierOf = (endpoint: string) => COURIER.get(COURIER.idFromName(endpoint));
    this.#handover = new Handover(hooks, courierOf, () => this.signingKey());
    this.#publisher = new Publisher(() => FEED.get(FEED.idFromName(`shard-${shard}`)));
    this.#desk = new HookDesk(hooks, changes, {
      voters: () => this.#voters,
      resubscribe: () => this.#step({ kind: 'subscribed', subscriptions: hooks.subscriptions() }),
      owed: () => this.#handOver(),
      newSigningKey,
    });
    const now = Date.now();
    const stored = this.#storage.begin(now);
    const begun = stored.regions.filter((region) => region.begun);
    this.#acquaintance = new Acquaintance(begun.map(({ region }) => region));
    this.#waking = new Waking(
      (at) => void context.storage.setAlarm(at),
      () => this.#step({ kind: 'ticked' }),
    );
    this.#regions = new RegionBook(configuration.regions, members, connectRegion);
    this.#core = new CoordinatorCore(coreConfig(configuration, this.#regions.all), stored, now);
    this.#step({ kind: 'ticked' });
  }

  /** Takes in a write and answers once it is decided, or confirmed where that was asked for. */
  write(request: WriteRequest): Promise<WriteAnswer> {
    return this.#arrive(request, false);
  }

  /** Takes in writes in order, which go out together, and answers once all of them are decided. */
  writeAll(requests: readonly WriteRequest[]): Promise<readonly WriteAnswer[]> {
    const now = Date.now();
    const arrivals: Arrival[] = [];
    const locks = requests.length > 1 ? orderLocks(requests) : [];
    const answers = requests.map((request, at) =>
      this.#take(request, now, locks[at] ?? null, (frame, ticket) =>
        arrivals.push(this.#arrivalOf(frame, ticket, false)),
      ),
    );
    if (arrivals.length > 0) this.#step({ kind: 'arrived-together', arrivals });
    return Promise.all(answers);
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
    const appliedIn = this.#core.appliedIn(record) ?? (confirmed ? this.#voters : []);
    return { kind: 'recorded', record: { ...record, appliedIn }, confirmed };
  }

  /** What became of transactions whose locks a reader met. */
  resolve(transactions: readonly TransactionOrder[]): Promise<readonly Resolution[]> {
    return this.#callers.resolve.expect((ticket) => {
      const recorded = this.#storage.decisionsOf(transactions);
      this.#step({ kind: 'asked', ticket, transactions, recorded, horizon: this.#storage.horizon });
    });
  }

  /** A strong read that needs no lease. */
  read(request: ReadRequest): Promise<ReadAnswer> {
    return this.#callers.read.expect((ticket) => this.#step({ kind: 'read', ticket, request }));
  }

  /** Strong reads come to these regions. */
  async want(regions: readonly RegionId[]): Promise<void> {
    this.#step({ kind: 'wanted', regions });
  }

  /** The regions that are configured or were added, without those removed. */
  async regions(): Promise<readonly RegionConfiguration[]> {
    this.#storage.prove();
    return this.#regions.all;
  }

  /** Carries out an order of an operator. What it changes of the regions is kept, unless the core refuses it. */
  async order(order: MemberOrder, address: RegionConfiguration | null): Promise<OrderAnswer> {
    const members = this.#core.status().regions.map(({ region }) => region);
    const noted = this.#regions.note(order, address, members);
    if (noted.kind === 'refused') return noted;
    const answer = await this.#callers.order.expect((ticket) =>
      this.#step({ kind: 'ordered', ticket, order }),
    );
    if (answer.kind === 'refused') noted.undo();
    return answer;
  }

  /** The changes of members before a sequence (null: from the newest), newest first. */
  async history(before: number | null, limit: number): Promise<readonly MemberChange[]> {
    this.#storage.prove();
    return this.#storage.members.history(before, limit);
  }

  /** The transactions that are not over, and the keys that wait for an operator. */
  async inDoubt(): Promise<InDoubt> {
    this.#storage.prove();
    return this.#core.inDoubt();
  }

  /** The newest kept write to each of a few keys. */
  async lastWrites(keys: readonly string[]): Promise<readonly (number | null)[]> {
    this.#storage.prove();
    return keys.map((key) => this.#storage.changes.lastWriteTo(key));
  }

  /**
   * The shard's state. Its first callers wait until each region that has never heard of this coordinator has answered
   * once or failed to: it would refuse the read for which they ask.
   */
  async describe(): Promise<CoordinatorStatus> {
    await this.#acquaintance.made;
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
    return this.#desk.subscribe(subscription);
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
    return this.#desk.change(endpoint, patch);
  }

  /** Ends a subscription, with all that it is owed; false where there is none. */
  async unsubscribe(endpoint: EndpointId): Promise<boolean> {
    return this.#desk.unsubscribe(endpoint);
  }

  /**
   * Owes a subscription once more what it asks for of the committed writes since a moment (ms): also what was decided
   * while it was disabled. What its courier has already, it keeps as it is. Answers how many events that were; null
   * where there is no such subscription.
   */
  recover(endpoint: EndpointId, since: number): Promise<number | null> {
    return this.#desk.recover(endpoint, since);
  }

  /** Keeps users' scripts. */
  async keepScripts(texts: readonly string[], loaded: boolean) {
    return this.#scripts.keep(texts, loaded);
  }

  /** The texts of scripts by their digests. */
  async scriptTexts(shas: readonly string[]) {
    return this.#scripts.texts(shas);
  }

  /** Which digests are of scripts. */
  async scriptsKnown(shas: readonly string[]) {
    return this.#scripts.known(shas);
  }

  /** Forgets every script. */
  async flushScripts(): Promise<void> {
    this.#scripts.flush();
  }

  /** The key that signs confirmations; made when it is first asked for. */
  signingKey(): Promise<SigningKey> {
    return this.#desk.signingKey();
  }

  /** A courier has given up an endpoint: nothing more is owed to it until it is enabled, and the others are told. */
  async disabled(endpoint: EndpointId, reason: string): Promise<void> {
    this.#desk.disable(endpoint, reason, Date.now());
  }

  /** Wakes an instance that a crash left with work; the constructor has taken that work up already. */
  override async alarm(): Promise<void> {
    this.#waking.alarmCame();
    const now = Date.now();
    // Looking for old rows reads many, and rows read are billed.
    if (now - this.#prunedAt >= limits.pruneEveryMs) {
      this.#prunedAt = now;
      this.#storage.prune(now, this.#retention);
    }
    this.#step({ kind: 'ticked' });
  }

  #arrive(request: WriteRequest, async: boolean): Promise<WriteAnswer> {
    return this.#take(request, Date.now(), null, (frame, ticket) =>
      this.#step({ kind: 'arrived', ...this.#arrivalOf(frame, ticket, async) }),
    );
  }

  /** Has the frame of a write arrive, unless it has none, and answers what becomes of it. */
  async #take(
    request: WriteRequest,
    now: number,
    lock: string | null,
    arrive: (frame: WriteFrame, ticket: Ticket) => void,
  ): Promise<WriteAnswer> {
    const frame = frameOf(request, now, this.#scripts, lock);
    const answer =
      'kind' in frame ? frame : await this.#callers.write.expect((ticket) => arrive(frame, ticket));
    this.#scripts.judge(request, answer);
    return answer;
  }

  #arrivalOf(frame: WriteFrame, ticket: Ticket, async: boolean): Arrival {
    const key = frame.idempotency?.key;
    const recorded = key === undefined ? null : this.#storage.recordedUnder(key);
    return { ticket, frame, async, recorded };
  }

  /** One turn: event in, state stored, rounds sent, callers answered. A bug or a failed write ends the instance. */
  #step(event: CoordinatorEvent): void {
    try {
      const ready = this.#core.step(event, Date.now(), entropy());
      if (ready.ended !== null) throw new Error(`another instance has taken over: ${ready.ended}`);
      if (ready.sends.length > 0 || this.#isBusy || owesMore(ready.persist))
        this.#waking.armAlarm();
      this.#storage.write(ready.persist);
      for (const send of ready.sends) this.#send(send);
      for (const reply of ready.replies) this.#callers.give(reply);
      this.#tell(ready.persist);
      this.#waking.at(ready.wakeAt);
      this.#acquaintance.note(() => this.#core.status());
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
    const changes = changesIn(writes);
    if (changes.length > 0) void this.#publisher.publish(changes);
    this.#handover.run();
  }

  #handOver(): void {
    this.#waking.armAlarm();
    this.#handover.run();
  }

  get #voters(): readonly RegionId[] {
    const { regions } = this.#core.status();
    return regions.filter(({ state }) => state === 'voter').map(({ region }) => region);
  }

  #send(send: Send): void {
    const client = this.#regions.clientOf(send.region);
    void perform(send, client, this.#storage, (event) => this.#step(event));
  }
}
