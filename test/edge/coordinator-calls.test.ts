/** Tests how the edge calls a coordinator that gives no answer. */
import { describe, expect, it } from 'vitest';
import { callCoordinator } from '../../functions/edge/http/coordinator-calls.ts';
import { UnfitVersion } from '../../shared/contracts/rpc.ts';
import type { Subscription } from '../../shared/contracts/webhooks-and-feed.ts';
import { subscription } from './webhook-fixtures.ts';

/** A coordinator whose calls fail with `errors`, in order, and then succeed. */
function failing(...errors: readonly Error[]) {
  const left = [...errors];
  const logged: unknown[] = [];
  const next = async <Answer>(answer: Answer): Promise<Answer> => {
    const error = left.shift();
    if (error !== undefined) throw error;
    return answer;
  };
  const dependencies = {
    log: (_: string, details: unknown) => void logged.push(details),
    coordinatorOf: () => ({
      signingKey: () => next({ id: 'key', privateKey: '{}', publicKey: '{}' }),
      subscribe: (_: Subscription) => next({ kind: 'created' as const }),
    }),
  };
  return { dependencies, logged, left };
}

const shard = 3;

const reset = new Error('the object was reset');
const overloaded = Object.assign(new Error('too much to do'), { overloaded: true });

describe('a call of the coordinator without an answer', () => {
  it('is repeated once, if a repetition has no further effect', async () => {
    const { dependencies, logged } = failing(reset);
    const answer = await callCoordinator(dependencies, shard, 'signingKey');
    expect(answer).toMatchObject({ ok: true, value: { id: 'key' } });
    expect(logged).toEqual([{ shard, method: 'signingKey', call: 1, error: String(reset) }]);
  });

  it('fails after the repetition with a problem that asks for a retry', async () => {
    const { dependencies, logged } = failing(reset, reset);
    const answer = await callCoordinator(dependencies, shard, 'signingKey');
    expect(answer).toMatchObject({ ok: false, problem: { name: 'coordinator-unavailable' } });
    expect(answer).toMatchObject({ problem: { headers: { 'Retry-After': '1' } } });
    expect(logged).toHaveLength(2);
  });

  it('is not repeated if it may have had an effect, and the problem says how to check', async () => {
    const { dependencies, logged } = failing(reset);
    const answer = await callCoordinator(dependencies, shard, 'subscribe', subscription);
    expect(answer).toMatchObject({
      problem: {
        name: 'coordinator-unavailable',
        detail: expect.stringContaining('Check GET /v1/webhooks'),
      },
    });
    expect(logged).toHaveLength(1);
  });

  it('is not repeated if the object is overloaded', async () => {
    const { dependencies, logged } = failing(overloaded);
    const answer = await callCoordinator(dependencies, shard, 'signingKey');
    expect(answer).toMatchObject({ problem: { name: 'coordinator-unavailable' } });
    expect(logged).toHaveLength(1);
  });

  it('is not repeated if the releases do not fit together', async () => {
    const { dependencies, left } = failing(new UnfitVersion('version 9'), reset);
    const answer = await callCoordinator(dependencies, shard, 'signingKey');
    expect(answer).toMatchObject({ problem: { name: 'version-unknown', detail: 'version 9' } });
    expect(left).toEqual([reset]);
  });
});
