/** Reads the changes in the log: pages of the feed, writes to recover, and the last write to a key. */
import type { MemberChange } from '../../../shared/contracts/members.ts';
import type {
  Change,
  ChangesAnswer,
  ChangesQuery,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import { parseTransactionId, type TransactionOrder } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { StorageWrite } from '../../../shared/protocol/io/ready.ts';
import type { CommittedWrite } from '../../../shared/protocol/io/stored.ts';
import { concerns, flushedKey } from '../../../shared/reserved-keys.ts';
import { committedWriteOf, type ReadWrite } from './log-step.ts';
import type { StepLog, StoredStep } from './step-log.ts';

/** The commits that some voter has yet to acknowledge. */
export interface OpenCommits {
  isUnconfirmed(transaction: TransactionOrder): boolean;
}

/** A committed write, or a change of members, in the log. */
type Logged =
  | { readonly sequence: number; readonly at: number; readonly write: ReadWrite }
  | { readonly sequence: number; readonly at: number; readonly member: MemberChange };

/** The committed writes and the changes of members in the order of their sequence, without a gap. */
export class ChangeLog {
  readonly #log: StepLog;
  readonly #open: OpenCommits;

  constructor(log: StepLog, open: OpenCommits) {
    this.#log = log;
    this.#open = open;
  }

  /** A page of the changes after `since`. It ends early if it grows large, but covers at least one change. */
  page(query: ChangesQuery, newest: number): ChangesAnswer {
    const { since, limit } = query;
    const oldest = this.#oldest() ?? newest + 1;
    if (since > newest) return { kind: 'ahead', newest };
    if (since < oldest - 1) return { kind: 'expired', oldest };
    const changes: Change[] = [];
    let next = since;
    let looked = 0;
    let bytes = 0;
    for (const logged of this.#after(since)) {
      looked += 1;
      bytes += 'write' in logged ? logged.write.bytes : 0;
      const isFull = changes.length >= limit || looked > limits.changesPerPage;
      if (next > since && (isFull || bytes > limits.changesPageBytes)) break;
      next = logged.sequence;
      const change = askedFor(logged, query);
      if (change !== null) changes.push(change);
    }
    return { kind: 'page', changes, next, newest };
  }

  /** The newest change, or null if none is kept. */
  newest(): Change | null {
    const { sequence } = this.#log;
    const since = sequence - 1;
    if (sequence < (this.#oldest() ?? sequence + 1)) return null;
    const page = this.page(
      { since, limit: 1, prefixes: [], values: true, members: true },
      sequence,
    );
    return page.kind === 'page' ? (page.changes[0] ?? null) : null;
  }

  /** The sequence before the first change since a moment, ms since the epoch; null if there is no such change. */
  sequenceBefore(moment: number): number | null {
    for (const step of this.#stepsWithChanges(this.#log.firstSince(moment))) {
      const first = changesOf(step).find(({ at }) => at >= moment);
      if (first !== undefined) return first.sequence - 1;
    }
    return null;
  }

  /** The sequence of the newest kept write to a key, or null. */
  lastWriteTo(key: string): number | null {
    const found = [key, flushedKey].flatMap((text) => [
      this.#lastCommitTo(text, this.#log.stepsWithKey(text)),
      this.#lastCommitTo(text, this.#log.stepsWithManyKeys(text)),
    ]);
    const newest = Math.max(...found);
    return newest > 0 ? newest : null;
  }

  /** The writes after a sequence, in order, as many as one step of a recovery takes: at least one, if there is any. */
  recoverable(since: number): readonly RecoveredWrite[] {
    const recovered: RecoveredWrite[] = [];
    // The writes of a transaction were confirmed together.
    const confirmed = new Map<string, number | null>();
    let bytes = 0;
    for (const logged of this.#after(since)) {
      if (!('write' in logged)) continue;
      bytes += logged.write.bytes;
      const isFull = recovered.length >= limits.writesPerRecoveryStep;
      if (recovered.length > 0 && (isFull || bytes > limits.changesPageBytes)) break;
      const write = committedWriteOf(logged.write);
      const { transaction } = write.record;
      const known = confirmed.get(transaction);
      const confirmedAt = known === undefined ? this.#confirmedAt(write) : known;
      confirmed.set(transaction, confirmedAt);
      recovered.push({ write, sequence: logged.sequence, confirmedAt });
    }
    return recovered;
  }

  /** When every region had acknowledged a write, ms since the epoch; null if one has yet to. */
  #confirmedAt({ record }: CommittedWrite): number | null {
    const id = parseTransactionId(record.transaction);
    if (id === null) return null;
    const transaction: TransactionOrder = [id.incarnation, id.sequence];
    if (this.#open.isUnconfirmed(transaction)) return null;
    for (const { confirmed } of this.#log.stepsWithConfirmation(transaction)) {
      const found = confirmed.find((one) => isSame(one.transaction, transaction));
      if (found !== undefined) return found.at;
    }
    return null;
  }

  /** The sequence of the newest write to a key in the first of `steps` that has one; 0 for none. */
  #lastCommitTo(key: string, steps: Iterable<StoredStep>): number {
    for (const { decisions } of steps) {
      const sequences = decisions
        .flatMap(({ writes }) => writes)
        .filter(({ keys }) => keys.includes(key))
        .map(({ record }) => record.sequence ?? 0);
      const newest = Math.max(0, ...sequences);
      if (newest > 0) return newest;
    }
    return 0;
  }

  /** The sequence of the first change that is kept, or null. */
  #oldest(): number | null {
    const [first] = this.#log.stepsFrom(this.#log.first);
    if (first === undefined) return null;
    const oldest = first.sequence - changesOf(first).length + 1;
    return oldest > this.#log.sequence ? null : oldest;
  }

  *#after(since: number): Generator<Logged> {
    for (const step of this.#stepsWithChanges(this.#log.firstAfter(since))) {
      yield* changesOf(step).filter(({ sequence }) => sequence > since);
    }
  }

  /** The steps from a position on, without those behind the first that have no change: there may be very many in a row. */
  *#stepsWithChanges(position: number): Generator<StoredStep> {
    for (let at = position; at <= this.#log.last; ) {
      const step = this.#log.stepAt(at);
      yield step;
      at = this.#log.nextChangeAfter(step);
    }
  }
}

