import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RegionClient } from '../../shared/protocol/round.ts';
import { connectDirectly } from './direct.ts';
import { executed, outcomesOf, part, prepareOf, roundOf, script } from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

// The embedded server ends long scripts of all kinds by itself.
describe('a user’s script without an end', () => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis, 'flagged');
  });
  afterAll(() => server.stop());

  const outcome = async (text: string) => {
    sequence += 1;
    const prepares = [prepareOf(sequence, [`k${sequence}`], part(script(text, [`k${sequence}`])))];
    const reply = executed(await client.round(roundOf({ prepares }), 0));
    return outcomesOf(reply.votes[0]);
  };

  it.each([
    'while true do __lockstep() pcall(function() while true do __lockstep() end end) end',
    'local function f() __lockstep() return f() end return f()',
    'while true do __lockstep() xpcall(function() error(1) end, function() while true do __lockstep() end end) end',
  ])(
    'is ended although it catches what it can: %s',
    async (text) => {
      expect(await outcome(text)).toContain('goes on for too long');
    },
    60_000,
  );

  it.each([
    "while true do redis.pcall('GET', KEYS[1]) end",
    "while true do pcall(redis.call, 'INCR', KEYS[1]) end",
    "while true do local co = coroutine.wrap(function() redis.call('INCR', KEYS[1]) end) pcall(co) end",
  ])(
    'is ended by its calls: %s',
    async (text) => {
      expect(await outcome(`__lockstep() ${text.replace('do ', 'do __lockstep() ')}`)).toContain(
        'calls too many commands',
      );
      expect(await server.redis.keys('lockstep:*:shadow:*')).toEqual([]);
    },
    60_000,
  );
});
