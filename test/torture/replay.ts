/**
 * Runs the committed writes again on a model, in an order that the history allows. Their results have to be those that
 * clients got, and the values that follow from a journal those that readers saw beside it.
 */
import { isDeepStrictEqual } from 'node:util';
import { isJournal, journalOf, keysWrittenBy, kindOf, ModelKeys, runOnModel } from './commands.ts';
import type { KeyText, TortureWrite, Violation } from './history.ts';
import type { Versions } from './versions.ts';

/** The values of the keys that follow from a journal, at each version of it. */
export class Replay {
  readonly violations: Violation[] = [];
  readonly #model = new ModelKeys();
  readonly #values = new Map<string, Map<number, string | null>>();

  constructor(writes: readonly TortureWrite[], versions: Versions) {
    for (const write of writes) {
      this.#expectCheck(write, versions);
      const results = write.commands.map((command) => runOnModel(this.#model, command));
      const [receipt] = write.receipts;
      if (receipt !== undefined) this.#compare(write, results, receipt.results);
      this.#note(write, versions);
    }
  }

  /** The value of a key at this version of its journal; undefined if no write left that. */
  valueAt(key: string, version: number): KeyText | undefined {
    if (version === 0) return null;
    const known = this.#values.get(key);
    // A write that does not touch the key leaves it as the version before.
    for (let at = version; at > 0; at -= 1) {
      const value = known?.get(at);
      if (value !== undefined) return value;
    }
    return null;
  }

  /** A committed write with a check found the value that it asks for. */
  #expectCheck(write: TortureWrite, versions: Versions): void {
    const { check } = write;
    if (check === null) return;
    const found = this.#model.textOf(check.key);
    if (found === check.equals) return;
    const version = versions.madeBy(write, check.key);
    const reason = `${write.name} (version ${version} of ${check.key}) was committed although its check did not hold`;
    this.violations.push({ promise: 'results', reason, operations: [write] });
  }

  #compare(write: TortureWrite, expected: readonly unknown[], found: readonly unknown[]): void {
    for (const [index, command] of write.commands.entries()) {
      // The place of an increment in the order is known by its result, which the versions have checked.
      if (command[0] === 'INCR') continue;
      if (isDeepStrictEqual(expected[index], found[index])) continue;
      const said = JSON.stringify(found[index]);
      const reason = `${write.name}: ${command.join(' ').slice(0, 60)} returned ${said}, and should return ${JSON.stringify(expected[index])}`;
      this.violations.push({ promise: 'results', reason, operations: [write] });
    }
  }

  #note(write: TortureWrite, versions: Versions): void {
    for (const key of new Set(write.commands.flatMap(keysWrittenBy))) {
      const kind = kindOf(key);
      if (isJournal(key) || kind === 'count' || kind === 'register') continue;
      const version = versions.madeBy(write, journalOf(key));
      if (version === null) continue;
      const known = this.#values.get(key) ?? new Map<number, string | null>();
      known.set(version, this.#model.textOf(key));
      this.#values.set(key, known);
    }
  }
}
