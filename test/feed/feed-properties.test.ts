/** Properties of the feed that hold for random events. feed.test.ts has its single rules. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Client, FeedHarness } from './harness.ts';

const keys = fc.subarray(['a:1', 'a:2', 'b:1', 'c'], { minLength: 1, maxLength: 2 });
const filter = fc.record({
  prefixes: fc.constantFrom<readonly string[]>([], ['a:'], ['a:2', 'c'], ['none']),
  values: fc.boolean(),
  members: fc.boolean(),
});
const part = fc.double({ min: 0, max: 1, noNaN: true });

/** An event of a run; fast-check prints it in a failure. */
const happening = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('commit' as const), keys }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('changeMembers' as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('publish' as const),
      // The position of the first change, relative to the last published one.
      back: fc.integer({ min: -3, max: 3 }),
      count: fc.integer({ min: 1, max: 6 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('serve' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('join' as const), part, filter }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('page' as const),
      part,
      limit: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('miss' as const), part }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('acknowledge' as const), part }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('sleep' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('heartbeat' as const) }) },
);

type Happening = typeof happening extends fc.Arbitrary<infer Value> ? Value : never;

class Run {
  readonly harness = new FeedHarness();
  #published = 0;

  happen(event: Happening): void {
    const { harness } = this;
    switch (event.kind) {
      case 'commit':
        harness.commit(...event.keys);
        break;
      case 'publish':
        this.#publish(event.back, event.count);
        break;
      case 'join':
        harness.join(Math.floor(event.part * harness.newest), event.filter);
        break;
      case 'page':
        harness.page(Math.floor(event.part * harness.pages.length), event.limit);
        break;
      case 'miss':
        harness.miss(Math.floor(event.part * harness.pages.length));
        break;
      case 'acknowledge': {
        const client = harness.clients.at(Math.floor(event.part * harness.clients.length));
        if (client !== undefined)
          harness.acknowledge(client, client.positions.at(-1) ?? client.since);
        break;
      }
      default:
        harness[event.kind]();
    }
  }

  #publish(back: number, count: number): void {
    const from = Math.max(0, this.#published - back);
    const changes = this.harness.log.slice(from, from + count);
    this.#published = Math.max(this.#published, changes.at(-1)?.sequence ?? 0);
    this.harness.publish(changes);
  }
}

function expectInOrder({ positions, since }: Client): void {
  expect([since, ...positions]).toEqual([since, ...positions].toSorted((a, b) => a - b));
}

describe('a follower', () => {
  it('gets each matching change once and in order, for any interleaving of publishing, pages and sleep', () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 120, size: 'max' }), (events) => {
        const run = new Run();
        for (const event of events) run.happen(event);
        run.harness.settle();
        for (const client of run.harness.clients) {
          expect(client.sequences).toEqual(run.harness.expectedOf(client));
          expect(client.end).toBeNull();
          expectInOrder(client);
          expect(run.harness.core.follower(client.id)?.next).toBe(run.harness.newest);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('has at every time got exactly the changes up to its latest position', () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60, size: 'max' }), (events) => {
        const run = new Run();
        for (const event of events) {
          run.happen(event);
          for (const client of run.harness.clients) {
            const position = client.positions.at(-1) ?? client.since;
            expect(client.sequences).toEqual(run.harness.expectedOf(client, position));
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});
