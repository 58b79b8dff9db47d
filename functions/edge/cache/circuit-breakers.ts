import {
  BrokenCircuitError,
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhenResult,
} from 'cockatiel';
import type { RegionId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';

interface Circuit {
  readonly policy: CircuitBreakerPolicy;
  /** When the request that tries a region anew set out, ms; only while the circuit is half open. */
  probeSince: number;
}

/**
 * A circuit breaker for each region, for the life of an isolate: a region that just let one read wait would let each
 * read wait anew. The library keeps no timers: a circuit that is due is found half open by the next read.
 */
export class Circuits {
  readonly #now: () => number;
  readonly #circuits = new Map<RegionId, Circuit>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** What `call` comes to, or null where the region has failed lately and is not to be asked. An outcome of the kind `fault` fails. */
  async ask<Outcome extends { readonly kind: string }>(
    region: RegionId,
    call: () => Promise<Outcome>,
  ): Promise<Outcome | null> {
    const { policy } = this.#circuitOf(region);
    // The library would let this read wait for the one that tries the region. That belongs to another request, whose
    // client may go away, and a promise of it would never be kept.
    if (policy.state === CircuitState.HalfOpen) return null;
    try {
      return await policy.execute(call);
    } catch (error) {
      if (error instanceof BrokenCircuitError) return null;
      throw error;
    }
  }

  #circuitOf(region: RegionId): Circuit {
    const known = this.#circuits.get(region);
    if (known !== undefined && !this.#isAbandoned(known)) return known;
    const policy = circuitBreaker(handleWhenResult(isFault), {
      halfOpenAfter: limits.silentRegionAvoidedMs,
      breaker: new ConsecutiveBreaker(1),
    });
    const circuit: Circuit = { policy, probeSince: 0 };
    policy.onHalfOpen(() => {
      circuit.probeSince = this.#now();
    });
    this.#circuits.set(region, circuit);
    return circuit;
  }

  /** True where the request that tried the region anew ended without a word. */
  #isAbandoned({ policy, probeSince }: Circuit): boolean {
    const isTried = policy.state === CircuitState.HalfOpen;
    return isTried && this.#now() - probeSince > limits.silentRegionAvoidedMs;
  }
}

function isFault(outcome: unknown): boolean {
  return (
    typeof outcome === 'object' && outcome !== null && 'kind' in outcome && outcome.kind === 'fault'
  );
}
