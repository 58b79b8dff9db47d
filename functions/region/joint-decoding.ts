/** Decodes the replies of the scripts for several shards. Anything else that a server sends becomes `silent`. */
import { z } from 'zod';
import { textOfBytes } from '../../shared/contracts/bytes.ts';
import type {
  JointResult,
  JointRound,
  JointRoundReply,
  JointSnapshotRequest,
  JointSnapshotResult,
  JointVote,
} from '../../shared/contracts/joint.ts';
import type { RawReply } from '../../shared/contracts/reply.ts';
import type { Round } from '../../shared/contracts/round.ts';
import {
  count,
  executedSchema,
  failed,
  failedSchema,
  laterRelease,
  laterSchema,
  refusalOf,
  refusedSchema,
  reply,
  roundReplyOf,
  shapedOf,
  silent,
  voteOf,
  voteSchema,
} from './decoding.ts';
import { inOrder } from './reply-shape.ts';

const objectionSchema = z.union([
  z.tuple([z.literal('o'), count, z.enum(['round', 'decision', 't', 'd'])]),
  z.tuple([z.literal('o'), count, z.literal('l'), z.string(), count, count]),
  z.tuple([z.literal('o'), count, z.literal('f'), z.enum(['epoch', 'incarnation'])]),
]);

const jointSchema = z.union([
  z.tuple([
    z.literal('j'),
    z.array(z.union([executedSchema, refusedSchema])),
    z.union([objectionSchema, voteSchema]),
  ]),
  laterSchema,
  failedSchema,
]);

const jointSnapshotSchema = z.union([
  z.tuple([
    z.literal('q'),
    z.array(reply),
    z.string(),
    z.array(z.tuple([count, z.string(), count, count])),
    z.array(z.string()),
  ]),
  z.tuple([z.literal('g')]),
  z.tuple([z.literal('f'), count, z.literal('generation'), count, count]),
  z.tuple([z.literal('f'), count, z.enum(['lost', 'history', 'lease'])]),
  laterSchema,
  failedSchema,
]);

/** Decodes the reply of joint.lua to `asked`. */
export function decodeJoint(answer: RawReply, asked: JointRound): JointResult {
  const read = jointSchema.safeParse(answer);
  if (!read.success) return silent('an answer that is none of a joint round');
  const { data } = read;
  if (data[0] === 'x') return failed(data[1]);
  if (data[0] === 'f') return silent(laterRelease(data[2]));
  const [, answers, voteData] = data;
  if (answers.length !== asked.rounds.length) return silent('an answer to another joint round');
  const replies: JointRoundReply[] = [];
  for (const [index, round] of asked.rounds.entries()) {
    const each = replyTo(answers[index], round);
    if (typeof each === 'string') return silent(each);
    replies.push(each);
  }
  const vote = jointVoteOf(voteData, asked);
  if (vote === null) return silent('an answer to another joint prepare');
  return { kind: 'executed', replies, vote };
}

type RoundAnswer = z.infer<typeof executedSchema> | z.infer<typeof refusedSchema>;

/** One round's part of the answer, or the reason why it is none. */
function replyTo(answer: RoundAnswer | undefined, round: Round): JointRoundReply | string {
  if (answer === undefined) return 'an answer without a round';
  if (answer[0] === 'f') return { kind: 'refused', refusal: refusalOf(answer) };
  const read = roundReplyOf(answer, round);
  return typeof read === 'string' ? read : { kind: 'executed', reply: read };
}

function jointVoteOf(
  vote: z.infer<typeof objectionSchema> | z.infer<typeof voteSchema>,
  { prepare }: JointRound,
): JointVote | null {
  if (vote[0] === 'o') return objectionOf(vote, prepare.shares[vote[1]]?.shard);
  const read = voteOf(vote, prepare);
  switch (read?.kind) {
    case 'yes':
    case 'unlisted':
    case 'lacking':
    case 'denied':
    case 'refused':
      return read;
    // These are objections of one shard, which the reply names.
    default:
      return null;
  }
}

function objectionOf(
  vote: z.infer<typeof objectionSchema>,
  shard: number | undefined,
): JointVote | null {
  if (shard === undefined) return null;
  switch (vote[2]) {
    case 'round':
    case 'decision':
      return { kind: 'objected', shard, by: { kind: vote[2] } };
    case 't':
      return { kind: 'objected', shard, by: { kind: 'late' } };
    case 'd':
      return { kind: 'objected', shard, by: { kind: 'duplicate' } };
    case 'l': {
      const by = { kind: 'locked', key: textOfBytes(vote[3]), holder: [vote[4], vote[5]] } as const;
      return { kind: 'objected', shard, by };
    }
    case 'f':
      return { kind: 'objected', shard, by: { kind: 'fenced', by: vote[3] } };
  }
}

/** Decodes the reply of joint-snapshot.lua; `large` as with decodeSnapshot. */
export function decodeJointSnapshot(
  answer: RawReply,
  { shards, commands }: JointSnapshotRequest,
): JointSnapshotResult | 'large' {
  const read = jointSnapshotSchema.safeParse(answer);
  if (!read.success) return silent('an answer that is none of a snapshot');
  const { data } = read;
  if (data[0] === 'x') return silent(`the script failed: ${textOfBytes(data[1])}`);
  if (data[0] === 'g') return 'large';
  if (data[0] === 'f') {
    if (data[1] === 'format') return silent(laterRelease(data[2]));
    const shard = shards[data[1]]?.shard;
    if (shard === undefined) return silent('an answer about another shard');
    const refusal =
      data[2] === 'generation'
        ? ({ kind: 'generation', has: data[3], keys: data[4] } as const)
        : ({ kind: data[2] } as const);
    return { kind: 'refused', shard, refusal };
  }
  const [, replies, shape, met, unnamed] = data;
  const shaped = shapedOf(replies, shape);
  if (shaped === null || shaped.length !== commands.length) {
    return silent('an answer to another snapshot');
  }
  const locks = met.flatMap(([index, key, incarnation, sequence]) => {
    const shard = shards[index]?.shard;
    const holder = [incarnation, sequence] as const;
    return shard === undefined ? [] : [{ shard, key: textOfBytes(key), holder }];
  });
  if (locks.length !== met.length) return silent('an answer about another shard');
  const ordered = shaped.map((each, at) => inOrder(each, commands[at]?.reply ?? null));
  return { kind: 'read', replies: ordered, locks, unnamed: unnamed.map(textOfBytes) };
}
