/** Takes snapshots: decides which commands a region runs natively and which in the script. */
import { assert } from '../../shared/assert.ts';
import { bytesOfText } from '../../shared/contracts/bytes.ts';
import { isTagged, type RawReply } from '../../shared/contracts/reply.ts';
import type { ReadCommand, SnapshotRequest, SnapshotResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { needsMeasure } from './bounded-reads.ts';
import { keysOfSnapshot } from './declared.ts';
import { decodeRead, decodeSnapshot, silent } from './decoding.ts';
import { encodeRead, encodeSnapshot } from './encoding.ts';
import { readScript, snapshotScriptFor } from './lua-bundle.ts';
import { askedForm, sentForm } from './read-forms.ts';
import { bytesOf, inOrder } from './reply-shape.ts';
import type { Element, Silence } from './rest-client.ts';
import type { ScriptRunner } from './script-runner.ts';
import { endlessReads } from './slow-commands.ts';
import type { SmallKeys } from './small-keys.ts';
import {
  beginsWithLength,
  drawMaximum,
  drawOf,
  lengthOf,
  wholeOf,
  withoutRoom,
} from './whole-reads.ts';

const tooLargeMessage = 'ERR the replies are too large; ask for less at once';
/** The reply to a command whose reply has no room. */
export const tooLarge: RawReply = { error: tooLargeMessage };
const tooLargeElement: Element = { kind: 'error', code: 'ERR', message: tooLargeMessage };

/** Commands that run in the script, which omits Lockstep's own keys, limits their work, or runs users' scripts. */
const scriptCommands: ReadonlySet<string> = new Set([
  ...['DBSIZE', 'EVAL_RO', 'KEYS', 'LCS', 'RANDOMKEY', 'SCAN'],
]);

/** Commands whose work depends on the sizes of all their keys and not on the reply: the script measures them first. */
const measuredFirst: ReadonlySet<string> = new Set([
  ...['GEORADIUSBYMEMBER_RO', 'GEORADIUS_RO', 'GEOSEARCH', 'LPOS', 'SDIFF', 'SINTER', 'SINTERCARD'],
  ...['SORT_RO', 'SUNION', 'ZDIFF', 'ZINTER', 'ZINTERCARD', 'ZUNION'],
]);

/** Commands with a random reply, so that equal ones must not share one. */
const randomCommands: ReadonlySet<string> = new Set(['HRANDFIELD', 'SRANDMEMBER', 'ZRANDMEMBER']);

/** Commands whose reply is small for values of any size. */
const smallReplies: ReadonlySet<string> = new Set([
  ...['BITCOUNT', 'BITPOS', 'EXISTS', 'EXPIRETIME', 'GETBIT', 'HEXISTS', 'HLEN', 'HSTRLEN', 'LLEN'],
  ...[
    'LPOS',
    'MEMORY',
    'PEXPIRETIME',
    'PFCOUNT',
    'PTTL',
    'SCARD',
    'SINTERCARD',
    'SISMEMBER',
    'STRLEN',
  ],
  ...['TOUCH', 'TTL', 'TYPE', 'XLEN', 'ZCARD', 'ZCOUNT', 'ZINTERCARD', 'ZLEXCOUNT', 'ZRANK'],
  ...['ZREVRANK', 'ZSCORE'],
]);

/** Commands that reply a status, which a REST endpoint shows like a string. */
const statusCommands: ReadonlySet<string> = new Set(['TYPE']);

/** A command that is sent once for several equal requested commands, and the position of one of these in its reply. */
interface NativeRead {
  readonly at: number;
  /** The positions of the values in the reply of an MGET; null for the whole reply. */
  readonly positions: readonly number[] | null;
}

/** The commands to send, and the location of the reply to each requested command. */
interface NativePlan {
  readonly commands: readonly (readonly string[])[];
  readonly reads: readonly NativeRead[];
  /** False if the replies could be many times larger than the stored values, or than the limit. */
  readonly isBounded: boolean;
}

/**
 * Takes a snapshot. The commands run natively after a script that decides whether they may be read, because a reply that
 * passes through Lua costs many times the work. If a reply could be many times larger than the stored values, or if a
 * command needs Lua, the script measures and reads. Never throws for faults of the region: these are `silent`.
 */
export async function takeSnapshot(
  runner: ScriptRunner,
  request: SnapshotRequest,
  timeoutMs: number,
  small: SmallKeys,
): Promise<SnapshotResult> {
  const short = await takeShortSnapshot(runner, request, timeoutMs, small);
  if (short !== null) return short;
  const result = await readAny(runner, request, timeoutMs);
  if (result.kind === 'read') small.note(request.commands, result.replies);
  return result;
}

/** Takes a snapshot of strings that were short when they were last read; null if another script has to read them. */
export async function takeShortSnapshot(
  runner: ScriptRunner,
  request: SnapshotRequest,
  timeoutMs: number,
  small: SmallKeys,
): Promise<SnapshotResult | null> {
  const result = await readShort(runner, request, timeoutMs, small);
  if (result?.kind === 'read') small.note(request.commands, result.replies);
  return result;
}

/** Reads short strings; null if another script has to. */
async function readShort(
  runner: ScriptRunner,
  request: SnapshotRequest,
  timeoutMs: number,
  small: SmallKeys,
): Promise<SnapshotResult | null> {
  const keys = canJudgeShortly(request) ? small.keysOf(request.commands) : null;
  if (keys === null) return null;
  const encoded = encodeRead(request, keys);
  const sent = await runner.evaluate(readScript, encoded.keys, encoded.argv, timeoutMs);
  if (sent.kind === 'too-large') return null;
  if (sent.kind !== 'answered') return silenceOf(sent);
  const result = decodeRead(sent.reply, request, keys);
  // Values that have grown may be too long together: another script measures them.
  return result?.kind === 'read' && sizeOf(result.replies) > limits.snapshotBytes ? null : result;
}

function sizeOf(replies: readonly RawReply[]): number {
  return replies.reduce<number>((sum, reply) => sum + bytesOf(reply), 0);
}

async function readAny(
  runner: ScriptRunner,
  request: SnapshotRequest,
  timeoutMs: number,
): Promise<SnapshotResult> {
  const plan = planOf(request.commands);
  if (plan?.isBounded) {
    const result = await readNatively(runner, request, plan, timeoutMs);
    // The script reports the command that the server does not support.
    if (result !== null) return result;
  }
  const mayBeLarge = plan === null || plan.isBounded;
  const bound = mayBeLarge ? limits.snapshotBytes : limits.replyBytesInScript;
  const result = await readInScript(runner, request, bound, timeoutMs);
  if (plan === null || result !== 'large') {
    assert(result !== 'large', 'the script reads what has to be read there');
    return result;
  }
  const large = await readNatively(runner, request, plan, timeoutMs);
  return large ?? silent('the server does not take a command that it has taken');
}

/** Returns null if nothing was read, because the server refused one of the commands. */
async function readNatively(
  runner: ScriptRunner,
  request: SnapshotRequest,
  plan: NativePlan,
  timeoutMs: number,
): Promise<SnapshotResult | null> {
  const maximum = drawMaximum(plan.commands);
  const draws = plan.commands.map((command) => drawOf(command, maximum));
  const first = await sendAhead(runner, request, draws, timeoutMs);
  if (first.kind === 'ended') return first.result;
  const wholes = first.elements.map((element, at): Element | null => {
    if (element.kind === 'error') return element;
    const reply = wholeOf(plan.commands[at] ?? [], element.reply, maximum);
    return reply === null && element.reply !== null ? null : { kind: 'answered', reply };
  });
  const isWhole = wholes.every((element) => element !== null);
  if (isWhole) return { ...first.judged, replies: repliesOf(request.commands, plan, wholes) };
  const longer = [...plan.commands.keys()].filter((at) => wholes[at] === null);
  const isMeasured = longer.every((at) => beginsWithLength(plan.commands[at] ?? []));
  const lengths = isMeasured ? longer.flatMap((at) => first.elements.slice(at, at + 1)) : null;
  return readLonger(runner, request, plan, longer, lengths, timeoutMs);
}

/** Reads the lengths of the collections of the commands at `longer`, and then natively all that may fit the replies. */
async function readLonger(
  runner: ScriptRunner,
  request: SnapshotRequest,
  plan: NativePlan,
  longer: readonly number[],
  known: readonly Element[] | null,
  timeoutMs: number,
): Promise<SnapshotResult | null> {
  const reads = longer.map((at) => plan.commands[at] ?? []);
  let measured = known;
  if (measured === null) {
    const sent = await sendAhead(runner, request, reads.map(lengthOf), timeoutMs);
    if (sent.kind === 'ended') return sent.result;
    measured = sent.elements;
  }
  const lengths = measured.map((each) => (each.kind === 'error' ? null : each.reply));
  const isOmitted = withoutRoom(reads, lengths);
  const omitted = new Set(longer.filter((_, index) => isOmitted[index]));
  const kept = plan.commands.filter((_, at) => !omitted.has(at));
  const last = await sendAhead(runner, request, kept, timeoutMs);
  if (last.kind === 'ended') return last.result;
  const elements = last.elements.values();
  const replies = plan.commands.map((_, at) =>
    omitted.has(at) ? tooLargeElement : (elements.next().value ?? tooLargeElement),
  );
  return { ...last.judged, replies: repliesOf(request.commands, plan, replies) };
}

/** The results of native commands and of the script before them, or the end of the snapshot: null if nothing ran. */
type Ahead =
  | {
      readonly kind: 'read';
      readonly judged: Extract<SnapshotResult, { kind: 'read' }>;
      readonly elements: readonly Element[];
    }
  | { readonly kind: 'ended'; readonly result: SnapshotResult | null };

/** The answer of the script before native commands, and the results of these. */
type Judged =
  | { readonly result: SnapshotResult; readonly elements: readonly Element[] }
  /** The server refused one of the commands, so nothing ran. */
  | 'discarded'
  | 'too-large'
  | Silence;

/** Judges by the shortest script, and by the long one if that cannot judge. */
async function judgeAhead(
  runner: ScriptRunner,
  asked: SnapshotRequest,
  commands: NativePlan['commands'],
  timeoutMs: number,
): Promise<Judged> {
  if (canJudgeShortly(asked)) {
    const { keys, argv } = encodeRead(asked, []);
    const sent = await runner.evaluateAhead(readScript, keys, argv, commands, timeoutMs);
    if (sent.kind !== 'answered') return sent.kind === 'silent' ? sent : sent.kind;
    const result = decodeRead(sent.reply, asked, []);
    if (result !== null) return { result, elements: sent.elements };
  }
  const argument = encodeSnapshot(asked, 0);
  const keys = keysOfSnapshot(asked, argument);
  const script = snapshotScriptFor(asked);
  const sent = await runner.evaluateAhead(script, keys, [argument], commands, timeoutMs);
  if (sent.kind !== 'answered') return sent.kind === 'silent' ? sent : sent.kind;
  const result = decodeSnapshot(sent.reply, asked);
  assert(result !== 'large', 'nothing is read in the script');
  return { result, elements: sent.elements };
}

/** True if read.lua may be able to judge: its arguments are texts, and it settles nothing. */
function canJudgeShortly({ settle, keys }: SnapshotRequest): boolean {
  return (
    settle.length === 0 &&
    keys.length <= limits.smallKeysPerRead &&
    keys.every((key) => key.isWellFormed())
  );
}

/** Runs `natives` after the script that decides whether they may be read. */
async function sendAhead(
  runner: ScriptRunner,
  request: SnapshotRequest,
  natives: readonly (readonly string[])[],
  timeoutMs: number,
): Promise<Ahead> {
  const judged = await judgeAhead(runner, { ...request, commands: [] }, natives, timeoutMs);
  if (judged === 'discarded') return { kind: 'ended', result: null };
  // The response contains the locks as well. An error is no state and needs none.
  if (judged === 'too-large') {
    const replies = request.commands.map(() => tooLarge);
    return { kind: 'ended', result: { kind: 'read', replies, locks: [] } };
  }
  if ('kind' in judged) return { kind: 'ended', result: silenceOf(judged) };
  const { result, elements } = judged;
  if (result.kind !== 'read') return { kind: 'ended', result };
  return { kind: 'read', judged: result, elements };
}

/** Reads in the script; `large` if more than `bound` bytes would be read, which is known before. */
async function readInScript(
  runner: ScriptRunner,
  request: SnapshotRequest,
  bound: number,
  timeoutMs: number,
): Promise<SnapshotResult | 'large'> {
  const commands = request.commands.map((each) => ({ ...each, args: sentForm(each.args) }));
  const argument = encodeSnapshot({ ...request, commands }, bound);
  const keys = keysOfSnapshot(request, argument);
  const sent = await runner.evaluate(snapshotScriptFor(request), keys, [argument], timeoutMs);
  if (sent.kind === 'too-large') {
    return { kind: 'read', replies: request.commands.map(() => tooLarge), locks: [] };
  }
  if (sent.kind !== 'answered') return silenceOf(sent);
  const result = decodeSnapshot(sent.reply, request);
  if (result === 'large' || result.kind !== 'read') return result;
  const replies = result.replies.map((reply, index) =>
    askedForm(request.commands[index]?.args ?? [], reply),
  );
  return { ...result, replies };
}

/** Plans native commands; null if one of the commands has to run in the script. */
function planOf(asked: readonly ReadCommand[]): NativePlan | null {
  // The JSON of a request cannot carry invalid UTF-8; the script restores it from escapes.
  const isPlain = ({ args }: ReadCommand) =>
    !scriptCommands.has(args[0] ?? '') &&
    !measuredFirst.has(args[0] ?? '') &&
    !needsMeasure(args) &&
    args.every((arg) => arg.isWellFormed());
  if (!asked.every(isPlain)) return null;
  // Native commands cannot be stopped between two, however long they take.
  if (asked.filter(({ args }) => endlessReads.has(args[0] ?? '')).length > 1) return null;
  const commands: (readonly string[])[] = [];
  const sent = new Map<string, number>();
  const readers = new Map<string, number>();
  const add = (command: readonly string[], reads: readonly number[]): number => {
    const [name = ''] = command;
    const text = JSON.stringify(command);
    const known = randomCommands.has(name) ? undefined : sent.get(text);
    if (known !== undefined) return known;
    sent.set(text, commands.length);
    if (!smallReplies.has(name)) {
      for (const at of reads) {
        const key = command[at] ?? '';
        readers.set(key, (readers.get(key) ?? 0) + 1);
      }
    }
    return commands.push(command) - 1;
  };
  const reads = asked.map(({ args, reads: keysAt }): NativeRead => {
    if (args[0] !== 'MGET') return { at: add(sentForm(args), keysAt), positions: null };
    // A key that is named several times is read once.
    const keys = [...new Set(args.slice(1))];
    const at = add(['MGET', ...keys], keysAt.slice(0, keys.length));
    const order = new Map(keys.map((key, position) => [key, position]));
    return { at, positions: args.slice(1).map((key) => order.get(key) ?? 0) };
  });
  const isBounded =
    readers.size <= limits.keysReadUnmeasured &&
    [...readers.values()].every((count) => count === 1) &&
    !asked.some(({ args: [name = ''] }) => randomCommands.has(name));
  return { commands, reads, isBounded };
}

/** The replies, with an error in place of each that exceeds the bound together with those before it. */
function repliesOf(
  asked: readonly ReadCommand[],
  { reads }: NativePlan,
  elements: readonly Element[],
): readonly RawReply[] {
  let left: number = limits.snapshotBytes;
  return reads.map(({ at, positions }, index) => {
    const { args = [], reply: order = null } = asked[index] ?? {};
    const converted = askedForm(args, replyOf(elements[at], args));
    const reply = inOrder(pick(converted, positions), order);
    const bytes = bytesOf(reply);
    if (bytes > left) return tooLarge;
    left -= bytes;
    return reply;
  });
}

function pick(reply: RawReply, positions: readonly number[] | null): RawReply {
  if (positions === null || !Array.isArray(reply)) return reply;
  const values: readonly RawReply[] = reply;
  return positions.map((position) => values[position] ?? null);
}

function replyOf(element: Element | undefined, [name = '']: readonly string[]): RawReply {
  assert(element !== undefined, 'there is an answer to each command');
  if (element.kind === 'error') return { error: bytesOfText(element.message) };
  const { reply } = element;
  const isStatus = statusCommands.has(name) && typeof reply === 'string';
  return isStatus && !isTagged(reply) ? { status: reply } : reply;
}

function silenceOf({ reason, isUnanswered }: Silence): SnapshotResult {
  return isUnanswered ? { kind: 'silent', reason, isUnanswered } : silent(reason);
}
