/** Decodes the replies of the region scripts. Anything else that a server sends becomes `silent`. */
import { z } from 'zod';
import { assert, InvariantViolation } from '../../shared/assert.ts';
import { type Bytes, textOfBytes } from '../../shared/contracts/bytes.ts';
import { isOutcome } from '../../shared/contracts/outcome.ts';
import { encodeReply, type RawReply } from '../../shared/contracts/reply.ts';
import type {
  CopyReply,
  DecisionReply,
  InspectionResult,
  Prepare,
  Refusal,
  Round,
  RoundPair,
  RoundReply,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
  Vote,
} from '../../shared/contracts/round.ts';
import { everyKey } from '../../shared/reserved-keys.ts';
import { compareBytes, inOrder, reshape } from './reply-shape.ts';

/** A count, or an integer of an order. */
export const count = z.number().int().nonnegative();

/** A reply of a script. An endpoint's response contains nothing else. */
export const reply: z.ZodType<RawReply> = z.custom<RawReply>(() => true);

/** A vote, in the form of round.lua. */
export const voteSchema = z.union([
  z.tuple([z.literal('y'), z.array(z.array(reply)), z.string(), z.array(z.string())]),
  z.tuple([z.literal('t')]),
  z.tuple([z.literal('d')]),
  z.tuple([z.literal('l'), z.string(), count, count]),
  z.tuple([z.literal('f'), z.enum(['epoch', 'incarnation'])]),
  z.tuple([z.literal('u'), z.array(z.tuple([count, z.array(z.string())]))]),
  z.tuple([z.literal('n'), count, z.string()]),
  z.tuple([z.literal('e'), z.string(), z.string(), z.number().int().min(-1)]),
  z.tuple([z.literal('r'), z.string()], z.literal(1)),
  z.tuple([z.literal('c'), count]),
]);

const bytes = z.array(z.string());

const copySchema = z.union([
  z.tuple([z.literal('b')]),
  z.tuple([
    z.literal('r'),
    z.array(z.tuple([z.string(), z.string().nullable(), z.array(z.unknown())])),
    bytes,
    bytes,
    z.string().nullable(),
    count.nullable(),
  ]),
  z.tuple([z.literal('w'), z.array(z.tuple([z.string(), z.string()]))]),
  z.tuple([z.literal('l'), bytes, z.string().nullable()]),
  z.tuple([z.literal('f'), z.enum(['token', 'number', 'epoch'])]),
]);

/** The reply to an executed round. */
export const executedSchema = z.tuple([
  z.literal('d'),
  z.string().regex(/^[alru]*$/),
  z.array(voteSchema),
  z.string().regex(/^,(?:\d+:[^,:]+,)*$/),
  z.array(z.tuple([count, count, z.array(z.string())])),
  z.union([z.literal(0), z.literal(1)]),
  count.nullable(),
  z.string().nullable(),
  z.union([z.literal(0), z.literal(1)]).nullable(),
]);

const generationSchema = z.tuple([z.literal('f'), z.literal('generation'), count, count]);

/** The region's state has the format of a later release; this is not a fault of its data. */
export const laterSchema = z.tuple([z.literal('f'), z.literal('format'), count]);

/** The refusal of a whole round. */
export const refusedSchema = z.union([
  generationSchema,
  z.tuple([z.literal('f'), z.enum(['lost', 'history', 'phase'])]),
]);

const unreadSchema = z.union([
  generationSchema,
  z.tuple([z.literal('f'), z.enum(['lost', 'history', 'lease'])]),
]);

const inspectedSchema = z.object({
  i: z.array(z.tuple([z.string(), z.string().nullable(), z.number().int(), z.number().int()])),
  n: z.string().nullable(),
  t: z.union([z.literal(0), z.literal(1)]),
});

const readSchema = z.tuple([
  z.literal('q'),
  z.array(reply),
  z.string(),
  z.array(z.tuple([z.string(), count, count])),
]);

