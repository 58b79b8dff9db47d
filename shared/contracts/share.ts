/** The parts of shards in joint transactions. */
import type { ShardId, TransactionOrder } from '../ids.ts';
import type { SlotRange } from '../shards/shard-map.ts';

/** The part of one shard in a joint transaction: some of its keys, under an order of its own. */
export interface Share {
  readonly shard: ShardId;
  readonly transaction: TransactionOrder;
  /**
   * No key is in two shares, but for reserved names that stand for something of each shard: `everyKey`, and `flushedKey`
   * with it.
   */
  readonly keys: readonly string[];
  /**
   * Of a share with `everyKey`, as it is prepared: the slots that its shard owns. A flush empties these alone. Decisions
   * need not name them, as the lock does.
   */
  readonly slots?: readonly SlotRange[];
}
