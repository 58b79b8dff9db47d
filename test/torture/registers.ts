/**
 * Checks registers, which get a unique value by each write. A register has no versions, so each value gets a zone: the
 * time in which it must have been the present one. Two values cannot be present at once (Gibbons and Korach, 1997).
 */
import { keysWrittenBy, kindOf } from './commands.ts';
import type { TortureRead, TortureWrite, Violation } from './history.ts';

/** A value with its operations. It is the present one from before `until` to after `from`, whichever comes first. */
interface Zone {
  readonly value: string | null;
  readonly operations: (TortureWrite | TortureRead)[];
  /** The earliest end of an operation on the value. */
  firstEnd: number;
  /** The latest start of an operation on the value. */
  lastStart: number;
}

/** Finds registers whose operations have no order. Each register is written and read alone, so it is judged alone. */
export function registerViolations(
  writes: readonly TortureWrite[],
  reads: readonly TortureRead[],
): readonly Violation[] {
  const zones = new Map<string, Map<string | null, Zone>>();
  const violations: Violation[] = [];
  const writesOf = new Map<string, TortureWrite>();
  for (const write of writes) {
    for (const key of write.commands.flatMap(keysWrittenBy)) {
      if (kindOf(key) !== 'register') continue;
      writesOf.set(`${key} ${write.name}`, write);
      if (write.outcome === 'committed') zoneOf(zones, key, write.name, write);
    }
  }
  for (const read of reads) {
    for (const [key, text] of read.values) {
      if (kindOf(key) !== 'register') continue;
      const source = text === null ? null : writesOf.get(`${key} ${text}`);
      if (source === undefined) {
        const reason = `${read.region} returned ${text} for ${key}, which nobody wrote`;
        violations.push({ promise: 'only committed', reason, operations: [read] });
        continue;
      }
      if (source !== null && (source.outcome === 'refused' || source.outcome === 'rejected')) {
        const reason = `${read.region} returned ${text} for ${key}, whose write was ${source.outcome}`;
        violations.push({ promise: 'only committed', reason, operations: [source, read] });
        continue;
      }
      const zone = zoneOf(zones, key, text, source);
      if (source !== null && read.endedAt < source.startedAt) {
        const reason = `${text} of ${key} was read before its write began`;
        violations.push({ promise: 'one order', reason, operations: [read, source] });
      }
      widen(zone, read, read.endedAt);
    }
  }
  for (const [key, byValue] of zones) violations.push(...clashesOf(key, [...byValue.values()]));
  return violations;
}

function zoneOf(
  zones: Map<string, Map<string | null, Zone>>,
  key: string,
  value: string | null,
  write: TortureWrite | null,
): Zone {
  const byValue = zones.get(key) ?? new Map<string | null, Zone>();
  zones.set(key, byValue);
  const known = byValue.get(value);
  if (known !== undefined) return known;
  // The absent value was there before everything.
  const zone: Zone = {
    value,
    operations: [],
    firstEnd: value === null ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY,
    lastStart: Number.NEGATIVE_INFINITY,
  };
  if (write !== null) widen(zone, write, write.endedAt ?? Number.POSITIVE_INFINITY);
  byValue.set(value, zone);
  return zone;
}

function widen(zone: Zone, operation: TortureWrite | TortureRead, endedAt: number): void {
  zone.operations.push(operation);
  zone.firstEnd = Math.min(zone.firstEnd, endedAt);
  zone.lastStart = Math.max(zone.lastStart, operation.startedAt);
}

/**
 * A zone is forward if the value was surely present from its first end to its last start. Forward zones must not
 * overlap, and no other zone may lie within one.
 */
function clashesOf(key: string, zones: readonly Zone[]): readonly Violation[] {
  const forward = zones
    .filter(({ firstEnd, lastStart }) => firstEnd < lastStart)
    .sort((a, b) => a.firstEnd - b.firstEnd);
  const violations: Violation[] = [];
  for (const [index, zone] of forward.entries()) {
    const next = forward[index + 1];
    if (next !== undefined && next.firstEnd < zone.lastStart)
      violations.push(clash(key, zone, next));
  }
  for (const zone of zones) {
    if (zone.firstEnd < zone.lastStart) continue;
    const around = forward.find(
      (other) => other.firstEnd < zone.lastStart && zone.firstEnd < other.lastStart,
    );
    if (around !== undefined) violations.push(clash(key, around, zone));
  }
  return violations;
}

function clash(key: string, one: Zone, other: Zone): Violation {
  const reason = `${key} cannot have been ${one.value} and ${other.value} at the same time`;
  return { promise: 'one order', reason, operations: [...one.operations, ...other.operations] };
}
