import { utf8Length } from '../../contracts/bytes.ts';
import { compareOrder, keyOf } from '../../ids.ts';
import { limits } from '../../limits.ts';
import { isForceRecovered } from '../membership/rejoin.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { type CoordinatorInternals, must } from './must.ts';

/** Claims about the regions, their membership, their leases and the rounds on their way, after each step. */

/** The voters, and the region that is copied. */
export function checkMembers(core: CoordinatorInternals): void {
  const { links, members, state, transactions, slots } = core;
  const { founding, rejoin } = members;
  const copying = links.all.filter(({ membership }) => membership.state === 'copying');
  const isBorn = slots.isKnown && !slots.areNone;
  must(
    (state.epoch === 0 && isBorn) === founding.isOpen,
    'a shard that owns slots has an epoch once it has members',
  );
  // Until then the members are those that the last life has left, and none of a shard that owns nothing.
  if (!slots.isKnown || (state.epoch === 0 && !isBorn)) return;
  must(copying.length <= 1, 'one region is copied at a time');
  must(copying[0] === rejoin.copy?.target, 'the region that is copied has a copy');
  if (founding.isOpen) {
    must(links.voters.length === 0, 'no region votes before the shard begins (R45)');
    must(transactions.count === 0, 'nothing is decided before the shard begins (R45)');
    return;
  }
  // A force-recovered region may turn out to hold another coordinator's state: then an operator has to decide again.
  must(
    links.voters.length > 0 || links.all.some((link) => isForceRecovered(link) || isForeign(link)),
    'the last voter is not evicted without a force-recovered region (R32)',
  );
  if (transactions.count > 0) {
    must(!links.voters.some((link) => link.isQuarantined), 'no untrusted voter decides (R31)');
  }
  const copy = rejoin.copy;
  if (copy === null) return;
  const { source, target } = copy;
  must(!target.isVoter, 'a region does not vote while it is copied (R37)');
  must(target.membership.state === 'copying', 'a copy has a region that is copied');
  must(source !== target, 'no region is copied from itself');
  if (source !== null) {
    must(source.isVoter && !source.isQuarantined, 'a copy reads in a trusted voter (R35)');
  }
  must(
    (copy.pauseUntil !== null) === (copy.phase === 'hold'),
    'writes pause in the last phase of a copy alone (R37)',
  );
}

function isForeign({ leaving }: RegionLink): boolean {
  return leaving?.cause === 'foreign';
}

/** Claims about each region by itself. */
export function checkRegion(link: RegionLink, core: CoordinatorInternals): void {
  const { ready, state, stored } = core;
  const { region, membership, generation, former, health } = link;
  must(membership.since <= ready.now, 'a membership has begun', region);
  must(!former.includes(generation), 'a former generation is not the present one (R13)', region);
  must(former.length <= limits.formerGenerations + 1, 'former generations are bounded', region);
  must(link.takes >= 0, 'the keys that may be taken over are a count', region);
  if (membership.state === 'copying') {
    const isOwn = membership.token.startsWith(`${stored.incarnation}-`);
    must(isOwn, 'a copy goes under a token of this instance (R34)', region);
  }
  if (membership.state === 'voter') {
    must(link.takes === 0 || !link.begun, 'a voter that has begun takes nothing over', region);
  } else {
    must(
      link.unacknowledged.count === 0,
      'no decision is queued for a region without a vote',
      region,
    );
    must(link.prepares.length === 0, 'a region without a vote is asked for none', region);
  }
  if (health.kind !== 'answering') {
    must(health.since <= ready.now, 'a silence has begun', region);
    const isWoken = health.probeAt <= ready.now || ready.wakeAt <= health.probeAt;
    must(
      isWoken || link.flights.hasProbe || link.isQuarantined,
      'a silent region is probed',
      region,
    );
  }
  checkMissed(link, state.sequence);
  checkLease(link, core);
  checkFlights(link, core);
  checkOwed(link, core);
}

