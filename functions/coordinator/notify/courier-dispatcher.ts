/** Hands events over to the couriers of their endpoints. */
import type {
  CourierApi,
  EndpointId,
  OutboxEvent,
  SigningKey,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../../shared/limits.ts';
import { withTimeout } from '../../platform/timeout.ts';

/** The oldest events in the outbox of one endpoint, up to the position `through`. */
export interface OutboxBatch {
  readonly endpoint: EndpointId;
  readonly events: readonly OutboxEvent[];
  readonly through: number;
}

/** The stored outbox. */
export interface HandoverStorage {
  readonly hasOutbox: boolean;
  /** The endpoints with events in the outbox, in the order in which they are served. */
  outboxEndpoints(): Iterator<EndpointId>;
  /** The number of these endpoints. */
  readonly outboxCount: number;
  hostOf(endpoint: EndpointId): string | null;
  outboxOf(endpoint: EndpointId, count: number): OutboxBatch;
  settle(batch: OutboxBatch): void;
  targetOf(endpoint: EndpointId): { readonly url: string; readonly secret: string | null } | null;
}

type CourierOf = (endpoint: string) => Pick<CourierApi, 'deliver'>;

/**
 * Hands the events in the outbox over to the couriers of their endpoints: a few couriers at a time, in turn. A host
 * pauses with all its endpoints; a courier that cannot be reached pauses alone, so that it delays no other. An event
 * leaves the outbox only after its courier has stored it, and a courier treats a repeated event as one, so a crash in
 * between repeats a handover at most.
 */
export class CourierDispatcher {
  readonly #outbox: HandoverStorage;
  readonly #courierOf: CourierOf;
  readonly #signingKey: () => Promise<SigningKey>;
  readonly #underway = new Set<string>();
  readonly #resting = new Set<string>();
  /** Hosts whose endpoints get no events for now, each with the end of its pause, ms since the epoch. */
  readonly #hostsResting = new Map<string, number>();
  /** Iterates over the endpoints in the outbox, again and again. */
  #turn: Iterator<EndpointId> | null = null;
  /** True while events wait for later ones, to be handed over together. */
  #lingers = false;
  /** The number of failed handovers in a row, per endpoint. */
  readonly #failures = new Map<string, number>();

  constructor(
    outbox: HandoverStorage,
    courierOf: CourierOf,
    signingKey: () => Promise<SigningKey>,
  ) {
    this.#outbox = outbox;
    this.#courierOf = courierOf;
    this.#signingKey = signingKey;
  }

  /** Starts to hand over the events in the outbox, soon, and continues until it is empty. Never throws. */
  run(): void {
    if (!this.#outbox.hasOutbox || this.#lingers) return;
    this.#lingers = true;
    setTimeout(() => {
      this.#lingers = false;
      this.#begin();
    }, limits.handoverLingerMs);
  }

  /**
   * Pauses all endpoints of a host for `restMs`, at most limits.hostRestMsMost. Returns the remaining pause of the
   * host, ms: an earlier request may have asked for a longer one.
   */
  restHost(host: string, restMs: number): number {
    const now = Date.now();
    const boundedMs = Math.min(Math.max(restMs, 0), limits.hostRestMsMost);
    const known = this.#hostsResting.get(host);
    const until = Math.max(known ?? 0, now + boundedMs);
    if (known === undefined) {
      if (this.#hostsResting.size >= limits.hostsResting) return boundedMs;
      this.#hostsResting.set(host, until);
      this.#wakeHost(host);
    }
    this.#hostsResting.set(host, until);
    return until - now;
  }

  /** Continues once the pause of a host is over, which may have become longer meanwhile. */
  #wakeHost(host: string): void {
    const leftMs = (this.#hostsResting.get(host) ?? 0) - Date.now();
    if (leftMs <= 0) {
      this.#hostsResting.delete(host);
      this.#begin();
      return;
    }
    setTimeout(() => this.#wakeHost(host), leftMs);
  }

  /**
   * Serves the endpoints that may be served now. Each call looks at a bounded number of them; `run` continues later.
   */
  #begin(): void {
    const { outboxCount } = this.#outbox;
    let left = Math.min(outboxCount, limits.endpointsPerLook);
    while (left > 0) {
      if (this.#isFull) return;
      this.#turn ??= this.#outbox.outboxEndpoints();
      const next = this.#turn.next();
      if (next.done === true) {
        // Start again with the first endpoint: there is one, because the outbox is not empty.
        this.#turn = null;
        continue;
      }
      left -= 1;
      if (this.#mayBegin(next.value)) void this.#serve(next.value);
    }
    if (outboxCount > limits.endpointsPerLook) this.run();
  }

  #mayBegin(endpoint: EndpointId): boolean {
    if (this.#underway.has(endpoint) || this.#resting.has(endpoint)) return false;
    if (this.#hostsResting.size === 0) return true;
    const host = this.#outbox.hostOf(endpoint);
    return host === null || !this.#hostsResting.has(host);
  }

  get #isFull(): boolean {
    return this.#underway.size >= limits.couriersAtOnce;
  }

  /** Hands over one batch. Events left over are served after the other endpoints. */
  async #serve(endpoint: string): Promise<void> {
    this.#underway.add(endpoint);
    try {
      const restMs = await this.#handOver(endpoint);
      this.#failures.delete(endpoint);
      if (restMs > 0) this.#rest(endpoint, restMs);
    } catch (error) {
      console.error(
        JSON.stringify({
          message: 'a courier did not take its events',
          endpoint,
          error: String(error),
        }),
      );
      this.#restAfterFailure(endpoint);
    }
    this.#underway.delete(endpoint);
    this.#begin();
  }

  /** Returns for how long the courier asks to get no events, ms. */
  async #handOver(endpoint: string): Promise<number> {
    const signingKey = await this.#signingKey();
    const batch = this.#outbox.outboxOf(endpoint, limits.eventsPerHandover);
    if (batch.events.length === 0) return 0;
    const target = this.#outbox.targetOf(endpoint);
    const handover = { target, signingKey, events: batch.events, holdMs: this.#holdMs };
    const taken = this.#courierOf(endpoint).deliver(endpoint, handover);
    const { restMs } = await withTimeout(taken, limits.handoverTimeoutMs);
    this.#outbox.settle(batch);
    return restMs;
  }

  /**
   * The time for which a courier may delay its response, ms, to store its events together with the outcome of their
   * first attempts. 0 if another endpoint may be waiting for its turn.
   */
  get #holdMs(): number {
    const served = this.#underway.size + this.#resting.size;
    return this.#isFull || this.#outbox.outboxCount > served ? 0 : limits.handoverHoldMs;
  }

  #restAfterFailure(endpoint: string): void {
    const failures = this.#failures.get(endpoint) ?? 0;
    this.#failures.set(endpoint, failures + 1);
    const doubledMs = limits.handoverBackoffMinMs * 2 ** failures;
    this.#rest(endpoint, Math.min(doubledMs, limits.handoverBackoffMaxMs));
  }

  #rest(endpoint: string, pauseMs: number): void {
    this.#resting.add(endpoint);
    setTimeout(() => {
      this.#resting.delete(endpoint);
      this.#begin();
    }, pauseMs);
  }
}
