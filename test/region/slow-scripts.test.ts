import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../shared/limits.ts';
import type { Part, RegionClient } from '../../shared/protocol/round.ts';
import { connectDirectly } from './direct.ts';
import { executed, outcomesOf, part, prepareOf, roundOf, script, set } from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

/** Each of its steps takes some ms, so that it is over by the clock long before its steps are used up. */
const slow =
  "local n = 0 for i = 1, 4000000 do __lockstep() n = n + #string.rep('x', 4000000) end return n";

// The embedded server ends long scripts of all kinds by itself.
describe('slow scripts', () => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis, 'flagged');
  });
  afterAll(() => server.stop());

  const votesOn = async (transactions: readonly (readonly Part[])[]) => {
    const prepares = transactions.map((parts) => {
      sequence += 1;
      return { ...prepareOf(sequence, [`k${sequence}`]), parts };
    });
    return executed(await client.round(roundOf({ prepares }), 0)).votes;
  };
  const endless = () => part(script(slow, [`k${sequence + 1}`]));

  it('end by the clock, whatever they catch, in words that tell no place', async () => {
    const catching = `while true do __lockstep() pcall(function() ${slow} end) end`;
    for (const text of [slow, catching]) {
      const [vote] = await votesOn([[part(script(text))]]);
      expect(outcomesOf(vote)).toMatch(
        `[[2,0,"ERR the script goes on for too long: it takes more than ${limits.scriptMs} ms script: `,
      );
      expect(outcomesOf(vote)).toContain(', on @user_script."]]');
    }
  });

  it('end by the clock where their calls take long', async () => {
    const calls = `local many = {} for i = 1, 7000 do many[i] = i end
      for i = 1, 90000 do __lockstep() redis.call('SADD', KEYS[1], unpack(many)) redis.call('SMEMBERS', KEYS[1]) end`;
    const [vote] = await votesOn([[part(script(calls, [`k${sequence + 1}`]))]]);
    expect(outcomesOf(vote)).toContain('goes on for too long');
    expect(await server.redis.keys('lockstep:*:shadow:*')).toEqual([]);
  });

  it('leave the transactions behind them to a later round, which nothing is left of', async () => {
    const first = endless();
    const votes = await votesOn([[first], [part(set(`k${sequence + 2}`, 'v'))]]);
    expect(votes).toMatchObject([
      { kind: 'yes' },
      { kind: 'refused', reason: 'had no time left for it in its round' },
    ]);
    expect(await server.redis.hexists('lockstep:0:lock', `k${sequence}`)).toBe(0);
  });

  it('that are parts of one transaction have it refused whole, which nothing is left of', async () => {
    const key = `k${sequence + 1}`;
    const first = part(script("return redis.call('INCR', KEYS[1])", [key]));
    const [vote] = await votesOn([[first, endless(), first]]);
    expect(vote).toEqual({
      kind: 'refused',
      reason: 'had no time left for all that came together',
    });
    expect(await server.redis.hexists('lockstep:0:lock', key)).toBe(0);
    expect(await server.redis.keys('lockstep:*:*:*')).toEqual([]);
  });
});
