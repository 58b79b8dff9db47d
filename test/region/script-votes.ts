/** Votes on single scripts, on a server of its own. */
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import { connectDirectly, withoutTimeLimit } from './direct.ts';
import { abortOf, executed, outcomesOf, part, prepareOf, roundOf, script } from './fixtures.ts';
import { startRedisServer, type TestServer } from './servers.ts';

/** A server for users' scripts that exceed their limits. The embedded one ends long scripts by itself. */
export class ScriptVotes {
  readonly server: TestServer;
  readonly client: RegionClient;
  #sequence = 0;

  private constructor(server: TestServer) {
    this.server = server;
    this.client = connectDirectly(server.redis, withoutTimeLimit);
  }

  static async start(): Promise<ScriptVotes> {
    return new ScriptVotes(await startRedisServer());
  }

  /** The outcomes of the vote on a script that declares the key `k`; aborts the transaction after that. */
  async outcomeOf(words: string): Promise<string> {
    this.#sequence += 1;
    const prepares = [prepareOf(this.#sequence, ['k'], part(script(words, ['k'])))];
    const result = await this.client.round(roundOf({ prepares }), 0);
    const outcomes = outcomesOf(executed(result).votes[0]);
    await this.client.round(roundOf({ decisions: [abortOf(this.#sequence, ['k'])] }), 0);
    return outcomes;
  }

  stop(): Promise<void> {
    return this.server.stop();
  }
}
