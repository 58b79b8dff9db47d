import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import { flushedKey, reservedPrefix, valuesAmong } from '../../reserved-keys.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { RegionLinks } from '../regions/region-links.ts';

/** The keys that regions without a vote miss, in memory and in storage (rule R33). */
export class MissedWrites {
  readonly #links: RegionLinks;
  readonly #ready: ReadyBuilder;

  constructor(links: RegionLinks, ready: ReadyBuilder) {
    this.#links = links;
    this.#ready = ready;
  }

  /** The regions that miss every commit and are not copied whole in any case. */
  get absent(): readonly RegionLink[] {
    return this.#links.all.filter(({ membership }) =>
      membership.state === 'out' ? !membership.whole : membership.state === 'copying',
    );
  }

  /** Notes the keys of a commit for all absent regions, which are returned; the step stores them with the decision. */
  noteCommit(keys: readonly string[], sequence: number): readonly RegionId[] {
    const named = valuesAmong(keys);
    const { absent } = this;
    for (const { missed } of absent) for (const key of named) missed.set(key, sequence);
    return absent.map(({ region }) => region);
  }

  /** Notes keys of a region that have to be copied. */
  add(link: RegionLink, missed: readonly (readonly [key: string, sequence: number])[]): void {
    const keys = missed.filter(([key]) => !key.startsWith(reservedPrefix));
    if (keys.length === 0) return;
    for (const [key, sequence] of keys) link.missed.set(key, sequence);
    this.#ready.persist({ kind: 'missed', missed: { region: link.region, keys } });
  }

  /** If everything is copied, the list of missed keys is of no use. */
  clear(link: RegionLink): void {
    if (link.missed.size === 0) return;
    link.missed.clear();
    this.#ready.persist({ kind: 'copied', region: link.region, keys: null });
  }

  /** The regions that have missed too many keys to list, so they are copied whole. */
  get excessive(): readonly RegionLink[] {
    const { missedKeysPerRegion, missedBytesPerRegion } = limits;
    return this.#links.all.filter(({ isVoter, missed: { size, bytes } }) => {
      return !isVoter && (size > missedKeysPerRegion || bytes > missedBytesPerRegion);
    });
  }
}

/** True if a commit of these keys has flushed all keys of the shard. */
export function isFlush(keys: readonly string[]): boolean {
  return keys.includes(flushedKey);
}
