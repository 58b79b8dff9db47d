import { utf8Length } from '../../contracts/bytes.ts';

/** The keys that a region has missed, each with its last missed sequence, and the memory that their names take. */
export class MissedKeyMap extends Map<string, number> {
  #bytes = 0;
  #settled: string[] = [];

  /** Of the names, in UTF-8. */
  get bytes(): number {
    return this.#bytes;
  }

  override set(key: string, sequence: number): this {
    if (!this.has(key)) this.#bytes += utf8Length(key);
    return super.set(key, sequence);
  }

  override delete(key: string): boolean {
    const had = super.delete(key);
    if (had) this.#bytes -= utf8Length(key);
    return had;
  }

  override clear(): void {
    this.#bytes = 0;
    super.clear();
  }

  /** Removes those of `keys` that were last missed at `noted` or before, as they have been copied as they were then. */
  settle(keys: readonly string[], noted: number): void {
    const settled = keys.filter((key) => {
      const missedAt = this.get(key);
      return missedAt !== undefined && missedAt <= noted;
    });
    for (const key of settled) this.delete(key);
    this.#settled.push(...settled);
  }

  /** The keys that were settled since the last call. */
  takeSettled(): readonly string[] {
    return this.#settled.splice(0);
  }
}
