/**
 * The requests of joint transactions and of reads over several shards to a region, and its answers: rounds of several
 * shards with one prepare that counts for all of them, and one snapshot.
 */
import type { ShardId, TransactionOrder } from '../ids.ts';
import type { SlotRange } from '../shards/shard-map.ts';
import type { RawReply } from './reply.ts';
import type {
  Decision,
  Part,
  ReadCommand,
  Refusal,
  Round,
  RoundPair,
  RoundReply,
  Vote,
} from './round.ts';
import type { Share } from './share.ts';

/** Phase one of a joint transaction: stage this over the keys of all shares, and vote once. */
export interface JointPrepare {
  /** The greatest of all shards' clocks, ms; a key whose expiry is at or before it counts as absent. */
  readonly now: number;
  /** Home's first, and at most one per shard. Each has a key. */
  readonly shares: readonly Share[];
  readonly parts: readonly Part[];
}

/** One request to one region. Runs as one script. */
export interface JointRound {
  /**
   * One per share, in the order of the shares. They are for a voter, have no prepares and no copy steps, and only home's may
   * ask for a lease.
   */
  readonly rounds: readonly Round[];
  readonly prepare: JointPrepare;
}

/**
 * A vote of a joint transaction. The fingerprints of a yes are those of the keys of the first share, then of the second,
 * and so on. `objected`: nothing is staged because of this shard, the first one that objects: its round was refused, one of
 * its decisions was not acknowledged, or its own state objects to its share.
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
      /**
       * One per round, in order. `votes` in them is empty. Unless the vote is yes, a digest follows the nonce that each
       * executed round has left.
       */
      readonly replies: readonly JointRoundReply[];
      readonly vote: JointVote;
    }
  /** As with RoundResult. */
  | { readonly kind: 'silent'; readonly reason: string; readonly code?: string };

/** The part of a snapshot over several shards that is about one of them; the members are those of SnapshotRequest. */
export interface SnapshotShard {
  readonly shard: ShardId;
  readonly generation: number;
  readonly lastAcknowledged: RoundPair | null;
  /** Commits of this shard. Those of joint transactions name the other shares. */
  readonly settle: readonly Decision[];
  /** The keys of this shard. */
  readonly keys: readonly string[];
  /**
   * The slots that the shard owns, if a command finds its keys only as it runs: users' scripts, and commands about all
   * keys.
   */
  readonly slots?: readonly SlotRange[];
}

/** A snapshot over the keys of several shards in one region: one script, one moment. */
export interface JointSnapshotRequest {
  readonly strong: boolean;
  readonly leased: boolean;
  readonly shards: readonly SnapshotShard[];
  readonly commands: readonly ReadCommand[];
}

/** The result of a snapshot over several shards. */
export type JointSnapshotResult =
  | {
      readonly kind: 'read';
      readonly replies: readonly RawReply[];
      /** The locks met, each with the shard to whose transaction it belongs. */
      readonly locks: readonly {
        readonly shard: ShardId;
        readonly key: string;
        readonly holder: TransactionOrder;
      }[];
      /**
       * Keys that a strong snapshot has touched and whose slots belong to none of the shards; `everyKey` if it looked at all
       * keys and the slots are not all named. The read has to be repeated with their shards.
       */
      readonly unnamed: readonly string[];
    }
  /** The first shard whose state refuses it. Nothing was read. */
  | {
      readonly kind: 'refused';
      readonly shard: ShardId;
      readonly refusal: Refusal | { readonly kind: 'lease' };
    }
  | { readonly kind: 'silent'; readonly reason: string; readonly isUnanswered?: true };
