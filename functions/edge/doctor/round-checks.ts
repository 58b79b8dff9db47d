/**
 * Runs the scripts of rounds and snapshots unchanged, on the doctor's own keys: one EVAL prepares, commits, reads, and
 * then removes all of its keys, so that nothing remains even if the doctor is interrupted.
 */
import { readLua } from '../../../shared/commands/lua-text.ts';
import { rawOutcomeOf } from '../../../shared/commands/replies.ts';
import type { Operation } from '../../../shared/contracts/frame.ts';
import type {
  Prepare,
  Round,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
} from '../../../shared/contracts/round.ts';
import { limits } from '../../../shared/limits.ts';
import { decodeRound, decodeSnapshot } from '../../region/decoding.ts';
import { encodeRound, encodeSnapshot } from '../../region/encoding.ts';
import {
  digestOf,
  type LuaScript,
  roundScripts,
  snapshotScriptFor,
} from '../../region/lua-bundle.ts';
import { bad, type CommandRunner, type DoctorCheck, good, reasonOf } from './check.ts';

/** A user's script that touches no keys, since scripts may not touch Lockstep's own. */
const userScript = [
  'local digits = {}',
  "for digit in string.gmatch(ARGV[1], '%d') do digits[#digits + 1] = digit end",
  'return table.concat(digits)',
].join('\n');

/** Checks that the server runs rounds and snapshots, with and without a user's script. */
export async function roundChecks(
  run: CommandRunner,
  runId: string,
): Promise<readonly DoctorCheck[]> {
  const keys = probeKeysOf(runId);
  const counted: Operation = {
    kind: 'write',
    args: ['INCRBY', keys.key, '42'],
    writes: [1],
    reads: [],
    reply: 'exact',
    seed: null,
  };
  const scripted: Operation = {
    kind: 'script',
    args: [await digestOf(userScript), readLua(userScript).counted, '42'],
    writes: [],
    reads: [],
    reply: null,
    seed: 7,
  };
  const attempt = (script: LuaScript, operation: Operation, value: string | null) =>
    attempted(run, keys, textOf(script), operation, value);
  return [
    roundCheck('round', await attempt(roundScripts.plain, counted, '42')),
    roundCheck('user scripts', await attempt(roundScripts.scripts, scripted, null)),
  ];
}

interface ProbeKeys {
  readonly own: readonly string[];
  readonly key: string;
  readonly shadow: string;
}

function probeKeysOf(runId: string): ProbeKeys {
  const prefix = `lockstep:doctor:{${runId}}:`;
  const own = ['state', 'lock', 'lease'].map((name) => `${prefix}${name}`);
  const key = `${prefix}key`;
  return { own, key, shadow: `${prefix}shadow:1.1:${key}` };
}

function textOf(script: LuaScript): string {
  return `local function round()
${script.text}
end
local function snapshot()
${snapshotScriptFor(emptySnapshot).text}
end
local given, replies = { ARGV[1], ARGV[2], ARGV[3] }, {}
for index, body in ipairs({ round, round, snapshot }) do
  ARGV[1] = given[index]
  local ok, reply = pcall(body)
  replies[index] = ok and reply or { 'x', tostring(reply) }
end
redis.call('UNLINK', unpack(KEYS))
return replies`;
}

/** Null if the operation replies 42 and the key then has `value`; otherwise a description of the fault. */
async function attempted(
  run: CommandRunner,
  { own, key, shadow }: ProbeKeys,
  text: string,
  operation: Operation,
  value: string | null,
): Promise<string | null> {
  const transaction = [1, 1] as const;
  const part = { checks: [], operations: [operation], continueOnError: false };
  const prepare: Prepare = { transaction, keys: [key], now: 0, parts: [part] };
  const decision = { transaction, outcome: 'commit', keys: [key] } as const;
  const get = { args: ['GET', key], reads: [1], reply: null };
  const prepared: Round = { ...emptyRound, nonce: 'one', prepares: [prepare] };
  const committed: Round = { ...emptyRound, nonce: 'two', decisions: [decision] };
  const read: SnapshotRequest = { ...emptySnapshot, commands: [get] };
  const argv = [
    encodeRound(prepared),
    encodeRound(committed),
    encodeSnapshot(read, limits.snapshotBytes),
  ];
  const keys = [...own, key, shadow];
  const result = await run('EVAL', text, String(keys.length), ...keys, ...argv);
  if (result.kind !== 'answered') return reasonOf(result);
  const [first, second, third] = Array.isArray(result.reply) ? result.reply : [];
  const voted = decodeRound(first, prepared);
  if (resultOf(voted) !== '42') return `it does not prepare: ${shown(voted)}`;
  const applied = decodeRound(second, committed);
  const isApplied =
    applied !== 'longer' &&
    applied.kind === 'executed' &&
    applied.reply.decisions[0] === 'acknowledged';
  if (!isApplied) return `it does not commit: ${shown(applied)}`;
  const found = decodeSnapshot(third, read);
  const isFound = found !== 'large' && found.kind === 'read' && found.replies[0] === value;
  return isFound ? null : `it does not read: ${shown(found)}`;
}

/** Shard 0 stands for any shard: the names of the keys are the doctor's own. */
const emptyRound: Round = {
  shard: 0,
  generation: 1,
  role: 'voter',
  epoch: 1,
  incarnation: 1,
  begin: true,
  takes: Number.MAX_SAFE_INTEGER,
  askOlder: false,
  lowWatermark: [0, 0],
  lastAcknowledged: null,
  nonce: 'm',
  decisions: [],
  prepares: [],
  lease: null,
  copy: null,
};

const emptySnapshot: SnapshotRequest = {
  shard: 0,
  generation: 1,
  strong: true,
  leased: false,
  lastAcknowledged: null,
  settle: [],
  keys: [],
  commands: [],
};

/** The reply of the only operation of the only transaction; null unless the vote is yes and the operation succeeded. */
function resultOf(result: RoundResult | 'longer'): string | null {
  const vote =
    result !== 'longer' && result.kind === 'executed' ? result.reply.votes[0] : undefined;
  const outcome = vote?.kind === 'yes' ? rawOutcomeOf(vote.outcomes[0] ?? '') : null;
  return outcome?.kind === 'done' ? String(outcome.replies[0]) : null;
}

/** The reason of a failure, or the decoded answer if it gives none. */
function shown(result: RoundResult | SnapshotResult | 'large' | 'longer'): string {
  if (typeof result !== 'string' && result.kind === 'silent') return result.reason;
  const text = JSON.stringify(result, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
  return text.slice(0, 300);
}

function roundCheck(name: string, fault: string | null): DoctorCheck {
  if (fault === null) return good(name, 'prepared, committed and read');
  const advice =
    'If the error is about memory, disk or a replica, fix that; otherwise use another database: this one cannot run the scripts of writes.';
  return bad(name, fault, advice);
}
