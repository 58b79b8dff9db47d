import { z } from 'zod';
import { assert } from '../../shared/assert.ts';
import type {
  CopyReply,
  DecisionReply,
  InspectionResult,
  Refusal,
  Round,
  RoundResult,
  SnapshotRequest,
  SnapshotResult,
  Vote,
} from '../../shared/protocol/round.ts';

const count = z.number().int().nonnegative();

const voteSchema = z.union([
  z.tuple([z.literal('y'), z.string(), z.array(z.string())]),
  z.tuple([z.literal('t')]),
  z.tuple([z.literal('d')]),
  z.tuple([z.literal('l'), z.string(), count, count]),
  z.tuple([z.literal('f'), z.enum(['epoch', 'incarnation'])]),
  z.tuple([z.literal('u'), z.array(z.tuple([count, z.array(z.string())]))]),
  z.tuple([z.literal('n'), count, z.string()]),
  z.tuple([z.literal('e'), z.string(), z.string(), z.number().int().min(-1)]),
  z.tuple([z.literal('r'), z.string()]),
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

/** An empty array is an array here, as the scripts write their JSON themselves. */
const executedSchema = z.object({
  d: z.string().regex(/^[alru]*$/),
  v: z.array(voteSchema),
  m: z.array(z.tuple([count, z.string()])),
  o: z.array(z.tuple([count, count, z.array(z.string())])),
  t: z.union([z.literal(0), z.literal(1)]),
  k: count.nullable(),
  c: copySchema.nullable(),
  z: z.union([z.literal(0), z.literal(1)]).nullable(),
});

const generationSchema = z.tuple([z.literal('generation'), count, count]);

/** The region's state is of a later release: that is nothing about its data. */
const formatSchema = z.tuple([z.literal('format'), count]);
const laterSchema = z.object({ f: formatSchema });

const refusedSchema = z.object({
  f: z.union([generationSchema, z.tuple([z.enum(['lost', 'history', 'phase'])])]),
});

const unreadSchema = z.object({
  f: z.union([generationSchema, z.tuple([z.enum(['lost', 'history', 'lease'])])]),
});

const inspectedSchema = z.object({
  i: z.array(z.tuple([z.string(), z.string().nullable(), z.number().int(), z.number().int()])),
  n: z.string().nullable(),
  t: z.union([z.literal(0), z.literal(1)]),
});

const readSchema = z.object({
  q: z.string(),
  l: z.array(z.tuple([z.string(), count, count])),
});

const failedSchema = z.object({ x: z.string() });

const roundSchema = z.union([executedSchema, refusedSchema, laterSchema, failedSchema]);
const snapshotSchema = z.union([readSchema, unreadSchema, laterSchema, failedSchema]);
const inspectionSchema = z.union([inspectedSchema, failedSchema]);

const decisionReplies: Record<string, DecisionReply> = {
  a: 'acknowledged',
  l: 'lost',
  r: 'refused',
  u: 'unreadable',
};

/** Errors by which a server says that it does not write, whatever it is sent; as `serverErrors` in stage.lua. */
const serverRefusals: ReadonlySet<string> = new Set(
  'OOM MISCONF READONLY NOREPLICAS NOPERM NOAUTH LOADING BUSY MASTERDOWN CLUSTERDOWN CROSSSLOT MOVED'.split(
    ' ',
  ),
);

/** Reads what round.lua answered to `round`. Whatever is not its answer is `silent`. */
export function decodeRound(text: unknown, round: Round): RoundResult {
  const read = roundSchema.safeParse(parse(text));
  if (!read.success) return silent('an answer that is none of a round');
  if ('x' in read.data) {
    const code = /^[A-Z]+(?=\s)/.exec(read.data.x)?.[0];
    return silent(`the script failed: ${read.data.x}`, code);
  }
  if ('f' in read.data) {
    const { f: refusal } = read.data;
    if (refusal[0] === 'format') return silent(laterRelease(refusal[1]));
    return { kind: 'refused', refusal: refusalOf(refusal) };
  }
  const reply = read.data;
  const isOther =
    reply.d.length !== round.decisions.length ||
    reply.v.length !== round.prepares.length ||
    (reply.c === null) !== (round.copy === null) ||
    (reply.k === null) !== (round.lease === null);
  if (isOther) return silent('an answer to another round');
  return {
    kind: 'executed',
    reply: {
      decisions: Array.from(reply.d, decisionReplyOf),
      votes: reply.v.map(voteOf),
      marks: reply.m,
      older: reply.o.map(([incarnation, sequence, keys]) => ({
        transaction: [incarnation, sequence],
        keys: keys.map(textOf),
      })),
      olderTruncated: reply.t === 1,
      clock: reply.k,
      copy: reply.c === null ? null : copyOf(reply.c),
      isFull: reply.z === null ? null : reply.z === 1,
    },
  };
}

/** Reads what snapshot.lua answered to `request`. Whatever is not its answer is `silent`. */
export function decodeSnapshot(text: unknown, request: SnapshotRequest): SnapshotResult {
  const read = snapshotSchema.safeParse(parse(text));
  if (!read.success) return silent('an answer that is none of a snapshot');
  if ('x' in read.data) return silent(`the script failed: ${read.data.x}`);
  if ('f' in read.data) {
    if (read.data.f[0] === 'format') return silent(laterRelease(read.data.f[1]));
    const [kind, has = 0, keys = 0] = read.data.f;
    return { kind: 'refused', refusal: kind === 'generation' ? { kind, has, keys } : { kind } };
  }
  const replies = parse(read.data.q);
  if (!Array.isArray(replies) || replies.length !== request.commands.length) {
    return silent('an answer to another snapshot');
  }
  const locks = read.data.l.map(([key, incarnation, sequence]) => ({
    key: textOf(key),
    holder: [incarnation, sequence] as const,
  }));
  return { kind: 'read', replies: read.data.q, locks };
}

/** Reads what inspect.lua answered. Whatever is not its answer is `silent`. */
export function decodeInspection(text: unknown): InspectionResult {
  const read = inspectionSchema.safeParse(parse(text));
  if (!read.success) return silent('an answer that is none of an inspection');
  if ('x' in read.data) return silent(`the script failed: ${read.data.x}`);
  const keys = read.data.i.map(([key, digest, incarnation, sequence]) => ({
    key,
    digest,
    holder: sequence < 0 ? null : ([incarnation, sequence] as const),
  }));
  return { kind: 'inspected', keys, cursor: read.data.n, more: read.data.t === 1 };
}

function laterRelease(format: number): string {
  return `its state is of a later release of Lockstep (form ${format}), which this one cannot read: deploy that release`;
}

/** No usable answer, with a reason for people. */
export function silent(
  reason: string,
  code = '',
): { readonly kind: 'silent'; readonly reason: string; readonly code?: string } {
  return serverRefusals.has(code) ? { kind: 'silent', reason, code } : { kind: 'silent', reason };
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

function refusalOf(refusal: z.infer<typeof refusedSchema>['f']): Refusal {
  if (refusal[0] !== 'generation') return { kind: refusal[0] };
  const [kind, has, keys] = refusal;
  return { kind, has, keys };
}

/** Keys stay bytes here: what copies is not looked at on its way. */
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
      const failed = copy[1].map(([key, reason]) => ({ key, reason: textOf(reason) }));
      return { kind: 'written', failed };
    }
    case 'l':
      return { kind: 'listed', keys: copy[1], cursor: copy[2] };
    case 'f':
      return { kind: 'refused', by: copy[1] };
  }
}

function voteOf(vote: z.infer<typeof voteSchema>): Vote {
  switch (vote[0]) {
    case 'y':
      return { kind: 'yes', outcomes: vote[1], fingerprints: vote[2] };
    case 't':
      return { kind: 'late' };
    case 'd':
      return { kind: 'duplicate' };
    case 'l':
      return { kind: 'locked', key: textOf(vote[1]), holder: [vote[2], vote[3]] };
    case 'f':
      return { kind: 'fenced', by: vote[1] };
    case 'e': {
      const [, code, reason, part] = vote;
      return { kind: 'denied', code, reason, part: part < 0 ? null : part };
    }
    case 'r':
      return { kind: 'refused', reason: vote[1] };
    case 'n':
      return { kind: 'lacking', part: vote[1], command: vote[2] };
    case 'u':
      return {
        kind: 'unlisted',
        parts: vote[1].map(([part, keys]) => ({ part, keys: keys.map(textOf) })),
      };
  }
}

/** The text whose UTF-8 is `bytes`, one character a byte. */
function textOf(bytes: string): string {
  return new TextDecoder().decode(Uint8Array.from(bytes, (character) => character.charCodeAt(0)));
}
