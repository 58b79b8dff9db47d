/** Runs scripts in a region and in one plain Redis, and compares their replies and their data. */
import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { bytesWithin } from '../../../shared/commands/raw-bytes.ts';
import { parseExact } from '../../../shared/commands/replies.ts';
import type { ReplySort } from '../../../shared/contracts/frame.ts';
import type { Decision } from '../../../shared/contracts/round.ts';
import {
  commitOf,
  countedText,
  executed,
  part,
  roundOf,
  script as scriptOf,
  snapshotOf,
} from '../fixtures.ts';
import { encodeReply, jsonOfOutcomes } from '../replies.ts';
import { startRedisServer } from '../servers.ts';
import {
  inOrder,
  normalizeClientReply,
  normalizeRegionReply,
  type OracleReply,
  RegionWithOracle,
} from './redis-oracle.ts';

/** A script with its keys and arguments, as in EVAL. */
export interface Script {
  readonly text: string;
  readonly keys: readonly string[];
  readonly argv: readonly string[];
}

/** The SHA-1 of the text, which EVALSHA takes. */
function digestOf(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}

/** The maximum number of attempts until every key of a script is listed. */
const attempts = 20;

const keepScript = `
redis.call('SELECT', ARGV[1])
redis.call('FLUSHDB')
redis.call('SELECT', '1')
for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', ARGV[1]) end`;

/**
 * Runs each script in both and expects the same reply and the same data; but a script that raises an error leaves
 * nothing in Lockstep.
 */
export class ScriptOracle extends RegionWithOracle {
  #transactions = 0;
  #keys: readonly string[] = [];

  static async start(): Promise<ScriptOracle> {
    return new ScriptOracle(await startRedisServer());
  }

  /** Empties both, and fills them with these commands. */
  async begin(commands: readonly (readonly string[])[]): Promise<void> {
    await this.plain.flushall();
    this.#transactions = 0;
    this.#keys = [];
    for (const [name = '', ...rest] of commands) {
      await Promise.all([this.staged.call(name, ...rest), this.plain.call(name, ...rest)]);
    }
  }

  /** Runs the script on both sides and returns its reply. `order` sorts replies whose order is undefined. */
  async run(script: Script, order: ReplySort = null): Promise<OracleReply> {
    const { reply, isUndone } = await this.stage(script);
    await this.#keep();
    const expected = await this.#evaluate('EVAL', script);
    const message = `the reply to ${JSON.stringify(script)}`;
    expect(inOrder(reply, order), message).toEqual(inOrder(expected, order));
    if (isUndone) await this.#restore();
    return reply;
  }

  /** Runs the script as a read on both sides. */
  async read(script: Script): Promise<OracleReply> {
    const { text, keys, argv } = script;
    const args = [
      'EVAL_RO',
      digestOf(text),
      countedText(text),
      String(keys.length),
      ...keys,
      ...argv,
    ];
    await this.commit();
    const reads = keys.map((_, index) => index + 4);
    const result = await this.region.snapshot(snapshotOf(keys, [{ args, reads, reply: null }]), 0);
    if (result.kind !== 'read') throw new Error(`not read: ${JSON.stringify(result)}`);
    const replies = parseExact(encodeReply(result.replies));
    const reply = normalizeRegionReply(Array.isArray(replies) ? replies[0] : replies);
    const expected = await this.#evaluate('EVAL_RO', script);
    expect(reply, `the reply to ${JSON.stringify(script)}`).toEqual(expected);
    return reply;
  }

  /** Stages the script, with every key that it turns out to touch. */
  async stage(script: Script): Promise<{
    readonly reply: OracleReply;
    readonly isUndone: boolean;
    readonly keys: readonly string[];
  }> {
    const parts = [part(scriptOf(script.text, script.keys, script.argv))];
    let keys = [...new Set(script.keys)];
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      const decisions = this.#decisions();
      this.#transactions += 1;
      this.#keys = [];
      const transaction = [1, this.#transactions] as const;
      const prepares = [{ transaction, keys, now: Date.now(), parts }];
      const { votes } = executed(await this.region.round(roundOf({ decisions, prepares }), 0));
      const [vote] = votes;
      if (vote?.kind === 'yes') {
        this.#keys = keys;
        const outcomes = parseExact(jsonOfOutcomes(vote.outcomes));
        const [outcome] = Array.isArray(outcomes) ? outcomes : [];
        if (outcome[0] === 0)
          return { reply: normalizeRegionReply(outcome[1]), isUndone: false, keys };
        return { reply: { error: String(outcome[2]) }, isUndone: true, keys };
      }
      if (vote?.kind !== 'unlisted') throw new Error(`${script.text}: ${JSON.stringify(vote)}`);
      keys = [...new Set([...keys, ...vote.parts.flatMap((each) => each.keys)])];
    }
    throw new Error(`${script.text} touches ever more keys`);
  }

  #decisions(): readonly Decision[] {
    return this.#keys.length === 0 ? [] : [commitOf(this.#transactions, this.#keys)];
  }

  async #evaluate(name: string, { text, keys, argv }: Script): Promise<OracleReply> {
    const args = [text, String(keys.length), ...keys, ...argv];
    const bytes = args.map((arg) => Buffer.from(bytesWithin(arg), 'latin1'));
    return normalizeClientReply(
      await this.plain.callBuffer(name, ...bytes).catch((error: unknown) => error),
    );
  }

  async #keep(): Promise<void> {
    await this.plain.eval(keepScript, 0, '2');
  }

  /** Undoes the changes of a script that raised an error. */
  async #restore(): Promise<void> {
    await this.plain.flushdb();
    await this.plain.call('SWAPDB', '1', '2');
  }

  /** Commits the last script. */
  async commit(): Promise<void> {
    const decisions = this.#decisions();
    this.#keys = [];
    await this.decide(decisions);
  }

  /** Commits the last script, and compares all that both have now. */
  async end(): Promise<void> {
    await this.commit();
    await this.compare();
  }
}
