import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import { changesOf, FeedWorld } from './world.ts';

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
  it('sends followers with equal filters at one place one message, made once', () => {
    world.join(0);
    world.join(0);
    world.join(0, { prefixes: ['k'], values: false, members: false });
    for (const _ of [1, 2]) world.commit('key');
    world.publish(world.log);
    const effects = world.core.serve();
    expect(effects.map(({ kind }) => kind)).toEqual(['send', 'send']);
    expect(effects).toMatchObject([{ to: [1, 2] }, { to: [3] }]);
  });

  it('asks for one page for all who come back to one place', () => {
    live(5);
    world.sleep();
    world.join(2);
    world.join(2);
    world.join(3);
    expect(world.pages.map(({ query }) => query.since)).toEqual([2, 3]);
    world.page();
    expect(world.clients.map(({ sequences }) => sequences)).toEqual([[3, 4, 5], [3, 4, 5], []]);
  });

  it('serves one who comes back soon from what it holds, without a page', () => {
    live(5);
    expect(world.join(2).sequences).toEqual([3, 4, 5]);
    expect(world.pages).toEqual([]);
  });

  it('holds no more than its bound, and has the rest come as pages', () => {
    live(limits.feedHeldChanges + 5);
    expect(world.join(4).sequences).toEqual([]);
    expect(world.pages).toHaveLength(1);
    expect(world.join(5).sequences).toHaveLength(limits.feedHeldChanges);
    expect(world.pages).toHaveLength(1);
  });

  it('fetches what lies in a gap of the publishing, and sends nothing twice', () => {
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

  it('tells a follower that wants none of it how far it has looked', () => {
    const client = world.join(0, { prefixes: ['other'], values: false, members: false });
    live(3);
    expect(client.places).toEqual([]);
    world.heartbeat();
    expect(client).toMatchObject({ sequences: [], places: [3] });
  });

  it('tells changes of members to those who ask for them, whatever their prefixes', () => {
    const asking = world.join(0, { prefixes: ['other'], values: false, members: true });
    const other = world.join(0);
    world.commit('key');
    world.changeMembers();
    world.publish(world.log);
    world.serve();
    expect(asking).toMatchObject({ sequences: [2], places: [2] });
    expect(other).toMatchObject({ sequences: [1], places: [2] });
  });

  it('tells them from the log too', () => {
    world.changeMembers();
    live(1);
    world.sleep();
    const asking = world.join(0, { prefixes: [], values: false, members: true });
    const other = world.join(0);
    world.settle();
    expect(asking.sequences).toEqual([1, 2]);
    expect(other.sequences).toEqual([2]);
  });

  it('asks again for a page that did not come', () => {
    live(3);
    world.sleep();
    const client = world.join(0);
    world.miss(0);
    expect(world.pages).toEqual([]);
    world.settle();
    expect(client.sequences).toEqual([1, 2, 3]);
  });

  it('refuses a place after the newest change', () => {
    live(3);
    expect(world.join(4).farewell).toEqual({ why: 'ahead', place: 3 });
  });

  it('sends one away whose place is older than the log, with the oldest that is kept', () => {
    live(3);
    world.sleep();
    const client = world.join(0);
    const [page] = world.pages;
    world.perform(world.core.paged(page?.ticket ?? 0, { kind: 'expired', oldest: 2 }));
    expect(client.farewell).toEqual({ why: 'expired', place: 2 });
    expect(world.core.size).toBe(0);
  });

  it('begins a further message where one would be too large', () => {
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

  it('is sent as many changes as the window holds, and cut at one more, with its place', () => {
    const client = world.join(0);
    live(window);
    expect(client.sequences).toHaveLength(window);
    expect(client.farewell).toBeNull();
    live(1);
    expect(client.farewell).toEqual({ why: 'slow', place: window });
    expect(client.sequences).toEqual(world.expectedOf(client, window));
  });

  it('is not cut while it acknowledges', () => {
    const client = world.join(0);
    for (let round = 0; round < 30; round += 1) {
      live(limits.changesPerPage);
      world.acknowledge(client, Math.max(0, world.newest - limits.changesPerPage));
    }
    expect(client.farewell).toBeNull();
    expect(client.sequences).toEqual(world.expectedOf(client));
  });

  it('gets older changes only as it acknowledges, and is cut at the second heartbeat in vain', () => {
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

  it('is cut where few changes are large, too', () => {
    const client = world.join(0);
    const large = 'x'.repeat(limits.feedMessageBytes - 100);
    const fitting = Math.floor(limits.followerWindowBytes / limits.feedMessageBytes);
    for (let made = 0; made < fitting; made += 1) live(1, large);
    expect(client).toMatchObject({ places: { length: fitting }, farewell: null });
    live(1, large);
    expect(client.farewell).toEqual({ why: 'slow', place: fitting });
  });

  it('that acknowledges what it was not sent is sent away', () => {
    const client = world.join(0);
    live(2);
    world.acknowledge(client, 3);
    expect(client.farewell).toEqual({ why: 'unsent', place: 2 });
  });

  it('is the only one that is cut', () => {
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
