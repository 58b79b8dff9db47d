import { describe, expect, vi } from 'vitest';
import { Publisher } from '../../functions/coordinator/notify/feed-publisher.ts';
import type { Change } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import { it } from './fake-clock.ts';

function changeOf(sequence: number, size = 1): Change {
  const key = 'k'.repeat(size);
  return { sequence, id: `0-${sequence}`, transaction: `0.1.${sequence}`, at: 1, keys: [key] };
}

/** A feed whose answers come when the test says so. */
class Feed {
  readonly published: (readonly number[])[] = [];
  readonly answers: ((followers: number) => void)[] = [];
  readonly publisher = new Publisher(() => ({
    publish: (changes) => {
      this.published.push(changes.map(({ sequence }) => sequence));
      return new Promise((answer) => this.answers.push(answer));
    },
  }));

  async answer(followers: number): Promise<void> {
    this.answers.shift()?.(followers);
    await vi.advanceTimersByTimeAsync(0);
  }
}

describe('publishing', () => {
  it('ends when nobody follows, and begins again with a follower', async () => {
    const feed = new Feed();
    void feed.publisher.publish([changeOf(1)]);
    await feed.answer(0);
    void feed.publisher.publish([changeOf(2)]);
    feed.publisher.follow();
    void feed.publisher.publish([changeOf(3)]);
    expect(feed.published).toEqual([[1], [3]]);
  });

  it('goes on for a follower that arrives before the answer that nobody follows', async () => {
    const feed = new Feed();
    void feed.publisher.publish([changeOf(1)]);
    feed.publisher.follow();
    void feed.publisher.publish([changeOf(2)]);
    await feed.answer(0);
    expect(feed.published).toEqual([[1], [2]]);
    await feed.answer(1);
    void feed.publisher.publish([changeOf(3)]);
    expect(feed.published.at(-1)).toEqual([3]);
  });

  it('survives a feed that never answers', async () => {
    const feed = new Feed();
    void feed.publisher.publish([changeOf(1)]);
    await vi.advanceTimersByTimeAsync(limits.publishTimeoutMs);
    void feed.publisher.publish([changeOf(2)]);
    expect(feed.published).toEqual([[1], [2]]);
  });

  it('sends the newest change again until a feed that was unreachable has it', async () => {
    const feed = new Feed();
    void feed.publisher.publish([changeOf(1)]);
    void feed.publisher.publish([changeOf(2)]);
    expect(feed.publisher.hasUnpublished).toBe(true);
    await vi.advanceTimersByTimeAsync(limits.publishTimeoutMs + limits.publishBackoffMinMs);
    expect(feed.published).toEqual([[1], [2]]);
    await vi.advanceTimersByTimeAsync(limits.publishTimeoutMs + 2 * limits.publishBackoffMinMs);
    expect(feed.published).toEqual([[1], [2], [2]]);
    await feed.answer(1);
    await feed.answer(1);
    await feed.answer(1);
    expect(feed.publisher.hasUnpublished).toBe(false);
    await vi.advanceTimersByTimeAsync(limits.publishBackoffMaxMs);
    expect(feed.published).toHaveLength(3);
  });

  it('buffers a bounded amount for a slow feed, and always the newest change', async () => {
    const feed = new Feed();
    void feed.publisher.publish([changeOf(1)]);
    const large = limits.feedKeptBytes / 4;
    for (const sequence of [2, 3, 4, 5, 6, 7]) {
      void feed.publisher.publish([changeOf(sequence, large)]);
    }
    await feed.answer(1);
    expect(feed.published[1]).toEqual([6, 7]);
    const many = Array.from({ length: limits.changesPerPage + 1 }, (_, index) =>
      changeOf(index + 8),
    );
    void feed.publisher.publish(many);
    await feed.answer(1);
    expect(feed.published[2]).toEqual([many.length + 7]);
  });
});
