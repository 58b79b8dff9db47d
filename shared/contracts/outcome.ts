/** The outcome of one write in its transaction: as regions vote on it, and as the coordinator records it. */
import { assert, InvariantViolation } from '../assert.ts';
import type { Bytes } from './bytes.ts';
import { firstItemOf, type RawReply } from './reply.ts';
import type { PartOutcomeTag } from './round.ts';

/** An outcome, with the replies as regions sent them. */
export type RawOutcome =
  | { readonly kind: 'done'; readonly replies: readonly RawReply[] }
  /** Check `index` failed; `actual` is the value that was found, or null if there was none. */
  | { readonly kind: 'check-failed'; readonly index: number; readonly actual: RawReply }
  /** Operation `index` failed with the error. */
  | { readonly kind: 'command-failed'; readonly index: number; readonly error: Bytes };

/** The kind of an outcome. Only a write that is done changes anything. */
export type OutcomeKind = RawOutcome['kind'];

const kinds = ['done', 'check-failed', 'command-failed'] as const satisfies Readonly<
  Record<PartOutcomeTag, OutcomeKind>
>;

/** The kind of an encoded outcome. It reads no value, however large. Throws InvariantViolation if it is no outcome. */
export function outcomeKindOf(text: Bytes): OutcomeKind {
  return kindOf(firstItemOf(text));
}

/** Reads a decoded outcome. Throws InvariantViolation if it is none. */
export function outcomeIn(reply: RawReply): RawOutcome {
  assert(Array.isArray(reply), 'the outcome of a part is an array');
  const items: readonly RawReply[] = reply;
  const [tag, index, found = null] = items;
  const kind = kindOf(tag);
  if (kind === 'done') return { kind, replies: items.slice(1) };
  assert(typeof index === 'number', 'a failed part names its check or operation');
  if (kind === 'check-failed') return { kind, index, actual: found };
  assert(typeof found === 'string', 'a failed operation carries its error text');
  return { kind, index, error: found };
}

/** True for the decoded outcome of a part. Regions may answer anything, so it is checked before a vote counts. */
export function isOutcome(reply: RawReply): boolean {
  try {
    outcomeIn(reply);
    return true;
  } catch (error) {
    if (error instanceof InvariantViolation) return false;
    throw error;
  }
}

function kindOf(tag: RawReply | undefined): OutcomeKind {
  const kind = typeof tag === 'number' ? kinds[tag] : undefined;
  assert(kind !== undefined, 'an outcome begins with its tag');
  return kind;
}
