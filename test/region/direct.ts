import type { Redis } from 'ioredis';
import {
  decodeInspection,
  decodeRound,
  decodeSnapshot,
  silent,
} from '../../functions/region/decoding.ts';
import {
  encodeInspection,
  encodeRound,
  encodeSnapshot,
  keysOf,
} from '../../functions/region/encoding.ts';
import {
  inspectScript,
  roundScript,
  type Script,
  snapshotScript,
} from '../../functions/region/scripts.ts';
import { limits } from '../../shared/limits.ts';
import type { RegionClient } from '../../shared/protocol/round.ts';

/**
 * A region client over a plain connection: the same scripts, encoding and decoding, without HTTP. `change` makes other
 * texts of them.
 */
export function connectDirectly(
  redis: Redis,
  text: 'flagged' | 'plain',
  change: (script: string) => string = (script) => script,
): RegionClient {
  async function run(script: Script, shard: number, argument: string): Promise<unknown> {
    const keys = keysOf(shard);
    return redis.eval(change(script[text]), keys.length, ...keys, argument);
  }
  return {
    round: (round) =>
      run(roundScript, round.shard, encodeRound(round)).then(
        (reply) => decodeRound(reply, round),
        (error: unknown) => silent(String(error)),
      ),
    snapshot: (request) =>
      run(snapshotScript, request.shard, encodeSnapshot(request)).then(
        (reply) => decodeSnapshot(reply, request),
        (error: unknown) => silent(String(error)),
      ),
    inspect: (shard, inspection) =>
      run(inspectScript, shard, encodeInspection(inspection)).then(
        decodeInspection,
        (error: unknown) => silent(String(error)),
      ),
    run: ([name = '', ...rest]) =>
      redis.call(name, ...rest).then(
        (reply) => ({ kind: 'answered', reply }),
        (error: unknown) => ({ kind: 'error', message: String(error) }),
      ),
  };
}

/** Lets users' scripts take all the time that they need, so that it is their steps that end them on a slow machine too. */
export function patient(script: string): string {
  return script.replaceAll(`ms = ${limits.scriptMs},`, 'ms = 3600000,');
}
