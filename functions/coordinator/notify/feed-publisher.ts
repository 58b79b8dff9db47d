/** Publishes changes to the change feed. */
import type { Change, FeedApi } from '../../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../../shared/limits.ts';
import { sizeOf } from '../../../shared/protocol/feed/feed-window.ts';
import { withTimeout } from '../../platform/timeout.ts';

/**
 * Publishes new changes to the object of the change feed, in order and one call at a time. A change may get lost on
 * the way: the newest is sent again until the feed has it, and the feed detects the gap and reads the log. So the
 * feed never polls, and the followers of an idle deployment cost its coordinator nothing.
 */
export class Publisher {
  readonly #feed: () => FeedApi;
  #waiting: Change[] = [];
  /** The approximate size of the waiting changes, in characters. */
  #waitingSize = 0;
  #running = false;
  /** False once the feed has reported no followers. After a restart it is true, as some may still be there. */
  #followed = true;
  /** The newest change, if the feed did not take it. */
  #unheard: Change | null = null;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** The number of calls of {@link follow}: a report of no followers does not count if one has joined since. */
  #arrivals = 0;

  constructor(feed: () => FeedApi) {
    this.#feed = feed;
  }

  /** True while the newest change has to be sent to the feed again. */
  get hasUnpublished(): boolean {
    return this.#unheard !== null;
  }

  follow(): void {
    this.#followed = true;
    this.#arrivals += 1;
  }

  /** Publishes stored changes. Never throws. */
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

  /** Sends the newest change again, after a pause that doubles with each failure in a row. */
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

  /** Adds changes. Too many are replaced by the newest: the feed detects the gap, and reads the others from the log. */
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