/** A write whose events may be sent again. */
export interface RecoveredWrite {
  readonly sequence: number;
  readonly write: CommittedWrite;
  readonly confirmedAt: number | null;
}

/** The changes of a step, in the order of their sequence. */
function changesOf({ decisions, members }: StoredStep): readonly Logged[] {
  const writes = decisions
    .flatMap((decision) => decision.writes)
    .flatMap((write): Logged[] => {
      const { sequence, decidedAt: at } = write.record;
      return sequence === null ? [] : [{ sequence, at, write }];
    });
  const changed = members.map((member): Logged => {
    return { sequence: member.sequence, at: member.at, member };
  });
  return [...writes, ...changed].sort((a, b) => a.sequence - b.sequence);
}

function isSame(one: TransactionOrder, other: TransactionOrder): boolean {
  return one[0] === other[0] && one[1] === other[1];
}

/** A committed write in the form of the feed. */
export function changeFrom(
  { record, keys, commands }: CommittedWrite,
  sequence: number,
  values: boolean,
): Change {
  const { id, transaction, decidedAt, part } = record;
  const thin = { sequence, id, transaction, at: decidedAt, keys };
  return values ? { ...thin, commands, part } : thin;
}

/** A change of members in the form of the feed. It belongs to no write, and has no keys. */
function memberChangeFrom(member: MemberChange): Change {
  return { sequence: member.sequence, id: '', transaction: '', at: member.at, keys: [], member };
}

/** The changes that `writes` add to the log, in its order and in the form of the feed. */
export function changesIn(writes: readonly StorageWrite[]): readonly Change[] {
  const changes = writes.flatMap((write) => {
    if (write.kind === 'members') return write.changes.map(memberChangeFrom);
    if (write.kind !== 'commit') return [];
    return write.writes.flatMap((decided) => {
      const { sequence } = decided.record;
      return sequence === null ? [] : [changeFrom(decided, sequence, true)];
    });
  });
  return changes.sort((a, b) => a.sequence - b.sequence);
}

/** The change in the log, or null if the query does not ask for it. */
function askedFor(logged: Logged, { prefixes, values, members }: ChangesQuery): Change | null {
  if ('member' in logged) return members ? memberChangeFrom(logged.member) : null;
  const { write, sequence } = logged;
  if (!concerns(write.keys, prefixes)) return null;
  // Unpacked only on request, because they may be large.
  const commands = values ? write.commands() : [];
  return changeFrom({ ...write, commands }, sequence, values);
}
