import { limits } from '../../shared/limits.ts';
import type {
  CourierApi,
  EndpointId,
  OwedEvent,
  SigningKey,
} from '../../shared/wire/confirmations.ts';
import { within } from './within.ts';

/** Events owed to one endpoint, and up to which position they reach. */
export interface OwedBatch {
  readonly endpoint: EndpointId;
  readonly events: readonly OwedEvent[];
  readonly through: number;
}

/** Where what is owed is kept. */
export interface HandoverStorage {
  readonly owes: boolean;
  /** Those that are owed events, in their turn. */
  owedEndpoints(): readonly EndpointId[];
  owedTo(endpoint: EndpointId, count: number): OwedBatch;
  settle(batch: OwedBatch): void;
  targetOf(endpoint: EndpointId): { readonly url: string; readonly secret: string | null } | null;
}

type CourierOf = (endpoint: string) => Pick<CourierApi, 'deliver'>;

/**
 * Hands what endpoints are owed over to their couriers, a few couriers at a time and each in its turn. A courier that
 * cannot be reached rests alone, so that it holds up no other. An event is deleted here only when its courier has it
 * durably, and a courier takes the same event twice as one, so a crash in between repeats at most a handover.
 */
export class Handover {
  readonly #hooks: HandoverStorage;
  readonly #courierOf: CourierOf;
  readonly #signingKey: () => Promise<SigningKey>;
  readonly #underway = new Set<string>();
  readonly #resting = new Set<string>();
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
    if (!this.#hooks.owes || this.#lingers) return;
    this.#lingers = true;
    setTimeout(() => {
      this.#lingers = false;
      this.#begin();
    }, limits.handoverLingerMs);
  }

  /** Begins what may begin now. */
  #begin(): void {
    if (!this.#hooks.owes || this.#isFull) return;
    for (const endpoint of this.#hooks.owedEndpoints()) {
      if (this.#isFull) return;
      if (!this.#underway.has(endpoint) && !this.#resting.has(endpoint)) void this.#serve(endpoint);
    }
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
        JSON.stringify({ message: 'a courier did not take over', endpoint, error: String(error) }),
      );
      this.#restAfterFailure(endpoint);
    }
    this.#underway.delete(endpoint);
    this.#begin();
  }

  /** Answers for how long its courier wants to be left alone, ms. */
  async #handOver(endpoint: string): Promise<number> {
    const signingKey = await this.#signingKey();
    const batch = this.#hooks.owedTo(endpoint, limits.eventsPerHandover);
    if (batch.events.length === 0) return 0;
    const target = this.#hooks.targetOf(endpoint);
    const handover = { target, signingKey, events: batch.events };
    const taken = this.#courierOf(endpoint).deliver(endpoint, handover);
    const { restMs } = await within(taken, limits.handoverTimeoutMs);
    this.#hooks.settle(batch);
    return restMs;
  }

  #restAfterFailure(endpoint: string): void {
    const failures = this.#failures.get(endpoint) ?? 0;
    this.#failures.set(endpoint, failures + 1);
    const doubledMs = limits.handoverPauseMsFirst * 2 ** failures;
    this.#rest(endpoint, Math.min(doubledMs, limits.handoverPauseMsLast));
  }

  #rest(endpoint: string, pauseMs: number): void {
    this.#resting.add(endpoint);
    setTimeout(() => {
      this.#resting.delete(endpoint);
      this.#begin();
    }, pauseMs);
  }
}
