import { limits } from '../../shared/limits.ts';
import { sizeOf } from '../../shared/protocol/feed-window.ts';
import type { Change, FeedApi } from '../../shared/wire/confirmations.ts';
import { within } from './within.ts';

/**
 * Passes new changes on to the feed's fan-out object, in order and one call at a time. A change that is lost on the
 * way is no loss: the feed sees the gap and reads the log.
 */
export class Publisher {
  readonly #feed: () => FeedApi;
  #waiting: Change[] = [];
  /** About the characters that they take. */
  #waitingSize = 0;
  #running = false;
  /** Nobody is known not to follow: after a restart there may be followers that this instance has not heard of. */
  #followed = true;
  /** How often followers were said to come: an answer that nobody follows may have been overtaken by one who does. */
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
    this.#add(changes);
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#waiting.length > 0) {
        const batch = this.#take();
        const arrivals = this.#arrivals;
        const followers = await within(this.#feed().publish(batch), limits.publishTimeoutMs);
        if (followers > 0 || this.#arrivals > arrivals) continue;
        this.#followed = false;
        this.#take();
      }
    } catch (error) {
      console.error(JSON.stringify({ message: 'the feed took no changes', error: String(error) }));
      this.#take();
    } finally {
      this.#running = false;
    }
  }

  /** Of too many only the newest goes out: the feed sees that some are missing, and reads them from the log. */
  #add(changes: readonly Change[]): void {
    for (const change of changes) {
      this.#waiting.push(change);
      this.#waitingSize += sizeOf(change);
      const isWithin =
        this.#waiting.length <= limits.changesPerPage && this.#waitingSize <= limits.feedHeldBytes;
      if (isWithin) continue;
      this.#waiting = [change];
      this.#waitingSize = sizeOf(change);
    }
  }

  #take(): readonly Change[] {
    const taken = this.#waiting;
    this.#waiting = [];
    this.#waitingSize = 0;
    return taken;
  }
}
