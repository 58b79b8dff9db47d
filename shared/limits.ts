import { storageLimits } from './storage-limits.ts';

/**
 * Every bound of Lockstep. Units are last in each name. What one bound needs of another is asserted in
 * limit-relations.ts.
 */
export const limits = {
  ...storageLimits,
  // Requests and commands
  /** A request body at the edge. */
  bodyBytes: 1_000_000,
  /** Of a larger one so much is read and dropped, so that its sender gets to see the refusal. */
  bodyDrainedBytes: 16_000_000,
  /** Nesting of a JSON body. */
  jsonDepth: 8,
  /** A key, in UTF-8. Upstash takes 32 KB. */
  keyBytes: 32_000,
  /** The name of a channel, or a pattern of such, in UTF-8. It stands among the keys of its transaction. */
  channelBytes: 16_000,
  /** One argument of a command, in UTF-8. */
  valueBytes: 512_000,
  /** The farthest moment at which a key may expire, ms since 1970: scripts count exactly, and add to it, below 2^53. */
  expiryMsMaximum: 4_000_000_000_000_000,
  /** The byte of a string that one SETBIT, SETRANGE or BITFIELD may reach: a region allocates all before it. */
  reachedBytes: 16_000_000,
  /** Commands of one write. */
  operationsPerWrite: 128,
  /** Checks of one write. */
  checksPerWrite: 64,
  /** Words of one command, its name included: Lua's unpack, by which a region calls it, takes 8,000 at most. */
  argumentsPerOperation: 7_000,
  /** Each is locked and staged by a handful of commands, all in one script. */
  keysPerWrite: 4_096,
  /** Of one snapshot; its script looks for a lock on each. */
  keysPerSnapshot: 7_000,
  /** Attempts at a write that only find keys which its script touches and does not declare. */
  searchesPerWrite: 12,
  /** Attempts at a write whose script gives different results in different regions. */
  doubtsPerWrite: 3,
  /** Attempts at a write that a region could not stage before its vote was missed. */
  overrunsPerWrite: 3,
  /** Commands of one snapshot. */
  readsPerSnapshot: 128,
  /** Commands that one script calls. */
  callsPerScript: 100_000,
  /** What a script does: a step is a loop's body or a function, or as much work of a function that it calls. */
  stepsPerScript: 5_000_000,
  /** What a script makes, in bytes of texts and tables, whether it keeps them or not. */
  memoryPerScript: 64_000_000,
  /** Items of a script's reply, at all levels together, and bytes of an error that it raises. */
  scriptReplyItems: 100_000,
  /** An error or a status that a script returns. */
  scriptErrorBytes: 8_000,
  /** A longer pattern with repetitions or captures would make the matcher of a region call itself too deeply. */
  scriptPatternBytes: 1_000,
  /** A script that runs for longer is ended by its region: one step or call may take any time. */
  scriptMs: 1_500,
  /** Commands of one pipeline of the Upstash form; each is a frame of its own. */
  commandsPerPipeline: 4_096,
  /** Channels or patterns of one subscription. */
  channelsPerStream: 100,
  /** Subscriptions and monitors of one isolate, which has 128 MB. */
  streamsPerIsolate: 1_000,
  /** A line of a region's stream; the SDK of Upstash gives up at about as much. */
  streamLineCharacters: 1_000_000,
  /** An Idempotency-Key. */
  idempotencyKeyBytes: 255,

  // Scripts
  /** A user's script, as regions run it: with calls that count its loops. */
  scriptBytes: 128_000,
  /** The scripts of one write or snapshot together: EVALSHA brings a text that its request did not. */
  scriptBytesPerWrite: 256_000,
  /** A frame with its scripts, and with the keys that they touch without declaring them: those are stored in one row. */
  frameBytes: 1_256_000,
  /** Levels to which the reply of a script is nested; the script of a region goes down by calling itself. */
  scriptReplyDepth: 100,
  /** Members that one command of a script draws at random, where it may draw the same again. */
  drawsPerCall: 100_000,
  /** Scripts that a shard knows by their digests, and their texts together. */
  scriptsKept: 500,
  /** The texts of all scripts that a shard keeps. */
  scriptBytesKept: 4_000_000,
  /** Texts of scripts that the edge remembers. */
  scriptBytesRemembered: 4_000_000,
  /** For so long the edge takes a script for known that the coordinator knew: SCRIPT FLUSH elsewhere may take so long. */
  scriptKnownMs: 5_000,

  // Attempts at a write
  /** How long Lockstep tries a write that does not say its `timeoutMs`. */
  timeoutMsDefault: 10_000,
  /** The shortest `timeoutMs` that a write may ask for. */
  timeoutMsMinimum: 50,
  /** The longest `timeoutMs` that a write may ask for. */
  timeoutMsMaximum: 30_000,
  /** The highest `priority` of a write. */
  priorityMaximum: 9,
  /** So often the edge sends a write again whose coordinator gave no answer: the pause before it grows fourfold. */
  resendsPerWrite: 3,
  /** The pause before the first resend of a write. */
  resendPauseMs: 50,

  // Queue of writes
  /** Frames waiting or undecided in one coordinator; one more is answered 429. */
  framesQueued: 10_000,
  /** Their size together, bytes of frames. */
  queuedBytes: 32_000_000,

  // Connections and rounds
  /** Requests that wait for response headers in one Durable Object: the platform's bound. */
  connections: 6,
  /** Rounds that one region is sent before it has answered the first. */
  roundsInFlightPerRegion: 3,
  /** What has waited so long for a connection goes before all that has not, whatever its kind. */
  fairAfterMs: 100,
  /** Silent regions that are probed at once: a probe may hold its connection until its timeout. */
  probesInFlight: 2,
  /** Writes that one transaction carries. */
  partsPerTransaction: 256,
  /** The frames of one transaction together, where it has more than one. */
  transactionBytes: 1_000_000,
  /** The replies of one transaction, as they are stored with its decision: their bytes, and at most 12 per item. */
  outcomeBytes: 900_000,
  /**
   * The largest value that any write can take out whole and answer: GETDEL, GETSET, LPOP, LMPOP, SPOP, XREADGROUP and all
   * others. A larger one, which APPEND or a script can make, is read in ranges and removed by DEL.
   */
  takenBytes: 860_000,
  /** Once the replies of a round's transactions have so many bytes, no further one is staged with it. */
  roundOutcomeBytes: 6_000_000,
  /** The replies of one snapshot: the Worker has 128 MB. */
  snapshotBytes: 8_000_000,
  /** What a region answers to one request, as JSON in base64; beyond it the answer is not read to its end. */
  answerBytes: 16_000_000,
  /** Replies that are known to be larger leave a region natively: through Lua they cost several times the work. */
  replyBytesInScript: 10_000,
  /** Keys whose values are read without measuring them before. */
  keysReadUnmeasured: 16,
  /** Keys of users, and shadows, that one script declares. */
  keysDeclared: 1_000,
  /** Elements that MEMORY USAGE looks at: it goes through so many, one by one. */
  memorySamples: 1_000,
  /** Steps of all LCS of a snapshot or transaction, the products of the lengths: some 20 ms. */
  lcsSteps: 4_000_000,
  /** Once a snapshot has taken so long, none of its commands is run any more that may take long. */
  snapshotMs: 500,
  /**
   * What one command may go through, in steps of about an element of a set, as often as it names the key; with weights
   * for what costs more or less. A region does nothing else meanwhile.
   */
  stepsPerCommand: 1_000_000,
  /** Entries of one stream that one command of a script reads; so many do not fit its memory. */
  entriesPerScript: 300_000,
  /** The same in a write, and in a read: so many do not fit the replies. */
  entriesPerWrite: 20_000,
  entriesPerRead: 140_000,
  /** Elements of a range of a list or sorted set that leaves a region natively; so many do not fit the replies. */
  rangePerRead: 700_000,
  /** Streams of one XREAD whose lengths nobody asks for before. */
  streamsReadUnmeasured: 10,
  /** Elements that one SCAN, HSCAN, SSCAN or ZSCAN looks at: its COUNT is a hint. */
  scannedPerCommand: 100_000,
  /** Transactions that one round stages in a region. */
  preparesPerRound: 512,
  /** Once what may take long in a round has taken so long, no transaction is staged any more, nor a part of one. */
  stagingMs: 500,
  /** Decisions that one round carries to a region. */
  decisionsPerRound: 2_048,
  /** A round's body. Upstash takes 10 MB on its smallest plans; a body holds the text of a JSON text. */
  roundBytes: 4_000_000,
  /** A vote not in by then is a no. */
  voteDeadlineMs: 2_000,
  /** How far apart the clocks of regions and coordinator may be where keys expire. */
  clockSkewMs: 1_000,
  /** Expiries of staged values are put off by this much, so that none passes by a region's clock meanwhile. */
  expiryPutOffMs: 30 * 86_400_000,
  /** A collection of more elements is staged by those that a write addresses; up to here a copy is cheaper. */
  elementsCopied: 128,
  /** Entries that one XAUTOCLAIM claims. */
  claimedEntries: 10_000,
  /** A round without an answer by then is given up. */
  roundTimeoutMs: 2_500,
  /** With few free connections a commit waits this long for a prepare to ride with. */
  commitLingerMs: 10,
  /** Pause before a region that did not answer is asked again: doubles from the first to the last. */
  probeBackoffMinMs: 50,
  probeBackoffMaxMs: 1_000,
  /** Of a region that is out: no write waits for it. */
  outProbeBackoffMaxMs: 5_000,
  /** Of any region, once no client has wanted anything of the coordinator for so long. */
  idleProbeBackoffMaxMs: 60_000,
  /** A coordinator that no client has asked for anything for so long is idle. */
  idleAfterMs: 30_000,
  /** The pause grows to this part of the time for which the region has been out. */
  outProbesPerAge: 16,
  /** Once nothing has been open at any voter for so long, that is stored, and the next instance asks nobody. */
  restAfterMs: 5_000,
  /** Pause before a transaction that was refused or met a foreign lock is tried again. */
  retryBackoffMinMs: 5,
  retryBackoffMaxMs: 500,
  /** Unacknowledged decisions of one region; beyond it nothing new is prepared. */
  unacknowledgedPerRegion: 4_096,

  // History of a region
  /** Pairs of (counter, mark) that a region keeps. */
  historyPairs: 64,
  /** The highest acknowledged pair is stored at least this often, in rounds. */
  pairStoredEveryRounds: 8,
  /** Locks of older incarnations listed in one answer. */
  olderLocksPerAnswer: 1_000,

  // Leases
  /** A region may serve strong reads so long after the clock reading that its lease was granted on. */
  leaseTtlMs: 4_000,
  /** How far two clocks may drift apart within a lease; the coordinator waits this much longer for its end. */
  leaseDriftMs: 250,
  /** A lease is renewed by a round of its own after this; rounds that go anyway renew it after a part of it. */
  leaseRenewMs: 1_500,
  /** A round that goes anyway renews a lease of at least this age. */
  leaseRideMs: 750,
  /**
   * An isolate of the edge says that it reads in a region: the lease is kept up for so long then. It doubles from the
   * first to the last as long as reads go on, so steady readers seldom ask, and a single read costs few renewals.
   */
  leaseWantedMinMs: 10_000,
  leaseWantedMaxMs: 90_000,
  /** A region without a lease is asked for one no more often than this, by one isolate. */
  leaseMissedSaidEveryMs: 3_000,

  // Members and copies
  /** A voter without a usable answer for so long is put out. */
  outAfterMs: 3_000,
  /** Refusals of a region's server that are farther apart do not count as in a row. */
  refusalsApartMs: 10_000,
  /** A region that is out and says that it has no memory is copied no sooner than this after the last try. */
  fullCopyPauseMs: 60_000,
  /** Before a shard begins: what a region said of its contents is asked again if it is older than this. */
  foundingCountsLastMs: 5_000,
  /** While an operator is awaited, the regions are asked again after this; doubles from the first to the last. */
  foundingRecountBackoffMinMs: 1_000,
  foundingRecountBackoffMaxMs: 60_000,
  /** Generations of a region that are remembered; a state that is older still counts as somebody else's. */
  formerGenerations: 16,
  /** Keys that a region out is known to have missed; beyond it everything is copied when it returns. */
  missedKeysPerRegion: 100_000,
  /** Keys and bytes of values that one step of a copy moves. A key of more bytes goes in pieces. */
  copyKeysPerStep: 2_000,
  copyBytesPerStep: 600_000,
  /** Batches read ahead of the write that is on its way. */
  copyStepsAhead: 2,
  /** With so few keys left, admission is held for the last step of a copy. */
  copyHoldKeys: 500,
  /** A hold that does not end by then is given up; the next one may last twice as long, up to the last. */
  copyWritePauseMs: 1_500,
  copyWritePauseMaxMs: 12_000,
  /** So many holds of a copy end at once where what is left does not fit one step. */
  copyHoldsCutShort: 3,
  /** So often pieces of values may fail to fit together in one copy: a write may come between two of them. */
  copyPiecesBroken: 20,
  /** Pause before the next hold, and before a region that failed while it was copied is tried again. */
  copyPauseMs: 2_000,
  /** Entries of the history of members. */
  memberChangesKept: 10_000,

  // Alarms and kept decisions
  /** An active coordinator is woken this often, so that work left by a crash is taken up. */
  alarmMs: 10_000,
  /** An object whose storage is of a later release wakes this often, until it is of a release that can read it. */
  unfitAlarmMs: 60_000,
  /** Decided writes kept by age and by number; older ones go once every region has applied them. */
  decisionsKeptMs: 24 * 60 * 60 * 1_000,
  /** Decided writes that are kept, if LOCKSTEP_KEPT_WRITES is not set. */
  decisionsKept: 100_000,
  /** The highest LOCKSTEP_KEPT_WRITES. */
  decisionsKeptMaximum: 10_000_000,
  /** The shortest LOCKSTEP_KEPT_MS. */
  keptMsMinimum: 60_000,
  /** The longest LOCKSTEP_KEPT_MS. */
  keptMsMaximum: 90 * 24 * 60 * 60 * 1_000,
  /** Writes that one recovery of an endpoint goes through. */
  writesPerRecovery: 10_000,
  /** It goes through so many at a time, and lets writes go in between. */
  writesPerRecoveryStep: 100,
  /** Pause between two slices of what is pruned. */
  pruneSliceMs: 1_000,
  /** Pause between two prunings. */
  pruneEveryMs: 10 * 60 * 1_000,

  // Reads
  /** How often a strong read applies outcomes and looks again before it gives up. */
  readAttempts: 20,
  /** A snapshot that a region has not answered by then is asked of the next region. */
  readTimeoutMs: 2_500,
  /** Reads through one coordinator that wait, and that take a connection at once. */
  readsQueued: 1_000,
  /** Reads through one coordinator that use a connection at once. */
  readsInFlight: 2,
  /** So many regions may be sent a read of which none answers: it may be what keeps them. A script is sent to one. */
  unansweredPerRead: 2,
  /** So many regions may be sent a read with a script of which none answers. */
  unansweredPerScript: 1,
  /** So often one region may fail a read through the coordinator. */
  readFailuresPerRegion: 3,
  /** A region that gave no answer to a read is asked last for so long. */
  silentRegionAvoidedMs: 5_000,
  /** A region that had no lease is not asked for a strong read for so long: it gets one meanwhile, if it can. */
  leaselessMs: 1_000,
  /** What the edge knows of the regions is asked for anew after this, beside the reads; beyond the other it is not used. */
  directoryFreshMs: 90_000,
  /** What the edge knows of the regions is not used beyond this age. */
  directoryStaleMs: 10 * 60 * 1_000,
  /** Streams of messages are not to go on for long in a region that has lost its vote. */
  directoryStreamStaleMs: 60_000,
  /** The same while some region is not as it should be: it may return at any moment. */
  directoryUnsettledMs: 10_000,
  /** Regions of a deployment. */
  regions: 16,

  // Requests under an Idempotency-Key
  /** Requests under an idempotency key, writes aside, are kept for so long with their responses. */
  requestsKeptMs: 24 * 60 * 60 * 1_000,
  /** So many of them, of all tokens and of one. */
  requestsKept: 10_000,
  /** Requests under idempotency keys that are kept for one token. */
  requestsKeptPerToken: 1_000,
  /** A larger response is not kept: the request is carried out again with the same effect. */
  requestResponseCharacters: 16_000,
  /** An attempt that has not ended by then is taken for lost. */
  requestUnderwayMs: 60_000,
  /** Those whose time is over are dropped so many at a time. */
  requestsPerPrune: 100,

  // Webhooks
  /** Standing subscriptions of a shard. */
  subscriptions: 200,
  /** To one host, and of one token: each of them is sent every write. */
  subscriptionsPerHost: 20,
  /** Standing subscriptions of one token. */
  subscriptionsPerToken: 100,
  /** Prefixes of keys that one subscription names. */
  prefixesPerSubscription: 32,
  /** The URL of a webhook. */
  urlBytes: 2_048,
  /** The body of an event; beyond it values are left out. */
  eventBytes: 256_000,
  /** The same over all who are sent its values. */
  eventBytesTogether: 1_000_000,
  /** The keys of a write over all who are sent them: one receiver gets the keys of the largest write. */
  eventKeysTogether: 4_000_000,
  /** The keys in one event, as JSON in UTF-8: an event is stored in one row. */
  eventKeysBytes: 1_900_000,
  /** Events handed over to a courier in one call, and their characters: a call takes 32 MiB, and a character up to 2 bytes. */
  eventsPerHandover: 100,
  /** The characters of the events in one handover: a call takes 32 MiB, and a character up to 2 bytes. */
  handoverCharacters: 4_000_000,
  /** Targets of callbacks that one step of pruning looks at. */
  targetsPerPrune: 10_000,
  /** Couriers that are handed events at once. */
  couriersAtOnce: 4,
  /** A courier that has not taken over by then is tried again. */
  handoverTimeoutMs: 10_000,
  /** Events wait so long for others before they are handed over: the answers to the writes go first. */
  handoverLingerMs: 20,
  /** Pause of a courier that was not reached: doubles from the first to the last. */
  handoverBackoffMinMs: 1_000,
  handoverBackoffMaxMs: 30_000,
  /** Events that a courier keeps waiting; older ones fail beyond it. */
  eventsPerEndpoint: 100_000,
  /** An attempt without a full answer by then has failed. */
  deliveryTimeoutMs: 15_000,
  /** Of an endpoint's answer, this much is read and kept. */
  deliveryAnswerBytes: 1_000,
  /** An endpoint that does not answer rests after each attempt: as long as it has failed, within these bounds. */
  endpointBackoffMinMs: 1_000,
  endpointBackoffMaxMs: 60_000,
  /** A host rests after a bad answer of one of its addresses: others have addresses there, so it is never long. */
  hostRestMsLeast: 1_000,
  hostRestMsMost: 60_000,
  /** Hosts that rest at once; beyond it each address rests alone. */
  hostsResting: 1_000,
  /** Endpoints that are owed events and that one look passes by. */
  endpointsPerLook: 1_000,
  /** An attempt without an answer for so long lets the endpoint count as failing. */
  deliverySlowMs: 1_000,
  /** Attempts of one endpoint at once. */
  deliveriesInFlight: 4,
  /** Pauses before each attempt, in ms: at once, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h; with jitter. */
  deliveryPausesMs: [0, 5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000],
  /** An endpoint that has failed without a success for this long is disabled. */
  endpointFailingMs: 5 * 24 * 60 * 60 * 1_000,
  /** Deliveries that one replay sends again. */
  deliveriesPerReplay: 10_000,
  /** A courier keeps ended deliveries in its log for so long. */
  deliveriesKeptMs: 7 * 24 * 60 * 60 * 1_000,
  /** An endpoint that asks for a longer rest by Retry-After is tried again after this one. */
  retryAfterMsMaximum: 24 * 60 * 60 * 1_000,
  /** Nobody enables the target of callbacks: once disabled, it is tried anew with the first event after this. */
  callbackDisabledMs: 24 * 60 * 60 * 1_000,
  /** The newest attempts that a delivery keeps, and the beginning of the answer to each. */
  attemptsKeptPerDelivery: 20,
  /** The beginning of the answer that is kept with an attempt. */
  attemptAnswerCharacters: 200,
  /** What a courier stores, payloads and log: beyond it the oldest that has ended goes. */
  courierLogBytes: 200_000_000,
  /** Beyond this, with nothing left that has ended, the oldest that wait are given up. */
  courierBytes: 1_000_000_000,
  /** Both secrets sign for at most this long after a rotation. */
  secretOverlapMsMaximum: 7 * 24 * 60 * 60 * 1_000,
  /** Both secrets sign for so long after a rotation that does not say `overlapMs`. */
  secretOverlapMsDefault: 24 * 60 * 60 * 1_000,
  /** The description of a subscription. */
  descriptionCharacters: 500,
  /** The id of an event. */
  eventIdCharacters: 100,
  /** Of the log of deliveries. */
  deliveriesPerPage: 100,

  // Change feed
  /** Changes of one page of the feed. */
  changesPerPage: 1_000,
  /** A page of the feed ends early where it would pass this, bytes. */
  changesPageBytes: 4_000_000,
  /** Changes of one page, if the request does not say `limit`. */
  changesPerPageDefault: 100,
  /** Followers of one feed object. */
  followers: 10_000,
  /** Changes sent to a follower beyond what it has acknowledged; then it is cut, with the place to resume. */
  followerWindowChanges: 10_000,
  /** Bytes sent to a follower beyond what it has acknowledged; then it is cut, too. */
  followerWindowBytes: 8_000_000,
  /** The filter of one follower: the platform keeps 16 KB with a sleeping connection. */
  followerFilterBytes: 8_000,
  /** One message of the feed, unless a single change is larger. */
  feedMessageBytes: 500_000,
  /** The newest changes that the feed holds, by number and by about so many characters. */
  feedHeldChanges: 1_000,
  feedHeldBytes: 8_000_000,
  /** The feed's object takes published changes by then, or reads them from the log later. */
  publishTimeoutMs: 10_000,
  /** Pause before a change that the feed did not take is published again: doubles from the first to the last. */
  publishBackoffMinMs: 1_000,
  publishBackoffMaxMs: 30_000,
  /** The feed asks its coordinator this rarely how far it is; all that happens is published without being asked for. */
  feedAsksEveryMs: 10 * 60 * 1_000,
  /** Pages that one feed asks for at once, so that many who come back do not take a coordinator's time. */
  feedPagesInFlight: 4,
  /** The feed sends what has come together in this time, so that many commits cost one message. */
  feedCoalesceMs: 20,
  /** A stream without news is sent a heartbeat this often. */
  heartbeatMs: 15_000,

  // Administration
  /** Of the history of members. */
  memberChangesPerPage: 100,
  /** A look at keys or locks of a region is given up after this. */
  inspectTimeoutMs: 10_000,
  /** Locks of one region that operators are shown. */
  locksShown: 1_000,
  /** Keys that one call of verify scans. */
  verifyKeysDefault: 1_000,
  /** The most keys that one call of verify may ask for. */
  verifyKeysMaximum: 10_000,
  /** Keys that are looked at with one request. */
  verifyKeysPerLook: 250,
  /** Steps of a scan in one call: the platform bounds the requests that answer one. */
  verifyStepsPerCall: 40,
  /** A key that differs or is locked is looked at so often: a commit may be on its way to a region. */
  verifyLooks: 6,
  /** The pause before the second look; each next one doubles. */
  verifyLookPauseMs: 70,
  /** The longest `pauseMs` that a call of verify may ask for. */
  verifyPauseMsMaximum: 5_000,
  /** A call ends early after this, with a place to go on. */
  verifyMs: 20_000,
  /** The cursor of verify. */
  verifyCursorCharacters: 2_000,
  /** The prefix of keys that verify compares. */
  verifyPrefixCharacters: 500,
  /** Keys that one call of repair names. */
  repairKeys: 1_000,
  /** The doctor asks a region for its time so often; the shortest round trip bounds the error. */
  doctorClockReadings: 5,
  /** A check of the doctor is given up after this. */
  doctorTimeoutMs: 3_000,
} as const;
