import { compareOrder, keyOf, type TransactionOrder } from '../../ids.ts';
import { limits } from '../../limits.ts';
import { areAll } from '../../reserved-keys.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { goesBefore, type PendingWrite } from '../transactions/admission.ts';
import type { Transaction } from '../transactions/transaction.ts';
import { type CoordinatorInternals, must } from './must.ts';

/** Claims about transactions and pending writes, after each step. */

/** Undecided transactions, their locks, and their votes. */
export function checkTransactions(core: CoordinatorInternals): void {
  const { transactions, links, stored, ready } = core;
  const { undecided, newest, locks } = transactions;
  const voters = links.voters.map(({ region }) => region);
  let lockedKeys = 0;
  let last = 0;
  for (const transaction of undecided) {
    const name = keyOf(transaction.order);
    const [incarnation, sequence] = transaction.order;
    must(incarnation === stored.incarnation, 'an undecided transaction is of this life', name);
    must(sequence <= newest[1], 'a transaction has a number that was given out', name);
    must(sequence > last, 'undecided transactions stand in the order in which they began', name);
    last = sequence;
    must(transaction.state === 'undecided', 'only undecided transactions hold locks', name);
    must(
      transaction.tally === 'pending',
      'a transaction with all votes, or a no, is decided',
      name,
    );
    must(transaction.deadline > ready.now, 'no vote stays open past its deadline', name);
    must(ready.wakeAt <= transaction.deadline, 'a tick closes each vote', name);
    const held = transaction.joint?.holdsOwn === false ? [] : transaction.ownKeys;
    for (const key of held) {
      must(locks.get(key) === transaction, 'an undecided transaction locks its keys (R7)', name);
    }
    lockedKeys += held.length;
    if (areAll(transaction.keys)) {
      must(undecided.length === 1, 'a transaction about all keys goes alone (R41)', name);
    }
    checkParts(core, transaction, name);
    must(
      transaction.voters.length === voters.length &&
        transaction.voters.every((region, index) => region === voters[index]),
      'who votes on a transaction are the voters of now (R4)',
      name,
    );
    if (transaction.joint?.phase !== 'joining') checkAwaited(transaction, links.all, name);
    checkJoint(transaction, name);
  }
  lockedKeys += checkLoans(core);
  must(locks.size === lockedKeys, 'no key is locked by a transaction that is decided (P6)');
}

/** A joint transaction is asked for votes once every shard has given its keys, and not before (R59). */
function checkJoint({ joint, deadline, keys, ownKeys, now }: Transaction, name: string): void {
  if (joint === null) {
    must(keys === ownKeys, 'a transaction of one shard has its keys alone', name);
    return;
  }
  must(joint.guests.length > 0, 'a joint transaction has a guest', name);
  must(new Set(keys).size === keys.length, 'no key is in two shares (R56)', name);
  must(joint.claim === null || !joint.holdsOwn, 'keys that are held are not awaited', name);
  const isWhole = joint.holdsOwn && joint.guests.every(({ state }) => state === 'lent');
  must((joint.phase === 'voting') === isWhole, 'a joint write is voted on once it is whole', name);
  for (const { loan } of joint.guests) {
    const isBehind = joint.phase === 'joining' || loan === null || loan.now <= now;
    must(isBehind, 'a joint write has the greatest of all clocks (R59)', name, deadline);
  }
}

/** The open loans; the number of the keys that they hold. */
function checkLoans({ transactions, links, loans, ready, config }: CoordinatorInternals): number {
  let keys = 0;
  let last: TransactionOrder | null = null;
  for (const loan of transactions.loans) {
    const name = keyOf(loan.order);
    must(loan.state === 'lent', 'only open loans hold keys (R58)', name);
    must(last === null || compareOrder(last, loan.order) < 0, 'loans stand in their order', name);
    must(compareOrder(loan.order, transactions.newest) <= 0, 'a loan has begun', name);
    must(loan.home !== config.shard, 'no shard lends to itself', name);
    for (const key of loan.keys) {
      must(transactions.locks.get(key) === loan, 'a loan holds its keys (R58)', name, key);
    }
    for (const { region, unacknowledged } of links.all) {
      must(!unacknowledged.has(loan.order), 'only home ends a loan (R58)', name, region);
    }
    const isAsked = loan.isAsking || loan.askAt <= ready.now || ready.wakeAt <= loan.askAt;
    must(isAsked, 'home is asked about each loan at last (R61)', name);
    keys += loan.keys.length;
    last = loan.order;
  }
  must(transactions.loanCount <= limits.loansOpen, 'open loans are bounded');
  must(transactions.loanCount === 0 || loans.busy, 'open loans wake the next life');
  return keys;
}

