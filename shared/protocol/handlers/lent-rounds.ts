import type { JointRoundReply } from '../../contracts/joint.ts';
import type { Refusal, RoundReply } from '../../contracts/round.ts';
import { keyOf, type RegionId } from '../../ids.ts';
import type { Members } from '../membership/members.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { Flight } from '../regions/rounds-in-flight.ts';
import type { PendingConfirmations } from '../transactions/pending-confirmations.ts';

interface LentRoundsParts {
  readonly members: Members;
  readonly pendingConfirmations: PendingConfirmations;
}

/** A lent round whose loan is over. */
interface LentFlight {
  readonly link: RegionLink;
  readonly flight: Flight;
}

/**
 * Judges the replies to the lent rounds of a loan, which home hands over with its conclusion (rule R60): losses and
 * acknowledgements. A round without a reply has none.
 */
export function judgeLentRounds(
  parts: LentRoundsParts,
  flights: readonly LentFlight[],
  replies: Readonly<Record<RegionId, JointRoundReply>>,
): void {
  for (const { link, flight } of flights) {
    const answer = replies[link.region];
    const isCurrent =
      flight.sentAt >= link.membership.since && flight.generation === link.generation;
    if (answer === undefined || !isCurrent || !link.isVoter || link.isQuarantined) continue;
    if (answer.kind === 'executed') judge(parts, link, flight, answer.reply);
    else if (showsLoss(answer.refusal, link)) {
      parts.members.noteLoss(link, 'it refused a lent round as one that it no longer knows');
    }
  }
}

function judge(parts: LentRoundsParts, link: RegionLink, flight: Flight, reply: RoundReply): void {
  const loss = link.updateLent(reply, flight);
  if (loss !== null) {
    parts.members.noteLoss(link, loss);
    return;
  }
  flight.decisions.forEach(({ transaction }, position) => {
    const said = reply.decisions[position];
    if (said === 'acknowledged') {
      link.acknowledged(transaction);
      parts.pendingConfirmations.acknowledge(transaction, link.region);
    } else if (said === 'lost' && !link.isQuarantined) {
      parts.members.noteLoss(link, `it no longer holds transaction ${keyOf(transaction)}`);
    }
  });
}

function showsLoss(refusal: Refusal, link: RegionLink): boolean {
  if (refusal.kind === 'lost') return true;
  if (refusal.kind !== 'generation') return false;
  return link.begun && (refusal.has === 0 || link.former.includes(refusal.has));
}
