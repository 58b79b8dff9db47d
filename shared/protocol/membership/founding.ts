import { assert } from '../../assert.ts';
import type { RegionFault } from '../../contracts/coordinator.ts';
import type {
  AdminCommand,
  AdminCommandAnswer,
  FoundingStatus,
  KeyCounts,
} from '../../contracts/members.ts';
import { counted } from '../../counted.ts';
import type { RegionId } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { ComparisonResult } from '../io/events.ts';
import type { WriteRefusal } from '../io/refusal.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { MemberChanges, MembersParts } from './members-parts.ts';
import { assertTransition } from './region-states.ts';

/** The progress of comparing regions that hold equally many keys. */
interface ComparisonState {
  /** The number of keys in each region at its beginning; with another number it begins again. */
  readonly keys: number;
  /** The slice on its way, or null. */
  number: number | null;
  cursor: string | null;
  checked: number;
  differing: number;
  isOver: boolean;
  retryAt: number;
}

/** The reports of all regions together. */
type Verdict =
  /** Some have not reported. */
  | { readonly kind: 'counting'; readonly missing: readonly RegionLink[] }
  | { readonly kind: 'empty' }
  /** All hold equally many keys, and no state. */
  | { readonly kind: 'equal'; readonly keys: number }
  | { readonly kind: 'differs'; readonly reason: string };

/**
 * The time before a shard has members. Every region reports its contents before any of them begins: Lockstep begins
 * over empty regions, or over regions with the same data, and otherwise as an operator chooses (rule R45). Nothing is
 * stored before that, so an instance that dies on the way leaves nothing behind.
 */
export class Founding {
  readonly #parts: MembersParts;
  readonly #members: MemberChanges;
  #isOpen = false;
  #comparison: ComparisonState | null = null;
  #recountAt = Number.POSITIVE_INFINITY;
  #recountPauseMs: number = limits.foundingRecountBackoffMinMs;

  constructor(parts: MembersParts, members: MemberChanges) {
    this.#parts = parts;
    this.#members = members;
  }

  /** True as long as the shard has no members. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** True while a slice of the comparison is on its way or to be sent. */
  get isComparing(): boolean {
    return this.#comparison !== null && !this.#comparison.isOver;
  }

  /** True while writes and reads wait, since the regions may be about to report that they are empty. */
  get isCounting(): boolean {
    return this.#isOpen && this.refusal === null;
  }

