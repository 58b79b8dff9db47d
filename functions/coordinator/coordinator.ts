import type { RegionId, TransactionOrder, WriteId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type {
  Arrival,
  Comparison,
  CoordinatorEvent,
  Send,
  StorageWrite,
  Ticket,
} from '../../shared/protocol/events.ts';
import type { WriteFrame } from '../../shared/protocol/frame.ts';
import type {
  CoordinatorMethods,
  Resolution,
  WriteAnswer,
  WriteRequest,
  WriteStatus,
} from '../../shared/wire/answers.ts';
import { parseConfiguration, type Retention } from '../../shared/wire/configuration.ts';
import type { CourierApi, FeedApi, SigningKey } from '../../shared/wire/confirmations.ts';
import type { MemberOrder, OrderAnswer, RegionConfiguration } from '../../shared/wire/members.ts';
import { type RpcTarget, remote, type Served } from '../../shared/wire/rpc.ts';
import { connectRegion } from '../region/client.ts';
import { Acquaintance } from './acquaintance.ts';
import { Callers } from './callers.ts';
import { changesIn } from './change-log.ts';
import { compareSlice } from './comparing.ts';
import { coreConfig, entropy, owesMore, shard } from './core-config.ts';
import { frameOf, orderLocks } from './frame.ts';
import { Handover } from './handover.ts';
import { HookDesk } from './hook-desk.ts';
import { Publisher } from './publisher.ts';
import { RegionBook } from './region-book.ts';
import { ScriptDesk } from './script-desk.ts';
import { perform } from './sending.ts';
import type { SqlObjectStorage } from './sql.ts';
import { CoordinatorStorage } from './storage.ts';
import { Waking } from './waking.ts';

/** The object that a life has, as far as it uses it. */
export interface LifeContext {
  readonly storage: SqlObjectStorage & { setAlarm(at: number): Promise<void> };
  /** Ends the object, and with it this life. */
  abort(reason: string): void;
  newSigningKey(): Promise<SigningKey>;
}

/** The other objects, and the variables that `parseConfiguration` reads. */
export interface LifeEnvironment {
  readonly COURIER: { getByName(name: string): RpcTarget };
  readonly FEED: { getByName(name: string): RpcTarget };
}

/**
 * One life of the coordinator of a shard: it feeds events to the core, stores what the core says, and only then sends and
 * answers. Writes to storage are synchronous, and the runtime's output gate holds every request and answer that follows
 * until they are durable; if one fails, the gate drops them and the object is reset. So "persist before send" is the order
 * of the statements in {@link CoordinatorLife.step}.
 */
export class CoordinatorLife {
  /** All that is served by RPC, and how each answer is proved (rule R17). */
  readonly served: Served<CoordinatorMethods>;
  readonly #context: LifeContext;
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

  constructor(context: LifeContext, environment: LifeEnvironment) {
    this.#context = context;
    const parsed = parseConfiguration(environment);
    if (!parsed.ok) throw new Error(parsed.detail);
    const { configuration } = parsed;
    this.#retention = configuration.retention;
    this.#storage = new CoordinatorStorage(context.storage);
    const { hooks, changes, members, scripts } = this.#storage;
    this.#scripts = new ScriptDesk(scripts, () => this.#storage.prove());
    this.served = this.#serve();
    const { COURIER, FEED } = environment;
    const courierOf = (endpoint: string) => remote<CourierApi>(() => COURIER.getByName(endpoint));
    this.#handover = new Handover(hooks, courierOf, () => this.#desk.signingKey());
    this.#publisher = new Publisher(() => remote<FeedApi>(() => FEED.getByName(`shard-${shard}`)));
    this.#desk = new HookDesk(hooks, changes, {
      voters: () => this.#voters,
      resubscribe: () => this.#step({ kind: 'subscribed', subscriptions: hooks.subscriptions() }),
      owed: () => this.#handOver(),
      newSigningKey: () => context.newSigningKey(),
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
    // The last life may have ended before the feed had its last change.
    const newest = changes.newest();
    if (newest !== null) void this.#publisher.publish([newest]);
  }

  /** What is stored, for proofs. */
  get storage(): CoordinatorStorage {
    return this.#storage;
  }

  #serve(): Served<CoordinatorMethods> {
    const core = <Run>(run: Run) => ({ proof: 'core' as const, run });
    const stored = <Run>(run: Run) => ({ proof: 'stored' as const, run });
    const hooks = () => this.#storage.hooks;
    return {
      write: core((request) => this.#arrive(request, false)),
      writeAll: core((requests) => this.#writeAll(requests)),
      accept: core((request) => this.#arrive(request, true)),
      status: stored(async (id) => this.#statusOf(id)),
      resolve: stored((transactions) => this.#resolve(transactions)),
      read: stored((request) =>
        this.#callers.read.expect((ticket) => this.#step({ kind: 'read', ticket, request })),
      ),
      // As for `describe`, a reader that came first waits until each region has heard of this coordinator.
      attend: stored(async (wishes) => {
        if (wishes.length > 0) this.#step({ kind: 'wanted', wishes });
        await this.#acquaintance.made;
        return { regions: this.#regions.all, status: this.#core.status() };
      }),
      regions: stored(async () => this.#regions.all),
      // Its first callers wait until each region that has never heard of this coordinator has answered once, or failed to:
      // it would refuse the read for which they ask.
      describe: stored(async () => {
        await this.#acquaintance.made;
        return this.#core.status();
      }),
      order: stored((order, address) => this.#order(order, address)),
      history: stored(async (before, limit) => this.#storage.members.history(before, limit)),
      inDoubt: stored(async () => this.#core.inDoubt()),
      lastWrites: stored(async (keys) => keys.map((key) => this.#storage.changes.lastWriteTo(key))),
      changes: stored(async (query) =>
        this.#storage.changes.page(query, this.#core.status().sequence),
      ),
      follow: stored(async () => {
        this.#publisher.follow();
        return this.#core.status().sequence;
      }),
      subscribe: stored(async (subscription) => this.#desk.subscribe(subscription)),
      subscriptions: stored(async () => hooks().subscriptions()),
      changeSubscription: stored(async (endpoint, patch) => this.#desk.change(endpoint, patch)),
      unsubscribe: stored(async (endpoint) => this.#desk.unsubscribe(endpoint)),
      recover: stored((endpoint, since) => this.#desk.recover(endpoint, since)),
      signingKey: stored(() => this.#desk.signingKey()),
      disabled: stored(async (endpoint, reason) =>
        this.#desk.disable(endpoint, reason, Date.now()),
      ),
      beginRequest: stored(async (request) =>
        this.#storage.requests.beginRequest(request, Date.now()),
      ),
      endRequest: stored(async (request, end) =>
        this.#storage.requests.endRequest(request, end, Date.now()),
      ),
      keepScripts: stored(async (texts, loaded) => this.#scripts.keep(texts, loaded)),
      scriptTexts: stored(async (shas) => this.#scripts.texts(shas)),
      scriptsKnown: stored(async (shas) => this.#scripts.known(shas)),
      flushScripts: stored(async () => this.#scripts.flush()),
    };
  }

  /** Takes in writes in order, which go out together, and answers once all of them are decided. */
  #writeAll(requests: readonly WriteRequest[]): Promise<readonly WriteAnswer[]> {
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

  #statusOf(id: WriteId): WriteStatus {
    const recorded = this.#storage.recordOf(id);
    if (recorded === null) return this.#core.write(id);
    const { record, confirmed } = recorded;
    const appliedIn = this.#core.appliedIn(record) ?? (confirmed ? this.#voters : []);
    return { kind: 'recorded', record: { ...record, appliedIn }, confirmed };
  }

  /** What became of transactions whose locks a reader met. */
  #resolve(transactions: readonly TransactionOrder[]): Promise<readonly Resolution[]> {
    return this.#callers.resolve.expect((ticket) => {
      const recorded = this.#storage.decisionsOf(transactions);
      this.#step({ kind: 'asked', ticket, transactions, recorded, horizon: this.#storage.horizon });
    });
  }

  /** Carries out an order of an operator. What it changes of the regions is kept, unless the core refuses it. */
  async #order(order: MemberOrder, address: RegionConfiguration | null): Promise<OrderAnswer> {
    const members = this.#core.status().regions.map(({ region }) => region);
    const noted = this.#regions.note(order, address, members);
    if (noted.kind === 'refused') return noted;
    const answer = await this.#callers.order.expect((ticket) =>
      this.#step({ kind: 'ordered', ticket, order }),
    );
    if (answer.kind === 'refused') noted.undo();
    return answer;
  }

  /** The alarm has come: it wakes an instance that a crash left with work, which the constructor has taken up already. */
  alarm(): void {
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
      if (this.#isBusy || owesMore(ready.persist)) this.#waking.armAlarm();
      else if (this.#core.awaitsReturn) this.#waking.armAlarm(ready.wakeAt ?? 0);
      this.#storage.write(ready.persist);
      for (const send of ready.sends) this.#send(send);
      if (ready.comparison !== null) this.#compare(ready.comparison);
      for (const reply of ready.replies) this.#callers.give(reply);
      this.#tell(ready.persist);
      this.#waking.at(ready.wakeAt);
      this.#acquaintance.note(() => this.#core.status());
    } catch (error) {
      console.error('the coordinator ends itself', error);
      this.#context.abort(String(error));
      throw error;
    }
  }

  get #isBusy(): boolean {
    return this.#core.busy || this.#storage.hooks.owes || this.#publisher.owes;
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

  #compare(comparison: Comparison): void {
    const { number } = comparison;
    void compareSlice(comparison, (region) => this.#regions.clientOf(region)).then((result) =>
      this.#step({ kind: 'compared', number, result }),
    );
  }

  #send(send: Send): void {
    const client = this.#regions.clientOf(send.region);
    void perform(send, client, this.#storage, (event) => this.#step(event));
  }
}
