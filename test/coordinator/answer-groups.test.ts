import { describe, expect, it, vi } from 'vitest';
import { answerInGroups } from '../../functions/coordinator/answer-groups.ts';
import type { AnswerGroup, WriteAnswer } from '../../shared/contracts/coordinator.ts';
import { LifeUnderTest } from './life.ts';
import { requestOf } from './requests.ts';
import { MemoryStorage } from './sqlite.ts';

const answer = (id: string): WriteAnswer => ({ kind: 'accepted', id });

/** A call with `count` writes that the test answers, and the positions of each group so far. */
function callOf(count: number, give: () => Promise<void> = async () => {}) {
  const writes = Array.from({ length: count }, () => Promise.withResolvers<WriteAnswer>());
  const groups: (readonly number[])[] = [];
  const positionsOf = (group: AnswerGroup) => group.map(([position]) => position);
  const ended = answerInGroups(
    writes.map(({ promise }) => promise),
    (group) => {
      groups.push(positionsOf(group));
      return give();
    },
  ).then(positionsOf);
  const decide = (...positions: readonly number[]) => {
    for (const at of positions) writes[at]?.resolve(answer(`0-${at}`));
    return new Promise((resolve) => setImmediate(resolve));
  };
  const fail = (at: number) => writes[at]?.reject(new Error('a bug'));
  return { groups, ended, decide, fail };
}

describe('the answers to a call with many writes', () => {
  it('are returned by the call if all come together', async () => {
    const { groups, ended, decide } = callOf(3);
    await decide(0, 1, 2);
    expect(await ended).toEqual([0, 1, 2]);
    expect(groups).toEqual([]);
  });

  it('are passed on as they come, those of one step together, and the last ones returned', async () => {
    const { groups, ended, decide } = callOf(5);
    await decide(3);
    await decide(0, 4);
    expect(groups).toEqual([[3], [0, 4]]);
    await decide(1, 2);
    expect(await ended).toEqual([1, 2]);
    expect(groups).toHaveLength(2);
  });

  it('do not include one that fails, which holds up no other', async () => {
    const error = vi.spyOn(console, 'error').mockReturnValue();
    const { groups, ended, decide, fail } = callOf(3);
    fail(1);
    await decide(0);
    expect(groups).toEqual([[0]]);
    await decide(2);
    expect(await ended).toEqual([2]);
    expect(error).toHaveBeenCalledOnce();
    error.mockRestore();
  });

  it('go on if the caller is gone', async () => {
    const error = vi.spyOn(console, 'error').mockReturnValue();
    const { ended, decide } = callOf(2, async () => Promise.reject(new Error('gone')));
    await decide(0);
    await decide(1);
    expect(await ended).toEqual([1]);
    error.mockRestore();
  });

  it('are not returned before all others were taken', async () => {
    const taken = Promise.withResolvers<void>();
    const { ended, decide } = callOf(2, () => taken.promise);
    await decide(0);
    await decide(1);
    const first = await Promise.race([ended, Promise.resolve('nothing')]);
    expect(first).toBe('nothing');
    taken.resolve();
    expect(await ended).toEqual([1]);
  });

  it('are none if there is no write', async () => {
    expect(await callOf(0).ended).toEqual([]);
  });
});

describe('a coordinator that gets writes of several clients in one call', () => {
  it('answers a refused one at once, while the others wait for their regions', async () => {
    const { methods } = new LifeUnderTest(new MemoryStorage());
    const first = Promise.withResolvers<AnswerGroup>();
    const faulty = requestOf('0-2', ['SET', 'lockstep:0:state', 'v']);
    const requests = [requestOf('0-1', ['SET', 'a', 'v']), faulty];
    const ended = methods.writeGathered(requests, (group) => first.resolve(group));
    expect(await first.promise).toMatchObject([[1, { kind: 'refused', problem: 'reserved-key' }]]);
    expect(await ended).toMatchObject([[0, { kind: 'unavailable', id: '0-1' }]]);
  });
});
