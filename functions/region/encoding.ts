import { assert } from '../../shared/assert.ts';
import { limits } from '../../shared/limits.ts';
import type { Check, Operation, OperationKind, ReplyOrder } from '../../shared/protocol/frame.ts';
import type {
  Decision,
  Part,
  Prepare,
  ReadCommand,
  Round,
  SnapshotRequest,
} from '../../shared/protocol/round.ts';

/** How many of the region's last marks an answer brings: more than rounds are ever in flight. */
const marksAnswered = 8;

/** Marks are joined by commas in the region's history. */
const markPattern = /^[0-9A-Za-z_-]{1,64}$/;

const operationCodes: Record<OperationKind, number> = {
  write: 0,
  read: 1,
  set: 2,
  delete: 3,
  pop: 4,
  ttl: 5,
};

const orderCodes: Record<Exclude<ReplyOrder, null>, number> = {
  members: 1,
  pairs: 2,
  exact: 3,
  'exact-field': 4,
};

type Json = string | number | readonly Json[];

/** The names of a shard's own keys that a script declares, in the order of its KEYS. */
export function keysOf(shard: number): string[] {
  return ['meta', 'lock', 'done'].map((name) => `lockstep:${shard}:${name}`);
}

/** ARGV[1] of round.lua; its header describes the form. */
export function encodeRound(round: Round): string {
  assert(markPattern.test(round.mark), `a mark is of letters and digits, not ${round.mark}`);
  const form: Json = [
    round.generation,
    round.epoch,
    round.incarnation,
    Number(round.begin),
    Number(round.askOlder),
    round.floor,
    round.seen ?? 0,
    round.mark,
    round.decisions.map(decisionForm),
    round.prepares.map(prepareForm),
    [limits.historyPairs, marksAnswered, limits.olderLocksPerAnswer, limits.outcomeBytes],
  ];
  return JSON.stringify(form);
}

/** ARGV[1] of snapshot.lua; its header describes the form. */
export function encodeSnapshot(request: SnapshotRequest): string {
  const form: Json = [
    request.generation,
    Number(request.strong),
    request.settle.map(decisionForm),
    request.keys,
    request.commands.map(commandForm),
    limits.snapshotBytes,
  ];
  return JSON.stringify(form);
}

function decisionForm(decision: Decision): Json {
  return [...decision.transaction, Number(decision.outcome === 'commit'), decision.keys];
}

function prepareForm(prepare: Prepare): Json {
  return [...prepare.transaction, prepare.now, prepare.keys, prepare.parts.map(partForm)];
}

function partForm(part: Part): Json {
  return [part.checks.map(checkForm), part.operations.map(operationForm)];
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
    default:
      return [code, operation.args, operation.writes, operation.reads, orderCode(operation.reply)];
  }
}

function commandForm(command: ReadCommand): Json {
  return [command.args, orderCode(command.reply)];
}

function orderCode(order: ReplyOrder): number {
  return order === null ? 0 : orderCodes[order];
}
