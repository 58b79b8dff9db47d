/** Tests scripts that exceed their time, with the real clock. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { Part } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { readLocks } from '../support/region-state.ts';
import { connectDirectly } from './direct.ts';
import { executed, outcomesOf, part, prepareOf, roundOf, script, set } from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

/** Each of its calls takes some ms, so that it exceeds its time long before its number of calls. */
const slow =
  `redis.call('SETRANGE', KEYS[1], ${limits.reachedBytes - 1}, 'x') ` +
  "for i = 1, 90000 do redis.call('BITCOUNT', KEYS[1]) end";

// The embedded server ends long scripts of all kinds by itself.
describe('slow scripts', () => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis);
  });
  afterAll(() => server.stop());

  const votesOn = async (transactions: readonly (readonly Part[])[]) => {
    const prepares = transactions.map((parts) => {
      sequence += 1;
      return { ...prepareOf(sequence, [`k${sequence}`]), parts };
    });
    return executed(await client.round(roundOf({ prepares }), 0)).votes;
  };
  const endless = (key = `k${sequence + 1}`) => part(script(slow, [key]));

  it('end by the clock, even if they catch errors, with an error that shows no line of Lockstep’s own', async () => {
    const catching = `while true do pcall(function() ${slow} end) end`;
    for (const text of [slow, catching]) {
      const [vote] = await votesOn([[part(script(text, [`k${sequence + 1}`]))]]);
      expect(outcomesOf(vote)).toMatch(
        `[[2,0,"ERR the script goes on for too long: it takes more than ${limits.scriptMs} ms script: `,
      );
      expect(outcomesOf(vote)).toContain(', on @user_script."]]');
    }
  });

  it('leave the transactions after them to a later round, with nothing staged', async () => {
    const first = endless();
    const votes = await votesOn([[first], [part(set(`k${sequence + 2}`, 'v'))]]);
    expect(votes).toMatchObject([
      { kind: 'yes' },
      { kind: 'refused', reason: 'had no time left for it in its round' },
    ]);
    expect((await readLocks(server.redis)).has(`k${sequence}`)).toBe(false);
  });

  it('get their whole transaction refused if they share it, and leave nothing', async () => {
    const key = `k${sequence + 1}`;
    const first = part(script("return redis.call('INCR', KEYS[1])", [key]));
    const [vote] = await votesOn([[first, endless(), first]]);
    expect(vote).toEqual({
      kind: 'refused',
      reason: 'had no time left for all that came together',
    });
    expect((await readLocks(server.redis)).has(key)).toBe(false);
    expect(await server.redis.keys('lockstep:*:*:*')).toEqual([]);
  });
});
