/** The head of the region model: generation, fences, history and phase. Judges rounds and copy steps by it. */
import { createHash } from 'node:crypto';
import type { JointVote, SnapshotShard } from '../../shared/contracts/joint.ts';
import type {
  CopyReply,
  CopyStep,
  DecisionReply,
  Refusal,
  Round,
  RoundPair,
  Vote,
} from '../../shared/contracts/round.ts';
import { compareOrder, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';

const pairsAnswered = 8;

/** The generation, fences, history and phase of a region. Never changed in place. */
export interface RegionHead {
  readonly generation: number;
  readonly epoch: number;
  readonly incarnation: number;
  readonly lowWatermark: TransactionOrder;
  readonly counter: number;
  /** The nonces of the last rounds, oldest first; the newest has the number of `counter`. */
  readonly nonces: readonly string[];
  /** The token of the copy that fills the region; '' for a voter. */
  readonly phase: string;
  /** The highest number of a copy step seen under the present token. */
  readonly copyNumber: number;
}

function newHead(generation: number): RegionHead {
  return {
    generation,
    epoch: 0,
    incarnation: 0,
    lowWatermark: [0, 0],
    counter: 0,
    nonces: [],
    phase: '',
    copyNumber: 0,
  };
}

/** The head for judging a round: the region's own, or a new one if the region adopts the round's generation. */
export function headFor(head: RegionHead | null, round: Round, keys: number): RegionHead | null {
  const { generation, begin, role, copy } = round;
  const begins = copy?.kind === 'begin';
  if (head === null) {
    const mayBegin = (begins || (begin && role === 'voter')) && keys <= round.takes;
    return mayBegin ? newHead(generation) : null;
  }
  if (!begins || head.generation === generation) return head;
  const isAgreed = copy.agreed === head.generation && keys <= round.takes;
  return isAgreed || copy.replaces.includes(head.generation) ? newHead(generation) : head;
}

/** The reason why a round or a snapshot is refused as a whole, or null. */
export function refusalOf(
  head: RegionHead | null,
  request: Round | SnapshotShard,
  keys: number,
): Refusal | null {
  const { generation, lastAcknowledged } = request;
  if (head === null || head.generation !== generation) {
    return { kind: 'generation', has: head?.generation ?? 0, keys };
  }
  const loss = lastAcknowledged === null ? null : lossOf(head, lastAcknowledged);
  if (loss !== null) return loss;
  const isVoter = 'role' in request && request.role === 'voter';
  return isVoter && head.phase !== '' && request.epoch <= head.epoch ? { kind: 'phase' } : null;
}

function lossOf(head: RegionHead, [counter, nonce]: RoundPair): Refusal | null {
  if (counter > head.counter) return { kind: 'lost' };
  const index = counter - head.counter + head.nonces.length - 1;
  if (index < 0) return { kind: 'history' };
  return head.nonces[index] === nonce ? null : { kind: 'lost' };
}

/**
 * Raises the fences; adds the pair of a round that does anything; ends the copy phase for a voter. `prepares` is true if
 * something is prepared, by the round or by a joint one that it belongs to.
 */
export function raised(head: RegionHead, round: Round, prepares: boolean): RegionHead {
  const { decisions, copy, role } = round;
  // A rollback can lose a raised fence as well, and the refused rounds could then come again.
  const isRaised = round.epoch > head.epoch || round.incarnation > head.incarnation;
  const leavesPair = isRaised || decisions.length > 0 || prepares || copy !== null;
  return {
    generation: head.generation,
    epoch: Math.max(head.epoch, round.epoch),
    incarnation: Math.max(head.incarnation, round.incarnation),
    lowWatermark:
      compareOrder(round.lowWatermark, head.lowWatermark) > 0
        ? round.lowWatermark
        : head.lowWatermark,
    counter: head.counter + Number(leavesPair),
    nonces: leavesPair ? [...head.nonces, round.nonce].slice(-limits.historyPairs) : head.nonces,
    phase: role === 'voter' ? '' : head.phase,
    copyNumber: role === 'voter' ? 0 : head.copyNumber,
  };
}

/**
 * The head with the outcome of the round appended to its nonce. Nothing is appended if everything was done, so that a
 * late copy of the round, which is refused, leaves a different nonce.
 */
export function outcomeNoted(
  head: RegionHead,
  decisions: readonly DecisionReply[],
  votes: readonly (Vote | JointVote)[],
  copy: CopyReply | null,
): RegionHead {
  const said = decisions.map((reply) => (reply === 'acknowledged' ? 'a' : reply[0])).join('');
  const letters = votes.map((vote) => ('most' in vote ? 'c' : voteLetters[vote.kind])).join('');
  const failed = letterOf(copy);
  const outcome = `${said};${letters};${failed}`;
  const isWhole = /^a*;y*;$/.test(outcome);
  if (isWhole) return head;
  const digest = createHash('sha1').update(outcome).digest('hex');
  const last = `${head.nonces.at(-1) ?? ''}.${digest.slice(0, 8)}`;
  return { ...head, nonces: [...head.nonces.slice(0, -1), last] };
}

const voteLetters: Readonly<Record<(Vote | JointVote)['kind'], string>> = {
  yes: 'y',
  late: 't',
  duplicate: 'd',
  locked: 'l',
  fenced: 'f',
  unlisted: 'u',
  lacking: 'n',
  denied: 'e',
  refused: 'r',
  objected: 'o',
};

function letterOf(copy: CopyReply | null): string {
  if (copy?.kind === 'refused') return 'f';
  return copy?.kind === 'written' && copy.failed.length > 0 ? 'w' : '';
}

/** The reason why a copy step is refused, by a head that the round has raised already. */
export function copyRefusal(
  step: CopyStep,
  round: Round,
  head: RegionHead,
): 'token' | 'number' | 'epoch' | null {
  if (round.incarnation < head.incarnation || round.epoch < head.epoch) return 'epoch';
  switch (step.kind) {
    case 'begin':
      return step.token === head.phase && step.number <= head.copyNumber ? 'number' : null;
    case 'write':
      if (head.phase === '' || step.token !== head.phase) return 'token';
      return step.number <= head.copyNumber ? 'number' : null;
    case 'list':
      return null;
    default:
      return head.phase === '' ? null : 'token';
  }
}

/** The last pairs of the history, newest last. */
export function lastPairs({ counter, nonces }: RegionHead): RoundPair[] {
  const first = counter - nonces.length + 1;
  return nonces.map((nonce, index): RoundPair => [first + index, nonce]).slice(-pairsAnswered);
}
