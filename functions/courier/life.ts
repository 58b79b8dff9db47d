/** The running courier of one endpoint: stores events, sends them, and retries. */
import { assert } from '../../shared/assert.ts';
import { shardCount } from '../../shared/config/configuration.ts';
import type { CoordinatorApi } from '../../shared/contracts/coordinator.ts';
import { coordinatorIn } from '../../shared/contracts/objects.ts';
import type { Proof, Served } from '../../shared/contracts/rpc.ts';
import type {
  CourierApi,
  DeliveryDetail,
  DeliveryPage,
  DeliveryQuery,
  EndpointId,
  Handover,
  OutboxEvent,
  ReplayQuery,
  SigningKey,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { initialMap, shardsIn } from '../../shared/shards/shard-map.ts';
import { type AttemptOutcome, judge } from '../../shared/webhooks/retry-policy.ts';
import { createSigner, isSecret, type WebhookSigner } from '../../shared/webhooks/signature.ts';
import { makeAttempt } from './attempt.ts';
import type { Endpoint } from './endpoint-storage.ts';
import { type CourierSettings, readSettings } from './settings.ts';
import { CourierStorage, type DueDelivery } from './storage.ts';

const storedBefore: Proof = {
  none: 'it acknowledges an event only after storing it in storage that it owns, and its log is only informative',
};

/**
 * One life of an endpoint's courier, from its construction until the object leaves memory. It stores events, sends them
 * at once, and retries by a schedule. Each endpoint has its own courier, so a slow or dead endpoint delays no other.
 *
 * Each event is delivered at least once. It is durable before it is acknowledged. While an event waits, an alarm is
 * set, which survives a crash. An event is marked as delivered only after the endpoint's response; after a crash in
 * between it is sent again, with the same `webhook-id`.
 */
export class CourierLife implements CourierApi {
  readonly #context: DurableObjectState;
  readonly #environment: Env;
  readonly #storage: CourierStorage;
  readonly #settings: CourierSettings;
  /** The events being sent, each with the time at which its attempt began, in ms. */
  readonly #inFlight = new Map<string, number>();
  #signer: { readonly of: string; readonly signer: Promise<WebhookSigner> } | null = null;
  /** The time of the alarm, as far as this instance knows, in ms. */
  #alarmAt: number | null = null;
  #prunedAt = 0;
  #hasMoreToPrune = false;
  #isReporting = false;
  /** True while a timer is set that stores the outcomes of attempts. */
  #isSaveSet = false;
  /** The handover whose events are sent before they are stored, or null. */
  #hold: { readonly events: ReadonlySet<string>; readonly release: () => void } | null = null;
  /** The time of the coordinator's last handover, in ms. */
  #handedOverAt = 0;
  /** The end of the host's rest, as far as the coordinator has reported it, in ms. */
  #hostRestsUntil = 0;

  /** Throws {@link UnknownStorageFormat} if this release cannot read the storage, which is left unchanged. */
  constructor(context: DurableObjectState, environment: Env) {
    this.#context = context;
    this.#environment = environment;
    this.#settings = readSettings(environment);
    this.#storage = new CourierStorage(context.storage, this.#settings.keptMs);
    // An alarm that is set already is not set again, because that is billed as a written row.
    const knowAlarm = context.blockConcurrencyWhile(async () => {
      this.#alarmAt = await context.storage.getAlarm();
    });
    void knowAlarm.then(() => this.#orEnd(() => this.#proceed()));
  }

  /** The methods that can be called by RPC. */
  get served(): Served<CourierApi> {
    const stored = <Run>(run: Run) => ({ proof: storedBefore, run });
    return {
      configure: stored((target) => this.configure(target)),
      deliver: stored((endpoint, handover) => this.deliver(endpoint, handover)),
      rotate: stored((secret, overlapMs) => this.rotate(secret, overlapMs)),
      deliveries: stored((query) => this.deliveries(query)),
      delivery: stored((event) => this.delivery(event)),
      replay: stored((what) => this.replay(what)),
      enable: stored(() => this.enable()),
      disable: stored((reason) => this.disable(reason)),
      remove: stored(() => this.remove()),
    };
  }

  /** Sets or changes the target of a subscription, which is required before the first handover. */
  async configure(target: {
    readonly endpoint: EndpointId;
    readonly url: string;
    readonly secret: string | null;
    readonly signingKey: SigningKey;
  }): Promise<void> {
    const { endpoint: id, ...rest } = target;
    assert(
      target.secret === null || isSecret(target.secret),
      'a secret is checked before it is set',
    );
    this.#storage.setTarget({ id, ...rest });
    this.#proceed();
  }

  /**
   * Stores events and sends them. Drops the events of a subscription that was not configured or was removed. Returns
   * the time in ms for which the coordinator need not hand over more.
   */
  async deliver(endpoint: EndpointId, handover: Handover): Promise<{ readonly restMs: number }> {
    const { target, signingKey, events } = handover;
    const now = Date.now();
    this.#handedOverAt = now;
    if (target !== null) this.#aimAt(endpoint, { ...target, signingKey }, now);
    if (this.#storage.endpoint === null) return { restMs: 0 };
    const holdMs = this.#holdMs(handover, now);
    if (holdMs > 0) {
      this.#storage.addUnsaved(events, now);
      if (this.#storage.hasUnsaved) await this.#sendUnsaved(events, holdMs);
    } else {
      this.#storage.add(events, now);
      // Another handover may have been waiting, and has been stored, too.
      this.#releaseHold();
      this.#proceed();
    }
    return { restMs: this.#restMs(Date.now()) };
  }

  /**
   * The time, in ms, for which the events of a handover may be sent before they are stored: as long as the coordinator
   * waits, if all of them can be sent at once to an endpoint that is well.
   */
  #holdMs({ events, holdMs = 0 }: Handover, now: number): number {
    const endpoint = this.#storage.endpoint;
    const isWell =
      endpoint !== null && endpoint.disabledAt === null && endpoint.failingSince === null;
    const rests = now < Math.max(endpoint?.restUntil ?? 0, this.#hostRestsUntil);
    const isIdle = this.#inFlight.size === 0 && this.#storage.nextDueAt === null;
    const fits = events.length <= limits.deliveriesInFlight;
    return isWell && !rests && isIdle && fits ? Math.min(holdMs, limits.handoverHoldMs) : 0;
  }

  /**
   * Sends events, and stores them together with the outcome of their attempts, or after `holdMs` without it. Until then
   * they are not acknowledged: if this instance dies, the coordinator hands them over again, so no alarm is needed.
   */
  async #sendUnsaved(events: readonly OutboxEvent[], holdMs: number): Promise<void> {
    const { losses } = this.#storage;
    const ids = new Set(events.map(({ id }) => id));
    const saved = new Promise<void>((resolve) => {
      this.#hold = { events: ids, release: resolve };
    });
    this.#proceed();
    const timer = setTimeout(() => this.#orEnd(() => this.#save()), holdMs);
    await saved;
    // A running timer keeps the object in memory, which is billed.
    clearTimeout(timer);
    // An event that was dropped must not be acknowledged.
    if (this.#storage.losses !== losses)
      throw new Error('the storage failed before it had the events');
  }

  /** The time, in ms, for which further events would only wait here: the endpoint rests, is disabled, or is slow. */
  #restMs(now: number): number {
    const endpoint = this.#storage.endpoint;
    if (endpoint === null) return 0;
    const { endpointBackoffMinMs, endpointBackoffMaxMs, deliverySlowMs } = limits;
    if (endpoint.disabledAt !== null) return endpointBackoffMaxMs;
    const isSlow = [...this.#inFlight.values()].some((since) => now - since >= deliverySlowMs);
    const leastMs = isSlow ? 5 * endpointBackoffMinMs : 0;
    return Math.min(Math.max(endpoint.restUntil - now, leastMs), endpointBackoffMaxMs);
  }

  async rotate(secret: string, overlapMs: number): Promise<void> {
    assert(isSecret(secret), 'a secret is checked before it is set');
    const boundedMs = Math.min(Math.max(overlapMs, 0), limits.secretOverlapMsMaximum);
    this.#storage.rotate(secret, Date.now() + boundedMs);
  }

  async deliveries(query: DeliveryQuery): Promise<DeliveryPage> {
    return this.#storage.page(query);
  }

  async delivery(event: string): Promise<DeliveryDetail | null> {
    return this.#storage.detail(event);
  }

  async replay(what: ReplayQuery): Promise<number> {
    const replayed = this.#storage.replay(what, Date.now());
    this.#proceed();
    return replayed;
  }

  async enable(): Promise<void> {
    this.#hostRestsUntil = 0;
    this.#storage.enable(Date.now());
    this.#proceed();
  }

  /** Not reported to the coordinator, which is the caller. */
  async disable(reason: string): Promise<void> {
    this.#storage.disable(reason, Date.now(), true);
  }

  /** Deletes everything, after which the object ceases to exist. A request that is being sent may still arrive. */
  async remove(): Promise<void> {
    await this.#context.blockConcurrencyWhile(async () => {
      await this.#context.storage.deleteAlarm();
      await this.#context.storage.deleteAll();
      this.#alarmAt = null;
      this.#signer = null;
      this.#storage.begin();
    });
  }

  /** Sends the events that are due, including those of a life that crashed. */
  async alarm(): Promise<void> {
    this.#alarmAt = null;
    this.#proceed();
    if (this.#isForgettable(Date.now())) await this.remove();
  }

  /**
   * True for an endpoint of callbacks without any state that its next event would need: that event brings the target
   * with it. Nobody deletes such an endpoint, and every write may create one.
   */
  #isForgettable(now: number): boolean {
    const endpoint = this.#storage.endpoint;
    if (endpoint === null || !isCallback(endpoint)) return false;
    const { disabledAt, restUntil, isReported } = endpoint;
    const isEnabled = disabledAt === null || now - disabledAt >= limits.callbackDisabledMs;
    const isQuiet = isReported && this.#inFlight.size === 0 && now >= restUntil;
    return isEnabled && isQuiet && this.#storage.isEmpty;
  }

  /**
   * Sets the target of callbacks, which comes with each handover, and enables the endpoint again after a while, as no
   * caller does that for callbacks.
   */
  #aimAt(
    id: EndpointId,
    target: {
      readonly url: string;
      readonly secret: string | null;
      readonly signingKey: SigningKey;
    },
    now: number,
  ): void {
    this.#storage.setTarget({ id, ...target });
    const disabledAt = this.#storage.endpoint?.disabledAt ?? null;
    if (disabledAt !== null && now - disabledAt >= limits.callbackDisabledMs) {
      this.#storage.enable(now);
    }
  }

  /** Prunes, starts the attempts that are due, and sets the alarm for the rest. */
  #proceed(): void {
    const endpoint = this.#storage.endpoint;
    if (endpoint === null) return;
    const now = Date.now();
    // Not only in alarms: each new life sets another alarm, so the first one need never run.
    const { keptMs } = this.#settings;
    if (now - this.#prunedAt >= Math.min(limits.pruneEveryMs, keptMs / 7)) {
      // One slice at a time: the next alarm continues.
      this.#hasMoreToPrune = this.#storage.prune(now);
      if (!this.#hasMoreToPrune) this.#prunedAt = now;
    }
    const restUntil = Math.max(endpoint.restUntil, this.#hostRestsUntil);
    if (endpoint.disabledAt === null && now >= restUntil) {
      // A failing endpoint gets one attempt at a time.
      const places = endpoint.failingSince === null ? limits.deliveriesInFlight : 1;
      const free = Math.max(0, places - this.#inFlight.size);
      for (const delivery of this.#storage.take(now, free)) {
        this.#inFlight.set(delivery.event, now);
        void this.#attempt(endpoint, delivery);
      }
    }
    if (!endpoint.isReported) void this.#reportDisabled(endpoint);
    this.#arm(endpoint, now);
  }

  async #attempt(endpoint: Endpoint, { event, body, step }: DueDelivery): Promise<void> {
    const outcome = await makeAttempt({
      id: event,
      body,
      url: endpoint.url,
      signer: () => this.#signerOf(endpoint, Date.now()),
      policy: this.#settings.policy,
      timeoutMs: this.#settings.timeoutMs,
    });
    this.#inFlight.delete(event);
    this.#orEnd(() => {
      this.#settle(event, step + 1, outcome);
      this.#proceed();
      this.#saveAttempts();
    });
  }

  /** Ends this life if `work` fails: without a record, the same event would be sent again and again. */
  #orEnd(work: () => void): void {
    try {
      work();
    } catch (error) {
      // The alarm starts a new life.
      console.error('the courier ends itself', error);
      this.#context.abort(String(error));
    }
  }

  /** Stores the outcomes of attempts at once if no other attempt will end soon, and else together with the next ones. */
  #saveAttempts(): void {
    if (this.#storage.unsavedAttempts === 0) return;
    const isLast = this.#inFlight.size === 0;
    const isFailing = (this.#storage.endpoint?.failingSince ?? null) !== null;
    if (isLast || isFailing || this.#storage.unsavedAttempts >= limits.attemptsPerSave) {
      this.#save();
      return;
    }
    if (this.#isSaveSet) return;
    this.#isSaveSet = true;
    setTimeout(() => {
      this.#isSaveSet = false;
      this.#orEnd(() => this.#save());
    }, limits.attemptsLingerMs);
  }

  /** Stores all unsaved changes, and lets a handover be acknowledged that waits for it. */
  #save(): void {
    this.#storage.save();
    if (this.#hold === null) return;
    this.#releaseHold();
    const endpoint = this.#storage.endpoint;
    // Events that are still being sent need an alarm from now on.
    if (endpoint !== null) this.#arm(endpoint, Date.now());
  }

  #releaseHold(): void {
    this.#hold?.release();
    this.#hold = null;
  }

  #settle(event: string, step: number, outcome: AttemptOutcome): void {
    const endpoint = this.#storage.endpoint;
    // The endpoint was removed during the attempt.
    if (endpoint === null) return;
    const now = Date.now();
    const { failingSince } = endpoint;
    const { pausesMs } = this.#settings;
    const judgement = judge(
      outcome,
      { step, failingSince },
      { now, entropy: Math.random(), pausesMs },
    );
    this.#storage.settle(event, outcome, judgement, now);
    if (judgement.disable !== null) this.#storage.disable(judgement.disable, now, false);
    if (judgement.hostRestMs > 0) void this.#restHost(endpoint, judgement.hostRestMs, now);
  }

  /** Lets every endpoint of the host rest, through the coordinator. This is advisory: a failure is only logged. */
  async #restHost({ url }: Endpoint, restMs: number, now: number): Promise<void> {
    // Reported once per rest, as each report is a request. A coordinator that has handed nothing over for a while does
    // not need it, and would be woken for it.
    if (now < this.#hostRestsUntil || now - this.#handedOverAt > limits.hostRestMsMost) return;
    this.#hostRestsUntil = now + restMs;
    try {
      const { host } = new URL(url);
      const rests = this.#coordinators.map((coordinator) => coordinator.hostRests(host, restMs));
      this.#hostRestsUntil = Math.max(
        this.#hostRestsUntil,
        ...(await Promise.all(rests)).map((allMs) => now + allMs),
      );
    } catch (error) {
      console.error('the coordinator did not take the message that a host is pausing', error);
    }
    // Sets the alarm to the end of the rest.
    this.#proceed();
  }

  /** The coordinators that hand over events. Each of them keeps the subscriptions. */
  get #coordinators(): readonly CoordinatorApi[] {
    return shardsIn(initialMap(shardCount)).map((shard) =>
      coordinatorIn(this.#environment.COORDINATOR, shard),
    );
  }

  /** The signer with the secrets in force. Cached, because importing keys costs more than signing. */
  #signerOf(endpoint: Endpoint, now: number): Promise<WebhookSigner> {
    const { secret, previousSecret, previousUntil, privateKey } = endpoint;
    const previous = now < previousUntil ? previousSecret : null;
    const secrets = [secret, previous].filter((each) => each !== null);
    const of = JSON.stringify([secrets, privateKey]);
    if (this.#signer?.of !== of)
      this.#signer = { of, signer: createSigner(secrets, { privateKey }) };
    return this.#signer.signer;
  }

  /** Reports to the coordinator that the endpoint was disabled. The alarm repeats this until it succeeds. */
  async #reportDisabled({ id, disabledReason }: Endpoint): Promise<void> {
    if (this.#isReporting) return;
    this.#isReporting = true;
    try {
      const reason = disabledReason ?? '';
      await Promise.all(this.#coordinators.map((coordinator) => coordinator.disabled(id, reason)));
      this.#storage.noteReported();
    } catch (error) {
      console.error(`the coordinator did not take the message that ${id} is disabled`, error);
    } finally {
      this.#isReporting = false;
    }
  }

  /** True if the coordinator would hand everything over again that is in progress, should this instance die. */
  #isHeld(endpoint: Endpoint): boolean {
    const hold = this.#hold;
    if (hold === null || !endpoint.isReported || this.#storage.nextDueAt !== null) return false;
    return [...this.#inFlight.keys()].every((event) => hold.events.has(event));
  }

  /**
   * Sets the alarm for the next thing to do. An attempt or a report in progress is checked soon, in case this instance
   * dies.
   */
  #arm(endpoint: Endpoint, now: number): void {
    const wakes: number[] = [];
    const isActive = this.#inFlight.size > 0 || !endpoint.isReported;
    if (this.#hasMoreToPrune) wakes.push(now + limits.pruneSliceMs);
    if (isActive && !this.#isHeld(endpoint)) wakes.push(now + limits.alarmMs);
    // Wakes to prune entries that have become too old.
    if (!isActive && (isCallback(endpoint) || !this.#storage.isEmpty)) {
      wakes.push(Math.max(now + this.#settings.keptMs / 7, this.#storage.nextPruneAt ?? 0));
    }
    const dueAt = endpoint.disabledAt === null ? this.#storage.nextDueAt : null;
    const nextAt = Math.max(dueAt ?? 0, endpoint.restUntil, this.#hostRestsUntil);
    // A delivery that is due already waits for a free slot, and the end of an attempt starts it.
    if (dueAt !== null && nextAt > now) wakes.push(nextAt);
    if (wakes.length === 0) return;
    const at = Math.min(...wakes);
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    void this.#context.storage.setAlarm(at);
  }
}

function isCallback({ id }: Endpoint): boolean {
  return id.startsWith('cb_');
}
