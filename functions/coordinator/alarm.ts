/** Schedules when the coordinator wakes. */
import { limits } from '../../shared/limits.ts';

/** Wakes the coordinator: by a timer while it lives, and by the platform's alarm if it has died. */
export class AlarmScheduler {
  readonly #setAlarm: (at: number) => void;
  readonly #wake: () => void;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #alarmAt: number | null = null;

  constructor(setAlarm: (at: number) => void, wake: () => void) {
    this.#setAlarm = setAlarm;
    this.#wake = wake;
  }

  /** Schedules the next wake-up at a moment, ms since the epoch, in place of the last one; null cancels it. */
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
   * Sets the alarm before work begins, so that the platform wakes the object again if it dies during the work: after
   * `limits.alarmMs`, or at `moment` (ms since the epoch) if that is later and there is nothing to do before.
   */
  armAlarm(moment = 0): void {
    const at = Math.max(Date.now() + limits.alarmMs, moment);
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    this.#setAlarm(at);
  }

  /** Notes that the alarm has fired, so none is set now. */
  alarmCame(): void {
    this.#alarmAt = null;
  }
}
