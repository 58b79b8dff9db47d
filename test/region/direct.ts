import type { Redis } from 'ioredis';
import { clientOf } from '../../functions/region/client.ts';
import { silent } from '../../functions/region/decoding.ts';
import type { LuaScript } from '../../functions/region/lua-bundle.ts';
import type { Element } from '../../functions/region/rest-client.ts';
import type { ScriptRunner } from '../../functions/region/script-runner.ts';
import { assert } from '../../shared/assert.ts';
import type { ReadableRegion } from '../../shared/contracts/region-client.ts';
import { integerOf, type RawReply } from '../../shared/contracts/reply.ts';
import { limits } from '../../shared/limits.ts';
import type { TestServer } from './servers.ts';

/**
 * A region client over a plain connection: the same scripts, encoding and decoding, without HTTP. `change` replaces
 * their texts, or the digests of the texts that the server knows.
 */
export function connectDirectly(
  redis: Redis,
  change: (script: string) => string = (script) => script,
): ReadableRegion {
  return clientOf(directRunner(redis, (script) => change(script.text)));
}

/** A server, and a client whose texts may be changed. */
export interface DirectRegion {
  readonly server: TestServer;
  readonly client: ReadableRegion;
}

/** Starts two servers, to compare two ways to carry out the same rounds: `first` and `second` change the texts. */
export async function startBoth(
  start: () => Promise<TestServer>,
  first: (script: string) => string,
  second: (script: string) => string,
): Promise<readonly [DirectRegion, DirectRegion]> {
  const regionWith = async (change: (script: string) => string) => {
    const server = await start();
    return { server, client: connectDirectly(server.redis, change) };
  };
  return Promise.all([regionWith(first), regionWith(second)]);
}

/** Leaves every round to round.lua. */
export function withoutSetRound(text: string): string {
  const changed = text.replace('pcall(runSetRound)', 'true, nil');
  assert(changed !== text || !text.includes('runSetRound'), 'the text begins with set-round.lua');
  return changed;
}

/** Runs scripts and commands over a plain connection. */
function directRunner(redis: Redis, textOf: (script: LuaScript) => string): ScriptRunner {
  const commandOf = (script: LuaScript, keys: readonly string[], argv: readonly string[]) => [
    ...[/^[0-9a-f]{40}$/.test(textOf(script)) ? 'EVALSHA' : 'EVAL', textOf(script)],
    String(keys.length),
    ...keys,
    ...argv,
  ];
  const run = ([name = '', ...rest]: readonly string[]): Promise<Element> =>
    redis
      .callBuffer(name, ...rest)
      .then((reply): Element => ({ kind: 'answered', reply: replyOfClient(reply) }), errorElement);
  return {
    async evaluate(script, keys, argv) {
      const element = await run(commandOf(script, keys, argv));
      return element.kind === 'answered' ? element : silent(element.message);
    },
    async evaluateAhead(script, keys, argv, commands) {
      const all = [['MULTI'], commandOf(script, keys, argv), ...commands, ['EXEC']];
      const results = await Promise.allSettled(
        all.map(([name = '', ...rest]) => redis.callBuffer(name, ...rest)),
      );
      const executed = results.at(-1);
      if (executed?.status !== 'fulfilled') return { kind: 'discarded' };
      const answered: unknown = executed.value;
      if (!Array.isArray(answered)) return silent('a response without elements');
      const [head, ...elements] = answered.map(
        (reply: unknown): Element =>
          reply instanceof Error
            ? errorElement(reply)
            : { kind: 'answered', reply: replyOfClient(reply) },
      );
      if (head?.kind !== 'answered') return silent(head?.message ?? 'a response without elements');
      return { ...head, elements };
    },
    run,
  };
}

/** Gives users' scripts unlimited time, so that only their steps end them, on a slow machine too. */
export function withoutTimeLimit(script: string): string {
  const changed = script.replaceAll(`ms=${limits.scriptMs},`, 'ms=3600000,');
  assert(changed !== script || !script.includes('SCRIPT_BOUNDS'), 'the bound stands elsewhere');
  return changed;
}

function errorElement(error: unknown): Element {
  const message = error instanceof Error ? error.message : String(error);
  return { kind: 'error', code: message.split(' ', 1)[0] ?? '', message };
}

/** A reply as ioredis returns it in buffers. */
export function replyOfClient(reply: unknown): RawReply {
  if (Buffer.isBuffer(reply)) return reply.toString('latin1');
  if (Array.isArray(reply)) return reply.map(replyOfClient);
  if (reply instanceof Error) return { error: reply.message };
  // A client of these tests may return integers as text, so that no digit is lost.
  return typeof reply === 'number' || typeof reply === 'string' ? integerOf(String(reply)) : null;
}
