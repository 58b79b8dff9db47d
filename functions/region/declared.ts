/** Chooses the keys that a script declares in KEYS. */
import { assert } from '../../shared/assert.ts';
import { shadowName } from '../../shared/commands/keys.ts';
import { isAscii } from '../../shared/contracts/bytes.ts';
import type { JointRound, JointSnapshotRequest } from '../../shared/contracts/joint.ts';
import type { Decision, Inspection, Round, SnapshotRequest } from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import { valuesAmong } from '../../shared/reserved-keys.ts';
import { keysOf } from './encoding.ts';

/**
 * A script declares the shard's own keys and the users' keys that it is known to touch, with their shadows. Upstash reads
 * undeclared keys from disk while all other commands wait. A script also touches keys that it only learns as it runs
 * (from users' scripts and locks), so nothing depends on the declaration: names that would make the request much larger
 * are omitted.
 */

/** KEYS for a round whose argument is `argument`. */
export function keysOfRound(round: Round, argument: string): readonly string[] {
  const { shard, decisions, prepares, copy } = round;
  const own = [...decisions, ...prepares].flatMap(({ keys }) => keys);
  const read = copy?.kind === 'read' ? copy.keys.map(({ key }) => key).filter(isAscii) : [];
  const shadows = [...decisions, ...prepares].flatMap((item) => shadowsOf(shard, item));
  const others = sharesOf(decisions);
  return declared(
    shard,
    [...valuesAmong(own), ...valuesAmong(read), ...shadows, ...others],
    argument,
  );
}

/** KEYS for a joint round whose argument is `argument`: those of the first shard, and then any others. */
export function keysOfJoint({ rounds, prepare }: JointRound, argument: string): readonly string[] {
  const records = rounds.flatMap(({ shard }) => keysOf(shard));
  const own = prepare.shares.flatMap((share) => [
    ...valuesAmong(share.keys),
    ...shadowsOf(share.shard, share),
  ]);
  const decided = rounds.flatMap(({ shard, decisions }) => [
    ...decisions.flatMap((item) => [...valuesAmong(item.keys), ...shadowsOf(shard, item)]),
    ...sharesOf(decisions),
  ]);
  return declared(prepare.shares[0]?.shard ?? 0, [...records, ...own, ...decided], argument);
}

/** KEYS for a snapshot over several shards whose argument is `argument`. */
export function keysOfJointSnapshot(
  { shards, commands }: JointSnapshotRequest,
  argument: string,
): readonly string[] {
  const records = shards.flatMap(({ shard }) => keysOf(shard));
  const read = commands.flatMap(({ args, reads }) => reads.flatMap((at) => args.slice(at, at + 1)));
  const settled = shards.flatMap(({ shard, settle }) => [
    ...settle.flatMap((item) => [...valuesAmong(item.keys), ...shadowsOf(shard, item)]),
    ...sharesOf(settle),
  ]);
  return declared(shards[0]?.shard ?? 0, [...records, ...valuesAmong(read), ...settled], argument);
}

/** The names that a commit touches in other shards: their records, keys and shadows. */
function sharesOf(decisions: readonly Decision[]): readonly string[] {
  return decisions.flatMap(({ otherShares }) =>
    (otherShares ?? []).flatMap((share) => [
      ...keysOf(share.shard),
      ...valuesAmong(share.keys),
      ...shadowsOf(share.shard, share),
    ]),
  );
}

/** KEYS for a snapshot whose argument is `argument`; the commands after the script declare their own keys. */
export function keysOfSnapshot(request: SnapshotRequest, argument: string): readonly string[] {
  const { shard, settle, commands } = request;
  const settled = settle.flatMap(({ keys }) => keys);
  const read = commands.flatMap(({ args, reads }) => reads.flatMap((at) => args.slice(at, at + 1)));
  const shadows = settle.flatMap((decision) => shadowsOf(shard, decision));
  const others = sharesOf(settle);
  return declared(
    shard,
    [...valuesAmong(settled), ...valuesAmong(read), ...shadows, ...others],
    argument,
  );
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
  return valuesAmong(item.keys).map((key) => shadowName(shard, item.transaction, key));
}

/** The first of `names` that are together no longer than the argument, so that a request at most doubles. */
function declared(shard: number, names: readonly string[], argument: string): readonly string[] {
  const keys = keysOf(shard);
  const chosen = new Set<string>();
  const first = new Set(keys);
  let left = argument.length;
  for (const name of names) {
    // The JSON of a request cannot carry invalid UTF-8.
    if (first.has(name) || chosen.has(name) || !name.isWellFormed()) continue;
    left -= JSON.stringify(name).length + 1;
    if (left < 0 || chosen.size === limits.keysDeclared) break;
    chosen.add(name);
  }
  assert(keys.length === 3, 'base.lua has names for the first three');
  return [...keys, ...chosen];
}
