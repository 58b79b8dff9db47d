/** Tests regions that fail and return under a load of writes and strong reads. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Receiver, verified } from '../courier/receiver.ts';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import { Load } from './load.ts';
import { eventsOf, expectWhole, newestChange, untilAllVote, untilState } from './members.ts';
import { Readers } from './readers.ts';
import { copiesBy, hangIn, rounds } from './rounds.ts';
import { patience } from './writes.ts';

/** A region is evicted soon, so that tests do not take long; leases last as long as by default. */
const variables = {
  LOCKSTEP_VOTE_DEADLINE_MS: '1000',
  LOCKSTEP_ROUND_TIMEOUT_MS: '1200',
  LOCKSTEP_READ_TIMEOUT_MS: '1200',
  LOCKSTEP_OUT_AFTER_MS: '1500',
};

/** Five clients for each of four counters, with ten writes per second each. */
const counters = 4;
const clientsEach = 5;
const everyMs = 100;

let stack: TestStack;
let faulty: TestRegion;
let receiver: Receiver;

beforeAll(async () => {
  stack = await startTestStack({ variables });
  faulty = stack.region('eu-west-1');
  receiver = await Receiver.start();
  const events = ['region.out', 'region.returned'];
  const body = { url: receiver.url, secret: receiver.secret, events };
  expect((await stack.send('POST', '/v1/webhooks', body)).status).toBe(201);
});

afterEach(() => stack?.heal());

afterAll(async () => {
  await receiver?.stop();
  await stack?.stop();
});

/** The webhook events about the region, each event once, in the order of the changes. */
function heard(since: number): readonly string[] {
  const events = new Map(
    receiver.received.map((received) => {
      const event = verified(received, receiver.secret) as {
        readonly type: string;
        readonly data: { readonly region: string; readonly sequence: number };
      };
      return [event.data.sequence, event] as const;
    }),
  );
  return [...events.values()]
    .filter(({ data }) => data.region === faulty.id && data.sequence > since)
    .toSorted((one, other) => one.data.sequence - other.data.sequence)
    .map(({ type }) => type);
}

/** All acknowledged writes exist, each once, in every region. */
async function expectExactlyOnce(load: Load): Promise<void> {
  const values = load.acknowledged.map(({ value }) => Number(value));
  expect(values.toSorted((a, b) => a - b)).toEqual(values.map((_, index) => index + 1));
  const everywhere = stack.regions.map(() => String(values.length));
  await expect.poll(() => stack.everywhere(load.counter), patience).toEqual(everywhere);
  const keys = stack.regions.map(({ client }) => client.scard(`${load.counter}:keys`));
  expect(await Promise.all(keys)).toEqual(stack.regions.map(() => values.length));
}

const outAndReturned = ['region.out', 'region.returned'];

/** Writes and reads, during which `trouble` happens and ends. */
async function underLoad(name: string, trouble: (loads: readonly Load[]) => Promise<void>) {
  const since = await newestChange(stack);
  const loads = Array.from(
    { length: counters },
    (_, number) => new Load(stack, `${name}:${number}`, clientsEach, 10_000, everyMs),
  );
  const readers = new Readers(stack, loads);
  await Promise.all(loads.map((load) => load.more(20)));
  // There has to be a lease, since reads could be stale by it.
  await expect.poll(() => readers.leased.has(faulty.id), patience).toBe(true);
  await trouble(loads);
  await expect.poll(() => eventsOf(stack, faulty.id, since), patience).toContain('returned');
  await untilAllVote(stack);
  await Promise.all(loads.map((load) => load.more(20)));
  await Promise.all(loads.map((load) => load.finish()));
  await readers.finish();
  expect(readers.stale).toEqual([]);
  expect(readers.answered.size).toBe(stack.regions.length * 2);
  await expectWhole(stack);
  for (const load of loads) await expectExactlyOnce(load);
  const events = await eventsOf(stack, faulty.id, since);
  expect(events.filter((event) => event === 'out' || event === 'returned')).toEqual([
    'out',
    'returned',
  ]);
  await expect.poll(() => heard(since), patience).toEqual(outAndReturned);
}

/** While the region is out, writes continue: each load gets some acknowledged. */
async function outForAWhile(loads: readonly Load[]): Promise<void> {
  await untilState(stack, faulty.id, 'out');
  await Promise.all(loads.map((load) => load.more(20)));
}

describe('200 writes per second, and strong reads in every region', () => {
  it('lose nothing if a region is killed, evicted, and restarted', async () => {
    await underLoad('killed', async (loads) => {
      await faulty.redis.kill();
      await outForAWhile(loads);
      await faulty.redis.restart();
    });
  });

  it('lose nothing if a region loses its rounds until it is evicted, but not its reads', async () => {
    await underLoad('deaf', async (loads) => {
      hangIn([faulty], false, rounds);
      await outForAWhile(loads);
      stack.heal();
    });
  });

  it('lose nothing if a region is cut off until it is evicted', async () => {
    await underLoad('cut', async (loads) => {
      faulty.gateway.faults.setLine({ reach: 'cut' });
      await outForAWhile(loads);
      faulty.gateway.faults.setLine({ reach: 'whole' });
    });
  });

  it('lose nothing if a region’s responses are lost until it is evicted', async () => {
    await underLoad('unheard', async (loads) => {
      faulty.gateway.faults.setLine({ reach: 'answers-lost' });
      await outForAWhile(loads);
      faulty.gateway.faults.setLine({ reach: 'whole' });
    });
  });

  it('lose nothing if the coordinator is killed twice: while a region is out, and while it is copied', async () => {
    await underLoad('killed-both', async (loads) => {
      faulty.gateway.faults.setLine({ reach: 'cut' });
      await outForAWhile(loads);
      await stack.killWorker();
      await stack.restartWorker();
      await Promise.all(loads.map((load) => load.more(5)));
      const copied = faulty.gateway.faults.add({
        fault: { kind: 'hang', executed: true },
        matches: copiesBy('write'),
      });
      faulty.gateway.faults.setLine({ reach: 'whole' });
      await copied.hit;
      await stack.killWorker();
      copied.remove();
      await stack.restartWorker();
    });
  });

  it('lose nothing if a region restarts empty', async () => {
    await underLoad('empty', () => faulty.redis.wipe());
  });

  it('lose nothing if a region is rolled back to a snapshot that is 5 s old', async () => {
    await underLoad('old', async (loads) => {
      await faulty.redis.snapshot();
      const takenAt = Date.now();
      while (Date.now() - takenAt < 5_000) await loads[0]?.more(1);
      await faulty.redis.rollback();
    });
  });
});
