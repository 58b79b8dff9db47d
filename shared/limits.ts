/** Every limit of Lockstep. limit-relations.ts asserts the relations between them. */
import { edgeLimits } from './edge-limits.ts';
import { storageLimits } from './storage-limits.ts';
import { webhookLimits } from './webhook-limits.ts';

/** Each limit with its meaning. Names end with their units. The page of limits shows the comments. */
export const limits = {
  ...storageLimits,
  ...webhookLimits,
  ...edgeLimits,
  // Shards
  /** Shards of a deployment. */
  shards: 256,
  /** The pause before a coordinator asks the registry again for the slots that it owns. Doubles from the minimum to the maximum. */
  registryBackoffMinMs: 100,
  registryBackoffMaxMs: 5_000,
  /** A call of the registry without an answer is given up. */
  registryTimeoutMs: 5_000,

  // Requests and commands
  /** A request body at the edge. */
  bodyBytes: 1_000_000,
  /** The part of a larger body that is read and dropped, so that its sender sees the refusal. */
  bodyDrainedBytes: 16_000_000,
  /** The nesting depth of a JSON body. */
  jsonDepth: 8,
  /** A key, in UTF-8. Upstash allows 32 KB. */
  keyBytes: 32_000,
  /** A channel or pattern, in UTF-8. Its lock key is one of the keys of its transaction. */
  channelBytes: 16_000,
  /** One argument of a command, in UTF-8. */
  valueBytes: 512_000,
  /** The latest expiry of a key, in ms since 1970. Scripts add to it, and numbers are exact only below 2^53. */
  expiryMsMaximum: 4_000_000_000_000_000,
  /** The last byte of a string that SETBIT, SETRANGE, BITFIELD or APPEND may reach: a region handles all before it. */
  reachedBytes: 16_000_000,
  /** Commands of one write. */
  operationsPerWrite: 128,
  /** Checks of one write. */
  checksPerWrite: 64,
  /** Words of a command, including its name. A region calls it by Lua's unpack, which takes at most 8,000. */
  argumentsPerOperation: 7_000,
  /** Keys of one write. A few commands of one script lock and stage each key. */
  keysPerWrite: 4_096,
  /** Keys of one snapshot. Its script checks each key for a lock. */
  keysPerSnapshot: 7_000,
  /** Attempts at a write that only find further keys, which its script touches without declaring them. */
  searchesPerWrite: 12,
  /** Attempts at a write whose script gives different results in different regions. */
  doubtsPerWrite: 3,
  /** Attempts at a write that a region could not stage before its vote was due. */
  overrunsPerWrite: 3,
  /** Commands of one snapshot. */
  readsPerSnapshot: 128,
  /** Commands that one run of a script calls. */
  callsPerScript: 100_000,
  /** Steps of a script: passes of a loop, calls of a function, or as much work within a called function. */
  stepsPerScript: 5_000_000,
  /** Memory that a script allocates for texts and tables, in bytes, whether it keeps them or not. */
  memoryPerScript: 64_000_000,
  /** Items of a script's reply, over all levels. */
  scriptReplyItems: 100_000,
  /** The text of an error or a status that a script returns. */
  scriptErrorBytes: 8_000,
  /** A pattern with repetitions or captures in a script: for a longer one, Lua's matcher would recurse too deeply. */
  scriptPatternBytes: 1_000,
  /** The time after which a region ends a script, since a single step or call may take any time. */
  scriptMs: 1_500,
  /** Commands of one pipeline of the Upstash protocol. Each becomes a write of its own. */
  commandsPerPipeline: 4_096,
  /** Channels or patterns of one subscription. */
  channelsPerStream: 100,
  /** Subscriptions and monitors of one isolate, which has 128 MB. */
  streamsPerIsolate: 1_000,
  /** A line of a region's stream. The SDK of Upstash allows about as much. */
  streamLineCharacters: 1_000_000,
  /** An Idempotency-Key. */
  idempotencyKeyBytes: 255,

  // Scripts
  /** A user's script as regions run it, including the counters in its loops. */
  scriptBytes: 128_000,
  /** The scripts of one write or snapshot together. EVALSHA adds texts that the request did not contain. */
  scriptBytesPerWrite: 256_000,
  /** A write with its scripts and the keys that they touch without declaring them, which is stored in one row. */
  frameBytes: 1_256_000,
  /** Nesting levels of a script's reply. A region's script recurses into them. */
  scriptReplyDepth: 100,
  /** Members that one command of a script draws at random with repetitions. */
  drawsPerCall: 100_000,
  /** Scripts that a shard stores. */
  scriptsKept: 500,
  /** The texts of all scripts that a shard stores. */
  scriptBytesKept: 4_000_000,
  /** The texts of scripts that an isolate of the edge remembers. */
  scriptBytesRemembered: 4_000_000,
  /** The time for which the edge assumes that the coordinator still has a script, and so the delay of SCRIPT FLUSH. */
  scriptKnownMs: 5_000,

  // Attempts at a write
  /** The time for which Lockstep tries a write without `timeoutMs`. */
  timeoutMsDefault: 10_000,
  /** The shortest `timeoutMs` of a write. */
  timeoutMsMinimum: 50,
  /** The longest `timeoutMs` of a write. */
  timeoutMsMaximum: 30_000,
  /** The highest `priority` of a write. */
  priorityMaximum: 9,
  /** The number of times that the edge resends a write to a coordinator that gave no response. */
  resendsPerWrite: 3,
  /** The pause before the first resend of a write; each further one is four times as long. */
  resendPauseMs: 50,

  // Queue of writes
  /** Writes that wait or are undecided in one coordinator. Further ones are refused with 429. */
  framesQueued: 10_000,
  /** The bytes of all waiting and undecided writes of one coordinator. */
  queuedBytes: 32_000_000,

  // Connections and rounds
  /** Requests of one Durable Object that wait for response headers, a limit of the platform. */
  connections: 6,
  /** Rounds in flight to one region. */
  roundsInFlightPerRegion: 4,
  /** The part of a round trip that passes between rounds to one region, once two are in flight, is 1 divided by this. */
  roundsPerRoundTrip: 6,
  /** A region is late if a round takes longer than this number of its usual round trips, plus `lateMs` ms. */
  lateRoundTrips: 2,
  lateMs: 20,
  /** The wait after which a request for a connection goes before all that have waited for less, of any kind. */
  fairAfterMs: 100,
  /** Silent regions that are probed at the same time: a probe may hold its connection until its timeout. */
  probesInFlight: 2,
  /** Writes of one transaction. */
  partsPerTransaction: 256,
  /** The bytes of a transaction's writes together, if it has more than one. */
  transactionBytes: 1_000_000,
  /** The replies of a transaction as they are stored with its decision: their bytes, and up to 12 more per item. */
  outcomeBytes: 900_000,
  /**
   * The largest value that a write can remove and return: GETDEL, GETSET, LPOP, LMPOP, SPOP, XREADGROUP and others. A
   * larger one, which APPEND or a script can make, is read in ranges and removed by DEL.
   */
  takenBytes: 860_000,
  /** The bytes of replies in a round after which the region stages no further transaction of the round. */
  roundOutcomeBytes: 6_000_000,
  /** The replies of one snapshot. The Worker has 128 MB. */
  snapshotBytes: 8_000_000,
  /** A region's response to one request, as JSON in base64. A longer response is not read to its end. */
  answerBytes: 16_000_000,
  /** A reply in a script. A region sends a longer one natively, as Lua would multiply the work. */
  replyBytesInScript: 10_000,
  /** The greatest length of a value, in bytes, that a snapshot reads in its script as it was as short before. */
  smallValueBytes: 1_024,
  /** Keys of one snapshot that are read that way. */
  smallKeysPerRead: 256,
  /** Keys that an isolate remembers per region for that, and the greatest length of one. */
  smallKeysRemembered: 10_000,
  smallKeyLength: 200,
  /** Keys of a snapshot whose values are read without measuring them first. */
  keysReadUnmeasured: 16,
  /** Users' keys and shadows that one script declares. */
  keysDeclared: 1_000,
  /** Elements that MEMORY USAGE samples, one by one. */
  memorySamples: 1_000,
  /** Steps of all LCS of a snapshot or transaction, each the product of two lengths; some 20 ms of work. */
  lcsSteps: 4_000_000,
  /** The time in a snapshot after which it runs no further command that may be slow. */
  snapshotMs: 500,
  /**
   * Work of one command, in steps of about one element of a set, for each time that it names the key; more or less
   * costly work is weighted. A region does nothing else meanwhile.
   */
  stepsPerCommand: 1_000_000,
  /** Entries of a stream that one command of a script reads. More would exceed the script's memory. */
  entriesPerScript: 300_000,
  /** Entries of a stream that one command of a write, or of a read, returns. More would exceed the replies. */
  entriesPerWrite: 20_000,
  entriesPerRead: 140_000,
  /** Elements of a list or sorted set in a range that leaves a region natively. More would exceed the replies. */
  rangePerRead: 700_000,
  /** Elements of hashes and sets that one snapshot reads whole; for more, the region is asked for their number first. */
  elementsReadUnmeasured: 100_000,
  /** Streams of one XREAD whose lengths are not measured first. */
  streamsReadUnmeasured: 10,
  /** Elements that one SCAN, HSCAN, SSCAN or ZSCAN visits. Its COUNT is a hint. */
  scannedPerCommand: 100_000,
  /** Transactions that one round stages in a region. */
  preparesPerRound: 512,
  /** The time in a round after which it stages no further transaction, and no further part of one, that may be slow. */
  stagingMs: 500,
  /** Decisions of one round. */
  decisionsPerRound: 2_048,
  /** The body of a round, with JSON inside JSON. Upstash allows 10 MB on its smallest plans. */
  roundBytes: 4_000_000,
  /** The time after which a missing vote counts as no. */
  voteDeadlineMs: 2_000,
  /** The difference between the clocks of regions and coordinator that expiries tolerate. */
  clockSkewMs: 1_000,
  /** The delay that is added to expiries of staged values, so that none passes before the decision. */
  expiryPutOffMs: 30 * 86_400_000,
  /** The size up to which a write copies a collection to stage it. In larger ones it stages single elements. */
  elementsCopied: 128,
  /** Entries that one XAUTOCLAIM claims. */
  claimedEntries: 10_000,
  /** The time after which a round without a response is given up. */
  roundTimeoutMs: 2_500,
  /**
   * The time for which a commit waits for a prepare to share its round, if few connections are free or transactions
   * begin closer together than that.
   */
  commitLingerMs: 10,
  /** The pause before a silent region is asked again. Doubles from the minimum to the maximum. */
  probeBackoffMinMs: 50,
  probeBackoffMaxMs: 1_000,
  /** The longest pause between probes of a region that is out: no write waits for it. */
  outProbeBackoffMaxMs: 5_000,
  /** The longest pause between probes of any region while the coordinator is idle. */
  idleProbeBackoffMaxMs: 60_000,
  /** The time without any request of a client after which a coordinator is idle. */
  idleAfterMs: 30_000,
  /** The pause between probes of a region grows to the time for which it has been out, divided by this. */
  outProbesPerAge: 16,
  /** The time without open work at any voter after which this is stored, so that the next instance asks no region. */
  restAfterMs: 5_000,
  /** The pause before a refused or locked-out transaction is tried again. Doubles from the minimum to the maximum. */
  retryBackoffMinMs: 5,
  retryBackoffMaxMs: 500,
  /** Unacknowledged decisions of one region. Above it, nothing more is prepared. */
  unacknowledgedPerRegion: 4_096,

  // Joint writes
  /** The time for which a joint write waits for its keys in one shard, when each shard is asked in turn. */
  loanWaitMs: 1_000,
  /** The time after which a request for a loan counts as unanswered. It may have waited for its keys. */
  loanRequestTimeoutMs: 2_000,
  /** The time after which another call from one coordinator to another counts as unanswered. */
  loanCallTimeoutMs: 1_000,
  /** The pause before an unanswered call between coordinators is repeated. Doubles from the minimum to the maximum. */
  loanBackoffMinMs: 50,
  loanBackoffMaxMs: 5_000,
  /** How often an abort is sent to a guest that does not acknowledge it; after that the guest asks. */
  abortsSentPerGuest: 4,
  /** Loans of one shard that are open at once. */
  loansOpen: 256,
  /** The time for which the eviction of a region waits for the end of open loans. */
  loanEndWaitMs: 6_000,

  // History of a region
  /** Pairs of counter and nonce that a region remembers. */
  historyPairs: 64,
  /** The rounds after which the highest acknowledged pair is stored again. */
  pairStoredEveryRounds: 8,
  /** Locks of older incarnations in one response. */
  olderLocksPerAnswer: 1_000,

  // Leases
  /** The time for which a region may serve strong reads, from the clock reading on which its lease is based. */
  leaseTtlMs: 4_000,
  /** The drift between two clocks during a lease. The coordinator waits this much longer for the end of a lease. */
  leaseDriftMs: 250,
  /** The age at which a lease is renewed by a round of its own. */
  leaseRenewMs: 1_500,
  /** The age from which on a round with other work renews a lease as well. */
  leaseRideMs: 750,
  /**
   * The time for which an isolate of the edge requests a lease. Doubles from the minimum to the maximum
   * while reads go on, so that steady readers rarely ask, and a single read costs few renewals.
   */
  leaseReadersMinMs: 10_000,
  leaseReadersMaxMs: 90_000,
  /** The interval at which an isolate requests a lease for a region that has none. */
  leaseMissedSaidEveryMs: 3_000,

  // Members and copies
  /** The time without a usable response after which a voter is evicted. */
  outAfterMs: 3_000,
  /** The gap between two refusals of a region's server that breaks a row of refusals. */
  refusalsApartMs: 10_000,
  /** The pause between two attempts to copy a region that is out and reports that it has no memory. */
  fullCopyPauseMs: 60_000,
  /** The age of a region's key count above which it is counted again before a shard starts. */
  foundingCountsLastMs: 5_000,
  /** The pause between counts of the regions until an operator decides. Doubles from the minimum to the maximum. */
  foundingRecountBackoffMinMs: 1_000,
  foundingRecountBackoffMaxMs: 60_000,
  /** Former generations of a region that are remembered. An older state counts as another Lockstep's. */
  formerGenerations: 16,
  /** Keys that a region out is known to have missed. Above it, everything is copied when it returns. */
  missedKeysPerRegion: 100_000,
  /** Keys, and bytes of values, of one step of a copy. A larger key is copied in pieces. */
  copyKeysPerStep: 2_000,
  copyBytesPerStep: 600_000,
  /** Batches of a copy that are read ahead of the one being written. */
  copyStepsAhead: 2,
  /** The number of keys left at which the last step of a copy pauses writes. */
  copyWritePauseKeys: 500,
  /** The time after which a write pause is given up. The next one may last twice as long, up to the maximum. */
  copyWritePauseMs: 1_500,
  copyWritePauseMaxMs: 12_000,
  /** Write pauses of a copy that end at once because the rest does not fit one step. */
  copyWritePausesCutShort: 3,
  /** The number of times that the pieces of a value may not fit together in one copy, because of writes in between. */
  copyPiecesBroken: 20,
  /** The pause before the next write pause, and before a region whose copy failed is copied again. */
  copyPauseMs: 2_000,
  /** Entries of the membership history. */
  memberChangesKept: 10_000,

  // Alarms and kept decisions
  /** The interval of alarms of an active coordinator, which continue work that a crash interrupted. */
  alarmMs: 10_000,
  /** The interval of alarms of an object that cannot read its storage, until a release that can is deployed. */
  unfitAlarmMs: 60_000,
  /** The time for which decided writes are kept, if LOCKSTEP_KEPT_MS is not set and every region has applied them. */
  decisionsKeptMs: 24 * 60 * 60 * 1_000,
  /** Decided writes that are kept if LOCKSTEP_KEPT_WRITES is not set. */
  decisionsKept: 100_000,
  /** The highest LOCKSTEP_KEPT_WRITES. */
  decisionsKeptMaximum: 10_000_000,
  /** The shortest LOCKSTEP_KEPT_MS. */
  keptMsMinimum: 60_000,
  /** The longest LOCKSTEP_KEPT_MS. */
  keptMsMaximum: 90 * 24 * 60 * 60 * 1_000,
  /** Writes that one recovery of an endpoint reads. */
  writesPerRecovery: 10_000,
  /** Writes that a recovery reads at a time, with other work in between. */
  writesPerRecoveryStep: 100,
  /** The pause between two slices of pruning. */
  pruneSliceMs: 1_000,
  /** The pause between two prunings. */
  pruneEveryMs: 10 * 60 * 1_000,

  // Reads
  /** Requests of one strong read to a region, each of which may apply decisions that were in its way. */
  readAttempts: 20,
  /** The time after which a snapshot without a response goes to the next region. */
  readTimeoutMs: 2_500,
  /** Reads through one coordinator that wait. */
  readsQueued: 1_000,
  /** Reads through one coordinator that use a connection at the same time. */
  readsInFlight: 2,
  /** Regions that a read is sent to without a response: the read itself may be the cause. */
  unansweredPerRead: 2,
  /** Regions that a read with a script is sent to without a response. */
  unansweredPerScript: 1,
  /** Failures of one region that a read through the coordinator tolerates. */
  readFailuresPerRegion: 3,
  /** Regions of a deployment. */
  regions: 16,

  // Requests under an Idempotency-Key
  /** The time for which requests with an Idempotency-Key, other than writes, are kept with their responses. */
  requestsKeptMs: 24 * 60 * 60 * 1_000,
  /** Requests with an Idempotency-Key that are kept, of all tokens together. */
  requestsKept: 10_000,
  /** Requests with an Idempotency-Key that are kept per token. */
  requestsKeptPerToken: 1_000,
  /** A response that is kept. The request of a longer one is executed again by a retry, with the same effect. */
  requestResponseCharacters: 16_000,
  /** The time after which an attempt that has not ended counts as lost. */
  requestUnderwayMs: 60_000,
  /** Expired requests that are deleted at once. */
  requestsPerPrune: 100,

  // Change feed
  /** Changes of one page of the feed. */
  changesPerPage: 1_000,
  /** A page of the feed, in bytes. It ends before the change that would exceed this. */
  changesPageBytes: 4_000_000,
  /** Changes of one page, if the request has no `limit`. */
  changesPerPageDefault: 100,
  /** Followers of one feed object. */
  followers: 10_000,
  /** Unacknowledged changes of a follower. Above it, the follower is disconnected, with the position to resume at. */
  followerWindowChanges: 10_000,
  /** Unacknowledged bytes of a follower. Above it, the follower is disconnected as well. */
  followerWindowBytes: 8_000_000,
  /** The filter of one follower. The platform keeps 16 KB with a hibernating connection. */
  followerFilterBytes: 8_000,
  /** A message of the feed, unless a single change is larger. */
  feedMessageBytes: 500_000,
  /** The newest changes that the feed keeps in memory, by number and by approximate characters. */
  feedKeptChanges: 1_000,
  feedKeptBytes: 8_000_000,
  /** The time after which publishing a change to the feed is given up. The feed then reads it from the log. */
  publishTimeoutMs: 10_000,
  /** The pause before a change is published to the feed again. Doubles from the minimum to the maximum. */
  publishBackoffMinMs: 1_000,
  publishBackoffMaxMs: 30_000,
  /** The interval at which the feed asks for the newest change. Changes are published without being requested. */
  feedAsksEveryMs: 10 * 60 * 1_000,
  /** Pages that one feed requests at the same time, so that many returning followers do not overload a coordinator. */
  feedPagesInFlight: 4,
  /** The time in which changes are collected into one message of the feed. */
  feedCoalesceMs: 20,
  /** The interval of heartbeats in a silent stream. */
  heartbeatMs: 15_000,

  // Administration
  /** Changes of one page of the membership history. */
  memberChangesPerPage: 100,
  /** The time after which an inspection of a region's keys or locks is given up. */
  inspectTimeoutMs: 10_000,
  /** Locks of one region that operators see. */
  locksShown: 1_000,
  /** Keys that a call of verify compares if it has no `limit`. */
  verifyKeysDefault: 1_000,
  /** The highest `limit` of a call of verify. */
  verifyKeysMaximum: 10_000,
  /** Keys that one request of verify inspects. */
  verifyKeysPerLook: 250,
  /** Steps of a scan in one call of verify: the platform limits the requests per call. */
  verifyStepsPerCall: 40,
  /** Comparisons of a key that differs or is locked: a commit may be on its way to a region. */
  verifyLooks: 6,
  /** The pause before the second comparison. Each further one is twice as long. */
  verifyLookPauseMs: 70,
  /** The longest `pauseMs` of a call of verify. */
  verifyPauseMsMaximum: 5_000,
  /** The time after which a call of verify ends early, with a cursor to continue. */
  verifyMs: 20_000,
  /** The cursor of verify. */
  verifyCursorCharacters: 2_000,
  /** The prefix of keys that verify compares. */
  verifyPrefixCharacters: 500,
  /** Keys of one call of repair. */
  repairKeys: 1_000,
  /** Readings of a region's clock by the doctor. The shortest round trip bounds the error. */
  doctorClockReadings: 5,
  /** The time after which a check of the doctor is given up. */
  doctorTimeoutMs: 3_000,
} as const;
