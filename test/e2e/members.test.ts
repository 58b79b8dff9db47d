/** Tests regions that fail together, or during a kill of the coordinator. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startTestStack, type TestRegion, type TestStack } from '../support/stack/stack.ts';
import {
  eventsOf,
  expectWhole,
  memberOf,
  membersOf,
  newestChange,
  untilAllVote,
  untilState,
} from './members.ts';
import { copiesBy } from './rounds.ts';
import { attempt, bodyOf, patience, strongRead, wake, write } from './writes.ts';

/** A region is evicted soon, so that tests do not take long. */
const soonOut = {
  LOCKSTEP_VOTE_DEADLINE_MS: '500',
  LOCKSTEP_ROUND_TIMEOUT_MS: '600',
  LOCKSTEP_READ_TIMEOUT_MS: '600',
  LOCKSTEP_OUT_AFTER_MS: '700',
};

/** A stack for the tests of one description, with names for its regions. */
class ThreeRegions {
  stack: TestStack | null = null;
  readonly variables: Readonly<Record<string, string>>;

  constructor(variables: Readonly<Record<string, string>>) {
    this.variables = variables;
    beforeAll(async () => {
      this.stack = await startTestStack({ variables: this.variables });
      await write(this.stack, [['SET', 'kept', 'v']], { ack: 'confirmed' });
    });
    afterEach(() => this.stack?.heal());
    afterAll(() => this.stack?.stop(), 60_000);
  }

  get running(): readonly [TestStack, TestRegion, TestRegion, TestRegion] {
    const [one, two, three] = this.stack?.regions ?? [];
    if (this.stack === null || one === undefined || two === undefined || three === undefined) {
      throw new Error('the stack of three regions does not run');
    }
    return [this.stack, one, two, three];
  }
}

/** A write with a timeout long enough that failed regions are evicted by then. */
function writeUntilOut(stack: TestStack, key: string, value: string): Promise<unknown> {
  return write(stack, [['SET', key, value]], { timeoutMs: 30_000 }).then(({ status }) => status);
}

/** The last segment of the problem with which a write is refused now; null if it is not refused. */
async function refusal(stack: TestStack): Promise<string | null> {
  const answer = await attempt(stack, [['INCR', 'refused']], { timeoutMs: 200 });
  const { type } = answer === null ? {} : bodyOf(answer);
  return type?.split('/').at(-1) ?? null;
}

/** Holds the next copy step that writes in this region, until the gate opens. */
function holdCopy({ gateway }: TestRegion) {
  const gate = Promise.withResolvers<void>();
  const held = gateway.faults.add({
    fault: { kind: 'hold', executed: false, until: gate.promise },
    matches: copiesBy('write'),
    times: 1,
  });
  return { gate, met: held.hit };
}

/** Resolves when a request has ended that had arrived before this call. */
function whenOldEnds({ gateway: { observers } }: TestRegion): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const now = performance.now();
  const observer = ({ fromMs }: { readonly fromMs: number }) => {
    if (fromMs > now) return;
    observers.delete(observer);
    resolve();
  };
  observers.add(observer);
  return promise;
}

