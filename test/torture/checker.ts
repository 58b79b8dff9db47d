/**
 * Judges the history of a torture run. It rests on real time, the keys and the responses alone: no order that
 * coordinators claim is taken as given, so it also judges histories of several shards.
 */
import { isDeepStrictEqual } from 'node:util';
import { feedViolations } from './followed.ts';
import type {
  KeyText,
  RegionSpan,
  TortureHistory,
  TortureRead,
  TortureWrite,
  Violation,
} from './history.ts';
import { isDuring, momentViolations } from './moments.ts';
import { OperationOrder } from './order.ts';
import { registerViolations } from './registers.ts';
import { Replay } from './replay.ts';
import { Versions } from './versions.ts';

/** Every contradiction of the history to a promise; empty if there is none. */
export function violationsIn(history: TortureHistory): readonly Violation[] {
  const versions = new Versions(history);
  const reads = [...history.reads, ...rejectionsOf(history.writes)];
  const strong = reads.filter((read) => mustBeFresh(read, history.losses));
  const order = new OperationOrder(versions, strong);
  const circles = order.circles().map((circle): Violation => {
    const reasons = circle.map(({ operation, reason }) => `${labelOf(operation)} ${reason}`);
    const operations = circle.map(({ operation }) => operation);
    return { promise: 'one order', reason: `no order: ${reasons.join('; ')}`, operations };
  });
  // Without an order of the writes, their replay would blame the wrong ones.
  const replay = circles.length > 0 ? null : new Replay(order.writesInOrder(), versions);
  return [
    ...history.complaints.map(
      (reason): Violation => ({ promise: 'free after faults', reason, operations: [] }),
    ),
    ...versions.violations,
    ...circles,
    ...registerViolations(history.writes, [...strong, ...finalReadsOf(history)]),
    ...(replay?.violations ?? []),
    ...momentViolations(reads, versions, replay, history.copies),
    ...feedViolations(history, versions),
    ...repetitionViolations(history.writes),
  ];
}

/** The short name of an operation. */
export function labelOf(operation: TortureWrite | TortureRead): string {
  return operation.kind === 'write' ? operation.name : `a read in ${operation.region}`;
}

/** True for a strong read, unless its region may not know yet that it has lost writes. */
function mustBeFresh(read: TortureRead, losses: readonly RegionSpan[]): boolean {
  if (read.consistency !== 'strong') return false;
  return read.via !== 'lease' || !isDuring(read, losses);
}

/** A failed check has observed the value of its key. */
function rejectionsOf(writes: readonly TortureWrite[]): readonly TortureRead[] {
  return writes.flatMap((write): readonly TortureRead[] => {
    const { outcome, check, actual, startedAt, endedAt } = write;
    if (outcome !== 'rejected' || check === null || endedAt === null) return [];
    const values: readonly (readonly [string, KeyText])[] = [[check.key, actual]];
    const by = { region: `the check of ${write.name}`, via: 'coordinator' };
    return [{ kind: 'read', consistency: 'strong', ...by, startedAt, endedAt, values }];
  });
}

/** The data at the end, as reads. */
function finalReadsOf({ finals, finalAt }: TortureHistory): readonly TortureRead[] {
  const at = { startedAt: finalAt, endedAt: finalAt };
  return [...finals].map(([region, texts]) => ({
    kind: 'read',
    consistency: 'strong',
    region,
    via: 'end',
    ...at,
    values: [...texts],
  }));
}

/** Repetitions of a request under one key get its first response. */
function repetitionViolations(writes: readonly TortureWrite[]): readonly Violation[] {
  return writes.flatMap((write) => {
    const [first, ...others] = write.receipts.map(({ at, ...content }) => content);
    const different = others.find((other) => !isDeepStrictEqual(other, first));
    if (different === undefined) return [];
    const reason = `${write.name} was answered as ${JSON.stringify(first)} and as ${JSON.stringify(different)}`;
    return [{ promise: 'same answer', reason, operations: [write] } satisfies Violation];
  });
}
