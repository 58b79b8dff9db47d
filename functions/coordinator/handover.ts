import { limits } from '../../shared/limits.ts';
import type { CourierApi, SigningKey } from '../../shared/wire/confirmations.ts';
import type { HookStorage } from './hook-storage.ts';

/** How many couriers are handed events at once. */
const couriersAtOnce = 4;

/** Pause after a courier could not be reached, ms. */
const pauseMs = 1_000;

/**
 * Hands what endpoints are owed over to their couriers. An event is deleted here only when its courier has it durably,
 * and a courier takes the same event twice as one, so a crash in between repeats at most a handover.
 */
export class Handover {
  readonly #hooks: HookStorage;
  readonly #courierOf: (endpoint: string) => Pick<CourierApi, 'deliver'>;
  readonly #signingKey: () => Promise<SigningKey>;
  #running = false;
  #stirred = false;

  constructor(
    hooks: HookStorage,
    courierOf: (endpoint: string) => Pick<CourierApi, 'deliver'>,
    signingKey: () => Promise<SigningKey>,
  ) {
    this.#hooks = hooks;
    this.#courierOf = courierOf;
    this.#signingKey = signingKey;
  }

  /** Events may be owed. Never throws; one loop runs at a time. */
  async run(): Promise<void> {
    this.#stirred = true;
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#stirred && this.#hooks.owes) {
        this.#stirred = false;
        const allReached = await this.#handOverAll();
        if (!allReached) await new Promise((resolve) => setTimeout(resolve, pauseMs));
        this.#stirred ||= this.#hooks.owes;
      }
    } finally {
      this.#running = false;
    }
  }

  /** One batch to each endpoint; false where a courier could not be reached. */
  async #handOverAll(): Promise<boolean> {
    const signingKey = await this.#signingKey();
    const endpoints = [...this.#hooks.owedEndpoints()];
    const results: boolean[] = [];
    const worker = async () => {
      for (let next = endpoints.shift(); next !== undefined; next = endpoints.shift()) {
        results.push(await this.#handOver(next, signingKey));
      }
    };
    await Promise.all(Array.from({ length: couriersAtOnce }, worker));
    return results.every((reached) => reached);
  }

  async #handOver(endpoint: string, signingKey: SigningKey): Promise<boolean> {
    const batch = this.#hooks.owedTo(endpoint, limits.eventsPerHandover);
    if (batch.events.length === 0) return true;
    const target = this.#hooks.targetOf(endpoint);
    try {
      await this.#courierOf(endpoint).deliver(endpoint, {
        target,
        signingKey,
        events: batch.events,
      });
    } catch (error) {
      console.error(
        JSON.stringify({ message: 'a courier did not take over', endpoint, error: String(error) }),
      );
      return false;
    }
    this.#hooks.settle(batch);
    return true;
  }
}
