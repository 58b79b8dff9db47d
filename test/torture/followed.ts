/** Checks that each follower of the change feed got every write once, and in order. */
import { isJournal, keysWrittenBy, kindOf } from './commands.ts';
import type { FollowedChange, TortureHistory, TortureWrite, Violation } from './history.ts';
import type { Versions } from './versions.ts';

/** The violations of the change feed. A sequence orders the changes of one shard only. */
export function feedViolations(history: TortureHistory, versions: Versions): readonly Violation[] {
  return history.followers.flatMap((changes, index) => {
    const follower = `follower ${index + 1}`;
    return [
      ...sequenceViolations(follower, changes),
      ...keyViolations(follower, changes, versions),
      ...receiptViolations(follower, changes, history.writes),
    ];
  });
}

function sequenceViolations(
  follower: string,
  changes: readonly FollowedChange[],
): readonly Violation[] {
  const violations: Violation[] = [];
  const lastOf = new Map<string, number>();
  const seen = new Set<string>();
  for (const { sequence, transaction, id } of changes) {
    const shard = transaction.split('.', 1)[0] ?? '';
    const last = lastOf.get(shard) ?? 0;
    if (sequence <= last) {
      violations.push(feed(`${follower} got ${sequence} of shard ${shard} after ${last}`));
    }
    if (seen.has(id)) violations.push(feed(`${follower} got the write ${id} twice`));
    lastOf.set(shard, Math.max(last, sequence));
    seen.add(id);
  }
  return violations;
}

/** The writes of a key come in the order of its versions, and all of them come. */
function keyViolations(
  follower: string,
  changes: readonly FollowedChange[],
  versions: Versions,
): readonly Violation[] {
  const names = new Map<string, string[]>();
  const counts = new Map<string, number[]>();
  for (const change of changes) {
    for (const key of change.keys) {
      if (!versions.byKey.has(key) || !isJournal(key)) continue;
      const known = names.get(key) ?? [];
      names.set(key, known);
      known.push(change.name ?? '?');
    }
    for (const [key, value] of change.counts) {
      const known = counts.get(key) ?? [];
      counts.set(key, known);
      known.push(value);
    }
  }
  return [...versions.byKey].flatMap(([key, { names: expected, last }]) => {
    const isCount = kindOf(key) === 'count';
    const found = isCount ? (counts.get(key) ?? []).map(String) : (names.get(key) ?? []);
    const wanted = isCount ? Array.from({ length: last }, (_, at) => String(at + 1)) : expected;
    const at = differenceOf(found, wanted);
    if (at === null) return [];
    const reason = `${follower} got ${found[at] ?? 'nothing'} as change ${at + 1} of ${key}, which is ${wanted[at] ?? 'none'}`;
    return [feed(reason)];
  });
}

/** Each acknowledged write comes, as the response described it. */
function receiptViolations(
  follower: string,
  changes: readonly FollowedChange[],
  writes: readonly TortureWrite[],
): readonly Violation[] {
  const byId = new Map(changes.map((change) => [change.id, change]));
  return writes.flatMap((write): readonly Violation[] => {
    const [receipt] = write.receipts;
    if (receipt === undefined) return [];
    const change = byId.get(receipt.id);
    if (change === undefined) {
      return [feed(`${follower} did not get the acknowledged write ${write.name}`, write)];
    }
    if (change.sequence !== receipt.sequence || change.transaction !== receipt.transaction) {
      const reason = `${follower} got ${write.name} as ${change.sequence} of ${change.transaction}, and the response says ${receipt.sequence} of ${receipt.transaction}`;
      return [feed(reason, write)];
    }
    const missing = write.commands.flatMap(keysWrittenBy).find((key) => !change.keys.includes(key));
    if (missing === undefined) return [];
    return [feed(`${follower} got ${write.name} without its key ${missing}`, write)];
  });
}

function differenceOf(found: readonly string[], wanted: readonly string[]): number | null {
  for (let at = 0; at < Math.max(found.length, wanted.length); at += 1) {
    if (found[at] !== wanted[at]) return at;
  }
  return null;
}

function feed(reason: string, ...operations: readonly TortureWrite[]): Violation {
  return { promise: 'feed', reason, operations };
}
