/** The generation, history and phase of the region model. */
import { createHash } from 'node:crypto';
import type {
  CopyReply,
  CopyStep,
  DecisionReply,
  Refusal,
  Round,
  RoundPair,
  SnapshotRequest,
  Vote,
} from '../../shared/contracts/round.ts';
import { compareOrder, type TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';

const marksAnswered = 8;

/** The model's record of its shard's generation, history and phase. Never changed in place. */
export interface Meta {
  readonly generation: number;
  readonly epoch: number;
  readonly incarnation: number;
  readonly floor: TransactionOrder;
  readonly counter: number;
  /** The marks of the last rounds, oldest first; the newest has the number of `counter`. */
  readonly marks: readonly string[];
  /** The token of the copy that fills the region; '' for a voter. */
  readonly phase: string;
  /** The highest number of a copy step seen under the present token. */
  readonly copyNumber: number;
}

function newMeta(generation: number): Meta {
  return {
    generation,
    epoch: 0,
    incarnation: 0,
    floor: [0, 0],
    counter: 0,
    marks: [],
    phase: '',
    copyNumber: 0,
  };
}

/** The state for judging a round: the region's own, or a new one if the region adopts the round's generation. */
export function metaFor(meta: Meta | null, round: Round, keys: number): Meta | null {
  const { generation, begin, role, copy } = round;
  const begins = copy?.kind === 'begin';
  if (meta === null) {
    const mayBegin = (begins || (begin && role === 'voter')) && keys <= round.takes;
    return mayBegin ? newMeta(generation) : null;
  }
  if (!begins || meta.generation === generation) return meta;
  const isAgreed = copy.agreed === meta.generation && keys <= round.takes;
  return isAgreed || copy.replaces.includes(meta.generation) ? newMeta(generation) : meta;
}

/** The reason why a round or a snapshot is refused as a whole, or null. */
export function refusalOf(
  meta: Meta | null,
  request: Round | SnapshotRequest,
  keys: number,
): Refusal | null {
  const { generation, lastAcknowledged } = request;
  if (meta === null || meta.generation !== generation) {
    return { kind: 'generation', has: meta?.generation ?? 0, keys };
  }
  const loss = lastAcknowledged === null ? null : lossOf(meta, lastAcknowledged);
  if (loss !== null) return loss;
  const isVoter = 'role' in request && request.role === 'voter';
  return isVoter && meta.phase !== '' && request.epoch <= meta.epoch ? { kind: 'phase' } : null;
}

function lossOf(meta: Meta, [counter, mark]: RoundPair): Refusal | null {
  if (counter > meta.counter) return { kind: 'lost' };
  const index = counter - meta.counter + meta.marks.length - 1;
  if (index < 0) return { kind: 'history' };
  return meta.marks[index] === mark ? null : { kind: 'lost' };
}

/** Raises the fences; adds the mark of a round that does anything; ends the copy phase for a voter. */
export function raised(meta: Meta, round: Round): Meta {
  const { decisions, prepares, copy, role } = round;
  // A rollback can lose a raised fence as well, and the refused rounds could then come again.
  const isRaised = round.epoch > meta.epoch || round.incarnation > meta.incarnation;
  const leavesMark = isRaised || decisions.length > 0 || prepares.length > 0 || copy !== null;
  return {
    generation: meta.generation,
    epoch: Math.max(meta.epoch, round.epoch),
    incarnation: Math.max(meta.incarnation, round.incarnation),
    floor: compareOrder(round.lowWatermark, meta.floor) > 0 ? round.lowWatermark : meta.floor,
    counter: meta.counter + Number(leavesMark),
    marks: leavesMark ? [...meta.marks, round.nonce].slice(-limits.historyPairs) : meta.marks,
    phase: role === 'voter' ? '' : meta.phase,
    copyNumber: role === 'voter' ? 0 : meta.copyNumber,
  };
}

/**
 * The state with the outcome of the round appended to its mark. Nothing is appended if everything was done, so that a
 * late copy of the round, which is refused, leaves a different mark.
 */
export function outcomeNoted(
  meta: Meta,
  decisions: readonly DecisionReply[],
  votes: readonly Vote[],
  copy: CopyReply | null,
): Meta {
  const said = decisions.map((reply) => (reply === 'acknowledged' ? 'a' : reply[0])).join('');
  const letters = votes.map((vote) => ('most' in vote ? 'c' : voteLetters[vote.kind])).join('');
  const failed = letterOf(copy);
  const outcome = `${said};${letters};${failed}`;
  const isWhole = /^a*;y*;$/.test(outcome);
  if (isWhole) return meta;
  const digest = createHash('sha1').update(outcome).digest('hex');
  const last = `${meta.marks.at(-1) ?? ''}.${digest.slice(0, 8)}`;
  return { ...meta, marks: [...meta.marks.slice(0, -1), last] };
}

const voteLetters: Readonly<Record<Vote['kind'], string>> = {
  yes: 'y',
  late: 't',
  duplicate: 'd',
  locked: 'l',
  fenced: 'f',
  unlisted: 'u',
  lacking: 'n',
  denied: 'e',
  refused: 'r',
};

function letterOf(copy: CopyReply | null): string {
  if (copy?.kind === 'refused') return 'f';
  return copy?.kind === 'written' && copy.failed.length > 0 ? 'w' : '';
}

/** The reason why a copy step is refused, by a state that the round has raised already. */
export function copyRefusal(
  step: CopyStep,
  round: Round,
  meta: Meta,
): 'token' | 'number' | 'epoch' | null {
  if (round.incarnation < meta.incarnation || round.epoch < meta.epoch) return 'epoch';
  switch (step.kind) {
    case 'begin':
      return step.token === meta.phase && step.number <= meta.copyNumber ? 'number' : null;
    case 'write':
      if (meta.phase === '' || step.token !== meta.phase) return 'token';
      return step.number <= meta.copyNumber ? 'number' : null;
    case 'list':
      return null;
    default:
      return meta.phase === '' ? null : 'token';
  }
}

/** The last pairs of the history, newest last. */
export function lastMarks({ counter, marks }: Meta): RoundPair[] {
  const first = counter - marks.length + 1;
  return marks.map((mark, index): RoundPair => [first + index, mark]).slice(-marksAnswered);
}
