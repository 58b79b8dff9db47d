/** Tests the retries of writes whose coordinator is reset. */
import { describe, expect, it } from 'vitest';
import type { WriteRequest } from '../../shared/contracts/coordinator.ts';
import { limits } from '../../shared/limits.ts';
import { decided, EdgeUnderTest, problemOf } from './fakes.ts';

const body = { ops: [['INCR', 'k']] };

/** A coordinator that is reset during its first `resets` calls. Each call takes 100 ms. */
function resetting(resets: number, failure: object = {}) {
  let calls = 0;
  const answer = () => {
    calls += 1;
    edge.now += 100;
    if (calls <= resets) throw Object.assign(new Error('the object was reset'), failure);
    return decided();
  };
  const edge = new EdgeUnderTest({
    write: async () => answer(),
    accept: async () => answer(),
    writeAll: async (requests) => requests.map(() => answer()),
  });
  return edge;
}

describe('a write whose coordinator is reset', () => {
  it('is retried under its own id, and returns the real outcome', async () => {
    const edge = resetting(1);
    const response = await edge.write(body);
    expect([response.status, response.json.replayed]).toEqual([200, false]);
    const [first, second] = edge.writes;
    expect(edge.writes).toHaveLength(2);
    expect(second?.id).toBe(first?.id);
    expect([first?.again, second?.again]).toEqual([false, true]);
    expect(edge.pauses).toHaveLength(1);
  });

  it('is retried only within its own remaining time', async () => {
    const edge = resetting(2);
    await edge.write({ ...body, timeoutMs: 150 });
    expect(edge.writes.map(({ timeoutMs }) => timeoutMs)).toEqual([150, 50, 0]);
  });

  it('is given up after a bounded number of retries, with longer and longer pauses', async () => {
    const edge = resetting(100);
    const response = await edge.write(body);
    expect([response.status, problemOf(response)]).toEqual([503, 'coordinator-unavailable']);
    expect(edge.writes).toHaveLength(1 + limits.resendsPerWrite);
    edge.pauses.forEach((pause, resends) => {
      const planned = limits.resendPauseMs * 4 ** resends;
      expect(pause).toBeGreaterThanOrEqual(planned / 2);
      expect(pause).toBeLessThanOrEqual(1.5 * planned);
    });
  });

  it('is not retried if the coordinator is overloaded', async () => {
    const edge = resetting(1, { overloaded: true });
    expect((await edge.write(body)).status).toBe(503);
    expect(edge.writes).toHaveLength(1);
  });

  it('is retried even if its client does not wait for the outcome', async () => {
    const edge = resetting(1);
    await edge.write(body, { prefer: 'respond-async' });
    expect(edge.writes.map(({ again }) => again)).toEqual([false, true]);
  });

  it('keeps its id in a pipeline and in a transaction', async () => {
    for (const path of ['/pipeline', '/multi-exec']) {
      const edge = resetting(1);
      const response = await edge.ask('POST', path, { body: [['INCR', 'k']] });
      expect(response.status).toBe(200);
      const ids = edge.writes.map(({ id }: WriteRequest) => id);
      expect([ids.length, new Set(ids).size]).toEqual([2, 1]);
    }
  });
});
