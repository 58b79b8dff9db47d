import type { LeaseRequest } from '../../contracts/round.ts';
import { limits } from '../../limits.ts';

/** A reading of the region's clock, and when its answer came, both ms. */
interface Reading {
  readonly clock: number;
  readonly receivedAt: number;
}

/**
 * The lease of one region, by its coordinator's clock. The region's clock and the coordinator's need not agree: a lease
 * ends `leaseTtlMs` after a reading of the region's own clock, and that reading was taken before its answer came, so it
 * is over here once `leaseTtlMs` and the drift have passed since then (rule R30).
 */
export class Lease {
  #readersSince = Number.NEGATIVE_INFINITY;
  #readersUntil = Number.NEGATIVE_INFINITY;
  #reading: Reading | null = null;
  /** The last reading that came has not been used for a renewal yet. */
  #isFresh = false;
  /** A round that asks for the clock is on its way. */
  #isOpen = false;
  #requestedAt = Number.NEGATIVE_INFINITY;
  #grantedUntil: number;

  /** `grantedUntil`: until when a lease of a former instance may last, ms; infinity before that is known. */
  constructor(grantedUntil: number) {
    this.#grantedUntil = grantedUntil;
  }

  /** From then on the region serves no strong reads, ms. Infinity if that is not known yet. */
  get endsAt(): number {
    return this.#grantedUntil + limits.leaseDriftMs;
  }

  /** The first storage write of this instance is durable: no other one grants anything any more (rule R30). */
  begin(now: number): void {
    if (this.#grantedUntil === Number.POSITIVE_INFINITY) {
      this.#grantedUntil = now + limits.leaseTtlMs;
    }
  }

  /** Clients read there, and will for `forMs`, as far as that is within the bound. */
  noteReaders(now: number, forMs: number): void {
    if (!this.hasReaders(now)) this.#readersSince = now;
    const until = now + Math.min(forMs, limits.leaseReadersMaxMs);
    this.#readersUntil = Math.max(this.#readersUntil, until);
  }

  /** True if clients read there at present. */
  hasReaders(now: number): boolean {
    return now < this.#readersUntil;
  }

  /** When a round became due for the lease alone, or becomes so, ms; infinity if no client reads there. */
  dueAt(now: number): number {
    if (!this.hasReaders(now)) return Number.POSITIVE_INFINITY;
    const shortFrom = this.#grantedUntil - limits.leaseTtlMs / 4;
    const isUsable = this.#isFresh && !this.#isOpen && this.#reading !== null;
    if (isUsable && now > shortFrom) return Math.max(shortFrom, this.#reading?.receivedAt ?? now);
    return Math.max(this.#readersSince, this.#requestedAt + limits.leaseRenewMs);
  }

  /**
   * The lease that a round leaving now asks for. The step that sends it must store something: that proves that this
   * instance still owns its storage, after the reading came and before the renewal leaves (rule R17).
   */
  requestFor(now: number): LeaseRequest | null {
    const rides = this.hasReaders(now) && now >= this.#requestedAt + limits.leaseRideMs;
    if (!rides && now < this.dueAt(now)) return null;
    const ttlMs = limits.leaseTtlMs;
    this.#requestedAt = now;
    this.#isOpen = true;
    this.#isFresh = false;
    const reading = this.#reading;
    // A renewal on an old reading is worth little; a new one comes with the answer.
    if (reading === null || now - reading.receivedAt > ttlMs / 2) return { reading: null, ttlMs };
    this.#grantedUntil = Math.max(this.#grantedUntil, reading.receivedAt + ttlMs);
    return { reading: reading.clock, ttlMs };
  }

  /** A round that asked for the clock has ended; null: without an answer. */
  roundEnded(clock: number | null, now: number): void {
    this.#isOpen = false;
    if (clock === null) return;
    this.#reading = { clock, receivedAt: now };
    this.#isFresh = true;
  }

  /** It is not renewed any more; the present lease runs out. */
  cease(): void {
    this.#reading = null;
    this.#isFresh = false;
    this.#isOpen = false;
    this.#requestedAt = Number.NEGATIVE_INFINITY;
  }

  /** It has none, and gets none before a round asks for one again: the region has dropped it. */
  drop(): void {
    this.cease();
    this.#grantedUntil = Number.NEGATIVE_INFINITY;
  }
}
