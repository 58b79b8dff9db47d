/** Encodes the arguments of the scripts for several shards; the header of each script describes the form. */
import { assert } from '../../shared/assert.ts';
import type { JointRound, JointSnapshotRequest } from '../../shared/contracts/joint.ts';
import type { Share } from '../../shared/contracts/share.ts';
import { limits } from '../../shared/limits.ts';
import { areAll } from '../../shared/reserved-keys.ts';
import type { SlotRange } from '../../shared/shards/shard-map.ts';
import { decisionForm, encodeRound, grows, type Json, partForm, shareForm } from './encoding.ts';

/** ARGV[1] of joint.lua. */
export function encodeJoint({ rounds, prepare }: JointRound): string {
  const { now, shares, parts } = prepare;
  assert(shares.length > 0 && shares.length === rounds.length, 'each share has its round');
  for (const [index, round] of rounds.entries()) {
    assert(round.shard === shares[index]?.shard, 'the rounds are in the order of the shares');
    assert(round.prepares.length === 0, 'a joint round has one prepare for all');
    assert(round.copy === null && round.role === 'voter', 'a joint round is for voters');
  }
  const rest: Json = [now, shares.map(fullShareForm), parts.map(partForm), Number(grows(prepare))];
  return `[[${rounds.map(encodeRound).join(',')}],${JSON.stringify(rest).slice(1)}`;
}

/** ARGV[1] of joint-snapshot.lua. `inScript` is as with encodeSnapshot. */
export function encodeJointSnapshot(request: JointSnapshotRequest, inScript: number): string {
  const form: Json = [
    request.shards.map(({ shard, generation, lastAcknowledged, settle, keys, slots }) => [
      ...[shard, generation, lastAcknowledged ?? 0],
      ...[settle.map(decisionForm), keys, rangesText(slots ?? [])],
    ]),
    Number(request.strong),
    Number(request.leased),
    request.commands.map(({ args }) => [args]),
    limits.snapshotBytes,
    inScript,
    limits.lcsSteps,
    limits.snapshotMs,
  ];
  return JSON.stringify(form);
}

function fullShareForm(share: Share): Json {
  const { keys, slots } = share;
  assert(keys.length > 0, 'a share has a key');
  assert(!areAll(keys) || slots !== undefined, 'a share of all keys names the slots of its shard');
  return [...shareForm(share), rangesText(slots ?? [])];
}

/** Ranges of slots in the form of a lock record (slots.lua). */
function rangesText(slots: readonly SlotRange[]): string {
  return slots.map(([first, last]) => `${first}-${last}`).join(',');
}
