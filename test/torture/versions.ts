/** The versions of each key, from the final data: which write made which. */
import { isJournal, keysWrittenBy, kindOf, namesIn } from './commands.ts';
import type { KeyText, TortureHistory, TortureRead, TortureWrite, Violation } from './history.ts';

/** The writes that made the versions of a key. Version 0 is its absence. */
export interface KeyVersions {
  /** The names in the journal after all writes; empty for a counter. */
  readonly names: readonly string[];
  /** The text of the journal after all writes. */
  readonly text: string;
  /** The number of the last version. */
  readonly last: number;
  /** The known writers of versions, in rising order. An increment without a response is not known. */
  readonly writers: readonly (readonly [version: number, write: TortureWrite])[];
}

/** The keys of a write that have versions of their own: journals and counters. */
export function versionedKeysOf(write: TortureWrite): readonly string[] {
  const keys = new Set(write.commands.flatMap(keysWrittenBy));
  return [...keys].filter((key) => isJournal(key) || kindOf(key) === 'count');
}

/** Every versioned key, with its versions. */
export class Versions {
  readonly byKey: ReadonlyMap<string, KeyVersions>;
  readonly violations: Violation[] = [];
  /** The writes that took effect. */
  readonly committed: ReadonlySet<TortureWrite>;
  readonly #byName: ReadonlyMap<string, TortureWrite>;

  constructor(history: TortureHistory) {
    this.#byName = new Map(history.writes.map((write) => [write.name, write]));
    const writersOf = new Map<string, TortureWrite[]>();
    for (const write of history.writes) {
      for (const key of versionedKeysOf(write)) {
        const known = writersOf.get(key);
        if (known === undefined) writersOf.set(key, [write]);
        else known.push(write);
      }
    }
    const byKey = new Map<string, KeyVersions>();
    for (const key of new Set([...keysOf(history), ...writersOf.keys()])) {
      const text = this.#finalOf(history, key);
      if (isJournal(key)) byKey.set(key, this.#journal(key, text));
      else if (kindOf(key) === 'count') {
        byKey.set(key, this.#counter(key, text, writersOf.get(key) ?? []));
      }
    }
    this.byKey = byKey;
    this.committed = this.#committedIn(history.writes);
  }

  /** The version that a reader has seen, or null if no order of the writes explains the text. */
  versionOf(key: string, text: KeyText): number | null {
    const versions = this.byKey.get(key);
    if (kindOf(key) === 'count') return text === null ? 0 : Number(text);
    if (text === null) return 0;
    return versions?.text.startsWith(text) === true ? namesIn(text).length : null;
  }

  /** The version that a write made of a key, or null if it is not known. */
  madeBy(write: TortureWrite, key: string): number | null {
    return this.#made.get(key)?.get(write) ?? null;
  }

  readonly #made = new Map<string, Map<TortureWrite, number>>();

  /** The text of a key at the end. If regions differ, which is a violation, the longest. */
  #finalOf({ finals }: TortureHistory, key: string): KeyText {
    const texts = [...finals].map(([region, texts]) => [region, texts.get(key) ?? null] as const);
    const different = new Set(texts.map(([, text]) => text));
    if (different.size > 1) {
      const shown = texts.map(([region, text]) => `${region}: ${tailOf(text)}`).join(', ');
      this.#complain('regions are equal', `${key} differs in the end: ${shown}`);
    }
    const length = (text: KeyText) => (isJournal(key) ? (text?.length ?? -1) : Number(text ?? -1));
    return [...different].reduce((a, b) => (length(b) > length(a) ? b : a), null);
  }

  #journal(key: string, text: KeyText): KeyVersions {
    const names = namesIn(text);
    const writers: [number, TortureWrite][] = [];
    const made = new Map<TortureWrite, number>();
    for (const [index, name] of names.entries()) {
      const write = this.#byName.get(name);
      if (write === undefined) {
        this.#complain('only committed', `${key} has ${name}, which nobody wrote`);
      } else if (made.has(write)) {
        this.#complain('once', `${key} has ${name} twice`, write);
      } else {
        made.set(write, index + 1);
        writers.push([index + 1, write]);
      }
    }
    this.#made.set(key, made);
    return { names, text: text ?? '', last: names.length, writers };
  }

  #counter(key: string, text: KeyText, writes: readonly TortureWrite[]): KeyVersions {
    const last = Number(text ?? 0);
    const made = new Map<TortureWrite, number>();
    const byVersion = new Map<number, TortureWrite>();
    for (const write of writes) {
      const [receipt] = write.receipts;
      if (receipt === undefined) continue;
      const at = write.commands.findIndex(([, each]) => each === key);
      const version = Number(receipt.results[at]);
      const other = byVersion.get(version);
      if (!Number.isSafeInteger(version) || version < 1) {
        this.#complain('results', `an increment of ${key} returned ${receipt.results[at]}`, write);
      } else if (other !== undefined) {
        this.#complain('one order', `two increments made ${key} ${version}`, other, write);
      } else if (version > last) {
        const reason = `${key} is ${last} in the end, and an increment made it ${version}`;
        this.#complain('no write is lost', reason, write);
      } else {
        byVersion.set(version, write);
        made.set(write, version);
      }
    }
    this.#made.set(key, made);
    const unknown = writes.filter(({ outcome }) => outcome === 'unknown').length;
    const gaps = last - byVersion.size;
    if (gaps > unknown) {
      const reason = `${key} is ${last}, with ${byVersion.size} acknowledged increments and at most ${unknown} others`;
      this.#complain('once', reason);
    }
    return { names: [], text: text ?? '', last, writers: [...byVersion].sort(([a], [b]) => a - b) };
  }

  /** Decides which writes took effect, by their journals, and finds those that took effect in part. */
  #committedIn(writes: readonly TortureWrite[]): ReadonlySet<TortureWrite> {
    const committed = new Set<TortureWrite>();
    for (const write of writes) {
      const journals = versionedKeysOf(write).filter(isJournal);
      const present = journals.filter((key) => this.madeBy(write, key) !== null);
      const absent = journals.filter((key) => !present.includes(key));
      if (write.outcome === 'committed' || present.length > 0) committed.add(write);
      if (write.outcome === 'committed' && absent.length > 0) {
        const reason = `the acknowledged write ${write.name} is not in ${absent.join(', ')}`;
        this.#complain('no write is lost', reason, write);
      } else if (present.length > 0 && absent.length > 0) {
        const reason = `${write.name} is in ${present.join(', ')}, and not in ${absent.join(', ')}`;
        this.#complain('all or none', reason, write);
      }
      const wasDenied = write.outcome === 'refused' || write.outcome === 'rejected';
      if (wasDenied && present.length > 0) {
        const reason = `${write.name} was ${write.outcome}, and is in ${present.join(', ')}`;
        this.#complain('only committed', reason, write);
      }
    }
    return committed;
  }

  #complain(
    promise: Violation['promise'],
    reason: string,
    ...operations: readonly (TortureWrite | TortureRead)[]
  ): void {
    this.violations.push({ promise, reason, operations });
  }
}

/** Every key that the run wrote or read in the end. */
function keysOf({ finals }: TortureHistory): readonly string[] {
  return [...finals.values()].flatMap((texts) => [...texts.keys()]);
}

/** The end of a text, which is enough to distinguish versions. */
function tailOf(text: KeyText): string {
  if (text === null) return 'absent';
  return text.length > 40 ? `…${text.slice(-40)}` : text;
}
