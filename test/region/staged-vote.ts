/** The votes of the region model for transactions to which nothing objects. */
import { isGrowing } from '../../shared/contracts/growing.ts';
import type { Prepare, Vote } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import type { Keys } from './commands.ts';
import { type Intent, stage } from './staging.ts';

/** A vote, the bytes of its outcomes, and the intents by key: none unless it is yes. */
export interface StagedVote {
  readonly vote: Extract<Vote, { kind: 'yes' | 'unlisted' | 'denied' | 'refused' }>;
  readonly bytes: number;
  readonly intents: ReadonlyMap<string, Intent>;
}

/** Stages a prepare to which nothing objects. `answered` are the bytes of the outcomes before it in its round. */
export function voteOn(
  prepare: Prepare,
  keys: Keys,
  isFull: boolean,
  answered: number,
): StagedVote {
  if (takesMemory(prepare) && isFull) {
    const part = prepare.parts.findIndex(({ operations }) => operations.some(isGrowing));
    return noVote({ kind: 'denied', code: 'OOM', reason: 'OOM out of memory', part }, 0);
  }
  if (answered > limits.roundOutcomeBytes) {
    const reason = 'had no room left for it in the answer to its round';
    return noVote({ kind: 'refused', reason }, 0);
  }
  const { outcomes, fingerprints, intents, unlisted, most, bytes } = stage(prepare, keys);
  if (most !== null) {
    const reason = 'had no room left for the replies of all that came together';
    return noVote({ kind: 'refused', reason, most }, bytes);
  }
  if (unlisted.length > 0) return noVote({ kind: 'unlisted', parts: unlisted }, bytes);
  const byKey = new Map<string, Intent>();
  for (const [index, key] of prepare.keys.entries()) {
    const intent = intents[index];
    if (intent !== undefined) byKey.set(key, intent);
  }
  return { vote: { kind: 'yes', outcomes, fingerprints }, bytes, intents: byKey };
}

function noVote(vote: StagedVote['vote'], bytes: number): StagedVote {
  return { vote, bytes, intents: new Map() };
}

function takesMemory({ parts }: Prepare): boolean {
  return parts.some(({ operations }) => operations.some(isGrowing));
}
