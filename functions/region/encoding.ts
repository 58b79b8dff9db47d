/** Encodes the arguments of the region scripts; the header of each script describes the form. */
import { assert } from '../../shared/assert.ts';
import { recordNames } from '../../shared/commands/keys.ts';
import type { Check, Operation, OperationKind, ReplySort } from '../../shared/contracts/frame.ts';
import { isGrowing } from '../../shared/contracts/growing.ts';
import type {
  CopyForm,
  CopyStep,
  Decision,
  Inspection,
  Part,
  Prepare,
  Role,
  Round,
  SnapshotRequest,
} from '../../shared/contracts/round.ts';
import type { Share } from '../../shared/contracts/share.ts';
import { limits } from '../../shared/limits.ts';
import { addressingOf } from './addressing.ts';

/** The number of the region's last pairs in a reply: more than there are rounds in flight. */
const pairsAnswered = 8;

/** The maximum size of values that one inspection reads, in bytes: the server blocks meanwhile. */
const inspectedBytes = 4_000_000;

/** The region's history separates nonces by commas and colons, so a nonce contains none. */
const noncePattern = /^[0-9A-Za-z_-]{1,64}$/;

const operationCodes: Record<OperationKind, number> = {
  write: 0,
  read: 1,
  set: 2,
  delete: 3,
  pop: 4,
  ttl: 5,
  append: 6,
  deliver: 7,
  claim: 8,
  bits: 9,
  script: 10,
  publish: 11,
  flush: 12,
  fail: 13,
  trim: 14,
  distances: 15,
};

const orderCodes: Record<Exclude<ReplySort, null>, number> = {
  members: 1,
  pairs: 2,
  exact: 3,
  'exact-field': 4,
};

const roleCodes: Record<Role, number> = { voter: 0, copying: 1, out: 2 };

const formCodes: Record<CopyForm, number> = { dump: 0, logical: 1, absent: 2 };

/** A value in a JSON argument. */
export type Json = string | number | readonly Json[];

/** The names of a shard's own keys that a script declares, in the order of its KEYS. */
export function keysOf(shard: number): string[] {
  const { state, lock, lease } = recordNames(shard);
  return [state, lock, lease];
}

/** ARGV[1] of round.lua; its header describes the form. */
export function encodeRound(round: Round): string {
  assert(noncePattern.test(round.nonce), `a nonce is of letters and digits, not ${round.nonce}`);
  const form: Json = [
    round.generation,
    round.epoch,
    round.incarnation,
    Number(round.begin),
    Number(round.askOlder),
    round.lowWatermark,
    round.lastAcknowledged ?? 0,
    round.nonce,
    round.decisions.map(decisionForm),
    round.prepares.map(prepareForm),
    [
      limits.historyPairs,
      pairsAnswered,
      limits.olderLocksPerAnswer,
      limits.outcomeBytes,
      limits.copyBytesPerStep,
      limits.elementsCopied,
      limits.stagingMs,
      limits.expiryPutOffMs,
      limits.voteDeadlineMs,
      limits.lcsSteps,
      limits.roundOutcomeBytes,
    ],
    roleCodes[round.role],
    round.lease === null ? 0 : [round.lease.reading ?? -1, round.lease.ttlMs],
    round.takes,
    Number(round.prepares.some(grows)),
  ];
  return `${JSON.stringify(form).slice(0, -1)},${copyText(round.copy)}]`;
}

/** True if the prepare may take memory that a full server refuses; nobody knows the commands of a script before. */
export function grows({ parts }: Pick<Prepare, 'parts'>): boolean {
  return parts.some(({ operations }) =>
    operations.some((operation) => operation.kind === 'script' || isGrowing(operation)),
  );
}

/** The reply of the source is JSON already and is inserted unchanged. */
function copyText(step: CopyStep | null): string {
  if (step?.kind === 'write') {
    const head = JSON.stringify(['w', step.token, step.number]).slice(0, -1);
    return `${head},[${step.data.join(',')}]]`;
  }
  return JSON.stringify(step === null ? 0 : copyForm(step));
}