function checkMissed({ region, missed, isVoter }: RegionLink, newest: number): void {
  if (missed.size === 0) {
    must(missed.bytes === 0, 'no missed keys take no memory', region);
    return;
  }
  let bytes = 0;
  for (const [key, sequence] of missed) {
    bytes += utf8Length(key);
    must(sequence <= newest, 'a key is missed at a sequence that was given out', region, key);
  }
  must(missed.bytes === bytes, 'the bytes of missed keys are their sum', region);
  if (isVoter) return;
  must(missed.size <= limits.missedKeysPerRegion, 'missed keys are bounded (R33)', region);
  must(bytes <= limits.missedBytesPerRegion, 'their bytes are bounded (R33)', region);
}

/** A lease never outlives the coordinator's estimate of it (R30). */
function checkLease(link: RegionLink, { ready }: CoordinatorInternals): void {
  const { region, lease } = link;
  const latest = ready.now + limits.leaseTtlMs + limits.leaseDriftMs;
  must(
    lease.endsAt <= latest || lease.endsAt === Infinity,
    'a lease ends within its lifetime and the drift (R30)',
    region,
  );
  const isDue = link.renewsLease ? lease.dueAt(ready.now) : Infinity;
  must(
    isDue <= ready.now || isDue >= ready.wakeAt,
    'a tick renews the lease of a region with readers',
    region,
  );
}

function checkFlights(link: RegionLink, { ready, state }: CoordinatorInternals): void {
  const { region, flights } = link;
  let last = 0;
  let before = Number.NEGATIVE_INFINITY;
  const probes = [...flights.values()].filter(({ probe }) => probe);
  must(probes.length <= 1, 'a region is probed once at a time', region);
  must(
    flights.size <= limits.roundsInFlightPerRegion + 1,
    'the rounds on their way to a region are bounded (R20)',
    region,
  );
  for (const [number, flight] of flights) {
    must(number > last, 'rounds are numbered in the order in which they left', region, number);
    must(flight.sentAt >= before, 'the oldest round left first', region, number);
    must(flight.sentAt <= ready.now, 'a round on its way has left', region, number);
    must(flight.epoch <= state.epoch, 'no round is of a later epoch', region, number);
    [last, before] = [number, flight.sentAt];
    if (flight.copy !== null) {
      must(flight.transactions.length === 0, 'no vote waits for a copy (R20)', region, number);
    }
    if (flight.probe) {
      const carries = flight.transactions.length + flight.decisions.length;
      must(carries === 0 && flight.copy === null, 'a probe carries nothing (R11)', region, number);
    }
  }
}

function checkOwed(
  link: RegionLink,
  { state, transactions, ready, links, reads }: CoordinatorInternals,
): void {
  const { region, flights, lent, unacknowledged } = link;
  const carried = new Map<string, number>();
  const notOverdue = [...lent.values()].filter(({ isOverdue }) => isOverdue !== true);
  for (const { decisions } of [...flights.values(), ...notOverdue]) {
    for (const { transaction } of decisions) {
      const key = keyOf(transaction);
      carried.set(key, (carried.get(key) ?? 0) + 1);
    }
  }
  for (const { decision, sequence, since, carried: count } of unacknowledged.decisions) {
    const key = keyOf(decision.transaction);
    must(
      !transactions.isUndecided(decision.transaction),
      'an unacknowledged decision is of a decided transaction',
      region,
      key,
    );
    must(count === (carried.get(key) ?? 0), 'the rounds with a decision are counted', region, key);
    must(sequence <= state.sequence, 'a decision has a sequence that was given out', region, key);
    must(since <= ready.now, 'a decision has been unacknowledged since a past moment', region, key);
    must(
      compareOrder(decision.transaction, transactions.newest) <= 0,
      'a decision is of a transaction that has begun, in this life or before',
      region,
      key,
    );
  }
  for (const transaction of link.prepares) {
    const isOpen = transactions.isUndecided(transaction.order);
    must(isOpen, 'no region is asked to vote on a decided transaction', region);
  }
  const isSent = !link.hasUnsent || link.isQuarantined || link.health.kind !== 'answering';
  // Snapshots of reads may take all connections; the end of any of them lets the decision leave.
  const isAnswerDue = links.flightCount + reads.flightCount > 0;
  must(
    isSent || isAnswerDue || ready.wakeAt < Infinity,
    'a decision that was not sent is sent by a tick or by the next answer',
    region,
  );
}
