/** Finds the part of a step's storage writes that belongs in the log. */
import { assert } from '../../../shared/assert.ts';
import type { WriteRecord } from '../../../shared/contracts/coordinator.ts';
import type { MemberChange } from '../../../shared/contracts/members.ts';
import type { StorageWrite } from '../../../shared/protocol/io/ready.ts';
import type { AbandonedWrite, LoggedConfirmation, LoggedDecision, LogStep } from './log-step.ts';

/** The part of a step's writes that the log has, without the state after it. */
export interface LoggedWrites extends Omit<LogStep, 'head'> {
  /** The clock that it stores, ms. */
  readonly now: number;
  /** When it happened, ms since the epoch. */
  readonly at: number;
  readonly sequence: number;
  readonly isNotEmpty: boolean;
}

/** Collects the part of a step's storage writes that the log has. */
export function stepOf(writes: readonly StorageWrite[]): LoggedWrites {
  const decisions: LoggedDecision[] = [];
  const rejected: WriteRecord[] = [];
  const abandoned: AbandonedWrite[] = [];
  const members: MemberChange[] = [];
  const confirmed: LoggedConfirmation[] = [];
  let now = 0;
  let at = 0;
  let sequence = 0;
  let isNotEmpty = false;
  for (const write of writes) {
    switch (write.kind) {
      case 'commit':
        decisions.push(homeDecisionOf(write));
        sequence = Math.max(sequence, write.sequence);
        now = Math.max(now, write.now);
        at = Math.max(at, ...write.writes.map(({ record }) => record.decidedAt));
        break;
      case 'loan-commit':
        decisions.push(loanDecisionOf(write));
        sequence = Math.max(sequence, write.sequence);
        now = Math.max(now, write.now);
        at = Math.max(at, write.at);
        break;
      case 'loan-abort':
        now = Math.max(now, write.now);
        continue;
      case 'reject':
        rejected.push(...write.writes.map(({ record }) => record));
        now = Math.max(now, write.now);
        at = Math.max(at, ...write.writes.map(({ record }) => record.decidedAt));
        break;
      case 'confirm':
        confirmed.push(
          ...write.transactions.map((transaction) => ({ transaction, at: write.now })),
        );
        at = Math.max(at, write.now);
        break;
      case 'members':
        members.push(...write.changes);
        sequence = Math.max(sequence, ...write.changes.map((change) => change.sequence));
        at = Math.max(at, ...write.changes.map((change) => change.at));
        break;
      case 'queue-events': {
        const given = abandonedIn(write);
        abandoned.push(...given.writes);
        at = Math.max(at, given.at);
        if (given.writes.length === 0) continue;
        break;
      }
      case 'clock':
        now = Math.max(now, write.now);
        continue;
      default:
        continue;
    }
    isNotEmpty = true;
  }
  return { decisions, rejected, abandoned, members, confirmed, now, at, sequence, isNotEmpty };
}

/**
 * The writes that events report as aborted: they must not be committed later if their senders send them again. One that a
 * transaction has rejected has a record.
 */
function abandonedIn({ events }: Write<'queue-events'>) {
  const aborted = events.filter(
    ({ type, write: { record } }) => type === 'write.aborted' && record.transaction === null,
  );
  const reasons = new Map(aborted.map((event) => [event.write.record.id, event.reason ?? '']));
  const writes: readonly AbandonedWrite[] = [...reasons].map(([id, reason]) => ({ id, reason }));
  return { writes, at: Math.max(0, ...aborted.map((event) => event.at)) };
}

type Write<Kind> = Extract<StorageWrite, { kind: Kind }>;

function homeDecisionOf({ joint, ...write }: Write<'commit'>): LoggedDecision {
  if (joint === undefined) return write;
  const { now, shares } = joint;
  const [own, ...otherShares] = shares;
  assert(own !== undefined, 'the first share of a joint commit is that of home');
  return { ...write, joint: { otherShares, own: { shard: own.shard, now } } };
}

/** The keys of a loan have changed by a write that stands in the log of its home. */
function loanDecisionOf(write: Write<'loan-commit'>): LoggedDecision {
  const { transaction, keys, sequence, otherShares, name, homeSequence } = write;
  const home = { name, sequence: homeSequence };
  return { transaction, keys, sequence, writes: [], joint: { otherShares, home } };
}
