import { unreachable } from '../../shared/assert.ts';
import type {
  CopyItem,
  CopyReply,
  CopyStep,
  RoundPair,
  RoundReply,
} from '../../shared/contracts/round.ts';
import type { SentRound } from '../../shared/protocol/io/ready.ts';
import { partOfJson } from '../region/replies.ts';

/** How far the clocks of all regions are ahead of the coordinator's, ms: nobody may mistake one for the other. */
export const clockAheadMs = 700_000;

/** The answers of healthy regions to rounds. */
export class Replies {
  /** The last pair of each region under each of its generations. */
  readonly #pairs = new Map<string, RoundPair>();

  /** Every decision is acknowledged, every prepare gets a yes, and a step of a copy is taken. */
  to({ region, round }: SentRound, now: number): RoundReply {
    const { decisions, prepares, copy } = round;
    const id = `${region} ${round.generation}`;
    const counter = this.#pairs.get(id)?.[0] ?? round.lastAcknowledged?.[0] ?? 0;
    const isEmpty = decisions.length + prepares.length === 0 && copy === null;
    if (!isEmpty) this.#pairs.set(id, [counter + 1, round.nonce]);
    const pair = this.#pairs.get(id);
    return {
      decisions: decisions.map(() => 'acknowledged'),
      votes: prepares.map(({ keys, parts }) =>
        yes(
          keys.map(() => ''),
          ...parts.map(() => '[0,{"s":"OK"}]'),
        ),
      ),
      history: pair === undefined ? [] : [pair],
      older: [],
      olderTruncated: false,
      clock: round.lease === null ? null : now + clockAheadMs,
      copy: copy === null ? null : copyReplyTo(copy),
      isFull: null,
    };
  }
}

/** A yes vote with one outcome per part, from its JSON. */
export function yes(fingerprints: readonly string[], ...parts: readonly string[]) {
  return { kind: 'yes', outcomes: parts.map(partOfJson), fingerprints } as const;
}

/** A whole value of `key`. */
export function itemOf(key: string, next: string | null = null): CopyItem {
  return { key, data: `data of ${key}`, next };
}

/** The answer of a source that holds these keys and no other. */
export function readingOf(
  keys: readonly string[],
  given: Partial<Extract<CopyReply, { kind: 'read' }>> = {},
): CopyReply {
  const items = keys.map((key) => itemOf(key));
  return { kind: 'read', items, locked: [], left: [], cursor: null, total: null, ...given };
}

/**
 * The answer of a healthy region to a step of a copy: every key that is requested by name has a value no larger than
 * a round, and a scan or a list finds none.
 */
export function copyReplyTo(step: CopyStep): CopyReply {
  switch (step.kind) {
    case 'begin':
      return { kind: 'begun' };
    case 'scan':
      return readingOf([], { total: 0 });
    case 'read':
      return readingOf(step.form === 'absent' ? [] : step.keys.map(({ key }) => key));
    case 'write':
      return { kind: 'written', failed: [] };
    case 'list':
      return { kind: 'listed', keys: [], cursor: null };
    default:
      return unreachable(step);
  }
}
