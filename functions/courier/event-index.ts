/**
 * Finds the batches that may contain an event, by a hash of its id. A hash takes a few bytes in memory, and an id up to
 * a hundred; two ids with one hash cost a look into one more batch.
 */

/** A hash of an event's id, of 30 bits, so that it is a small integer to the engine. */
export function hashOf(event: string): number {
  // FNV-1a.
  let hash = 0x811c9dc5;
  for (let index = 0; index < event.length; index += 1) {
    hash = Math.imul(hash ^ event.charCodeAt(index), 0x01000193);
  }
  return (hash ^ (hash >>> 30)) & 0x3fffffff;
}

/** The hashes of events, as stored with their batch. */
export function packHashes(events: readonly string[]): ArrayBuffer {
  return Uint32Array.from(events, hashOf).buffer;
}

/** The positions of the batches of each hash. */
export class EventIndex {
  /** One position is by far the most frequent case, and takes the least memory as a number. */
  readonly #positions = new Map<number, number | readonly number[]>();

  /** The positions of the batches that may contain the event. */
  find(event: string): readonly number[] {
    return this.#at(hashOf(event));
  }

  add(hash: number, position: number): void {
    const known = this.#at(hash);
    if (!known.includes(position)) this.#set(hash, [...known, position]);
  }

  /** Adds the events of a batch, by {@link packHashes}. */
  addAll(packed: ArrayBuffer, position: number): void {
    for (const hash of new Uint32Array(packed)) this.add(hash, position);
  }

  /** Removes the events of a batch, by {@link packHashes}. */
  deleteAll(packed: ArrayBuffer, position: number): void {
    for (const hash of new Uint32Array(packed)) {
      this.#set(
        hash,
        this.#at(hash).filter((one) => one !== position),
      );
    }
  }

  #at(hash: number): readonly number[] {
    const known = this.#positions.get(hash) ?? [];
    return typeof known === 'number' ? [known] : known;
  }

  #set(hash: number, positions: readonly number[]): void {
    const [first] = positions;
    if (first === undefined) this.#positions.delete(hash);
    else this.#positions.set(hash, positions.length === 1 ? first : positions);
  }
}
