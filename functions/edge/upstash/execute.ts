/** Executes the plan of a request of the Upstash protocol: pipelines and transactions. */
import { assert } from '../../../shared/assert.ts';
import { rawOutcomeOf } from '../../../shared/commands/replies.ts';
import { scriptErrorKindOf } from '../../../shared/commands/user-scripts.ts';
import { textOfBytes, utf8Length } from '../../../shared/contracts/bytes.ts';
import type { PlacedAnswer, WriteRequest } from '../../../shared/contracts/coordinator.ts';
import type { RawOutcome } from '../../../shared/contracts/outcome.ts';
import { type Result, success } from '../../../shared/http/problems.ts';
import { writeIdOf } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { elementOf, type UpstashElement } from '../../../shared/upstash/replies.ts';
import type { UpstashCommand } from '../../../shared/upstash/request.ts';
import { keptHeaders, keptUnder, recall } from '../http/idempotency.ts';
import { keeperOf } from '../http/shards.ts';
import { presentAnswer } from '../writes/present.ts';
import { planScripts } from './plan-scripts.ts';
import { failed, type PlannedCommand, type UpstashRun } from './request.ts';
import { batchesOf, runOrders } from './script-commands.ts';

/** The outcome of a request. `wrote`: its sync token has to change. */
export interface UpstashOutcome {
  readonly elements: readonly UpstashElement[];
  readonly wrote: boolean;
  /** The headers of the snapshot; empty if the reads were part of writes. */
  readonly headers: Readonly<Record<string, string>>;
  /** True if a script that was planned as a read tried to write: the commands may be sent again as writes. */
  readonly mustWrite?: boolean;
}

/** The outcome of a transaction that was executed as a whole, or the reason why it was discarded. */
export type TransactionOutcome =
  | (UpstashOutcome & { readonly kind: 'done' })
  | { readonly kind: 'discarded'; readonly error: string; readonly status: number };

/** Commands for one round trip: as writes, or as one snapshot. */
interface Segment {
  readonly planned: PlannedCommand[];
  hasWrite: boolean;
  /** True if it holds a read that cannot be part of a write. */
  isSnapshot: boolean;
}

/**
 * Executes commands in order, each on its own: a failure does not stop the others. It takes one round trip, unless a
 * read that cannot be part of a write (SCAN, a random choice) comes between writes.
 */
