import { limits } from '../../limits.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';

/** The coordinator's state at the end of a step, as far as rest depends on it. */
export interface Calm {
  /** Nothing is open at any voter: nothing undecided, unacknowledged, unsent or on its way, and no older lock. */
  readonly isCalm: boolean;
  /** A prepare leaves with this step, or the members change. */
  readonly stirs: boolean;
}

/**
 * Keeps the note in storage that nothing is open anywhere (rule R44). With it no voter holds a lock, so the next
 * instance need not ask for older ones before it has something else to send. The note is stored once all has been calm
 * for a while, and removed in the step of the next prepare, before that leaves.
 */
export class Rest {
  readonly #ready: ReadyBuilder;
  #isStored: boolean;
  #calmSince: number | null = null;

  constructor(isStored: boolean, ready: ReadyBuilder) {
    this.#isStored = isStored;
    this.#ready = ready;
  }

  /** True if storage says that nothing is open anywhere. */
  get isStored(): boolean {
    return this.#isStored;
  }

  /** The end of a step: stores the note if it changes. */
  note({ isCalm, stirs }: Calm): void {
    if (stirs || !isCalm) this.#calmSince = null;
    if (stirs) this.#store(false);
    if (stirs || !isCalm || this.#isStored) return;
    const { now } = this.#ready;
    this.#calmSince ??= now;
    const restsAt = this.#calmSince + limits.restAfterMs;
    if (restsAt <= now) this.#store(true);
    else this.#ready.schedule(restsAt);
  }

  #store(isResting: boolean): void {
    if (this.#isStored === isResting) return;
    this.#isStored = isResting;
    this.#ready.persist({ kind: 'rest', isResting });
  }
}
