/** Checks that each reader saw one moment: committed writes alone, and each of them whole. */
import { isJournal, journalOf, kindOf, namesIn } from './commands.ts';
import type { RegionSpan, TortureRead, TortureWrite, Violation } from './history.ts';
import type { Replay } from './replay.ts';
import { type Versions, versionedKeysOf } from './versions.ts';

/** The violations in single reads, plain ones and strong ones. `replay` is null if the writes have no order. */
export function momentViolations(
  reads: readonly TortureRead[],
  versions: Versions,
  replay: Replay | null,
  copies: readonly RegionSpan[],
): readonly Violation[] {
  const needs = new Needs(versions);
  return reads.flatMap((read) => {
    const foreign = foreignText(read, versions);
    if (foreign !== null) return [foreign];
    if (read.consistency === 'plain' && isDuring(read, copies)) return [];
    const wrong = replay === null ? [] : wrongValues(read, versions, replay);
    return [...needs.halvesIn(read), ...wrong];
  });
}

/** True if a read overlaps one of the region's spans. */
export function isDuring(read: TortureRead, spans: readonly RegionSpan[]): boolean {
  return spans.some(
    ({ region, from, to }) =>
      region === read.region && read.startedAt <= to && read.endedAt >= from,
  );
}

/** A text that no prefix of the writes has left: it has an undecided write, or lacks one in the middle. */
function foreignText(read: TortureRead, versions: Versions): Violation | null {
  for (const [key, text] of read.values) {
    if (!isJournal(key)) {
      if (kindOf(key) !== 'count') continue;
      const last = versions.byKey.get(key)?.last ?? 0;
      if (Number(text ?? 0) <= last) continue;
      const reason = `${read.region} returned ${text} for ${key}, which is ${last} in the end`;
      return { promise: 'only committed', reason, operations: [read] };
    }
    if (versions.versionOf(key, text) !== null) continue;
    const { names = [] } = versions.byKey.get(key) ?? {};
    const seen = namesIn(text);
    const at = seen.findIndex((name, index) => names[index] !== name);
    const reason = `${read.region} returned ${seen[at]} as version ${at + 1} of ${key}, which is ${names[at] ?? 'none'} in the end`;
    return { promise: 'only committed', reason, operations: [read] };
  }
  return null;
}

function wrongValues(read: TortureRead, versions: Versions, replay: Replay): readonly Violation[] {
  const texts = new Map(read.values);
  return read.values.flatMap(([key, text]): readonly Violation[] => {
    const kind = kindOf(key);
    if (isJournal(key) || kind === 'count' || kind === 'register') return [];
    const journal = journalOf(key);
    if (!texts.has(journal)) return [];
    const version = versions.versionOf(journal, texts.get(journal) ?? null);
    if (version === null || replay.valueAt(key, version) === text) return [];
    const reason = `${read.region} returned ${text} for ${key} at version ${version} of its journal, and it is ${replay.valueAt(key, version)} there`;
    return [{ promise: 'all or none', reason, operations: [read] }];
  });
}

/** Which version of a key a reader must have seen who has seen a version of another key. */
class Needs {
  readonly #versions: Versions;
  readonly #known = new Map<string, readonly Need[]>();

  constructor(versions: Versions) {
    this.#versions = versions;
  }

  halvesIn(read: TortureRead): readonly Violation[] {
    const seen = read.values.flatMap(([key, text]) => {
      const version = this.#versions.byKey.has(key) ? this.#versions.versionOf(key, text) : null;
      return version === null ? [] : [{ key, version }];
    });
    return seen.flatMap((one) =>
      seen.flatMap((other): readonly Violation[] => {
        if (one.key === other.key) return [];
        const need = this.#needOf(one.key, other.key, one.version);
        if (need === null || need.version <= other.version) return [];
        const reason = `${read.region} showed ${need.write.name} in ${one.key} (version ${one.version}) and not in ${other.key} (version ${other.version} of ${need.version})`;
        return [{ promise: 'all or none', reason, operations: [need.write, read] }];
      }),
    );
  }

  #needOf(key: string, other: string, version: number): Need | null {
    const name = `${key} ${other}`;
    const needs = this.#known.get(name) ?? this.#needsOf(key, other);
    this.#known.set(name, needs);
    return needs.findLast((need) => need.since <= version) ?? null;
  }

  #needsOf(key: string, other: string): readonly Need[] {
    const needs: Need[] = [];
    for (const [since, write] of this.#versions.byKey.get(key)?.writers ?? []) {
      if (!versionedKeysOf(write).includes(other)) continue;
      const version = this.#versions.madeBy(write, other);
      if (version !== null && version > (needs.at(-1)?.version ?? 0)) {
        needs.push({ since, version, write });
      }
    }
    return needs;
  }
}

interface Need {
  readonly since: number;
  readonly version: number;
  readonly write: TortureWrite;
}
