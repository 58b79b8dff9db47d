import { compareOrder, keyOf } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type {
  CoordinatorReply,
  Ready,
  SentJointRound,
  SentRound,
  StorageWrite,
} from '../io/ready.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { type CoordinatorInternals, must } from './must.ts';

/** Claims about a step's output: its storage writes, requests and replies. */
export function checkReady(ready: Ready, core: CoordinatorInternals): void {
  const { persist, sends, jointRounds, replies } = ready;
  const tickets = new Set<number>();
  for (const reply of replies) {
    must(!tickets.has(reply.ticket), 'a caller is answered once', reply.ticket);
    tickets.add(reply.ticket);
    const isProved = persist.length > 0 || !showsState(reply);
    must(isProved, 'an answer that shows state follows a storage write (R17)', reply.ticket);
  }
  for (const write of persist) checkStorageWrite(write, core);
  for (const send of jointRounds) checkJointRound(send, core);
  for (const send of sends) {
    const link = core.links.find(send.region);
    must(link !== null, 'only regions of the shard are asked', send.region);
    if (link === null) continue;
    if (send.kind === 'round') {
      const isRenewal = send.round.lease !== null && send.round.lease.reading !== null;
      must(!isRenewal || persist.length > 0, 'a renewal follows a storage write (R30)');
      checkRound(send, link, core);
    } else must(link.isVoter && !link.isQuarantined, 'a read goes to a trusted voter (R40)');
  }
}

/** A round of several shards has this shard's own round and one for each guest, in the order of the shares. */
function checkJointRound(
  { region, number, round }: SentJointRound,
  { links, config, transactions, state, stored }: CoordinatorInternals,
): void {
  const link = links.find(region);
  const { rounds, prepare } = round;
  const isTrusted = link?.isVoter === true && !link.isQuarantined;
  must(isTrusted, 'a trusted voter is asked', region);
  must(rounds.length === prepare.shares.length, 'each share has a round (R59)', region, number);
  prepare.shares.forEach(({ shard }, position) => {
    const own = rounds[position];
    must(own?.shard === shard, 'the rounds stand in the order of the shares', region, number);
    must(own?.prepares.length === 0 && own.copy === null, 'a joint round is one prepare', region);
    must(position === 0 || own?.lease === null, 'no lent round renews a lease (R63)', region);
  });
  const [home] = prepare.shares;
  must(home?.shard === config.shard, 'the first share is that of home', region, number);
  const isOpen = home !== undefined && transactions.isUndecided(home.transaction);
  must(isOpen, 'only undecided transactions are prepared', region, number);
  const [own] = rounds;
  must(own?.epoch === state.epoch, 'a round is of the present epoch (R13)', region, number);
  must(own?.incarnation === stored.incarnation, 'a round is of this life (R13)', region, number);
}

function showsState(reply: CoordinatorReply): boolean {
  if (reply.kind === 'loan') {
    const { answer } = reply;
    return answer.kind !== 'join' || answer.reply.kind === 'lent';
  }
  if (reply.kind !== 'write') return true;
  return !['accepted', 'busy', 'full'].includes(reply.answer.kind);
}

function checkStorageWrite(write: StorageWrite, { links, state }: CoordinatorInternals): void {
  if (write.kind === 'members') {
    must(write.epoch <= state.epoch, 'no epoch is stored that was not reached', write.epoch);
  }
  if (write.kind !== 'commit') return;
  const name = keyOf(write.transaction);
  must(write.keys.length > 0, 'a commit has keys', name);
  must(write.writes.length <= limits.partsPerTransaction, 'a commit has few parts', name);
  must(
    write.writes.some(({ record }) => record.outcome === 'committed'),
    'a commit has a part that is applied (R6)',
    name,
  );
  for (const region of write.missedBy) {
    must(links.find(region)?.isVoter !== true, 'a voter misses nothing (R33)', name, region);
  }
}

/** A round carries no more than the state of its region allows. */
function checkRound(send: SentRound, link: RegionLink, core: CoordinatorInternals): void {
  const { region, number, round } = send;
  const { state, stored, transactions } = core;
  const { prepares, decisions, copy, lease, lowWatermark } = round;
  must(round.epoch === state.epoch, 'a round is of the present epoch (R13)', region, number);
  must(round.incarnation === stored.incarnation, 'a round is of this life (R13)', region, number);
  must(round.generation === link.generation, 'a round names the generation (R13)', region, number);
  must(round.role === link.role, 'a round names the role of its region', region, number);
  must(link.flights.has(number), 'a round is on its way once it is sent', region, number);
  must(prepares.length <= limits.preparesPerRound, 'a round has few prepares', region, number);
  must(decisions.length <= limits.decisionsPerRound, 'a round has few decisions', region, number);
  must(copy === null || prepares.length === 0, 'no vote waits for a copy (R20)', region, number);
  const isTrusted = link.isVoter && !link.isQuarantined;
  const carries = prepares.length + decisions.length;
  must(isTrusted || carries === 0, 'only a trusted voter decides (R31)', region, number);
  must(
    lease === null || link.isLeased,
    'only a voter that stays has a lease (R32)',
    region,
    number,
  );
  must(!round.begin || link.isVoter, 'only a voter begins (R13)', region, number);
  for (const { transaction } of prepares) {
    const isOpen = transactions.isUndecided(transaction);
    must(isOpen, 'only undecided transactions are prepared', region, keyOf(transaction));
  }
  if (prepares.length > 0) {
    must(
      decisions.length >= link.unacknowledged.count,
      'no prepare overtakes a decision (R9)',
      region,
      number,
    );
  }
  if (!link.isVoter) return;
  const { oldest } = link.unacknowledged;
  const { oldestUndecided } = transactions;
  must(
    oldest === null || compareOrder(lowWatermark, oldest) < 0,
    'the low watermark stays below unacknowledged decisions (R12)',
    region,
    number,
  );
  must(
    oldestUndecided === null || compareOrder(lowWatermark, oldestUndecided) < 0,
    'the low watermark stays below undecided transactions (R12)',
    region,
    number,
  );
}
