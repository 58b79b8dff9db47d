/** The limits of calls by an isolate of the edge, and of its memory, which are a part of `limits`. */

/** Each limit with its meaning. The page of limits is made from these comments. */
export const edgeLimits = {
  // Calls that requests share
  /** Writes of different requests that an isolate sends in one call to the coordinator. */
  writesPerCall: 256,
  /** The characters of the commands and checks in such a call, about. */
  writeCallLength: 1_000_000,
  /** The greatest length of one write in such a call: longer ones go alone, so that others need not wait for them. */
  sharedWriteLength: 50_000,
  /** The time after which a write no longer waits for the call that it shares, but asks by itself. */
  sharedWriteMs: 5_000,
  /**
   * The time for which a request waits longer for a call that it shares with others than the call itself may take: its
   * end may be lost with the request that made the call.
   */
  sharedCallGraceMs: 500,

  // Memory of an isolate
  /** The time for which reads avoid a region that did not answer. */
  silentRegionAvoidedMs: 5_000,
  /** The time for which strong reads avoid a region that had no lease. It may get one meanwhile. */
  leaselessMs: 1_000,
  /** The age from which on the edge renews its directory of regions in the background. */
  directoryFreshMs: 90_000,
  /** The age above which the edge does not use its directory of regions. */
  directoryStaleMs: 10 * 60 * 1_000,
  /** The same age for streams, which must not stay in a region that has lost its vote. */
  directoryStreamStaleMs: 60_000,
  /** The age from which on the directory is renewed while a region is out or silent, as it may return at any moment. */
  directoryUnsettledMs: 10_000,
} as const;
