import type { BlockedKey } from '../../contracts/members.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { WriteRefusal } from '../io/refusal.ts';

/** The keys about which the regions disagree without a majority: they take no writes until an operator decides. */
export class BlockedKeys {
  readonly #ready: ReadyBuilder;
  readonly #details = new Map<string, string>();

  constructor(blocked: readonly BlockedKey[], ready: ReadyBuilder) {
    this.#ready = ready;
    for (const { key, detail } of blocked) this.#details.set(key, detail);
  }

  get all(): readonly BlockedKey[] {
    return [...this.#details].map(([key, detail]) => ({ key, detail }));
  }

  get count(): number {
    return this.#details.size;
  }

  /** Why one of these keys takes no writes, or null. */
  refusalOf(keys: readonly string[]): WriteRefusal | null {
    const key = keys.find((one) => this.#details.has(one));
    if (key === undefined) return null;
    const reason = `the regions have diverged: ${this.#details.get(key)}`;
    return { code: 'diverged', faults: [], reason };
  }

  /** Blocks keys, which is stored with this step. */
  add(keys: readonly string[], detail: string): void {
    for (const key of keys) this.#details.set(key, detail);
    this.#ready.persist({ kind: 'block', keys: keys.map((key) => ({ key, detail })) });
  }

  /** Unblocks keys, which is stored with this step. */
  remove(keys: readonly string[]): void {
    const known = keys.filter((key) => this.#details.delete(key));
    if (known.length > 0) this.#ready.persist({ kind: 'unblock', keys: known });
  }
}