function checkParts(
  { blocked, pendingWrites }: CoordinatorInternals,
  transaction: Transaction,
  name: string,
): void {
  const { parts, bytes, keys } = transaction;
  must(parts.length > 0, 'a transaction has a part', name);
  must(parts.length <= limits.partsPerTransaction, 'a transaction has room for its parts', name);
  must(
    parts.length === 1 || bytes <= limits.transactionBytes,
    'parts go together up to the bytes of a transaction',
    name,
  );
  for (const { frame, attempts, callers } of parts) {
    must(attempts > 0, 'a part of a transaction has been tried', frame.id);
    must(
      pendingWrites.pending.get(frame.id)?.frame === frame,
      'a part is a pending write',
      frame.id,
    );
    must(
      frame.keys.every((key) => keys.includes(key)),
      'a part has its keys locked',
      frame.id,
    );
    for (const { ticket } of callers) must(ticket > 0, 'a caller can be answered', frame.id);
  }
  if (blocked.count > 0) {
    must(blocked.refusalOf(keys) === null, 'nothing is written to blocked keys (R39)', name);
  }
}

/** A vote that is awaited can come: its prepare waits for a round, or is on its way. */
function checkAwaited(transaction: Transaction, links: readonly RegionLink[], name: string): void {
  for (const region of transaction.waitsFor) {
    const link = links.find((one) => one.region === region);
    const isQueued = link?.prepares.includes(transaction) === true;
    const isSent = [...(link?.flights.values() ?? [])].some(({ transactions }) =>
      transactions.includes(transaction),
    );
    must(isQueued || isSent, 'each missing vote is asked for or about to be', name, region);
    must(!(isQueued && isSent), 'a prepare leaves once (R10)', name, region);
  }
}

/** The frames that wait, and the sums that are kept of them. */
export function checkQueue(core: CoordinatorInternals): void {
  const { pendingWrites, transactions, ready, blocked } = core;
  const { queue, pending } = pendingWrites;
  const queued = queue.frames;
  let bytes = 0;
  let names = 0;
  let before: PendingWrite | null = null;
  for (const write of queued) {
    const { frame, retryAt } = write;
    must(pending.get(frame.id) === write, 'a queued frame is a pending write', frame.id);
    must(before === null || goesBefore(before, write), 'the queue is in order', frame.id);
    must(ready.wakeAt <= frame.notAfter, 'a tick ends the time of each queued frame', frame.id);
    must(retryAt <= ready.now || ready.wakeAt <= retryAt, 'a tick ends each pause', frame.id);
    must(frame.notAfter > ready.now, 'no frame waits past its time (R19)', frame.id);
    bytes += frame.bytes;
    names += frame.keys.length;
    before = write;
    if (blocked.count > 0) {
      must(blocked.refusalOf(frame.keys) === null, 'no frame waits for a blocked key', frame.id);
    }
  }
  must(queue.bytes === bytes, 'the bytes of the queue are the sum of its frames', queue.bytes);
  for (const claim of queue.claims) {
    must(claim.until > ready.now, 'no claim waits past its time', claim.until);
    must(ready.wakeAt <= claim.until, 'a tick ends the time of each claim', claim.until);
    names += claim.keys.length;
  }
  let counted = 0;
  for (const count of queue.waitedKeys.values()) {
    must(count > 0, 'a key without a waiting frame is forgotten');
    counted += count;
  }
  must(counted === names, 'the queue counts each key of each frame', counted, names);
  const parts = transactions.undecided.reduce((sum, { parts: { length } }) => sum + length, 0);
  must(
    pending.size === queued.length + parts,
    'a pending write is queued or part of one transaction',
    pending.size,
  );
  checkWakeable(core);
}

