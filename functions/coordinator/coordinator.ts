/** The coordinator of a shard, as far as it does I/O: it decides nothing, and performs the output of the core. */
import { assert } from '../../shared/assert.ts';
import { parseConfiguration } from '../../shared/config/configuration.ts';
import type {
  CoordinatorApi,
  RecallRequest,
  Resolution,
  WriteAnswer,
  WriteRequest,
  WriteStatus,
} from '../../shared/contracts/coordinator.ts';
import type {
  AdminCommand,
  AdminCommandAnswer,
  RegionConfiguration,
} from '../../shared/contracts/members.ts';
import {
  courierIn,
  feedIn,
  type ObjectNamespace,
  registryIn,
} from '../../shared/contracts/objects.ts';
import type { RegistryApi } from '../../shared/contracts/registry.ts';
import type { Served } from '../../shared/contracts/rpc.ts';
import type { SigningKey } from '../../shared/contracts/webhooks-and-feed.ts';
import type { RegionId, ShardId, TransactionOrder, WriteId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { CoordinatorCore } from '../../shared/protocol/coordinator.ts';
import type { Arrival, CoordinatorEvent, RecordedWrite } from '../../shared/protocol/io/events.ts';
import type { ComparisonRequest, Send, StorageWrite } from '../../shared/protocol/io/ready.ts';
import { connectRegion } from '../region/client.ts';
import { AlarmScheduler } from './alarm.ts';
import { answerInGroups } from './answer-groups.ts';
import { askForMap } from './ask-for-map.ts';
import { compareSlice } from './comparing.ts';
import { frameOf, orderLocks, type Repeatable, repeatedFrameOf } from './compile-frame.ts';
import { coreConfig, entropy, queuesEvents } from './core-config.ts';
import { CourierDispatcher } from './notify/courier-dispatcher.ts';
import { Publisher } from './notify/feed-publisher.ts';
import { WebhookSubscriptions } from './notify/subscriptions.ts';
import { PendingCalls } from './pending-calls.ts';
import { RegionRegistry } from './region-registry.ts';
import { ScriptRegistry } from './script-registry.ts';
import { sendToRegion } from './send.ts';
import { changesIn } from './storage/change-log.ts';
import { CoordinatorStorage } from './storage/coordinator-storage.ts';
import type { SqlObjectStorage } from './storage/sql.ts';
import { Readiness } from './warm-up.ts';

/** The parts of the Durable Object that a life uses. */
export interface LifeContext {
  /** The shard that the object coordinates. */
  readonly shard: ShardId;
  readonly storage: SqlObjectStorage & { setAlarm(at: number): Promise<void> };
  /** Ends the object, and with it this life. */
  abort(reason: string): void;
  newSigningKey(): Promise<SigningKey>;
}

/** The other objects, and the variables that `parseConfiguration` reads. */
export interface LifeEnvironment {
  readonly COURIER: ObjectNamespace;
  readonly FEED: ObjectNamespace;
  readonly REGISTRY: ObjectNamespace;
}

/**
 * One life of the coordinator of a shard: it feeds events to the core, stores the core's output, and only then sends
 * and answers. Writes to storage are synchronous, and the runtime's output gate holds every later request and answer
 * until they are durable; if a write fails, the gate drops these and resets the object. So "persist before send" is
 * the order of the statements in {@link CoordinatorLife.step}.
 */
export class CoordinatorLife {
  /** The methods served by RPC, each with the proof of its answers (rule R17). */
  readonly served: Served<CoordinatorApi>;
  readonly #context: LifeContext;
  readonly #storage: CoordinatorStorage;
  readonly #core: CoordinatorCore;
  readonly #dispatcher: CourierDispatcher;
  readonly #publisher: Publisher;
  readonly #subscriptions: WebhookSubscriptions;
  readonly #scripts: ScriptRegistry;
  readonly #regions: RegionRegistry;
  readonly #pendingCalls = new PendingCalls();
  readonly #readiness: Readiness;
  readonly #alarm: AlarmScheduler;
  readonly #registry: RegistryApi;
  #prunedAt = 0;
  #isPruning = false;

  constructor(context: LifeContext, environment: LifeEnvironment) {
    this.#context = context;
    const parsed = parseConfiguration(environment);
    if (!parsed.ok) throw new Error(parsed.detail);
    const { configuration } = parsed;
    const { shard } = context;
    this.#storage = new CoordinatorStorage(context.storage, configuration.retention, shard);
    const { subscriptions, changes, members, scripts } = this.#storage;
    this.#scripts = new ScriptRegistry(scripts, () => this.#storage.prove());
    this.served = this.#serve();
    const { COURIER, FEED, REGISTRY } = environment;
    this.#registry = registryIn(REGISTRY);
    const courierOf = (endpoint: string) => courierIn(COURIER, endpoint);
    this.#dispatcher = new CourierDispatcher(subscriptions, courierOf, () =>
      this.#subscriptions.signingKey(),
    );
    this.#publisher = new Publisher(() => feedIn(FEED, shard));
    this.#subscriptions = new WebhookSubscriptions(subscriptions, changes, {
      voters: () => this.#voters,
      resubscribe: () =>
        this.#step({ kind: 'subscriptions-changed', subscriptions: subscriptions.all() }),
      outboxGrew: () => this.#handOver(),
      newSigningKey: () => context.newSigningKey(),
    });
    const now = Date.now();
    const stored = this.#storage.begin(now);
    const begun = stored.regions.filter((region) => region.begun);
    this.#readiness = new Readiness(begun.map(({ region }) => region));
    this.#alarm = new AlarmScheduler(
      (at) => void context.storage.setAlarm(at),
      () => this.#step({ kind: 'tick' }),
    );
    this.#regions = new RegionRegistry(configuration.regions, members, connectRegion);
    this.#core = new CoordinatorCore(
      coreConfig(shard, configuration, this.#regions.all),
      stored,
      now,
    );
    this.#step({ kind: 'tick' });
    // The last life may have ended before its last change reached the feed.
    const newest = changes.newest();
    if (newest !== null) void this.#publisher.publish([newest]);
  }

  /** The storage, for the proofs of answers. */
  get storage(): CoordinatorStorage {
    return this.#storage;
  }

  #serve(): Served<CoordinatorApi> {
    const stored = <Run>(run: Run) => ({ proof: 'stored' as const, run });
    return {
      ...this.#serveWrites(),
      recall: stored((requests) => this.#recall(requests)),
      status: stored(async (id) => this.#statusOf(id)),
      resolve: stored((transactions) => this.#resolve(transactions)),
      read: stored((request) =>
        this.#pendingCalls.read.expect((ticket) =>
          this.#step({ kind: 'read-requested', ticket, request }),
        ),
      ),
      // As in `describe`, the first readers wait until the regions know this coordinator.
      attend: stored(async (wishes) => {
        if (wishes.length > 0) this.#step({ kind: 'lease-requested', wishes });
        await this.#readiness.made;
        return { regions: this.#regions.all, status: this.#core.status() };
      }),
      regions: stored(async () => this.#regions.all),
      // The first callers wait until every region that does not know this coordinator has answered once, or has failed
      // to: it would refuse the read for which they ask.
      describe: stored(async () => {
        await this.#readiness.made;
        return this.#core.status();
      }),
      order: stored((order, address) => this.#takeAdminCommand(order, address)),
      history: stored(async (before, limit) => this.#storage.members.history(before, limit)),
      inDoubt: stored(async () => this.#core.inDoubt()),
      lastWrites: stored((keys) => this.#lastWrites(keys)),
      changes: stored(async (query) =>
        this.#storage.changes.page(query, this.#core.status().sequence),
      ),
      follow: stored(async () => {
        this.#publisher.follow();
        return this.#core.status().sequence;
      }),
      subscribe: stored(async (subscription) => this.#subscriptions.subscribe(subscription)),
      subscriptions: stored(async () => this.#subscriptions.all),
      changeSubscription: stored(async (endpoint, patch) =>
        this.#subscriptions.change(endpoint, patch),
      ),
      unsubscribe: stored(async (endpoint) => this.#subscriptions.unsubscribe(endpoint)),
      recover: stored((endpoint, since) => this.#subscriptions.recover(endpoint, since)),
      signingKey: stored(() => this.#subscriptions.signingKey()),
      disabled: stored(async (endpoint, reason) =>
        this.#subscriptions.disable(endpoint, reason, Date.now()),
      ),
      hostRests: {
        proof: { none: 'it shows no state: how long a host rests is advice' },
        run: async (host, restMs) => this.#dispatcher.restHost(host, restMs),
      },
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

  #serveWrites(): Pick<Served<CoordinatorApi>, 'write' | 'writeAll' | 'writeGathered' | 'accept'> {
    const core = <Run>(run: Run) => ({ proof: 'core' as const, run });
    return {
      write: core((request) => this.#arrive(request, false)),
      writeAll: core((requests) => this.#writeAll(requests)),
      writeGathered: core((requests, give) => answerInGroups(this.#takeAll(requests, null), give)),
      accept: core((request) => this.#arrive(request, true)),
    };
  }

  /** Receives the writes of one client, and answers once all of them are decided. */
  #writeAll(requests: readonly WriteRequest[]): Promise<readonly WriteAnswer[]> {
    const locks = requests.length > 1 ? orderLocks(requests) : [];
    return Promise.all(this.#takeAll(requests, locks));
  }

  /**
   * Receives writes that leave together, and returns a promise of each answer. `locks` keep writes of one client in order;
   * null for writes of several clients.
   */
  #takeAll(
    requests: readonly WriteRequest[],
    locks: readonly (string | null)[] | null,
  ): readonly Promise<WriteAnswer>[] {
    const now = this.#core.clockAt(Date.now());
    const arrivals: Arrival[] = [];
    const answers = requests.map((request, at) =>
      this.#take(request, now, locks?.[at] ?? null, false, (arrival) => arrivals.push(arrival)),
    );
    const inOrder = locks !== null;
    if (arrivals.length > 0) this.#step({ kind: 'writes-received', arrivals, inOrder });
    return answers;
  }

  /** The sequences of the last writes to keys. Each look may read the whole index, so other work runs in between. */
  async #lastWrites(keys: readonly string[]): Promise<readonly (number | null)[]> {
    const sequences: (number | null)[] = [];
    for (const key of keys) {
      sequences.push(this.#storage.changes.lastWriteTo(key));
      await new Promise((resolve) => setTimeout(resolve));
    }
    return sequences;
  }

  #statusOf(id: WriteId): WriteStatus {
    const recorded = this.#storage.recordOf(id);
    if (recorded === null) return this.#core.write(id);
    const { record, confirmed } = recorded;
    const appliedIn = this.#core.appliedIn(record) ?? (confirmed ? this.#voters : []);
    return { kind: 'recorded', record: { ...record, appliedIn }, confirmed };
  }

  /** The outcomes of transactions whose locks a reader found. */
  #resolve(transactions: readonly TransactionOrder[]): Promise<readonly Resolution[]> {
    return this.#pendingCalls.resolve.expect((ticket) => {
      const recorded = this.#storage.decisionsOf(transactions);
      this.#step({
        kind: 'resolution-requested',
        ticket,
        transactions,
        recorded,
        horizon: this.#storage.horizon,
      });
    });
  }

  /** Executes an order of an operator. Its change of the regions stays stored, unless the core refuses the order. */
  async #takeAdminCommand(
    command: AdminCommand,
    address: RegionConfiguration | null,
  ): Promise<AdminCommandAnswer> {
    const members = this.#core.status().regions.map(({ region }) => region);
    const noted = this.#regions.note(command, address, members);
    if (noted.kind === 'refused') return noted;
    const answer = await this.#pendingCalls.adminCommand.expect((ticket) =>
      this.#step({ kind: 'admin-command', ticket, command }),
    );
    if (answer.kind !== 'taken') noted.undo();
    return answer;
  }

  /** The alarm has fired. It wakes an instance after a crash; the constructor has already resumed the work. */
  alarm(): void {
    this.#alarm.alarmCame();
    if (Date.now() - this.#prunedAt >= limits.pruneEveryMs) this.#prune();
    this.#step({ kind: 'tick' });
  }

  /** Prunes the storage in slices, and yields to other work in between. */
  #prune(): void {
    if (this.#isPruning) return;
    this.#isPruning = true;
    const next = () => {
      this.#prunedAt = Date.now();
      try {
        if (this.#storage.prune(this.#prunedAt)) setTimeout(next);
        else this.#isPruning = false;
      } catch (error) {
        this.#end(error);
      }
    };
    setTimeout(next);
  }

  /** Prunes when a write arrives while room is short: writes that are refused store nothing, so no step would prune. */
  #pruneIfShort(now: number): void {
    const { isFull, keysKeptMs } = this.#storage.room;
    const isShort = isFull || keysKeptMs === 0;
    if (isShort && now - this.#prunedAt >= limits.pruneShortMs) this.#prune();
  }

  #arrive(request: WriteRequest, async: boolean): Promise<WriteAnswer> {
    return this.#take(request, this.#core.clockAt(Date.now()), null, async, (arrival) =>
      this.#step({ kind: 'write-received', ...arrival }),
    );
  }

  /**
   * Compiles a write, passes its arrival to `arrive`, and resolves with its answer; or answers at once if it is
   * refused. Its idempotency key is looked up before anything of the request is judged: its sender must get the first
   * answer even if a script was flushed since, or a bound has changed.
   */
  async #take(
    request: WriteRequest,
    now: number,
    lock: string | null,
    async: boolean,
    arrive: (arrival: Arrival) => void,
  ): Promise<WriteAnswer> {
    const recorded = this.#recordedOf(request, now);
    const isRepeated = recorded !== null || this.#core.isUnderway(request);
    const frame = isRepeated
      ? repeatedFrameOf(request, now)
      : frameOf(request, now, this.#scripts, lock);
    if ('kind' in frame) {
      this.#scripts.judge(request, frame);
      return frame;
    }
    const { again, id } = request;
    const abandoned = again ? this.#storage.abandoned(id) : null;
    this.#pruneIfShort(now);
    const { room } = this.#storage;
    const answer = await this.#pendingCalls.write.expect((ticket) =>
      arrive({ ticket, frame, async, recorded, again, abandoned, room }),
    );
    this.#scripts.judge(request, answer);
    return answer;
  }

  /** The record of the same request: under its key, or under its own id if it is sent again. */
  #recordedOf({ idempotency, id, again }: Repeatable, now: number): RecordedWrite | null {
    const known = idempotency === null ? null : this.#storage.recordedUnder(idempotency.key, now);
    if (known !== null || !again) return known;
    const own = this.#storage.recordOf(id);
    return own === null ? null : { record: own.record, digest: null };
  }

  /** The answers to writes under these keys, pending ones included; null for a key without a write. */
  #recall(requests: readonly RecallRequest[]): Promise<readonly (WriteAnswer | null)[]> {
    const now = Date.now();
    const { room } = this.#storage;
    const answers = requests.map((request) => {
      const recorded = this.#recordedOf(request, now);
      if (recorded === null && !this.#core.isUnderway(request)) return null;
      const frame = repeatedFrameOf(request, now);
      const arrival = { frame, async: false, recorded, again: false, abandoned: null, room };
      return this.#pendingCalls.write.expect((ticket) =>
        this.#step({ kind: 'write-received', ticket, ...arrival }),
      );
    });
    return Promise.all(answers);
  }

  /** One step: event in, state stored, rounds sent, callers answered. A bug or a failed write ends the instance. */
  #step(event: CoordinatorEvent): void {
    try {
      const ready = this.#core.step(event, Date.now(), entropy());
      if (ready.ended !== null) throw new Error(`another instance has taken over: ${ready.ended}`);
      if (this.#isBusy || queuesEvents(ready.persist)) this.#alarm.armAlarm();
      else if (this.#core.awaitsReturn) this.#alarm.armAlarm(ready.wakeAt ?? 0);
      this.#storage.write(ready.persist);
      for (const send of ready.sends) this.#send(send);
      const isAlone = ready.jointRounds.length === 0 && ready.calls.length === 0;
      assert(isAlone, 'one shard joins no other');
      if (ready.comparison !== null) this.#compare(ready.comparison);
      if (ready.asksRegistry) this.#askRegistry();
      for (const reply of ready.replies) this.#pendingCalls.give(reply);
      this.#notify(ready.persist);
      this.#alarm.at(ready.wakeAt);
      this.#readiness.note(() => this.#core.status());
      if (this.#storage.isPruneDue) this.#prune();
    } catch (error) {
      this.#end(error);
      throw error;
    }
  }

  #end(error: unknown): void {
    console.error('the coordinator ends itself', error);
    this.#context.abort(String(error));
  }

  get #isBusy(): boolean {
    return (
      this.#core.busy || this.#storage.subscriptions.hasOutbox || this.#publisher.hasUnpublished
    );
  }

  /** Publishes stored changes to the feed and the couriers. The output gate holds them until they are durable. */
  #notify(writes: readonly StorageWrite[]): void {
    const changes = changesIn(writes);
    if (changes.length > 0) void this.#publisher.publish(changes);
    this.#dispatcher.run();
  }

  #handOver(): void {
    this.#alarm.armAlarm();
    this.#dispatcher.run();
  }

  get #voters(): readonly RegionId[] {
    const { regions } = this.#core.status();
    return regions.filter(({ state }) => state === 'voter').map(({ region }) => region);
  }

  #compare(comparison: ComparisonRequest): void {
    const { number } = comparison;
    const { shard } = this.#context;
    void compareSlice(shard, comparison, (region) => this.#regions.clientOf(region)).then(
      (result) => this.#step({ kind: 'comparison-completed', number, result }),
    );
  }

  #askRegistry(): void {
    void askForMap(this.#registry).then((answer) =>
      this.#step({ kind: 'registry-answered', answer }),
    );
  }

  #send(send: Send): void {
    const client = this.#regions.clientOf(send.region);
    void sendToRegion(send, client, this.#storage, (event) => this.#step(event));
  }
}
