import { z } from 'zod';
import { assert } from '../../shared/assert.ts';
import type {
  DecisionReply,
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
  z.tuple([z.literal('r'), z.string()]),
]);

/** An empty array is an array here, as the scripts write their JSON themselves. */
const executedSchema = z.object({
  d: z.string().regex(/^[alr]*$/),
  v: z.array(voteSchema),
  m: z.array(z.tuple([count, z.string()])),
  o: z.array(z.tuple([count, count, z.array(z.string())])),
  t: z.union([z.literal(0), z.literal(1)]),
});

const refusedSchema = z.object({
  f: z.union([
    z.tuple([z.literal('generation'), count]),
    z.tuple([z.literal('lost')]),
    z.tuple([z.literal('history')]),
  ]),
});

const readSchema = z.object({
  q: z.string(),
  l: z.array(z.tuple([z.string(), count, count])),
});

const failedSchema = z.object({ x: z.string() });

const roundSchema = z.union([executedSchema, refusedSchema, failedSchema]);
const snapshotSchema = z.union([readSchema, refusedSchema, failedSchema]);

const decisionReplies: Record<string, DecisionReply> = {
  a: 'acknowledged',
  l: 'lost',
  r: 'refused',
};

/** Reads what round.lua answered to `round`. Whatever is not its answer is `silent`. */
export function decodeRound(text: unknown, round: Round): RoundResult {
  const read = roundSchema.safeParse(parse(text));
  if (!read.success) return silent('an answer that is none of a round');
  if ('x' in read.data) return silent(`the script failed: ${read.data.x}`);
  if ('f' in read.data) return { kind: 'refused', refusal: refusalOf(read.data.f) };
  const reply = read.data;
  if (reply.d.length !== round.decisions.length || reply.v.length !== round.prepares.length) {
    return silent('an answer to another round');
  }
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
    },
  };
}

/** Reads what snapshot.lua answered to `request`. Whatever is not its answer is `silent`. */
export function decodeSnapshot(text: unknown, request: SnapshotRequest): SnapshotResult {
  const read = snapshotSchema.safeParse(parse(text));
  if (!read.success) return silent('an answer that is none of a snapshot');
  if ('x' in read.data) return silent(`the script failed: ${read.data.x}`);
  if ('f' in read.data) return { kind: 'refused', refusal: refusalOf(read.data.f) };
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

/** No usable answer, with a reason for people. */
export function silent(reason: string): { readonly kind: 'silent'; readonly reason: string } {
  return { kind: 'silent', reason };
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
  return refusal[0] === 'generation' ? { kind: refusal[0], has: refusal[1] } : { kind: refusal[0] };
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
    case 'r':
      return { kind: 'refused', reason: vote[1] };
  }
}

/** The text whose UTF-8 is `bytes`, one character a byte. */
function textOf(bytes: string): string {
  return new TextDecoder().decode(Uint8Array.from(bytes, (character) => character.charCodeAt(0)));
}
