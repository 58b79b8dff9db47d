import { utf8Length } from '../../contracts/bytes.ts';

/** The keys that a region has missed, each with its last missed sequence, and the memory that their names take. */
export class MissedKeyMap extends Map<string, number> {
  #bytes = 0;

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
}
