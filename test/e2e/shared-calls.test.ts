/**
 * Clients that leave while their requests share a call with those of others. The local runtime does not cancel the
 * requests of such clients: test/edge/gatherer-in-workerd.test.ts has that.
 */
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startTestStack, type TestStack } from '../support/stack/stack.ts';
import { patientVariables, rounds, snapshots } from './rounds.ts';
import { bodyOf, patience, strongRead, write } from './writes.ts';

/** The requests of a burst; the first ones, which begin calls, are those whose clients leave. */
const requests = 60;
const leaving = 30;

const variables = { ...patientVariables, LOCKSTEP_READ_TIMEOUT_MS: '20000' };

let stack: TestStack;

beforeAll(async () => {
  stack = await startTestStack({ variables });
});

afterEach(() => stack.heal());

afterAll(() => stack?.stop(), 60_000);

/** Holds the requests that `matches` picks in every region. `met` resolves when one is held. */
function hold(matches: typeof rounds) {
  const { promise: until, resolve: end } = Promise.withResolvers<void>();
  const fault = { kind: 'hold', executed: false, until } as const;
  const handles = stack.regions.map(({ gateway }) => gateway.faults.add({ fault, matches }));
  return { met: Promise.race(handles.map(({ hit }) => hit)), end };
}

/** Begins a burst, in which the first clients leave once the requests are held. Returns the answers to the others. */
async function burst<Value>(
  matches: typeof rounds,
  one: (number: number, signal: AbortSignal | undefined) => Promise<Value>,
): Promise<readonly Value[]> {
  const held = hold(matches);
  const first = one(-1, undefined);
  await held.met;
  const left = new AbortController();
  const all = Array.from({ length: requests }, (_, number) =>
    one(number, number < leaving ? left.signal : undefined),
  );
  const gone = Promise.allSettled(all.slice(0, leaving));
  // The others arrive before this one, so they wait for their calls by now.
  await stack.send('GET', '/healthz');
  left.abort();
  for (const { status } of await gone) expect(status).toBe('rejected');
  held.end();
  return Promise.all([first, ...all.slice(leaving)]);
}

const unanswered = () => readFileSync(stack.worker.logFile, 'utf8').match(/did not answer/g);

describe('a request that shares a call with those of clients that leave', () => {
  it('of a write is answered as if it were alone, and each write is carried out once at most', async () => {
    const keyOf = (number: number) => `left:${number}`;
    const answers = await burst(rounds, (number, signal) =>
      write(stack, [['INCR', keyOf(number)]], { ack: 'confirmed', signal }),
    );
    for (const answer of answers) {
      expect(bodyOf(answer)).toMatchObject({ results: [1], replayed: false });
    }
    expect(unanswered()).toBeNull();
    await expect.poll(() => stack.locks(), patience).toEqual([]);
    for (let number = 0; number < leaving; number += 1) {
      const found = new Set(await stack.everywhere(keyOf(number)));
      expect([new Set(['1']), new Set([null])]).toContainEqual(found);
    }
  });

  it('of a strong read is answered as if it were alone', async () => {
    const [region = ''] = stack.regions.map(({ id }) => id);
    await write(stack, [['SET', 'read', 'value']], { ack: 'confirmed' });
    await expect.poll(() => strongRead(stack, 'read', region), patience).toBe('value');
    const answers = await burst(snapshots, (_, signal) =>
      stack.send('POST', '/v1/reads', { reads: [['GET', 'read']], region }, { signal }),
    );
    for (const answer of answers) expect(bodyOf(answer)).toMatchObject({ results: ['value'] });
  });
});
