import type { Redis } from 'ioredis';
import { decodeRound, decodeSnapshot, silent } from '../../functions/region/decoding.ts';
import { encodeRound, encodeSnapshot, keysOf } from '../../functions/region/encoding.ts';
import { roundScript, type Script, snapshotScript } from '../../functions/region/scripts.ts';
import type { RegionClient } from '../../shared/protocol/round.ts';

/** A region client over a plain connection: the same scripts, encoding and decoding, without HTTP. */
export function connectDirectly(redis: Redis, text: 'flagged' | 'plain'): RegionClient {
  async function run(script: Script, shard: number, argument: string): Promise<unknown> {
    const keys = keysOf(shard);
    return redis.eval(script[text], keys.length, ...keys, argument);
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
  };
}