export async function runPipeline(
  run: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<UpstashOutcome> {
  const elements: UpstashElement[] = [];
  let wrote = false;
  let headers: UpstashOutcome['headers'] = {};
  const first = await recallRefused(run, planned);
  for (const stretch of stretchesOf(planned)) {
    const orders = stretch.flatMap(({ plan }) => (plan.kind === 'order' ? [plan.order] : []));
    if (orders.length > 0) elements.push(...(await runOrders(run, orders)));
    // Planned only now, since an earlier command of the pipeline may have loaded the script.
    else {
      for (const segment of segmentsOf(await planScripts(run, stretch))) {
        const outcome = await runSegment(run, segment, elements.length);
        elements.push(...outcome.elements);
        wrote ||= outcome.wrote;
        headers = outcome.headers;
      }
    }
  }
  for (const [position, element] of first) elements[position] = element;
  return { elements, wrote, headers };
}

async function runSegment(
  run: UpstashRun,
  { planned, hasWrite, isSnapshot }: Segment,
  offset: number,
): Promise<UpstashOutcome> {
  if (hasWrite) return writeAll(run, planned, offset);
  const outcome = await readAll(run, planned);
  return outcome.mustWrite && !isSnapshot ? writeAll(run, planned, offset) : outcome;
}

/**
 * Executes commands as one transaction. As in Redis, a command that fails returns its error, and the others take
 * effect.
 */
export async function runTransaction(
  run: UpstashRun,
  given: readonly PlannedCommand[],
): Promise<TransactionOutcome> {
  const planned = await planScripts(run, given);
  const discarded = discardOf(planned);
  if (discarded !== null) {
    const refused = { kind: 'discarded', error: discarded, status: 400 } as const;
    return (await recallTransaction(run, planned)) ?? refused;
  }
  if (!planned.some(({ plan }) => plan.kind === 'write')) {
    if (inSnapshots(planned).length > 1) {
      const detail = `the scripts of one transaction may have at most ${limits.scriptBytesPerWrite} bytes`;
      return { kind: 'discarded', error: `ERR ${detail}`, status: 400 };
    }
    const outcome = await readAll(run, planned);
    if (!outcome.mustWrite || !planned.every(mayStandInWrite)) return { kind: 'done', ...outcome };
  }
  const sent = planned.filter(isSent);
  const ops = sent.map(({ command }) => command);
  const request = requestOf(run, ops, true, null);
  const answered = await run.sender.send(request, run.target.background);
  if (!answered.ok) return { kind: 'discarded', ...failed(answered.problem) };
  return transactionOutcome(answered.value, planned, isSent);
}

/** The outcome of a transaction. `sent` selects the commands that were part of it. */
function transactionOutcome(
  answer: PlacedAnswer,
  planned: readonly PlannedCommand[],
  sent: (each: PlannedCommand) => boolean,
): TransactionOutcome {
  const outcome = outcomeOf(answer);
  if ('error' in outcome) {
    return { kind: 'discarded', error: outcome.error, status: outcome.status };
  }
  let next = 0;
  const elements = planned.map((each) => {
    if (!sent(each)) return settled(each);
    const reply = outcome.replies[next] ?? null;
    next += 1;
    return elementOf(reply, each.command);
  });
  return { kind: 'done', elements, wrote: true, headers: keptHeaders([answer]) };
}

/** The kept outcome of a transaction that this release refuses; null without one. */
async function recallTransaction(
  run: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<TransactionOutcome | null> {
  if (run.key === null) return null;
  const recalled = await recall(run.dependencies, run.key, [null]);
  if (!recalled.ok) return { kind: 'discarded', ...failed(recalled.problem) };
  const [first = null] = recalled.value;
  return first === null ? null : transactionOutcome(first, planned, wasSent);
}

/**
 * A command that is refused now may have been executed earlier. Those answered without the coordinator were never sent.
 */
function wasSent({ plan }: PlannedCommand): boolean {
  return plan.kind !== 'answered' && plan.kind !== 'order';
}

/** The kept outcomes of commands that this release refuses, by their positions in the pipeline. */
async function recallRefused(
  run: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<ReadonlyMap<number, UpstashElement>> {
  const positions = planned.flatMap(({ plan }, position) =>
    plan.kind === 'refused' ? [position] : [],
  );
  if (run.key === null || positions.length === 0) return new Map();
  const recalled = await recall(run.dependencies, run.key, positions);
  if (!recalled.ok) {
    const { problem } = recalled;
    return new Map(positions.map((position) => [position, failed(problem)]));
  }
  return new Map(
    recalled.value.flatMap((answer, index) => {
      const position = positions[index] ?? 0;
      const command = planned[position]?.command ?? [];
      return answer === null ? [] : [[position, elementOfAnswer(answer, command)] as const];
    }),
  );
}

function elementOfAnswer(answer: PlacedAnswer, command: UpstashCommand): UpstashElement {
  const outcome = outcomeOf(answer);
  return 'error' in outcome ? outcome : elementOf(outcome.replies[0] ?? null, command);
}

/** The reason to discard the transaction before any of it is executed, or null. */
function discardOf(planned: readonly PlannedCommand[]): string | null {
  const hasWrite = planned.some(({ plan }) => plan.kind === 'write');
  for (const { command, plan } of planned) {
    if (plan.kind === 'refused' && plan.whenQueued) {
      // Redis gives the reason in the reply to the command. Here EXEC has the only reply, so it includes the reason.
      return `EXECABORT Transaction discarded because of previous errors. ${plan.error}`;
    }
    if (plan.kind === 'order') {
      return 'EXECABORT Transaction discarded because of previous errors. ERR SCRIPT is not allowed in a transaction: scripts are stored outside the data; send it first';
    }
    if (plan.kind === 'read' && hasWrite && !plan.mayBeFrame) {
      const name = command[0]?.toUpperCase();
      return `EXECABORT Transaction discarded because of previous errors. ERR ${name} is not allowed in a transaction that writes: regions would reply differently`;
    }
  }
  return null;
}

function segmentsOf(planned: readonly PlannedCommand[]): readonly Segment[] {
  const segments: Segment[] = [];
  for (const each of planned) {
    const isWrite = each.plan.kind === 'write';
    const isLone = each.plan.kind === 'read' && !each.plan.mayBeFrame;
    const last = segments.at(-1);
    if (last === undefined || (isWrite && last.isSnapshot) || (isLone && last.hasWrite)) {
      segments.push({ planned: [each], hasWrite: isWrite, isSnapshot: isLone });
      continue;
    }
    last.planned.push(each);
    last.hasWrite ||= isWrite;
    last.isSnapshot ||= isLone;
  }
  return segments;
}

/** Reads one snapshot, or several if the scripts are too large for one. */
async function readAll(
  run: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<UpstashOutcome> {
  const outcomes: UpstashOutcome[] = [];
  for (const batch of inSnapshots(planned)) outcomes.push(await readBatch(run, batch));
  return {
    elements: outcomes.flatMap(({ elements }) => elements),
    wrote: false,
    headers: outcomes.findLast(({ headers }) => 'Lockstep-Region' in headers)?.headers ?? {},
    mustWrite: outcomes.some(({ mustWrite }) => mustWrite === true),
  };
}

function inSnapshots(planned: readonly PlannedCommand[]): readonly (readonly PlannedCommand[])[] {
  return batchesOf(planned, ({ plan }) => {
    const isScript = plan.kind === 'read' && plan.command.args[0] === 'EVAL_RO';
    return isScript ? utf8Length(plan.command.args[2] ?? '') : 0;
  });
}

async function readBatch(
  { reader, target, scripts }: UpstashRun,
  planned: readonly PlannedCommand[],
): Promise<UpstashOutcome> {
  const reads = planned.flatMap(({ plan }) => (plan.kind === 'read' ? [plan] : []));
  if (reads.length === 0) return { elements: planned.map(settled), wrote: false, headers: {} };
  const keys = [...new Set(reads.flatMap((read) => read.keys))];
  const commands = reads.map(({ command }) => command);
  const snapshot = await reader.read({ keys, commands, ...target });
  let next = 0;
  let mustWrite = false;
  const elements = planned.map((each): UpstashElement => {
    if (each.plan.kind !== 'read') return settled(each);
    if (!snapshot.ok) return failed(snapshot.problem);
    const reply = snapshot.value.replies[next];
    next += 1;
    if (reply === undefined) return { error: 'ERR the region did not answer', status: 503 };
    const { brings } = each.plan;
    const fault = reply.ok ? null : scriptErrorKindOf(reply.error);
    if (brings !== undefined && fault !== 'not-a-script') {
      scripts.evaluated(brings, target.background);
    }
    if (!reply.ok) {
      mustWrite ||= each.plan.mayWrite && fault === 'writes';
      return { error: reply.error, status: 400 };
    }
    return elementOf(reply.raw, each.command);
  });
  if (!snapshot.ok) return { elements, wrote: false, headers: {} };
  const { region, via } = snapshot.value;
  const headers = {
    'Lockstep-Region': region,
    'Lockstep-Consistency': target.consistency,
    'Lockstep-Via': via,
  };
  return { elements, wrote: false, headers, mustWrite };
}

/** Sends each command as a write of its own, all in one call. */
async function writeAll(
  run: UpstashRun,
  planned: readonly PlannedCommand[],
  offset: number,
): Promise<UpstashOutcome> {
  const requests = planned.flatMap((each, index) =>
    isSent(each) ? [requestOf(run, [each.command], false, offset + index)] : [],
  );
  const answered = await sendRequests(run, requests);
  let next = 0;
  const elements = planned.map((each): UpstashElement => {
    if (!isSent(each)) return settled(each);
    if (!answered.ok) return failed(answered.problem);
    const answer = answered.value[next];
    next += 1;
    if (answer === undefined) return { error: 'ERR the coordinator did not answer', status: 503 };
    return elementOfAnswer(answer, each.command);
  });
  const headers = answered.ok ? keptHeaders(answered.value) : {};
  return { elements, wrote: true, headers };
}

/** A lone command is sent like any other write, maybe with those of other requests. */
async function sendRequests(
  { sender, target }: UpstashRun,
  requests: readonly WriteRequest[],
): Promise<Result<readonly PlacedAnswer[]>> {
  const [only] = requests;
  if (only === undefined || requests.length > 1) return sender.sendInOrder(requests);
  const answered = await sender.send(only, target.background);
  return answered.ok ? success([answered.value]) : answered;
}

/** Splits a pipeline into runs of equal SCRIPT subcommands, and the commands between them. */
function stretchesOf(planned: readonly PlannedCommand[]): readonly (readonly PlannedCommand[])[] {
  const kindOf = ({ plan }: PlannedCommand) => (plan.kind === 'order' ? plan.order.kind : null);
  const stretches: PlannedCommand[][] = [];
  for (const each of planned) {
    const last = stretches.at(-1);
    const [first] = last ?? [];
    if (last === undefined || first === undefined || kindOf(first) !== kindOf(each)) {
      stretches.push([each]);
    } else last.push(each);
  }
  return stretches;
}

function mayStandInWrite({ plan }: PlannedCommand): boolean {
  return plan.kind !== 'read' || plan.mayBeFrame;
}

function isSent({ plan }: PlannedCommand): boolean {
  return plan.kind === 'write' || plan.kind === 'read';
}

/** The element of a command that is not sent to any region. */
function settled({ command, plan }: PlannedCommand): UpstashElement {
  if (plan.kind === 'answered') return elementOf(plan.reply, command);
  if (plan.kind === 'refused') return { error: plan.error, status: plan.status ?? 400 };
  return { error: 'ERR the command was not executed', status: 503 };
}

/** A write of `ops`. `position` is that of a command in its pipeline, under which its response is kept. */
function requestOf(
  { dependencies, key }: UpstashRun,
  ops: readonly UpstashCommand[],
  continueOnError: boolean,
  position: number | null,
): WriteRequest {
  return {
    id: writeIdOf(keeperOf(dependencies), dependencies.uuid()),
    ops,
    checks: [],
    continueOnError,
    ack: 'committed',
    timeoutMs: limits.timeoutMsDefault,
    priority: 0,
    idempotency: keptUnder(key, position),
    notAfter: null,
    callback: null,
    again: false,
  };
}

type Outcome =
  | Extract<RawOutcome, { kind: 'done' }>
  | { readonly error: string; readonly status: number };

/** The replies of a write, or the error for its client. */
function outcomeOf(answer: PlacedAnswer): Outcome {
  if (answer.kind === 'decided' || answer.kind === 'unconfirmed') {
    const outcome = rawOutcomeOf(answer.record.part);
    if (outcome.kind === 'done') return outcome;
    assert(outcome.kind === 'command-failed', 'a write without checks is done or has failed');
    return { error: textOfBytes(outcome.error), status: 400 };
  }
  if (answer.kind === 'refused' && answer.error !== undefined) {
    return { error: answer.error, status: 400 };
  }
  const presented = presentAnswer(answer, { ops: [], checks: [], ack: 'committed' });
  return presented.ok
    ? { error: 'ERR the write is undecided', status: 503 }
    : failed(presented.problem);
}
