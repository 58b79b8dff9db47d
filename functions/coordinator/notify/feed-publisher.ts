import type { Change, FeedApi } from '../../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../../shared/limits.ts';
import { sizeOf } from '../../../shared/protocol/feed/feed-window.ts';
import { withTimeout } from '../../platform/timeout.ts';

/**
 * Passes new changes on to the feed's fan-out object, in order and one call at a time. A change that is lost on the
 * way is no loss: the newest is sent again until the feed has it, and the feed sees the gap and reads the log. So the
 * feed need not ask, and followers of an idle deployment cost its coordinator nothing.
 */
export class Publisher {
  readonly #feed: () => FeedApi;
  #waiting: Change[] = [];
  /** About the characters that they take. */
  #waitingSize = 0;
  #running = false;
  /** Nobody is known not to follow: after a restart there may be followers that this instance has not heard of. */
  #followed = true;
  /** The newest change, if the feed did not take it. */
  #unheard: Change | null = null;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** How often followers were said to come: an answer that nobody follows may have been overtaken by one who does. */
  #arrivals = 0;

  constructor(feed: () => FeedApi) {
    this.#feed = feed;
  }

  /** True while the feed has to hear of a change that it did not take. */
  get hasUnpublished(): boolean {
    return this.#unheard !== null;
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
        this.#unheard = batch.at(-1) ?? null;
        const followers = await withTimeout(this.#feed().publish(batch), limits.publishTimeoutMs);
        this.#unheard = null;
        this.#failures = 0;
        if (followers > 0 || this.#arrivals > arrivals) continue;
        this.#followed = false;
        this.#take();
      }
    } catch (error) {
      console.error(
        JSON.stringify({ message: 'the feed did not take the changes', error: String(error) }),
      );
      const left = this.#take();
      this.#unheard = left.at(-1) ?? this.#unheard;
      this.#repeatLater();
    } finally {
      this.#running = false;
    }
  }

  /** The feed hears of the newest change again, after a pause that doubles with each failure in a row. */
  #repeatLater(): void {
    const doubled = limits.publishBackoffMinMs * 2 ** Math.min(this.#failures, 16);
    this.#failures += 1;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        if (this.#unheard !== null && !this.#running) void this.publish([this.#unheard]);
      },
      Math.min(doubled, limits.publishBackoffMaxMs),
    );
  }

  /** Of too many only the newest goes out: the feed sees that some are missing, and reads them from the log. */
  #add(changes: readonly Change[]): void {
    for (const change of changes) {
      this.#waiting.push(change);
      this.#waitingSize += sizeOf(change);
      const isWithin =
        this.#waiting.length <= limits.changesPerPage && this.#waitingSize <= limits.feedKeptBytes;
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