function copyForm(step: Exclude<CopyStep, { kind: 'write' }>): Json {
  switch (step.kind) {
    case 'begin':
      assert(/^[^ ]+$/.test(step.token), 'a token is not empty and has no spaces');
      return ['b', step.token, step.number, step.replaces, step.agreed ?? 0];
    case 'scan':
      return ['s', step.cursor, step.count, formCodes[step.form]];
    case 'read':
      return ['r', step.keys.flatMap(({ key, from }) => [key, from]), formCodes[step.form]];
    case 'list':
      return ['l', step.cursor, step.count];
  }
}

/**
 * ARGV[1] of snapshot.lua; its header describes the form. `inScript` is the maximum number of bytes that the
 * script reads itself, if it knows the size before.
 */
export function encodeSnapshot(request: SnapshotRequest, inScript: number): string {
  const form: Json = [
    request.generation,
    Number(request.strong),
    request.settle.map(decisionForm),
    request.keys,
    request.commands.map(({ args }) => [args]),
    limits.snapshotBytes,
    Number(request.leased),
    request.lastAcknowledged ?? 0,
    inScript,
    limits.lcsSteps,
    limits.snapshotMs,
  ];
  return JSON.stringify(form);
}

/** KEYS and ARGV of read.lua; its header describes them. */
export function encodeRead(
  request: SnapshotRequest,
  keys: readonly string[],
): { readonly keys: readonly string[]; readonly argv: readonly string[] } {
  const [state = '', lock = '', lease = ''] = keysOf(request.shard);
  const pair = request.lastAcknowledged === null ? ['', ''] : request.lastAcknowledged.map(String);
  const flags = [request.strong, request.leased].map((flag) => String(Number(flag)));
  const argv = [String(request.generation), ...flags, ...pair, ...request.keys];
  return { keys: [state, lease, lock, ...keys], argv };
}

/** ARGV[1] of inspect.lua; its header describes the form. */
export function encodeInspection(inspection: Inspection): string {
  switch (inspection.kind) {
    case 'scan':
      return JSON.stringify(['s', inspection.cursor, inspection.count, inspectedBytes]);
    case 'keys':
      return JSON.stringify(['k', inspection.keys, inspectedBytes]);
    case 'locks':
      return JSON.stringify(['l', inspection.count]);
  }
}

/** A decision in the form of round.lua. */
export function decisionForm(decision: Decision): Json {
  const { transaction, outcome, keys, otherShares } = decision;
  const form: Json = [...transaction, Number(outcome === 'commit'), keys];
  return otherShares === undefined ? form : [...form, otherShares.map(shareForm)];
}

/** A share in the form of shares.lua. */
export function shareForm({ shard, transaction, keys }: Share): readonly Json[] {
  return [shard, ...transaction, keys];
}

function prepareForm(prepare: Prepare): Json {
  return [...prepare.transaction, prepare.now, prepare.keys, prepare.parts.map(partForm)];
}

/** A part in the form of round.lua. */
export function partForm(part: Part): Json {
  const form: Json = [part.checks.map(checkForm), part.operations.map(operationForm)];
  return part.continueOnError ? [...form, 1] : form;
}

function checkForm(check: Check): Json {
  switch (check.kind) {
    case 'absent':
      return [0, check.key];
    case 'exists':
      return [1, check.key];
    case 'equals':
      return [2, check.key, check.value];
    case 'type':
      return [3, check.key, check.type];
    case 'field':
      return [4, check.key, check.field, check.value];
  }
}

function operationForm(operation: Operation): Json {
  const code = operationCodes[operation.kind];
  switch (operation.kind) {
    case 'set':
      return [code, ...operation.args];
    case 'pop':
      return [code, ...operation.args, operation.seed ?? 0];
    case 'ttl':
      return [code, ...operation.args];
    case 'deliver':
    case 'claim':
      return [...commandParts(operation), limits.clockSkewMs];
    case 'script':
      return [...commandParts(operation), operation.seed ?? 0];
    case 'write':
    case 'read': {
      const addressing = addressingOf(operation.args[0] ?? '');
      return [...commandParts(operation), ...(addressing === null ? [] : [addressing])];
    }
    default:
      return commandParts(operation);
  }
}

function commandParts({ kind, args, writes, reads, reply }: Operation): readonly Json[] {
  return [operationCodes[kind], args, writes, reads, orderCode(reply)];
}

function orderCode(order: ReplySort): number {
  return order === null ? 0 : orderCodes[order];
}
