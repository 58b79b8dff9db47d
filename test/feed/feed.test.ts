/** Tests the rules of the feed, which are pure. test/edge/changes.test.ts tests its HTTP forms. */
import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { changesOf, FeedHarness } from './harness.ts';

let harness: FeedHarness;

beforeEach(() => {
  harness = new FeedHarness();
});

/** Commits `count` changes on one key, and publishes them. */
function live(count: number, key = 'key'): void {
  const from = harness.newest;
  for (let made = 0; made < count; made += 1) harness.commit(key);
  harness.publish(harness.log.slice(from));
  harness.serve();
}

describe('the feed', () => {
  it('sends one message to all followers with equal filters and positions', () => {
    harness.join(0);
    harness.join(0);
    harness.join(0, { prefixes: ['k'], values: false, members: false });
    for (const _ of [1, 2]) harness.commit('key');
    harness.publish(harness.log);
    const effects = harness.core.serve();
    expect(effects.map(({ kind }) => kind)).toEqual(['send', 'send']);
    expect(effects).toMatchObject([{ to: [1, 2] }, { to: [3] }]);
  });

  it('requests one page for all followers who come back to the same position', () => {
    live(5);
    harness.sleep();
    harness.join(2);
    harness.join(2);
    harness.join(3);
    expect(harness.pages.map(({ query }) => query.since)).toEqual([2, 3]);
    harness.page();
    expect(harness.clients.map(({ sequences }) => sequences)).toEqual([[3, 4, 5], [3, 4, 5], []]);
  });

  it('serves a follower who comes back soon from memory, without a page', () => {
    live(5);
    expect(harness.join(2).sequences).toEqual([3, 4, 5]);
    expect(harness.pages).toEqual([]);
  });

  it('keeps a bounded number of changes, and requests older ones as pages', () => {
    live(limits.feedKeptChanges + 5);
    expect(harness.join(4).sequences).toEqual([]);
    expect(harness.pages).toHaveLength(1);
    expect(harness.join(5).sequences).toHaveLength(limits.feedKeptChanges);
    expect(harness.pages).toHaveLength(1);
  });

  it('requests the changes in a gap of the publishing, and sends nothing twice', () => {
    const client = harness.join(0);
    live(2);
    for (const _ of [3, 4, 5]) harness.commit('key');
    harness.publish(harness.log.slice(4));
    harness.serve();
    expect(client.sequences).toEqual([1, 2]);
    harness.page();
    expect(client.sequences).toEqual([1, 2, 3, 4, 5]);
    harness.publish(harness.log);
    harness.serve();
    expect(client.sequences).toEqual([1, 2, 3, 4, 5]);
  });

  it('sends the position to a follower whose filter excludes all changes', () => {
    const client = harness.join(0, { prefixes: ['other'], values: false, members: false });
    live(3);
    expect(client.positions).toEqual([]);
    harness.heartbeat();
    expect(client).toMatchObject({ sequences: [], positions: [3] });
  });

  it('sends changes of members to followers who request them, with any prefixes', () => {
    const asking = harness.join(0, { prefixes: ['other'], values: false, members: true });
    const other = harness.join(0);
    harness.commit('key');
    harness.changeMembers();
    harness.publish(harness.log);
    harness.serve();
    expect(asking).toMatchObject({ sequences: [2], positions: [2] });
    expect(other).toMatchObject({ sequences: [1], positions: [2] });
  });

  it('sends changes of members from the log, too', () => {
    harness.changeMembers();
    live(1);
    harness.sleep();
    const asking = harness.join(0, { prefixes: [], values: false, members: true });
    const other = harness.join(0);
    harness.settle();
    expect(asking.sequences).toEqual([1, 2]);
    expect(other.sequences).toEqual([2]);
  });

  it('requests a page again if it was missed', () => {
    live(3);
    harness.sleep();
    const client = harness.join(0);
    harness.miss(0);
    expect(harness.pages).toEqual([]);
    harness.settle();
    expect(client.sequences).toEqual([1, 2, 3]);
  });

  it('refuses a position after the newest change', () => {
    live(3);
    expect(harness.join(4).end).toEqual({ why: 'ahead', position: 3 });
  });

  it('closes a follower whose position is older than the log, with the oldest kept position', () => {
    live(3);
    harness.sleep();
    const client = harness.join(0);
    const [page] = harness.pages;
    harness.perform(harness.core.paged(page?.ticket ?? 0, { kind: 'expired', oldest: 2 }));
    expect(client.end).toEqual({ why: 'expired', position: 2 });
    expect(harness.core.size).toBe(0);
  });

  it('splits a message that would be too large', () => {
    const client = harness.join(0);
    live(limits.changesPerPage * 2 + 1);
    expect(client.positions).toEqual([
      limits.changesPerPage,
      limits.changesPerPage * 2,
      limits.changesPerPage * 2 + 1,
    ]);
  });
});

describe('a slow follower', () => {
  const window = limits.followerWindowChanges;

  it('gets as many changes as the window holds, and is closed at one more, with its position', () => {
    const client = harness.join(0);
    live(window);
    expect(client.sequences).toHaveLength(window);
    expect(client.end).toBeNull();
    live(1);
    expect(client.end).toEqual({ why: 'slow', position: window });
    expect(client.sequences).toEqual(harness.expectedOf(client, window));
  });

  it('stays open while it acknowledges', () => {
    const client = harness.join(0);
    for (let round = 0; round < 30; round += 1) {
      live(limits.changesPerPage);
      harness.acknowledge(client, Math.max(0, harness.newest - limits.changesPerPage));
    }
    expect(client.end).toBeNull();
    expect(client.sequences).toEqual(harness.expectedOf(client));
  });

  it('gets older changes only as it acknowledges, and is closed after two heartbeats without one', () => {
    for (let made = 0; made < window * 2; made += 1) harness.commit('key');
    const client = harness.join(0);
    while (harness.pages.length > 0) harness.page(0, limits.changesPerPage);
    expect(client.sequences).toHaveLength(window);
    harness.acknowledge(client, window);
    while (harness.pages.length > 0) harness.page(0, limits.changesPerPage);
    expect(client.sequences).toHaveLength(window * 2);

    const other = harness.join(0);
    while (harness.pages.length > 0) harness.page(0, limits.changesPerPage);
    harness.heartbeat();
    expect(other.end).toBeNull();
    harness.heartbeat();
    expect(other.end).toEqual({ why: 'slow', position: window });
    expect(client.end).toBeNull();
  });

  it('is closed even if few changes are large', () => {
    const client = harness.join(0);
    const large = 'x'.repeat(limits.feedMessageBytes - 100);
    const fitting = Math.floor(limits.followerWindowBytes / limits.feedMessageBytes);
    for (let made = 0; made < fitting; made += 1) live(1, large);
    expect(client).toMatchObject({ positions: { length: fitting }, end: null });
    live(1, large);
    expect(client.end).toEqual({ why: 'slow', position: fitting });
  });

  it('is closed if it acknowledges changes that it was not sent', () => {
    const client = harness.join(0);
    live(2);
    harness.acknowledge(client, 3);
    expect(client.end).toEqual({ why: 'unsent', position: 2 });
  });

  it('is the only one that is closed', () => {
    const slow = harness.join(0);
    const quick = harness.join(0);
    for (let round = 0; round < 12; round += 1) {
      live(limits.changesPerPage);
      harness.acknowledge(quick, harness.newest);
    }
    expect(slow.end).toMatchObject({ why: 'slow' });
    expect(quick.end).toBeNull();
    expect(quick.sequences).toEqual(changesOf(1, harness.newest).map(({ sequence }) => sequence));
  });
});
