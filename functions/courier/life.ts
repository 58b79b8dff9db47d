import { assert } from '../../shared/assert.ts';
import { type Proof, remote, type Served } from '../../shared/contracts/rpc.ts';
import type {
  CourierApi,
  DeliveryDetail,
  DeliveryPage,
  DeliveryQuery,
  EndpointId,
  Handover,
  ReplayQuery,
  SigningKey,
  SubscriptionsApi,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { type AttemptOutcome, judge } from '../../shared/webhooks/retry-policy.ts';
import { createSigner, isSecret, type WebhookSigner } from '../../shared/webhooks/signature.ts';
import { makeAttempt } from './attempt.ts';
import { type CourierSettings, readSettings } from './settings.ts';
import { CourierStorage, type DueDelivery, type Endpoint } from './storage.ts';

/** The coordinator that keeps the subscriptions: the one shard that exists. */
const coordinatorName = 'shard-0';

const storedBefore: Proof = {
  none: 'everything that it acknowledges was stored while it owned its storage, and its log is for people',
};

/**
 * A life of the courier of one endpoint: it stores what it is handed, sends it at once, and sends it again by
 * a schedule until it is taken. As it serves a single endpoint, one that is slow or dead delays no other.
 *
 * Each event is delivered at least once. It is durable before it is acknowledged; while one waits, an alarm is set,
 * which outlives a crash; and it is noted as delivered only after the endpoint has said so. A crash in between sends
 * it again, under the same `webhook-id`.
 */
export class CourierLife implements CourierApi {
  readonly #context: DurableObjectState;
  readonly #environment: Env;
  readonly #storage: CourierStorage;
  readonly #settings: CourierSettings;
  /** The events that are being sent, and since when, ms. */
  readonly #inFlight = new Map<string, number>();
  #signer: { readonly of: string; readonly signer: Promise<WebhookSigner> } | null = null;
  /** The alarm, as far as this instance knows. */
  #alarmAt: number | null = null;
  #prunedAt = 0;
  #hasMoreToPrune = false;
  #isReporting = false;
  /** When the coordinator handed something over last, ms. */
  #handedOverAt = 0;
  /** The host rests until then, as far as the coordinator has said, ms. */
  #hostRestsUntil = 0;

  /** Throws {@link UnknownStorageFormat} where this release cannot read the storage, which is left as it is. */
  constructor(context: DurableObjectState, environment: Env) {
    this.#context = context;
    this.#environment = environment;
    this.#settings = readSettings(environment);
    this.#storage = new CourierStorage(context.storage);
    this.#proceed();
  }

  /** The methods that can be called. */
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

  /** Sets or changes the target of a subscription. It has to be set before events are handed over. */
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

  /** Takes over events. Those for a subscription that nobody has configured, or that was removed, are dropped. */
  async deliver(endpoint: EndpointId, handover: Handover): Promise<{ readonly restMs: number }> {
    const { target, signingKey, events } = handover;
    const now = Date.now();
    this.#handedOverAt = now;
    if (target !== null) this.#aimAt(endpoint, { ...target, signingKey }, now);
    if (this.#storage.endpoint === null) return { restMs: 0 };
    this.#storage.add(events, now);
    this.#proceed();
    return { restMs: this.#restMs(now) };
  }

  /** For how long nothing more need be handed over: the endpoint rests, is disabled, or has let an attempt wait. */
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

  /** The caller knows of it, so that the coordinator is not told. */
  async disable(reason: string): Promise<void> {
    this.#storage.disable(reason, Date.now(), true);
  }

  /** Forgets everything; what is being sent may still arrive. An object without storage ceases to exist. */
  async remove(): Promise<void> {
    await this.#context.blockConcurrencyWhile(async () => {
      await this.#context.storage.deleteAlarm();
      await this.#context.storage.deleteAll();
      this.#alarmAt = null;
      this.#signer = null;
      this.#storage.begin();
    });
  }

  /** Takes up what is due, also what a crash has left. */
  async alarm(): Promise<void> {
    this.#alarmAt = null;
    this.#proceed();
    if (this.#isForgettable(Date.now())) await this.remove();
  }

  /**
   * True for the endpoint of callbacks of which nothing is left that a later event would find changed: the next event
   * brings its target along, and starts the courier anew. Nobody deletes such an endpoint, and there may be one per write.
   */
  #isForgettable(now: number): boolean {
    const endpoint = this.#storage.endpoint;
    if (endpoint === null || !isCallback(endpoint)) return false;
    const { disabledAt, restUntil, told } = endpoint;
    const isEnabled = disabledAt === null || now - disabledAt >= limits.callbackDisabledMs;
    const isQuiet = told && this.#inFlight.size === 0 && now >= restUntil;
    return isEnabled && isQuiet && this.#storage.isEmpty;
  }

  /** The target of callbacks comes with each handover, and nobody else looks after it. */
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

  /** Drops what is too old, starts what may be started now, and sees to it that the object is woken for the rest. */
  #proceed(): void {
    const endpoint = this.#storage.endpoint;
    if (endpoint === null) return;
    const now = Date.now();
    // Not in the alarm alone: an instance that begins with one sets another, and the first need not be run.
    const { keptMs } = this.#settings;
    if (now - this.#prunedAt >= Math.min(limits.pruneEveryMs, keptMs / 7)) {
      // One slice at a time: the next turn goes on with what is left.
      this.#hasMoreToPrune = this.#storage.prune(now, keptMs);
      if (!this.#hasMoreToPrune) this.#prunedAt = now;
    }
    const restUntil = Math.max(endpoint.restUntil, this.#hostRestsUntil);
    if (endpoint.disabledAt === null && now >= restUntil) {
      // What is failing is probed by one attempt at a time.
      const places = endpoint.failingSince === null ? limits.deliveriesInFlight : 1;
      const free = Math.max(0, places - this.#inFlight.size);
      for (const delivery of this.#storage.due(now, free, new Set(this.#inFlight.keys()))) {
        this.#inFlight.set(delivery.event, now);
        void this.#attempt(endpoint, delivery);
      }
    }
    if (!endpoint.told) void this.#reportDisabled(endpoint);
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
    try {
      this.#settle(event, step + 1, outcome);
      this.#proceed();
    } catch (error) {
      // To go on without the note would send the same again and again; the alarm begins a new life.
      console.error('the courier ends itself', error);
      this.#context.abort(String(error));
    }
  }

  #settle(event: string, step: number, outcome: AttemptOutcome): void {
    const endpoint = this.#storage.endpoint;
    // It was removed meanwhile.
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

  /** Has all endpoints of the host rest, as far as the coordinator hands anything over to them; it is advice. */
  async #restHost({ url }: Endpoint, restMs: number, now: number): Promise<void> {
    // Said once per rest: each word is a request. To a coordinator that has handed nothing over of late it would be of no
    // use, and would wake it for nothing.
    if (now < this.#hostRestsUntil || now - this.#handedOverAt > limits.hostRestMsMost) return;
    this.#hostRestsUntil = now + restMs;
    try {
      const allMs = await this.#coordinator.hostRests(new URL(url).host, restMs);
      this.#hostRestsUntil = Math.max(this.#hostRestsUntil, now + allMs);
    } catch (error) {
      console.error('the coordinator did not take the message that a host is pausing', error);
    }
    // Nothing that is due is forgotten: the alarm is set anew, past the rest.
    this.#proceed();
  }

  get #coordinator(): Pick<SubscriptionsApi, 'disabled' | 'hostRests'> {
    const { COORDINATOR } = this.#environment;
    return remote<Pick<SubscriptionsApi, 'disabled' | 'hostRests'>>(() =>
      COORDINATOR.getByName(coordinatorName),
    );
  }

  /** The signer of what is in force. Keys are imported once, as it costs more than signing. */
  #signerOf(endpoint: Endpoint, now: number): Promise<WebhookSigner> {
    const { secret, previousSecret, previousUntil, privateKey } = endpoint;
    const previous = now < previousUntil ? previousSecret : null;
    const secrets = [secret, previous].filter((each) => each !== null);
    const of = JSON.stringify([secrets, privateKey]);
    if (this.#signer?.of !== of)
      this.#signer = { of, signer: createSigner(secrets, { privateKey }) };
    return this.#signer.signer;
  }

  /** Says to the coordinator that the endpoint was given up, until it has heard it. */
  async #reportDisabled({ id, disabledReason }: Endpoint): Promise<void> {
    if (this.#isReporting) return;
    this.#isReporting = true;
    try {
      await this.#coordinator.disabled(id, disabledReason ?? '');
      this.#storage.noteReported();
    } catch (error) {
      console.error(`the coordinator did not take the message that ${id} is disabled`, error);
    } finally {
      this.#isReporting = false;
    }
  }

  /** What is being sent or told is looked after soon, in case this instance dies with it. */
  #arm(endpoint: Endpoint, now: number): void {
    const wakes: number[] = [];
    const isActive = this.#inFlight.size > 0 || !endpoint.told;
    if (this.#hasMoreToPrune) wakes.push(now + limits.pruneSliceMs);
    if (isActive) wakes.push(now + limits.alarmMs);
    // Looks for what has become too old to keep.
    else if (isCallback(endpoint) || !this.#storage.isEmpty) {
      wakes.push(now + this.#settings.keptMs / 7);
    }
    const dueAt =
      endpoint.disabledAt === null ? this.#storage.nextDueAt(new Set(this.#inFlight.keys())) : null;
    const nextAt = Math.max(dueAt ?? 0, endpoint.restUntil, this.#hostRestsUntil);
    // What is due by now waits for a place, which the end of an attempt will give it.
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
