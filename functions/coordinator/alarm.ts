import { limits } from '../../shared/limits.ts';

/** Wakes the coordinator: by a timer while it lives, and by the platform's alarm should it have died. */
export class AlarmScheduler {
  readonly #setAlarm: (at: number) => void;
  readonly #wake: () => void;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #alarmAt: number | null = null;

  constructor(setAlarm: (at: number) => void, wake: () => void) {
    this.#setAlarm = setAlarm;
    this.#wake = wake;
  }

  /** Wakes it at a moment (ms), in place of the one named before; null for none. */
  at(moment: number | null): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (moment === null) return;
    const waitMs = Math.max(0, moment - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#wake();
    }, waitMs);
  }

  /**
   * Makes sure, before work goes out, that the object is woken again, should it die in the midst of it: soon, or no
   * sooner than `moment` (ms) if nothing is to be done before.
   */
  armAlarm(moment = 0): void {
    const at = Math.max(Date.now() + limits.alarmMs, moment);
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    this.#setAlarm(at);
  }

  /** The alarm has come, so there is none any more. */
  alarmCame(): void {
    this.#alarmAt = null;
  }
}
