import { limits } from '../../shared/limits.ts';
import type { Change, FeedApi } from '../../shared/wire/confirmations.ts';

/**
 * Passes new changes on to the feed's fan-out object, in order and one call at a time. A change that is lost on the
 * way is no loss: the feed sees the gap and reads the log.
 */
export class Publisher {
  readonly #feed: () => FeedApi;
  #waiting: Change[] = [];
  #running = false;
  /** Nobody is known not to follow: after a restart there may be followers that this instance has not heard of. */
  #followed = true;
  /** How often somebody came to follow: an answer to a call that began before does not count them. */
  #arrivals = 0;

  constructor(feed: () => FeedApi) {
    this.#feed = feed;
  }

  follow(): void {
    this.#followed = true;
    this.#arrivals += 1;
  }

  /** New changes are stored. Never throws. */
  async publish(changes: readonly Change[]): Promise<void> {
    if (!this.#followed) return;
    this.#waiting.push(...changes);
    // The feed reads from the log what is dropped here.
    if (this.#waiting.length > limits.changesPerPage) this.#waiting = [];
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#waiting.length > 0) {
        const batch = this.#waiting;
        this.#waiting = [];
        const arrivals = this.#arrivals;
        const followers = await this.#feed().publish(batch);
        if (followers > 0 || this.#arrivals !== arrivals) continue;
        this.#followed = false;
        this.#waiting = [];
      }
    } catch (error) {
      console.error(JSON.stringify({ message: 'the feed took no changes', error: String(error) }));
      this.#waiting = [];
    } finally {
      this.#running = false;
    }
  }
}