const longerSchema = z.tuple([z.literal('m')]);
const shortSchema = z.union([
  z.tuple(
    [z.literal('v'), z.array(z.tuple([z.string(), count, count])), z.literal(0)],
    z.string().nullable(),
  ),
  z.tuple([z.literal('f'), z.literal('lease')]),
]);
/** A script that failed. */
export const failedSchema = z.tuple([z.literal('x'), z.string()]);

const roundSchema = z.union([
  executedSchema,
  refusedSchema,
  laterSchema,
  longerSchema,
  failedSchema,
]);
const snapshotSchema = z.union([
  readSchema,
  z.tuple([z.literal('g')]),
  unreadSchema,
  laterSchema,
  failedSchema,
]);
const inspectionSchema = z.union([inspectedSchema, z.object({ x: z.string() })]);

const decisionReplies: Record<string, DecisionReply> = {
  a: 'acknowledged',
  l: 'lost',
  r: 'refused',
  u: 'unreadable',
};

/** Error codes of a server that currently accepts no writes at all; the same list as `serverErrors` in state.lua. */
const serverRefusals: ReadonlySet<string> = new Set(
  'OOM MISCONF READONLY NOREPLICAS NOPERM NOAUTH LOADING BUSY MASTERDOWN CLUSTERDOWN CROSSSLOT MOVED'.split(
    ' ',
  ),
);

/**
 * Decodes the reply of round.lua to `round`. `longer` means that nothing was executed: the script lacks a part that the
 * round needs. Anything else is `silent`.
 */
export function decodeRound(answer: RawReply, round: Round): RoundResult | 'longer' {
  const read = roundSchema.safeParse(answer);
  if (!read.success) return silent('an answer that is none of a round');
  const { data } = read;
  if (data[0] === 'm') return 'longer';
  if (data[0] === 'x') {
    return failed(data[1]);
  }
  if (data[0] === 'f') {
    if (data[1] === 'format') return silent(laterRelease(data[2]));
    return { kind: 'refused', refusal: refusalOf(data) };
  }
  const reply = roundReplyOf(data, round);
  return typeof reply === 'string' ? silent(reply) : { kind: 'executed', reply };
}

/** The reply to an executed round, or the reason why it is none to `round`. */
export function roundReplyOf(
  data: z.infer<typeof executedSchema>,
  round: Round,
): RoundReply | string {
  const [, decisions, votes, history, older, truncated, clock, copyText, full] = data;
  const copy = copyText === null ? null : copySchema.safeParse(parse(copyText));
  const isOther =
    decisions.length !== round.decisions.length ||
    votes.length !== round.prepares.length ||
    (copy === null) !== (round.copy === null) ||
    (clock === null) !== (round.lease === null);
  if (isOther || copy?.success === false) return 'an answer to another round';
  const given = voteTexts(votes, round);
  if (given === null) return 'an answer to other prepares';
  return {
    decisions: Array.from(decisions, decisionReplyOf),
    votes: given,
    history: pairsOf(history),
    older: older.map(([incarnation, sequence, keys]) => ({
      transaction: [incarnation, sequence],
      keys: keys.toSorted(compareBytes).map(textOfBytes),
    })),
    olderTruncated: truncated === 1,
    clock,
    copy: copy === null ? null : copyOf(copy.data),
    isFull: full === null ? null : full === 1,
  };
}

/**
 * Decodes the reply of snapshot.lua to `request`; `large` means that the commands themselves must read.
 * Anything else is `silent`.
 */
