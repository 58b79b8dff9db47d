/** Remembers which keys of a region had short values, so that a read of them can go the cheapest way. */
import type { RawReply } from '../../shared/contracts/reply.ts';
import type { ReadCommand } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';

/**
 * The keys of one region whose value was short, or missing, when it was last read. It is a hint: a value that has grown
 * since is read all the same, at a higher cost for its region, and forgotten.
 */
export class SmallKeys {
  /** In the order of their last use. */
  readonly #keys = new Set<string>();

  /** The keys that the commands read, if all commands are GET and MGET and all values were short; otherwise null. */
  keysOf(commands: readonly ReadCommand[]): readonly string[] | null {
    const keys: string[] = [];
    for (const { args } of commands) {
      if (args[0] !== 'GET' && args[0] !== 'MGET') return null;
      keys.push(...args.slice(1));
    }
    if (keys.length === 0 || keys.length > limits.smallKeysPerRead) return null;
    return keys.every((key) => this.#keys.has(key)) ? keys : null;
  }

  /** Learns from the replies to the commands. */
  note(commands: readonly ReadCommand[], replies: readonly RawReply[]): void {
    for (const [index, { args }] of commands.entries()) {
      const reply = replies[index] ?? null;
      if (args[0] === 'GET') this.#noteValue(args[1] ?? '', reply);
      if (args[0] !== 'MGET' || !Array.isArray(reply)) continue;
      const values: readonly RawReply[] = reply;
      for (const [at, value] of values.entries()) this.#noteValue(args[at + 1] ?? '', value);
    }
  }

  #noteValue(key: string, value: RawReply): void {
    const isShort =
      value === null || (typeof value === 'string' && value.length <= limits.smallValueBytes);
    this.#keys.delete(key);
    if (!isShort || key.length > limits.smallKeyLength || !key.isWellFormed()) return;
    this.#keys.add(key);
    if (this.#keys.size <= limits.smallKeysRemembered) return;
    for (const oldest of this.#keys) {
      this.#keys.delete(oldest);
      break;
    }
  }
}
