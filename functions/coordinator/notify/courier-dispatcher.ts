import type {
  CourierApi,
  EndpointId,
  OutboxEvent,
  SigningKey,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../../shared/limits.ts';
import { withTimeout } from '../../platform/timeout.ts';

/** Events owed to one endpoint, and up to which position they reach. */
export interface OutboxBatch {
  readonly endpoint: EndpointId;
  readonly events: readonly OutboxEvent[];
  readonly through: number;
}

/** Where what is owed is kept. */
export interface HandoverStorage {
  readonly hasOutbox: boolean;
  /** Those that are owed events, in their turn. */
  outboxEndpoints(): Iterator<EndpointId>;
  /** How many they are. */
  readonly outboxCount: number;
  hostOf(endpoint: EndpointId): string | null;
  outboxOf(endpoint: EndpointId, count: number): OutboxBatch;
  settle(batch: OutboxBatch): void;
  targetOf(endpoint: EndpointId): { readonly url: string; readonly secret: string | null } | null;
}

type CourierOf = (endpoint: string) => Pick<CourierApi, 'deliver'>;

/**
 * Hands what endpoints are owed over to their couriers, a few couriers at a time and each in its turn. A host rests with
 * all its endpoints. A courier that
 * cannot be reached rests alone, so that it holds up no other. An event is deleted here only when its courier has it
 * durably, and a courier takes the same event twice as one, so a crash in between repeats at most a handover.
 */
export class CourierDispatcher {
  readonly #hooks: HandoverStorage;
  readonly #courierOf: CourierOf;
  readonly #signingKey: () => Promise<SigningKey>;
  readonly #underway = new Set<string>();
  readonly #resting = new Set<string>();
  /** Hosts of which nothing is handed over to any endpoint, and until when, ms. */
  readonly #hostsResting = new Map<string, number>();
  /** Goes around all that are owed events. */
  #turn: Iterator<EndpointId> | null = null;
  /** Set while events wait for others to go with. */
  #lingers = false;
  /** How often in a row a courier was not reached. */
  readonly #failures = new Map<string, number>();

  constructor(hooks: HandoverStorage, courierOf: CourierOf, signingKey: () => Promise<SigningKey>) {
    this.#hooks = hooks;
    this.#courierOf = courierOf;
    this.#signingKey = signingKey;
  }

  /** Events may be owed. They are handed over soon, and by itself until nothing is owed. Never throws. */
  run(): void {
    if (!this.#hooks.hasOutbox || this.#lingers) return;
    this.#lingers = true;
    setTimeout(() => {
      this.#lingers = false;
      this.#begin();
    }, limits.handoverLingerMs);
  }

  /**
   * Nothing more is handed over to any endpoint of a host for a while, at most limits.hostRestMsMost. Answers for how long
   * it rests in all, ms.
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

  /** Goes on once the rest of a host is over, which may have grown meanwhile. */
  #wakeHost(host: string): void {
    const leftMs = (this.#hostsResting.get(host) ?? 0) - Date.now();
    if (leftMs <= 0) {
      this.#hostsResting.delete(host);
      this.#begin();
      return;
    }
    setTimeout(() => this.#wakeHost(host), leftMs);
  }

  /** Begins what may begin now. Of very many that are owed events it looks at some, and at the others after a while. */
  #begin(): void {
    const { outboxCount } = this.#hooks;
    let left = Math.min(outboxCount, limits.endpointsPerLook);
    while (left > 0) {
      if (this.#isFull) return;
      this.#turn ??= this.#hooks.outboxEndpoints();
      const next = this.#turn.next();
      if (next.done === true) {
        // From the first again: there is one, since events are owed.
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
    const host = this.#hooks.hostOf(endpoint);
    return host === null || !this.#hostsResting.has(host);
  }

  get #isFull(): boolean {
    return this.#underway.size >= limits.couriersAtOnce;
  }

  /** One batch; what is left has its next turn after the others. */
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

  /** Answers for how long its courier wants to be left alone, ms. */
  async #handOver(endpoint: string): Promise<number> {
    const signingKey = await this.#signingKey();
    const batch = this.#hooks.outboxOf(endpoint, limits.eventsPerHandover);
    if (batch.events.length === 0) return 0;
    const target = this.#hooks.targetOf(endpoint);
    const handover = { target, signingKey, events: batch.events };
    const taken = this.#courierOf(endpoint).deliver(endpoint, handover);
    const { restMs } = await withTimeout(taken, limits.handoverTimeoutMs);
    this.#hooks.settle(batch);
    return restMs;
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
