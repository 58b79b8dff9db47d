/**
 * The request of a joint transaction to a region, and its answer: rounds of several shards, and one prepare that counts for
 * all of them.
 */
import type { ShardId, TransactionOrder } from '../ids.ts';
import type { Part, Refusal, Round, RoundReply, Vote } from './round.ts';

/** What one shard gives to a joint transaction: some of its keys, under an order of its own. */
export interface Share {
  readonly shard: ShardId;
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
}

/** Phase one of a joint transaction: stage this over the keys of all shares, and vote once. */
export interface JointPrepare {
  /** The greatest of all shards' clocks, ms; a key whose expiry is at or before it counts as absent. */
  readonly now: number;
  /** Home's first. No key is in two shares. */
  readonly shares: readonly Share[];
  readonly parts: readonly Part[];
}

/** One request to one region. Runs as one script. */
export interface JointRound {
  /** One per share, in the order of the shares. They have no prepares and no copy steps; only home's may ask for a lease. */
  readonly rounds: readonly Round[];
  readonly prepare: JointPrepare;
}

/**
 * A vote of a joint transaction. `objected`: nothing is staged because of this shard: its round was refused, one of its
 * decisions found less than it should, or its own state objects to its share.
 */
export type JointVote =
  | Extract<Vote, { kind: 'yes' | 'unlisted' | 'lacking' | 'denied' | 'refused' }>
  | {
      readonly kind: 'objected';
      readonly shard: ShardId;
      readonly by:
        | { readonly kind: 'round' }
        | { readonly kind: 'decision' }
        | Extract<Vote, { kind: 'late' | 'duplicate' | 'locked' | 'fenced' }>;
    };

/** One shard's part of the answer. */
export type JointRoundReply =
  | { readonly kind: 'executed'; readonly reply: RoundReply }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** The result of a joint round. */
export type JointResult =
  | {
      readonly kind: 'executed';
      /** One per round, in order. `votes` in them is empty. */
      readonly replies: readonly JointRoundReply[];
      readonly vote: JointVote;
    }
  /** As with RoundResult. */
  | { readonly kind: 'silent'; readonly reason: string; readonly code?: string };