  /** Why nothing can be written or read strongly; null if the shard has members, or may have them in a moment. */
  get refusal(): WriteRefusal | null {
    if (!this.#isOpen) return null;
    const verdict = this.#verdict;
    if (verdict.kind === 'empty') return null;
    if (verdict.kind === 'counting') {
      const { now } = this.#parts.ready;
      const silent = verdict.missing.filter(({ health }) => {
        return health.kind !== 'answering' && health.since + this.#parts.config.outAfterMs <= now;
      });
      if (silent.length === 0) return null;
    }
    return { code: 'not-founded', faults: this.#faults, reason: this.#reasonFor(verdict) };
  }

  /** The regions for which every write waits meanwhile. */
  get obstacles(): readonly RegionFault[] {
    return this.#isOpen ? this.#faults.filter((_, at) => this.#links[at]?.contents === null) : [];
  }

  /** The state of the founding for operators; null once the shard has members. */
  get status(): FoundingStatus | null {
    if (!this.#isOpen) return null;
    const verdict = this.#verdict;
    const isWaiting = this.refusal !== null && !this.isComparing;
    const phase = this.isComparing ? 'comparing' : isWaiting ? 'waiting' : 'counting';
    const keys: Record<RegionId, number | null> = {};
    for (const { region, contents } of this.#links) keys[region] = contents?.keys ?? null;
    const compared = this.#comparison?.checked ?? null;
    return { phase, detail: this.#reasonFor(verdict), keys, compared };
  }

  /** The shard has never had members. */
  open(): void {
    this.#isOpen = true;
    for (const region of this.#parts.config.regions) this.join(region);
  }

  /** A region that will be a member from the beginning. */
  join(region: RegionId): void {
    const { links, ready, stored } = this.#parts;
    // The comparison so far did not include it.
    this.#comparison = null;
    const detail = 'the shard has not begun';
    const absence = { cause: 'new', detail, whole: true, manualReturn: true } as const;
    const membership = { state: 'out', since: ready.now, ...absence } as const;
    assertTransition('added', links.find(region)?.membership ?? null, membership);
    links.add(region, stored.generation, [], membership).mustReportContents = true;
  }

  /** A region will not be a member after all. */
  drop(link: RegionLink): void {
    assertTransition('forgotten', link.membership, null);
    this.#comparison = null;
    this.#parts.links.remove(link.region);
  }

  /** A region has reported its contents: `link.contents`. */
  onContents(link: RegionLink): void {
    link.recover();
    link.mustReportContents = false;
  }

  /** A slice of the comparison has ended. */
  onComparison(number: number, result: ComparisonResult): void {
    const { ready } = this.#parts;
    const comparison = this.#comparison;
    if (!this.#isOpen || comparison?.number !== number) return;
    comparison.number = null;
    if (result.kind === 'silent') {
      comparison.retryAt = ready.now + limits.foundingRecountBackoffMinMs;
      return;
    }
    comparison.checked += result.checked;
    comparison.differing += result.differing;
    comparison.cursor = result.next;
    comparison.isOver = result.next === null || comparison.differing > 0;
    if (comparison.isOver && comparison.differing === 0) {
      this.#begin(`its regions held the same ${counted(comparison.keys, 'key')}`);
    }
  }

  /** Begins as soon as it can, and asks the regions again if it has to. Called in each step, after its event. */
  advance(): void {
    if (!this.#isOpen) return;
    const verdict = this.#verdict;
    if (verdict.kind === 'counting') {
      for (const { health } of verdict.missing) {
        if (health.kind === 'answering') continue;
        this.#parts.ready.schedule(health.since + this.#parts.config.outAfterMs);
      }
      return;
    }
    if (verdict.kind === 'empty') {
      if (!this.#countAgain()) this.#begin(null);
      return;
    }
    if (this.#isFoundByConfiguration(verdict)) return;
    if (verdict.kind === 'equal') this.#compare(verdict.keys);
    else this.#comparison = null;
    this.#recount();
  }

  /** Carries out an operator's choice of the beginning. */
  found({ source, agree, replace }: Extract<AdminCommand, { kind: 'found' }>): AdminCommandAnswer {
    if (!this.#isOpen) {
      const detail =
        'the shard has members already: a region is filled with POST /v1/admin/regions/<id>/return';
      return { kind: 'refused', detail };
    }
    if (source !== null) return this.#foundFrom(source, replace);
    if (agree) return this.#foundAlike();
    this.#comparison = null;
    this.#recountPauseMs = limits.foundingRecountBackoffMinMs;
    for (const link of this.#links) link.mustReportContents = true;
    return { kind: 'taken', detail: 'every region is asked for its key count again' };
  }

  get #links(): readonly RegionLink[] {
    return this.#parts.links.all;
  }

  get #faults(): readonly RegionFault[] {
    return this.#links.map(({ region, contents, health }) => {
      if (contents !== null) return { region, reason: textOf(contents) };
      const reason =
        health.kind === 'answering' ? 'it has not reported its key count yet' : health.reason;
      return { region, reason };
    });
  }

  get #verdict(): Verdict {
    const links = this.#links;
    const missing = links.filter(({ contents }) => contents === null);
    if (missing.length > 0) return { kind: 'counting', missing };
    const others = links.filter(({ contents }) => contents !== null && contents.generation !== 0);
    if (others.length > 0) {
      const named = others.map(({ region }) => region).join(', ');
      return { kind: 'differs', reason: `another Lockstep has left its state in ${named}` };
    }
    const counts = new Set(links.map(({ contents }) => contents?.keys ?? 0));
    if (counts.size > 1) return { kind: 'differs', reason: 'the regions hold different data' };
    const [keys = 0] = counts;
    return keys === 0 ? { kind: 'empty' } : { kind: 'equal', keys };
  }

  #reasonFor(verdict: Verdict): string {
    switch (verdict.kind) {
      case 'counting': {
        const named = verdict.missing.map(({ region }) => region).join(', ');
        return `the shard starts when every region has reported its key count; missing: ${named}`;
      }
      case 'empty':
        return 'the shard is about to begin';
      case 'differs':
        return `${verdict.reason}, and Lockstep deletes nothing that it did not write`;
      case 'equal': {
        const { checked = 0, differing = 0 } = this.#comparison ?? {};
        if (differing > 0)
          return `the regions hold different data, in ${counted(differing, 'key')}`;
        return `the regions hold ${counted(verdict.keys, 'key')} each, and are compared: ${checked} so far`;
      }
    }
  }

  /**
   * Drops reports that are too old to rely on. True if it did, so the regions are asked again before the shard begins.
   */
  #countAgain(): boolean {
    const { now } = this.#parts.ready;
    const old = this.#links.filter(
      ({ contents }) => contents !== null && contents.at + limits.foundingCountsLastMs < now,
    );
    for (const link of old) {
      link.contents = null;
      link.mustReportContents = true;
    }
    return old.length > 0;
  }

  /** While an operator is awaited, the regions are asked from time to time: one may have been emptied or filled. */
  #recount(): void {
    const { ready } = this.#parts;
    if (ready.now >= this.#recountAt) {
      this.#recountAt = Number.POSITIVE_INFINITY;
      for (const link of this.#links) link.mustReportContents = true;
    }
    if (this.#recountAt === Number.POSITIVE_INFINITY) {
      this.#recountAt = ready.now + this.#recountPauseMs;
      this.#recountPauseMs = Math.min(2 * this.#recountPauseMs, limits.foundingRecountBackoffMaxMs);
    }
    ready.schedule(this.#recountAt);
  }

  /** The configuration may name the region whose data to begin with, but not which data of others may be lost. */
  #isFoundByConfiguration({ kind }: Verdict): boolean {
    const { source = null } = this.#parts.config;
    const areOthersEmpty = this.#links.every(
      ({ region, contents }) =>
        contents?.generation === 0 && (contents.keys === 0 || region === source),
    );
    if (kind !== 'differs' || source === null || !areOthersEmpty) return false;
    return this.#foundFrom(source, {}).kind === 'taken';
  }

  #compare(keys: number): void {
    const { ready, links } = this.#parts;
    if (this.#comparison?.keys !== keys) {
      const cursor = null;
      const counts = { checked: 0, differing: 0, isOver: false, retryAt: ready.now };
      this.#comparison = { keys, number: null, cursor, ...counts };
    }
    const comparison = this.#comparison;
    ready.schedule(comparison.retryAt);
    if (comparison.isOver || comparison.number !== null || comparison.retryAt > ready.now) return;
    // With a single region there is nothing to compare.
    if (this.#links.length === 1) {
      this.#begin(`its only region held ${counted(keys, 'key')}`);
      return;
    }
    comparison.number = links.nextNumber();
    const regions = this.#links.map(({ region }) => region);
    const { number, cursor } = comparison;
    ready.compare({ number, regions, cursor });
  }

  /** Every region votes, with the data that it holds. `detail` says why that is right; null if all are empty. */
  #begin(detail: string | null): void {
    const { links, ready, state, attempts } = this.#parts;
    this.#isOpen = false;
    this.#comparison = null;
    state.epoch = 1;
    for (const link of links.all) {
      assert(link.contents !== null, 'a shard begins when every region has said what it holds');
      link.takes = link.contents.keys;
      link.mustReportContents = false;
      this.#members.set(link, { state: 'voter', since: ready.now, leaving: null }, 'founded');
    }
    ready.persist({ kind: 'members', epoch: state.epoch, changes: [] });
    if (detail !== null) {
      for (const { region } of links.all) this.#members.note(region, 'founded', null, detail);
    }
    attempts.requestBatch();
  }

