import { limits } from '../../limits.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';

/** What Rest has to know of the coordinator at the end of a step. */
export interface Calm {
  /** Nothing is open at any voter: nothing undecided, unacknowledged, unsaid or on its way, and no older lock. */
  readonly isCalm: boolean;
  /** A prepare leaves with this step, or the members change. */
  readonly stirs: boolean;
}

/**
 * Whether storage says that nothing is open anywhere (rule R44). If it does, no voter holds a lock, so the next instance
 * need not ask for older ones before it has something else to say. The word is stored once all has been calm for
 * a while, and taken back in the step of the next prepare, before that leaves.
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

  /** The end of a step: stores what has changed. */
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
