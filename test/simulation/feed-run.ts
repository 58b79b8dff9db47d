import type { Filter } from '../../shared/protocol/feed/follower.ts';
import { type Client, FeedHarness } from '../feed/harness.ts';
import { Random } from './random.ts';

const keys = ['a:1', 'a:2', 'b:1', 'c'];
const filters: readonly (readonly string[])[] = [[], ['a:'], ['a:2', 'c'], ['none']];

/**
 * One seeded run of the feed: changes are committed, published with gaps and twice, and paged late, while followers
 * come, acknowledge, and sleep. In the end each has got each change that it wants, once and in order.
 */
export function run(seed: number): { readonly changes: number } {
  const random = new Random(seed);
  const world = new FeedHarness();
  const steps = random.between(20, 120);
  let published = 0;
  const publish = () => {
    const from = Math.max(0, published + random.between(-3, 3));
    const changes = world.log.slice(from, from + random.between(1, 6));
    published = Math.max(published, changes.at(-1)?.sequence ?? 0);
    world.publish(changes);
  };
  for (let step = 0; step < steps; step += 1) happen(world, random, publish);
  world.settle();
  for (const client of world.clients) check(world, client);
  return { changes: world.newest };
}

function happen(world: FeedHarness, random: Random, publish: () => void): void {
  const kinds = [
    'commit',
    'commit',
    'commit',
    'publish',
    'publish',
    'serve',
    'serve',
    'join',
  ] as const;
  const kind = random.pick([
    ...kinds,
    'page',
    'page',
    'miss',
    'acknowledge',
    'sleep',
    'heartbeat',
    'announce',
  ]);
  const index = (count: number) => random.between(0, Math.max(0, count - 1));
  switch (kind) {
    case 'commit':
      world.commit(...new Set([random.pick(keys), random.pick(keys)]));
      break;
    case 'publish':
      publish();
      break;
    case 'join':
      world.join(random.between(0, world.newest), filterOf(random));
      break;
    case 'page':
      world.page(index(world.pages.length), random.between(1, 4));
      break;
    case 'miss':
      world.miss(index(world.pages.length));
      break;
    case 'acknowledge': {
      const client = world.clients.at(index(world.clients.length));
      if (client !== undefined) world.acknowledge(client, client.positions.at(-1) ?? client.since);
      break;
    }
    case 'serve':
      world.serve();
      break;
    case 'sleep':
      world.sleep();
      break;
    case 'heartbeat':
      world.heartbeat();
      break;
    case 'announce':
      world.announce();
  }
}

function filterOf(random: Random): Filter {
  return {
    prefixes: random.pick(filters),
    values: random.chance(0.5),
    members: random.chance(0.5),
  };
}

function check(world: FeedHarness, client: Client): void {
  const expected = world.expectedOf(client).join(' ');
  const got = client.sequences.join(' ');
  if (got !== expected) throw new Error(`follower ${client.id} got ${got}, not ${expected}`);
  if (client.end !== null) throw new Error(`follower ${client.id} was sent away`);
}
