/**
 * Asserts the relations between limits. The Worker imports this file, so that a change that breaks one does not start.
 */
import { assert } from './assert.ts';
import { limits } from './limits.ts';

assert(
  limits.registryBackoffMinMs < limits.registryBackoffMaxMs,
  'the pauses between questions to the registry grow',
);
assert(limits.valueBytes < limits.bodyBytes, 'a value fits a body');
assert(
  limits.bodyBytes < limits.bodyDrainedBytes,
  'a body that is a little too large is refused in words',
);
assert(
  limits.valueBytes + 2 * limits.channelBytes < limits.streamLineCharacters,
  'a message fits a line, with its channel and a pattern',
);
assert(
  limits.channelBytes * 2 <= limits.keyBytes,
  'the lock key of a channel is no longer than a key',
);
assert(limits.bodyBytes * 3 < limits.roundBytes, 'a frame fits a round, escaped twice');
assert(
  limits.transactionBytes * 3 < limits.roundBytes,
  'a transaction fits a round, escaped twice',
);
assert(
  limits.voteDeadlineMs < limits.roundTimeoutMs,
  'a vote is missed before its round is given up',
);
assert(
  limits.pairStoredEveryRounds + limits.roundsInFlightPerRegion < limits.historyPairs / 2,
  'the stored pair is still in the history after a restart',
);
assert(
  limits.stagingMs + limits.scriptMs <= limits.voteDeadlineMs,
  'the last script of a round ends before its vote is missed',
);
assert(
  limits.bodyBytes + limits.scriptBytesPerWrite <= limits.frameBytes,
  'the largest body is admitted',
);
assert(
  limits.leaseRenewMs + limits.voteDeadlineMs < limits.leaseTtlMs,
  'a renewal that is answered late comes before the end of the lease',
);
assert(limits.scriptBytes <= limits.scriptBytesPerWrite, 'a write may run the largest script');
assert(limits.expiryMsMaximum + 2 * limits.expiryPutOffMs < 2 ** 53, 'a put-off expiry is exact');
assert(
  limits.frameBytes * 3 < limits.roundBytes,
  'a frame with its scripts fits a round, escaped twice',
);
assert(
  limits.scriptPatternBytes * 3 < 20_000,
  'Lua keeps 20,000 calls, of which an item takes three',
);
assert(limits.scriptBytes * 10 < limits.scriptBytesKept, 'some large scripts are kept');
assert(limits.scriptBytes * 10 < limits.scriptBytesRemembered, 'some large scripts are remembered');
assert(
  limits.leaseRideMs < limits.leaseRenewMs,
  'rounds with other work renew leases before rounds of their own',
);
assert(limits.leaseDriftMs < limits.leaseTtlMs, 'a lease is longer than its allowance');
assert(
  limits.leaseMissedSaidEveryMs < limits.leaseReadersMinMs &&
    limits.leaseReadersMinMs < limits.leaseReadersMaxMs,
  'a requested lease lasts until its next request, and longer each time',
);
assert(
  limits.leaseReadersMaxMs < limits.directoryStaleMs,
  'a steady reader gets the directory with its lease requests, before it is stale',
);
assert(limits.copyBytesPerStep * 6 < limits.roundBytes, 'a step of a copy fits a round, escaped');
assert(
  limits.retryBackoffMaxMs + limits.probeBackoffMaxMs + limits.roundTimeoutMs <
    limits.refusalsApartMs,
  'consecutive refusals of a region count as one row of refusals',
);
assert(
  limits.copyPauseMs < limits.fullCopyPauseMs,
  'a region without memory is tried less often than another',
);
assert(limits.copyWritePauseMs < limits.copyWritePauseMaxMs, 'write pauses grow');
assert(limits.copyWritePauseKeys <= limits.copyKeysPerStep, 'the last keys go in one step');
assert(
  limits.copyStepsAhead < limits.historyPairs / 4,
  'steps of a copy do not push the acknowledged pair out of the history',
);
assert(
  limits.directoryUnsettledMs < limits.directoryFreshMs &&
    limits.directoryFreshMs < limits.directoryStaleMs,
  'a directory is renewed while it may still be used',
);
assert(limits.verifyKeysDefault <= limits.verifyKeysMaximum, 'the default slice is allowed');
assert(
  limits.verifyKeysMaximum <= limits.verifyKeysPerLook * limits.verifyStepsPerCall,
  'the steps of a call suffice for the largest slice',
);
assert(
  limits.verifyLookPauseMs * 2 ** (limits.verifyLooks - 2) > limits.clockSkewMs,
  'a key that expires in one region before another is not taken for a difference',
);
assert(
  limits.argumentsPerOperation <= limits.keysPerSnapshot,
  'one read may name as many keys as a command has words',
);
assert(
  limits.entriesPerRead * 60 > limits.snapshotBytes &&
    limits.entriesPerWrite * 60 > limits.outcomeBytes &&
    limits.entriesPerScript * 250 > limits.memoryPerScript &&
    limits.rangePerRead * 12 > limits.snapshotBytes,
  'elements that a command refuses to read would not fit its reply',
);
assert(
  limits.elementsReadUnmeasured < limits.rangePerRead,
  'a draw costs less than the longest collection that a reply holds',
);
assert(
  (limits.outcomeBytes / 12) * 4 < limits.stepsPerCommand,
  'a collection that a write may answer whole may be read in it',
);
assert(limits.timeoutMsMinimum < limits.timeoutMsDefault, 'the default timeout is allowed');
assert(limits.timeoutMsDefault <= limits.timeoutMsMaximum, 'the default timeout is allowed');
assert(
  limits.secretOverlapMsDefault <= limits.secretOverlapMsMaximum,
  'the default overlap is allowed',
);
assert(
  (limits.handoverCharacters + limits.bodyBytes) * 2 < 32 * 1_024 * 1_024,
  'a handover fits a call, also where its last event is the largest',
);
assert(limits.handoverBackoffMinMs < limits.handoverBackoffMaxMs, 'the pauses of handovers grow');
assert(limits.publishBackoffMinMs < limits.publishBackoffMaxMs, 'the pauses of publishing grow');
assert(limits.heartbeatMs < limits.feedAsksEveryMs, 'a follower that is idle seldom wakes anybody');
assert(limits.changesPerPageDefault <= limits.changesPerPage, 'the default page is allowed');
assert(limits.probeBackoffMinMs < limits.probeBackoffMaxMs, 'the pauses between probes grow');
assert(
  limits.probeBackoffMaxMs < limits.outProbeBackoffMaxMs,
  'a region that is out is asked no more often than a voter',
);
assert(
  limits.readsInFlight + limits.probesInFlight < limits.connections,
  'reads and probes leave connections to the writes',
);
assert(
  limits.commitLingerMs < limits.fairAfterMs && limits.fairAfterMs < limits.voteDeadlineMs,
  'a commit lingers before it counts as late, and a late prepare still has time for its votes',
);
assert(
  limits.outProbeBackoffMaxMs < limits.idleProbeBackoffMaxMs,
  'an idle coordinator asks no more often than one at work',
);
assert(
  limits.foundingRecountBackoffMinMs < limits.foundingRecountBackoffMaxMs,
  'the pauses between counts grow',
);
assert(limits.restAfterMs < limits.alarmMs, 'a rest is stored before the last alarm of a write');
assert(limits.retryBackoffMinMs < limits.retryBackoffMaxMs, 'the pauses between attempts grow');
assert(limits.loanBackoffMinMs < limits.loanBackoffMaxMs, 'the pauses between calls grow');
assert(
  limits.loanWaitMs < limits.loanRequestTimeoutMs,
  'a request for a loan is answered before its caller gives it up',
);
assert(
  limits.loanEndWaitMs > limits.leaseTtlMs + limits.leaseDriftMs,
  'an eviction that waits for its lease leaves time to end open loans',
);
assert(
  limits.requestStoredBytes + limits.outcomeBytes + limits.recordBytes < limits.rowBytes,
  'a request, its replies and its record fit a row of the platform together',
);
assert(
  limits.bodyBytes + 8 * limits.keysPerWrite + 4 * limits.urlBytes <= limits.requestStoredBytes,
  'the largest body is stored: a key takes some bytes more than in JSON, and its callback is escaped',
);
assert(limits.valueBytes <= limits.takenBytes, 'a value that is written can be taken');
assert(
  limits.takenBytes + limits.keyBytes + 1_000 < limits.outcomeBytes,
  'a value that is taken is answered with its key',
);
assert(
  (limits.roundOutcomeBytes + limits.outcomeBytes) * 1.5 < limits.answerBytes,
  'the votes of a round fit its answer, in base64',
);
assert(limits.regions * 1_000 < limits.recordBytes, 'a record holds the votes of all regions');
assert(
  limits.changesPerPage * 4 < limits.followerWindowChanges,
  'a follower that catches up gets some pages ahead of its acknowledgements',
);
assert(
  limits.feedMessageBytes * 4 < limits.followerWindowBytes,
  'a follower that catches up gets some large messages ahead, too',
);
assert(limits.decisionsKept <= limits.decisionsKeptMaximum, 'the default retention is allowed');
assert(limits.keptMsMinimum < limits.decisionsKeptMs, 'the default retention is allowed');
assert(limits.decisionsKeptMs < limits.keptMsMaximum, 'the default retention is allowed');
assert(limits.endpointBackoffMinMs < limits.endpointBackoffMaxMs, 'the rests of an endpoint grow');
assert(limits.subscriptionsPerHost < limits.subscriptions, 'one host leaves room for others');
assert(limits.subscriptionsPerToken < limits.subscriptions, 'one token leaves room for others');
assert(limits.bodyBytes * 2 < limits.eventKeysTogether, 'a single receiver gets all keys, escaped');
assert(limits.bodyBytes < limits.eventKeysBytes, 'the keys of the largest body are sent');
assert(limits.eventKeysBytes + limits.recordBytes < limits.rowBytes, 'an event fits a row');
assert(limits.eventBytes < limits.eventBytesTogether, 'the largest event has room');
assert(limits.requestsKeptPerToken < limits.requestsKept, 'one token leaves room for others');
assert(
  limits.hostRestMsLeast < limits.hostRestMsMost,
  'a host that asks for a rest may get a longer one',
);
assert(
  limits.hostRestMsMost <= limits.endpointBackoffMaxMs,
  'a host rests no longer than an endpoint that does not answer',
);
assert(
  limits.courierLogBytes < limits.courierBytes,
  'ended deliveries are deleted before waiting ones fail',
);
assert(
  limits.handoverHoldMs < limits.handoverTimeoutMs && limits.handoverHoldMs < limits.deliverySlowMs,
  'a handover that a courier holds does not time out',
);
assert(
  limits.courierTailBytes < limits.courierRowBytes && 2 * limits.courierRowBytes < limits.rowBytes,
  'a row of a courier has room for the attempts of its events',
);
assert(limits.deliverySlowMs < limits.deliveryTimeoutMs, 'a slow attempt has not timed out');
assert(limits.sharedWriteLength < limits.writeCallLength, 'several writes have room in a call');