  #foundAlike(): AdminCommandAnswer {
    const verdict = this.#verdict;
    if (verdict.kind !== 'equal' && verdict.kind !== 'empty') {
      const detail = `${this.#reasonFor(verdict)}. Name the region that is right: {"source": "<id>"}`;
      return { kind: 'refused', detail, keys: this.#counts };
    }
    this.#begin('an operator says that its regions hold the same');
    return { kind: 'taken', detail: 'every region votes, with the data that it holds' };
  }

  #foundFrom(region: RegionId, replace: KeyCounts): AdminCommandAnswer {
    const source = this.#parts.links.find(region);
    if (source === null || source.contents === null) {
      return {
        kind: 'refused',
        detail: `${region} has not reported its key count: check that it answers`,
      };
    }
    const others = this.#links.filter((link) => link !== source);
    const lost = others.filter((link) => (link.contents?.keys ?? 0) > (replace[link.region] ?? 0));
    if (lost.length > 0) {
      const counts = Object.fromEntries(lost.map((one) => [one.region, one.contents?.keys ?? 0]));
      const confirmed = JSON.stringify({ source: region, replace: counts });
      const named = lost
        .map((one) => `${counted(one.contents?.keys ?? 0, 'key')} in ${one.region}`)
        .join(', ');
      const detail = `${named} would be lost. If they may be, send ${confirmed}`;
      return { kind: 'refused', detail, keys: this.#counts };
    }
    this.#isOpen = false;
    this.#comparison = null;
    for (const link of this.#links) {
      link.mustReportContents = false;
      const keys = link === source ? Number.MAX_SAFE_INTEGER : (replace[link.region] ?? 0);
      link.agree(keys, link.foreignGeneration);
    }
    const keys = source.contents.keys;
    this.#members.trust(source, {
      event: 'founded',
      detail: `it begins with the ${counted(keys, 'key')} of ${region}`,
      cause: 'new',
      detailOfOthers: `everything is copied to it from ${region}`,
    });
    const detail = `${region} votes alone until the others have copied its ${counted(keys, 'key')}`;
    return { kind: 'taken', detail };
  }

  get #counts(): KeyCounts {
    const reported = this.#links.filter(({ contents }) => contents !== null);
    return Object.fromEntries(
      reported.map(({ region, contents }) => [region, contents?.keys ?? 0]),
    );
  }
}

function textOf({
  generation,
  keys,
}: {
  readonly generation: number;
  readonly keys: number;
}): string {
  const held = `it holds ${counted(keys, 'key')}`;
  if (generation === 0) return held;
  return `${held} and the state of another Lockstep (generation ${generation})`;
}