export function decodeSnapshot(
  answer: RawReply,
  request: SnapshotRequest,
): SnapshotResult | 'large' {
  const read = snapshotSchema.safeParse(answer);
  if (!read.success) return silent('an answer that is none of a snapshot');
  const { data } = read;
  if (data[0] === 'x') return silent(`the script failed: ${textOfBytes(data[1])}`);
  if (data[0] === 'g') return 'large';
  if (data[0] === 'f') {
    if (data[1] === 'format') return silent(laterRelease(data[2]));
    return data[1] === 'generation'
      ? { kind: 'refused', refusal: { kind: 'generation', has: data[2], keys: data[3] } }
      : { kind: 'refused', refusal: { kind: data[1] } };
  }
  const [, replies, shape, met] = data;
  const shaped = shapedOf(replies, shape);
  if (shaped === null || shaped.length !== request.commands.length) {
    return silent('an answer to another snapshot');
  }
  const locks = met.map(lockOf);
  const ordered = shaped.map((each, at) => inOrder(each, request.commands[at]?.reply ?? null));
  return { kind: 'read', replies: ordered, locks };
}

/** Decodes the reply of read.lua to a snapshot of `keys`; null if snapshot.lua has to read. */
export function decodeRead(
  answer: RawReply,
  request: SnapshotRequest,
  keys: readonly string[],
): SnapshotResult | null {
  const read = shortSchema.safeParse(answer);
  if (!read.success) return null;
  if (read.data[0] === 'f') return { kind: 'refused', refusal: { kind: 'lease' } };
  const [, met, , ...values] = read.data;
  if (values.length !== keys.length) return null;
  let at = 0;
  const replies = request.commands.map(({ args }): RawReply => {
    if (args[0] === 'GET') return values[at++] ?? null;
    const taken = values.slice(at, at + args.length - 1);
    at += taken.length;
    return taken;
  });
  const order = [everyKey, ...request.keys];
  const locks = met.map(lockOf).sort((a, b) => order.indexOf(a.key) - order.indexOf(b.key));
  return { kind: 'read', replies, locks };
}

/** Decodes the reply of inspect.lua. Anything else is `silent`. */
export function decodeInspection(answer: RawReply): InspectionResult {
  const read = inspectionSchema.safeParse(parse(answer));
  if (!read.success) return silent('an answer that is none of an inspection');
  if ('x' in read.data) return silent(`the script failed: ${read.data.x}`);
  const keys = read.data.i.map(([key, digest, incarnation, sequence]) => ({
    key,
    digest,
    holder: sequence < 0 ? null : ([incarnation, sequence] as const),
  }));
  return { kind: 'inspected', keys, cursor: read.data.n, more: read.data.t === 1 };
}

/** The pairs of a part of a region's history; region-state.lua describes its form. */
function pairsOf(history: string): readonly RoundPair[] {
  return Array.from(
    history.matchAll(/(\d+):([^,]+),/g),
    ([, counter = '', nonce = '']): RoundPair => [Number(counter), nonce],
  );
}

type ReadLock = Extract<SnapshotResult, { kind: 'read' }>['locks'][number];

function lockOf([key, incarnation, sequence]: [string, number, number]): ReadLock {
  return { key: textOfBytes(key), holder: [incarnation, sequence] };
}

/** The reason for people why a state cannot be read. */
export function laterRelease(format: number): string {
  return `its state is of a later release of Lockstep (form ${format}), which this one cannot read: deploy that release`;
}

/** No usable response, with the reason for people. The code of the server's error is kept if it refuses writes. */
export function silent(
  reason: string,
  code = '',
): { readonly kind: 'silent'; readonly reason: string; readonly code?: string } {
  return serverRefusals.has(code) ? { kind: 'silent', reason, code } : { kind: 'silent', reason };
}

/** A script that raised an error, with its text. */
export function failed(text: string): ReturnType<typeof silent> {
  const code = /^[A-Z]+(?=\s)/.exec(text)?.[0];
  return silent(`the script failed: ${textOfBytes(text)}`, code);
}