describe('a kill -9 of the coordinator', () => {
  const three = new ThreeRegions(soonOut);

  it('while a region is copied makes the next life copy it, and a late step of the last one fails', async () => {
    const [stack, , target] = three.running;
    for (let number = 0; number < 20; number += 1) {
      await write(stack, [['SET', `copied:${number}`, 'old']]);
    }
    const copy = holdCopy(target);
    await target.redis.wipe();
    expect(await writeUntilOut(stack, 'kept', 'w')).toBe(200);
    await copy.met;
    const ended = whenOldEnds(target);
    await stack.killWorker();
    await stack.restartWorker();
    await wake(stack);
    await untilAllVote(stack);
    const ops = Array.from({ length: 20 }, (_, number) => ['SET', `copied:${number}`, 'new']);
    expect((await write(stack, ops, { ack: 'confirmed' })).status).toBe(200);
    copy.gate.resolve();
    await ended;
    await expectWhole(stack);
    expect(await stack.everywhere('copied:7')).toEqual(['new', 'new', 'new']);
    expect(await stack.everywhere('kept')).toEqual(['w', 'w', 'w']);
  });

  it('while a region is out loses none of its missed keys', async () => {
    const [stack, , absent] = three.running;
    const since = await newestChange(stack);
    absent.gateway.faults.setLine({ reach: 'cut' });
    expect(await writeUntilOut(stack, 'missed:before', '1')).toBe(200);
    await stack.killWorker();
    await stack.restartWorker();
    expect(await writeUntilOut(stack, 'missed:after', '2')).toBe(200);
    expect(await memberOf(stack, absent.id)).toMatchObject({ state: 'out', missedKeys: 2 });
    expect(await absent.client.mget('missed:before', 'missed:after')).toEqual([null, null]);
    stack.heal();
    await expectWhole(stack);
    expect(await absent.client.mget('missed:before', 'missed:after')).toEqual(['1', '2']);
    expect(await eventsOf(stack, absent.id, since)).toEqual(['out', 'copying', 'returned']);
  });
});

describe('two regions that fail at once', () => {
  const three = new ThreeRegions(soonOut);

  it('leave too few voters if two are required, and writes are refused until one is back', async () => {
    const [stack, one, two, rest] = three.running;
    await Promise.all([one.redis.kill(), two.redis.kill()]);
    await expect.poll(() => refusal(stack), patience).toBe('too-few-voters');
    expect(await strongRead(stack, 'kept', rest.id)).toBe('v');
    await one.redis.restart();
    await untilState(stack, one.id, 'voter');
    expect(await writeUntilOut(stack, 'kept', 'w')).toBe(200);
    await two.redis.restart();
    await expectWhole(stack);
    expect(await stack.everywhere('kept')).toEqual(['w', 'w', 'w']);
    // The refused writes left nothing.
    expect(await stack.everywhere('refused')).toEqual([null, null, null]);
  });

  it('lose nothing if one of them loses its data while the other is copied', async () => {
    const [stack, one, two] = three.running;
    await write(stack, [['SET', 'only', 'here']], { ack: 'confirmed' });
    const copy = holdCopy(one);
    await one.redis.wipe();
    expect(await writeUntilOut(stack, 'kept', 'x')).toBe(200);
    await copy.met;
    await two.redis.wipe();
    await expect.poll(() => refusal(stack), patience).toBe('too-few-voters');
    copy.gate.resolve();
    await expectWhole(stack);
    expect(await stack.everywhere('only')).toEqual(['here', 'here', 'here']);
    expect(await stack.everywhere('kept')).toEqual(['x', 'x', 'x']);
  });
});

describe('a stack that requires one voter', () => {
  const three = new ThreeRegions({ ...soonOut, LOCKSTEP_MIN_VOTERS: '1' });

  it('continues with one region, never evicts it, and has all back in the end', async () => {
    const [stack, one, two, last] = three.running;
    await Promise.all([one.redis.kill(), two.redis.kill()]);
    expect(await writeUntilOut(stack, 'kept', 'w')).toBe(200);
    await last.redis.kill();
    await expect
      .poll(async () => (await memberOf(stack, last.id))?.health, patience)
      .toBe('silent');
    expect(await refusal(stack)).toBe('region-unavailable');
    // The others come back first, but their data is old.
    await Promise.all([one.redis.restart(), two.redis.restart()]);
    expect(await refusal(stack)).toBe('region-unavailable');
    const states = (await membersOf(stack)).map(({ state }) => state);
    expect(states).toEqual(['out', 'out', 'voter']);
    await last.redis.restart();
    expect(await writeUntilOut(stack, 'more', '1')).toBe(200);
    await expectWhole(stack);
    expect(await stack.everywhere('kept')).toEqual(['w', 'w', 'w']);
    expect(await stack.everywhere('more')).toEqual(['1', '1', '1']);
  });
});