/** The sums over everything that is pending. */
export function checkPending({ pendingWrites }: CoordinatorInternals): void {
  const { pending, pendingBytes, pendingByKey } = pendingWrites;
  let bytes = 0;
  let keyed = 0;
  for (const [id, write] of pending) {
    const { frame, admittedBytes } = write;
    must(frame.id === id, 'a pending write stands under its id', id);
    bytes += admittedBytes;
    if (frame.idempotency === null) continue;
    keyed += 1;
    must(
      pendingByKey.get(frame.idempotency.key) === write,
      'a pending write is found by its idempotency key (P4)',
      id,
    );
  }
  must(pendingBytes === bytes, 'the pending bytes are the sum over admitted frames', pendingBytes);
  must(pendingByKey.size === keyed, 'only pending writes are found by a key');
  must(pending.size <= limits.framesQueued, 'pending writes are bounded', pending.size);
  must(bytes <= limits.queuedBytes, 'the bytes of pending writes are bounded', bytes);
}

/** Nothing waits without being woken: the first frame that is not paused waits for a key, or for a pause to end. */
function checkWakeable({
  pendingWrites,
  transactions,
  links,
  members,
  ready,
  slots,
}: CoordinatorInternals): void {
  const { frames: queued } = pendingWrites.queue;
  const { refusal } = members;
  if (queued.length === 0 || !slots.isKnown) return;
  must(
    refusal === null,
    'queued frames are refused if nothing can be decided (R38)',
    refusal?.reason,
  );
  if (members.isPaused || links.obstacles.length > 0) return;
  const first = queued.find(({ retryAt }) => retryAt <= ready.now);
  if (first === undefined || first.together !== null) return;
  const { keys, id } = first.frame;
  const isClaimed = pendingWrites.queue.claims.some((claim) =>
    claim.keys.some((key) => keys.includes(key)),
  );
  const isHeld = isClaimed || keys.some((key) => transactions.isLocked(key));
  // One that came while another paused waits behind it, up to the tick that ends that pause.
  const shareKeys = (others: readonly string[]) =>
    areAll(keys) || areAll(others) || others.some((key) => keys.includes(key));
  const isBehind = queued.some(
    ({ retryAt, frame }) => retryAt > ready.now && shareKeys(frame.keys),
  );
  must(isHeld || isBehind, 'a frame that can go does not wait', id);
}

/** Commits that voters have not acknowledged, and the callers that wait for that. */
export function checkConfirmations({
  pendingConfirmations,
  links,
  ready,
}: CoordinatorInternals): void {
  const missingOf = new Map(pendingConfirmations.open);
  for (const [key, missing] of missingOf) {
    must(missing.length > 0, 'a commit that every voter has acknowledged is confirmed', key);
    for (const region of missing) {
      const link = links.find(region);
      must(link?.isVoter === true, 'only a voter is waited for', key, region);
      // A region with untrusted data is sent nothing, and leaves.
      if (link === null || link.isQuarantined) continue;
      must(
        link.unacknowledged.hasKey(key),
        'a commit without acknowledgement is queued for its voter',
        key,
        region,
      );
    }
  }
  for (const link of links.all) {
    for (const { decision, sequence } of link.unacknowledged.decisions) {
      const key = keyOf(decision.transaction);
      if (decision.outcome === 'abort') {
        must(sequence === 0, 'an abort has no sequence', key, link.region);
        continue;
      }
      must(
        missingOf.get(key)?.includes(link.region) === true,
        'no acknowledged commit is queued for a voter',
        key,
        link.region,
      );
    }
  }
  // A part that gives up before the last of its transaction may be decided when its time is over: the next tick answers.
  const { firstDeadline } = pendingConfirmations;
  const isWoken =
    firstDeadline <= ready.now ? ready.wakeAt < Infinity : ready.wakeAt <= firstDeadline;
  must(isWoken, 'a tick answers who waits for a confirmation', firstDeadline);
}
