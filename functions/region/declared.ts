import { assert } from '../../shared/assert.ts';
import type { Inspection, Round, SnapshotRequest } from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { valuesAmong } from '../../shared/reserved-keys.ts';
import { keysOf } from './encoding.ts';

/**
 * What a script declares in its KEYS: the shard's own keys, and behind them those of users that it is known to touch,
 * with their shadows. Upstash reads what is not declared from disk while it holds up all others. A script also touches
 * what is found out as it runs (by users' scripts, in locks), so nothing depends on these names: those that would make
 * the request much larger are left out.
 */

/** KEYS for a round whose argument is `argument`. */
export function keysOfRound(round: Round, argument: string): readonly string[] {
  const { shard, decisions, prepares, copy } = round;
  const own = [...decisions, ...prepares].flatMap(({ keys }) => keys);
  const read = copy?.kind === 'read' ? copy.keys.map(({ key }) => key).filter(isAscii) : [];
  const shadows = [...decisions, ...prepares].flatMap((item) => shadowsOf(shard, item));
  return declared(shard, [...valuesAmong(own), ...valuesAmong(read), ...shadows], argument);
}

/** KEYS for a snapshot whose argument is `argument`; commands behind the script declare their own. */
export function keysOfSnapshot(request: SnapshotRequest, argument: string): readonly string[] {
  const { shard, settle, commands } = request;
  const settled = settle.flatMap(({ keys }) => keys);
  const read = commands.flatMap(({ args, reads }) => reads.flatMap((at) => args.slice(at, at + 1)));
  const shadows = settle.flatMap((decision) => shadowsOf(shard, decision));
  return declared(shard, [...valuesAmong(settled), ...valuesAmong(read), ...shadows], argument);
}

/** KEYS for an inspection whose argument is `argument`. */
export function keysOfInspection(
  shard: number,
  inspection: Inspection,
  argument: string,
): readonly string[] {
  const read = inspection.kind === 'keys' ? inspection.keys.filter(isAscii) : [];
  return declared(shard, valuesAmong(read), argument);
}

function shadowsOf(
  shard: number,
  item: { readonly transaction: TransactionOrder; readonly keys: readonly string[] },
): readonly string[] {
  const id = item.transaction.join('.');
  return valuesAmong(item.keys).map((key) => `lockstep:${shard}:shadow:${id}:${key}`);
}

/** The first of `names` that fit: all of them together take no more than the argument does, so no request doubles. */
function declared(shard: number, names: readonly string[], argument: string): readonly string[] {
  const keys = keysOf(shard);
  const chosen = new Set<string>();
  let left = argument.length;
  for (const name of names) {
    // Bytes that are no UTF-8 have no place in the JSON of a request.
    if (chosen.has(name) || !name.isWellFormed()) continue;
    left -= JSON.stringify(name).length + 1;
    if (left < 0 || chosen.size === limits.keysDeclared) break;
    chosen.add(name);
  }
  assert(keys.length === 4, 'base.lua has names for the first four');
  return [...keys, ...chosen];
}

/** These keys come with one character a byte, which is the same for these alone. */
function isAscii(key: string): boolean {
  return /^[\0-\x7f]*$/.test(key);
}
