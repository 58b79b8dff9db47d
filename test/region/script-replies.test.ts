/** Tests the limits of a script's reply. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import { limits } from '../../shared/limits.ts';
import { connectDirectly, withoutTimeLimit } from './direct.ts';
import { executed, outcomesOf, part, prepareOf, roundOf, script, snapshotOf } from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

// The embedded server ends long scripts of all kinds by itself.
describe('the reply of a script', () => {
  let server: TestServer;
  let client: RegionClient;
  let sequence = 0;
  beforeAll(async () => {
    server = await startRedisServer();
    client = connectDirectly(server.redis, withoutTimeLimit);
  });
  afterAll(() => server.stop());

  /** The outcomes of the script as a write. */
  const outcome = async (words: string) => {
    sequence += 1;
    const prepares = [prepareOf(sequence, [`k${sequence}`], part(script(words)))];
    return outcomesOf(executed(await client.round(roundOf({ prepares }), 0)).votes[0]);
  };

  /** The reply of the script as a read. */
  const replyRead = async (words: string): Promise<RawReply | undefined> => {
    const { args } = script(words);
    const command = { args: ['EVAL_RO', ...args, '0'], reads: [], reply: null };
    const result = await client.snapshot(snapshotOf([], [command]), 0);
    if (result.kind !== 'read') throw new Error(`not read: ${JSON.stringify(result)}`);
    return result.replies[0];
  };

  it('has a limit of items, of bytes in a write, and of the length of an error or a status', async () => {
    const wide = 'local t = {} for i = 1, 22 do t = {t, t} end return t';
    expect(await outcome(wide)).toContain('too many items');
    const most = `local t = {} for i = 1, ${limits.scriptReplyItems} do t[i] = 1 end`;
    expect(await replyRead(`${most} return t`)).toEqual(Array(limits.scriptReplyItems).fill(1));
    for (const answer of [outcome, replyRead]) {
      const reply = JSON.stringify(await answer(`${most} t[#t + 1] = 1 return t`));
      expect(reply).toContain('too many items');
    }
    // A write is stored with its replies, so that these have a limit of their own, in bytes.
    expect(await outcome(`${most} return t`)).toContain('the replies of this write are too large');
    for (const kind of ['err', 'ok']) {
      expect(await outcome(`return {${kind} = string.rep('x', 1e6)}`)).toContain('too long');
    }
    expect((await outcome("error(string.rep('x', 1e6))")).length).toBeLessThan(10_000);
  });
});
