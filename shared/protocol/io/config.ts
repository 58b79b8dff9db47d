/** The settings of a coordinator. */

import type { RegionId, ShardId } from '../../ids.ts';
import type { ShardMap } from '../../shards/shard-map.ts';

/** The settings of an instance, constant for its life. */
export interface CoordinatorConfig {
  readonly shard: ShardId;
  /** Every configured region, and those that were added. All are voters when a shard begins; later ones are copied first. */
  readonly regions: readonly RegionId[];
  /**
   * A shard that begins over this region's data, and over no other, is founded from it without a command; null or
   * absent: an operator has to found it.
   */
  readonly source?: RegionId | null;
  /**
   * The map by which this shard asks others for keys of joint writes (rule R56). Null or absent: it takes part in none,
   * and a write needs all of its keys here. The slots that it owns are not said here, but stored (rule R49).
   */
  readonly jointMap?: ShardMap | null;
  /** With fewer voters nothing is written. */
  readonly minVoters: number;
  /** A voter without a usable answer for this time is evicted, ms. */
  readonly outAfterMs: number;
  /** How many rounds may wait for an answer at once, over all regions. */
  readonly connections: number;
  /** A vote not in by then is a no, ms after its transaction began. */
  readonly voteDeadlineMs: number;
  /** A round without an answer by then is given up, ms. */
  readonly roundTimeoutMs: number;
}