function parse(text: unknown): unknown {
  if (typeof text !== 'string') return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function decisionReplyOf(letter: string): DecisionReply {
  const reply = decisionReplies[letter];
  assert(reply !== undefined, 'the schema lets only known letters through');
  return reply;
}

/** The refusal as a value. */
export function refusalOf(refusal: z.infer<typeof refusedSchema>): Refusal {
  return refusal[1] === 'generation'
    ? { kind: refusal[1], has: refusal[2], keys: refusal[3] }
    : { kind: refusal[1] };
}

/** The replies with the types of their shape; null if the two do not match. */
export function shapedOf(replies: RawReply[], shape: string): readonly RawReply[] | null {
  try {
    const shaped = reshape(replies, shape);
    return Array.isArray(shaped) ? shaped : null;
  } catch (error) {
    if (error instanceof InvariantViolation) return null;
    throw error;
  }
}

/** The votes; null if one does not match its prepare. */
function voteTexts(
  votes: readonly z.infer<typeof voteSchema>[],
  { prepares }: Round,
): readonly Vote[] | null {
  const given: Vote[] = [];
  for (const [index, vote] of votes.entries()) {
    const prepare = prepares[index];
    const read = prepare === undefined ? null : voteOf(vote, prepare);
    if (read === null) return null;
    given.push(read);
  }
  return given;
}

/** The outcomes of a transaction's parts, in a form that is equal in every region; null if they do not match the parts. */
function outcomesOf(
  outcomes: RawReply[],
  shape: string,
  { parts }: Pick<Prepare, 'parts'>,
): readonly Bytes[] | null {
  const shaped = shapedOf(outcomes, shape);
  if (shaped?.length !== parts.length || !shaped.every(isOutcome)) return null;
  return shaped.map((outcome, at) => {
    if (!Array.isArray(outcome) || outcome[0] !== 0) return encodeReply(outcome);
    const replies: readonly RawReply[] = outcome;
    const operations = parts[at]?.operations ?? [];
    return encodeReply(
      replies.map((each, place) => inOrder(each, operations[place - 1]?.reply ?? null)),
    );
  });
}

/** Keys stay bytes here, because a copy passes them on unchanged. */
function copyOf(copy: z.infer<typeof copySchema>): CopyReply {
  switch (copy[0]) {
    case 'b':
      return { kind: 'begun' };
    case 'r': {
      const [, read, locked, left, cursor, total] = copy;
      const items = read.map(([key, next, data]) => ({ key, data: JSON.stringify(data), next }));
      return { kind: 'read', items, locked, left, cursor, total };
    }
    case 'w': {
      const failed = copy[1].map(([key, reason]) => ({ key, reason: textOfBytes(reason) }));
      return { kind: 'written', failed };
    }
    case 'l':
      return { kind: 'listed', keys: copy[1], cursor: copy[2] };
    case 'f':
      return { kind: 'refused', by: copy[1] };
  }
}

/** The vote as a value; null if it does not match the parts. */
export function voteOf(
  vote: z.infer<typeof voteSchema>,
  prepare: Pick<Prepare, 'parts'>,
): Vote | null {
  switch (vote[0]) {
    case 'y': {
      const outcomes = outcomesOf(vote[1], vote[2], prepare);
      return outcomes === null ? null : { kind: 'yes', outcomes, fingerprints: vote[3] };
    }
    case 't':
      return { kind: 'late' };
    case 'd':
      return { kind: 'duplicate' };
    case 'l':
      return { kind: 'locked', key: textOfBytes(vote[1]), holder: [vote[2], vote[3]] };
    case 'f':
      return { kind: 'fenced', by: vote[1] };
    case 'e': {
      const [, code, reason, part] = vote;
      return { kind: 'denied', code, reason: textOfBytes(reason), part: part < 0 ? null : part };
    }
    case 'r':
      return {
        kind: 'refused',
        reason: textOfBytes(vote[1]),
        ...(vote.length > 2 ? { isEndless: true } : {}),
      };
    case 'c': {
      const reason = 'had no room left for the replies of all that came together';
      return { kind: 'refused', reason, most: vote[1] };
    }
    case 'n':
      return { kind: 'lacking', part: vote[1], command: vote[2] };
    case 'u':
      return {
        kind: 'unlisted',
        parts: vote[1].map(([part, keys]) => ({ part, keys: keys.map(textOfBytes) })),
      };
  }
}
