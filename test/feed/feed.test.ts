import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { changesOf, FeedWorld } from './harness.ts';

let world: FeedWorld;

beforeEach(() => {
  world = new FeedWorld();
});

/** Commits `count` changes on one key, and publishes them. */
function live(count: number, key = 'key'): void {
  const from = world.newest;
  for (let made = 0; made < count; made += 1) world.commit(key);
  world.publish(world.log.slice(from));
  world.serve();
}

describe('the feed', () => {
  it('sends one message to all followers with equal filters and positions', () => {
    world.join(0);
    world.join(0);
    world.join(0, { prefixes: ['k'], values: false, members: false });
    for (const _ of [1, 2]) world.commit('key');
    world.publish(world.log);
    const effects = world.core.serve();
    expect(effects.map(({ kind }) => kind)).toEqual(['send', 'send']);
    expect(effects).toMatchObject([{ to: [1, 2] }, { to: [3] }]);
  });

  it('requests one page for all followers who come back to the same position', () => {
    live(5);
    world.sleep();
    world.join(2);
    world.join(2);
    world.join(3);
    expect(world.pages.map(({ query }) => query.since)).toEqual([2, 3]);
    world.page();
    expect(world.clients.map(({ sequences }) => sequences)).toEqual([[3, 4, 5], [3, 4, 5], []]);
  });

  it('serves a follower who comes back soon from memory, without a page', () => {
    live(5);
    expect(world.join(2).sequences).toEqual([3, 4, 5]);
    expect(world.pages).toEqual([]);
  });

  it('keeps a bounded number of changes, and requests older ones as pages', () => {
    live(limits.feedKeptChanges + 5);
    expect(world.join(4).sequences).toEqual([]);
    expect(world.pages).toHaveLength(1);
    expect(world.join(5).sequences).toHaveLength(limits.feedKeptChanges);
    expect(world.pages).toHaveLength(1);
  });

  it('requests the changes in a gap of the publishing, and sends nothing twice', () => {
    const client = world.join(0);
    live(2);
    for (const _ of [3, 4, 5]) world.commit('key');
    world.publish(world.log.slice(4));
    world.serve();
    expect(client.sequences).toEqual([1, 2]);
    world.page();
    expect(client.sequences).toEqual([1, 2, 3, 4, 5]);
    world.publish(world.log);
    world.serve();
    expect(client.sequences).toEqual([1, 2, 3, 4, 5]);
  });

  it('sends the position to a follower whose filter excludes all changes', () => {
    const client = world.join(0, { prefixes: ['other'], values: false, members: false });
    live(3);
    expect(client.places).toEqual([]);
    world.heartbeat();
    expect(client).toMatchObject({ sequences: [], places: [3] });
  });

  it('sends changes of members to followers who request them, with any prefixes', () => {
    const asking = world.join(0, { prefixes: ['other'], values: false, members: true });
    const other = world.join(0);
    world.commit('key');
    world.changeMembers();
    world.publish(world.log);
    world.serve();
    expect(asking).toMatchObject({ sequences: [2], places: [2] });
    expect(other).toMatchObject({ sequences: [1], places: [2] });
  });

  it('sends changes of members from the log, too', () => {
    world.changeMembers();
    live(1);
    world.sleep();
    const asking = world.join(0, { prefixes: [], values: false, members: true });
    const other = world.join(0);
    world.settle();
    expect(asking.sequences).toEqual([1, 2]);
    expect(other.sequences).toEqual([2]);
  });

  it('requests a page again if it was missed', () => {
    live(3);
    world.sleep();
    const client = world.join(0);
    world.miss(0);
    expect(world.pages).toEqual([]);
    world.settle();
    expect(client.sequences).toEqual([1, 2, 3]);
  });

  it('refuses a position after the newest change', () => {
    live(3);
    expect(world.join(4).farewell).toEqual({ why: 'ahead', place: 3 });
  });

  it('closes a follower whose position is older than the log, with the oldest kept position', () => {
    live(3);
    world.sleep();
    const client = world.join(0);
    const [page] = world.pages;
    world.perform(world.core.paged(page?.ticket ?? 0, { kind: 'expired', oldest: 2 }));
    expect(client.farewell).toEqual({ why: 'expired', place: 2 });
    expect(world.core.size).toBe(0);
  });

  it('splits a message that would be too large', () => {
    const client = world.join(0);
    live(limits.changesPerPage * 2 + 1);
    expect(client.places).toEqual([
      limits.changesPerPage,
      limits.changesPerPage * 2,
      limits.changesPerPage * 2 + 1,
    ]);
  });
});

describe('a slow follower', () => {
  const window = limits.followerWindowChanges;

  it('gets as many changes as the window holds, and is closed at one more, with its position', () => {
    const client = world.join(0);
    live(window);
    expect(client.sequences).toHaveLength(window);
    expect(client.farewell).toBeNull();
    live(1);
    expect(client.farewell).toEqual({ why: 'slow', place: window });
    expect(client.sequences).toEqual(world.expectedOf(client, window));
  });

  it('stays open while it acknowledges', () => {
    const client = world.join(0);
    for (let round = 0; round < 30; round += 1) {
      live(limits.changesPerPage);
      world.acknowledge(client, Math.max(0, world.newest - limits.changesPerPage));
    }
    expect(client.farewell).toBeNull();
    expect(client.sequences).toEqual(world.expectedOf(client));
  });

  it('gets older changes only as it acknowledges, and is closed after two heartbeats without one', () => {
    for (let made = 0; made < window * 2; made += 1) world.commit('key');
    const client = world.join(0);
    while (world.pages.length > 0) world.page(0, limits.changesPerPage);
    expect(client.sequences).toHaveLength(window);
    world.acknowledge(client, window);
    while (world.pages.length > 0) world.page(0, limits.changesPerPage);
    expect(client.sequences).toHaveLength(window * 2);

    const other = world.join(0);
    while (world.pages.length > 0) world.page(0, limits.changesPerPage);
    world.heartbeat();
    expect(other.farewell).toBeNull();
    world.heartbeat();
    expect(other.farewell).toEqual({ why: 'slow', place: window });
    expect(client.farewell).toBeNull();
  });

  it('is closed even if few changes are large', () => {
    const client = world.join(0);
    const large = 'x'.repeat(limits.feedMessageBytes - 100);
    const fitting = Math.floor(limits.followerWindowBytes / limits.feedMessageBytes);
    for (let made = 0; made < fitting; made += 1) live(1, large);
    expect(client).toMatchObject({ places: { length: fitting }, farewell: null });
    live(1, large);
    expect(client.farewell).toEqual({ why: 'slow', place: fitting });
  });

  it('is closed if it acknowledges changes that it was not sent', () => {
    const client = world.join(0);
    live(2);
    world.acknowledge(client, 3);
    expect(client.farewell).toEqual({ why: 'unsent', place: 2 });
  });

  it('is the only one that is closed', () => {
    const slow = world.join(0);
    const quick = world.join(0);
    for (let round = 0; round < 12; round += 1) {
      live(limits.changesPerPage);
      world.acknowledge(quick, world.newest);
    }
    expect(slow.farewell).toMatchObject({ why: 'slow' });
    expect(quick.farewell).toBeNull();
    expect(quick.sequences).toEqual(changesOf(1, world.newest).map(({ sequence }) => sequence));
  });
});
