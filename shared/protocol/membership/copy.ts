import { assert } from '../../assert.ts';
import { type Bytes, bytesOfText, exactTextOf } from '../../contracts/bytes.ts';
import type { CopyProgress } from '../../contracts/members.ts';
import type { CopyItem, CopyReply, CopyStep } from '../../contracts/round.ts';
import { limits } from '../../limits.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { askedFor, type Batch, type Reading, type RetryKey } from './copy-work.ts';

/** The result of a copy's step. */
export type CopyTurn =
  | { readonly kind: 'going' }
  /** The target follows another token, or cannot take a key at all. */
  | { readonly kind: 'failed'; readonly reason: string };

type CopyPhase = Exclude<CopyProgress['phase'], 'removals'>;

/** The phases that may follow each phase. A write pause follows nothing but copying of keys, and ends in it. */
const phaseTransitions: Record<CopyPhase, readonly CopyPhase[]> = {
  beginning: ['keys'],
  keys: ['hold'],
  hold: ['keys'],
};

const going: CopyTurn = { kind: 'going' };

/**
 * The copy of one region, from the drop of its locks to the last key (rules R34 to R37). It reads keys and values from
 * a voter and writes them to the target, with one step on its way at each. Every step is a round, so that neither end
 * is trusted if it has lost writes.
 */
export class Copy {
  readonly target: RegionLink;
  readonly token: string;
  readonly whole: boolean;
  source: RegionLink | null = null;
  /** The source whose scan the cursors belong to. */
  #scanned: RegionLink | null = null;
  #phase: CopyPhase = 'beginning';
  /** Until when the write pause lasts, ms; null outside of one. */
  pauseUntil: number | null = null;
  /** No write pause begins before this moment, ms. */
  pauseNotBefore = 0;
  readonly #replaces: readonly number[];
  readonly #agreed: number | null;
  readonly #startedAt: number;
  readonly #isDoubtful: (source: RegionLink, key: string) => boolean;
  #number = 0;
  #cursor: string | null;
  #listCursor: string | null;
  #removable: Bytes[] = [];
  readonly #retries = new Map<Bytes, RetryKey>();
  #batches: Batch[] = [];
  #reading: Reading | null = null;
  #writing: Batch | null = null;
  /** The steps that have been made and are not over. */
  readonly #open = new Set<CopyStep>();
  #isBeginning = false;
  #isListing = false;
  /** Keys that must be copied before the next write pause: the last one was too short for them. */
  readonly #pass = new Set<Bytes>();
  #pauses = 0;
  #isLogical = false;
  #brokenPieces = 0;
  #copiedCount = 0;
  #total: number | null = null;
  #counted = 0;

  constructor(
    target: RegionLink,
    token: string,
    how: {
      readonly whole: boolean;
      readonly replaces: readonly number[];
      readonly agreed?: number | null;
      readonly startedAt: number;
      /** True if a joint write on the key may not stand in the source yet, without its coordinator knowing (rule R65). */
      readonly isDoubtful?: (source: RegionLink, key: string) => boolean;
    },
  ) {
    this.target = target;
    this.token = token;
    this.whole = how.whole;
    this.#replaces = how.replaces;
    this.#agreed = how.agreed ?? null;
    this.#startedAt = how.startedAt;
    this.#isDoubtful = how.isDoubtful ?? (() => false);
    this.#cursor = how.whole ? '0' : null;
    this.#listCursor = how.whole ? '0' : null;
  }

  /** The phase of the copy. An assignment asserts that it may follow the present one. */
  get phase(): CopyPhase {
    return this.#phase;
  }

  set phase(next: CopyPhase) {
    assert(
      phaseTransitions[this.#phase].includes(next),
      `a copy in its phase ${this.#phase} may not go to ${next}`,
    );
    this.#phase = next;
  }

  /** The number of keys that are known to be missing in the target, besides those that a scan will find. */
  get left(): number {
    return this.target.missed.size + this.#retries.size;
  }

  /** True if only the last few keys are left to copy, and none is on its way. */
  get nearsEnd(): boolean {
    return this.phase !== 'beginning' && this.#isQuiet && this.#isFew;
  }

  /** Begins a write pause. Each pause of this copy may last twice as long as the one before. */
  beginPause(now: number): void {
    const doubled = limits.copyWritePauseMs * 2 ** Math.min(this.#pauses, 16);
    this.pauseUntil = now + Math.min(doubled, limits.copyWritePauseMaxMs);
    this.#pauses += 1;
    this.phase = 'hold';
  }

  /**
   * True if the remaining keys prove too large for one step: they are copied while writes go on, and another pause
   * follows. A value that is written to each time in between is copied in a pause at last, or its region would never
   * return.
   */
  get isOutgrown(): boolean {
    return this.#pass.size > 0 && this.#pauses <= limits.copyWritePausesCutShort;
  }

  /** Ends the write pause; the next one comes no sooner than `after`, ms. */
  endPause(after: number): void {
    this.pauseUntil = null;
    this.pauseNotBefore = after;
    this.phase = 'keys';
    this.#beginPass();
  }

  /** True if the target holds all keys of the source, as long as nothing is decided. */
  get isComplete(): boolean {
    return this.nearsEnd && this.left === 0;
  }

  /** Makes another voter the source. The cursor of the last one means nothing there, so its scan starts over. */
  readFrom(source: RegionLink | null): void {
    if (this.source === source) return;
    if (this.source !== null) this.source.copyStep = null;
    this.source = source;
    this.#giveBack();
    // After the end of a scan, changed keys are noted as missed, for any source.
    if (source === null || source === this.#scanned || this.#cursor === null) return;
    this.#scanned = source;
    this.#cursor = '0';
    this.#counted = 0;
  }

  /**
   * Hands the next steps to the links. `sequence` is the newest one; `isStill`: nothing is undecided or unapplied at
   * the source, so a read in a write pause is the last.
   */
  plan(sequence: number, isStill: boolean): void {
    const { source, target } = this;
    target.copyStep ??= this.#opened(this.#stepForTarget());
    if (source === null || source.copyStep !== null || this.#reading !== null) return;
    if (this.phase === 'beginning' || (this.phase === 'hold' && !isStill)) return;
    source.copyStep = this.#opened(this.#stepForSource(sequence));
  }

  /** A step has ended; null: without a usable answer. */
  onStepEnded(step: CopyStep, reply: CopyReply | null, sequence: number): CopyTurn {
    // A step of a copy that was given up may still end.
    if (!this.#open.delete(step)) return going;
    // A step under way when the epoch rose, or overtaken by a later one, is sent again.
    if (reply?.kind === 'refused' && reply.by === 'token') {
      return { kind: 'failed', reason: 'it refused a step of the copy by its token' };
    }
    switch (step.kind) {
      case 'begin':
        this.#isBeginning = false;
        if (reply?.kind === 'begun') this.phase = 'keys';
        return going;
      case 'scan':
      case 'read':
        this.#read(reply?.kind === 'read' ? reply : null, step, sequence);
        return going;
      case 'write':
        return this.#wrote(reply?.kind === 'written' ? reply.failed : null);
      case 'list':
        this.#isListing = false;
        if (reply?.kind === 'listed') {
          this.#removable.push(...reply.keys);
          this.#listCursor = reply.cursor;
        }
        return going;
    }
  }

  /** The progress of the copy. */
  progress(now: number): CopyProgress {
    const seconds = Math.max(0.001, (now - this.#startedAt) / 1_000);
    const keysPerSecond = Math.round(this.#copiedCount / seconds);
    const unscanned = this.#cursor === null ? 0 : this.#total;
    const left = unscanned === null ? null : Math.max(0, unscanned - this.#counted) + this.left;
    return {
      whole: this.whole,
      source: this.source?.region ?? '',
      phase: this.phase === 'keys' && this.#isRemoving ? 'removals' : this.phase,
      startedAt: this.#startedAt,
      done: this.#copiedCount,
      left,
      keysPerSecond,
      etaMs:
        left === null || keysPerSecond === 0 ? null : Math.round((left / keysPerSecond) * 1_000),
    };
  }

  #opened(step: CopyStep | null): CopyStep | null {
    if (step !== null) this.#open.add(step);
    return step;
  }

  /**
   * Keys that the source lacks are removed before any key is copied, so every key listed at the target is an old one.
   */
  get #isRemoving(): boolean {
    return this.#listCursor !== null || this.#isListing || this.#removable.length > 0;
  }

  /** True if the remaining keys may go in a write pause: there are few, and none of them is known to be too large. */
  get #isFew(): boolean {
    if (this.#cursor !== null || this.#isRemoving) return false;
    if (this.left === 0) return true;
    if (this.#pass.size > 0 || this.left > limits.copyWritePauseKeys) return false;
    // A value that goes in pieces is finished before.
    return [...this.#retries.values()].every(({ from }) => from === '');
  }

  get #isQuiet(): boolean {
    return this.#reading === null && this.#writing === null && this.#batches.length === 0;
  }

  #stepForTarget(): CopyStep | null {
    const { token } = this;
    if (this.phase === 'beginning') {
      if (this.#isBeginning) return null;
      this.#isBeginning = true;
      const begin = { kind: 'begin', token, number: this.#nextNumber() } as const;
      const replaced = { replaces: this.#replaces };
      return { ...begin, ...replaced, ...(this.#agreed !== null && { agreed: this.#agreed }) };
    }
    if (this.#writing !== null || this.#isListing) return null;
    const batch = this.#batches.shift();
    if (batch !== undefined) {
      this.#writing = batch;
      const data = batch.items.map((item) => item.data);
      return { kind: 'write', token, number: this.#nextNumber(), data };
    }
    const isAhead = this.#removable.length >= limits.copyKeysPerStep;
    if (this.#listCursor === null || isAhead) return null;
    this.#isListing = true;
    return { kind: 'list', cursor: this.#listCursor, count: limits.copyKeysPerStep };
  }

  #nextNumber(): number {
    this.#number += 1;
    return this.#number;
  }

  #stepForSource(noted: number): CopyStep | null {
    if (this.#batches.length >= limits.copyStepsAhead) return null;
    const form = this.#isLogical ? 'logical' : 'dump';
    if (this.#removable.length > 0) {
      const removable = this.#removable.splice(0, limits.copyKeysPerStep);
      const keys = removable.map((key) => ({ key, from: '', noted }));
      return this.#ask({ kind: 'read', keys: keys.map(askedFor), form: 'absent' }, keys, noted);
    }
    if (this.#isRemoving) return null;
    if (this.#cursor !== null && this.#retries.size < limits.copyKeysPerStep) {
      const count = limits.copyKeysPerStep;
      return this.#ask({ kind: 'scan', cursor: this.#cursor, count, form }, [], noted);
    }
    // The last few keys are read in the write pause, when nothing is locked or written.
    if (this.phase !== 'hold' && this.#isFew) return null;
    const keys = this.#keysToRead(noted);
    if (keys.length === 0) return null;
    return this.#ask({ kind: 'read', keys: keys.map(askedFor), form }, keys, noted);
  }

  #ask(step: Reading['step'], keys: readonly RetryKey[], noted: number): CopyStep {
    this.#reading = { step, keys, noted };
    return step;
  }

  /** Keys to read again, then missed ones. A value goes in pieces only as long as it is not written to. */
  #keysToRead(noted: number): readonly RetryKey[] {
    const keys: RetryKey[] = [];
    for (const again of this.#retries.values()) {
      if (keys.length === limits.copyKeysPerStep) break;
      const text = exactTextOf(again.key);
      const missedAt = text === null ? undefined : this.target.missed.get(text);
      const isChanged = missedAt !== undefined && missedAt > again.noted;
      if (isChanged && again.from !== '') {
        // A value that is written to between its pieces begins again, in the pause if nothing else is left.
        this.#pass.delete(again.key);
        this.#retries.set(again.key, { key: again.key, from: '', noted });
        if (this.phase !== 'hold') continue;
      }
      keys.push(isChanged || again.from === '' ? { key: again.key, from: '', noted } : again);
      this.#retries.delete(again.key);
    }
    const taken = new Set(keys.map(({ key }) => key));
    const onTheirWay = this.#onTheirWay();
    for (const text of this.target.missed.keys()) {
      if (keys.length >= limits.copyKeysPerStep) break;
      const key = bytesOfText(text);
      const isKnown = taken.has(key) || onTheirWay.has(key) || this.#retries.has(key);
      if (!isKnown) keys.push({ key, from: '', noted });
    }
    return keys;
  }

  #onTheirWay(): Set<Bytes> {
    const batches = this.#writing === null ? this.#batches : [...this.#batches, this.#writing];
    return new Set(batches.flatMap(({ items }) => items.map(({ key }) => key)));
  }

  #read(
    answer: Extract<CopyReply, { kind: 'read' }> | null,
    step: Reading['step'],
    sequence: number,
  ): void {
    const reading = this.#reading;
    // A former source may still answer.
    if (reading === null || reading.step !== step) return;
    this.#reading = null;
    if (answer === null) {
      this.#readAgain(reading);
      return;
    }
    const reply = this.#withoutDoubtful(answer);
    const isWhole = reply.left.length === 0 && reply.items.every(({ next }) => next === null);
    if (this.phase === 'hold' && !isWhole) {
      this.#beginPass();
      for (const { key } of reading.keys) this.#pass.add(key);
    }
    const asked = new Map(reading.keys.map((again) => [again.key, again]));
    for (const key of reply.locked) {
      this.#pass.delete(key);
      this.#retries.set(key, { key, from: '', noted: sequence });
    }
    for (const key of reply.left) {
      const { from, noted } = asked.get(key) ?? { from: '', noted: reading.noted };
      this.#retries.set(key, { key, from, noted });
    }
    if (step.kind === 'scan') {
      this.#cursor = reply.cursor;
      this.#total = reply.total;
      this.#counted += reply.items.length + reply.left.length + reply.locked.length;
    }
    this.#batchUp(reply.items, reading.noted, asked);
  }

  /** Keys that may lack a joint write are read again, as locked ones are. */
  #withoutDoubtful(reply: Extract<CopyReply, { kind: 'read' }>): typeof reply {
    const { source } = this;
    const isDoubtful = ({ key }: CopyItem) => {
      const text = exactTextOf(key);
      return source !== null && text !== null && this.#isDoubtful(source, text);
    };
    const doubtful = reply.items.filter(isDoubtful);
    if (doubtful.length === 0) return reply;
    return {
      ...reply,
      items: reply.items.filter((item) => !doubtful.includes(item)),
      locked: [...reply.locked, ...doubtful.map(({ key }) => key)],
    };
  }

  #batchUp(items: readonly CopyItem[], noted: number, asked: ReadonlyMap<Bytes, RetryKey>): void {
    if (items.length === 0) return;
    const oldest = Math.min(noted, ...items.map(({ key }) => asked.get(key)?.noted ?? noted));
    const pieces = new Set<Bytes>();
    for (const { key, from } of asked.values()) if (from !== '') pieces.add(key);
    this.#batches.push({ items, noted: oldest, pieces });
  }

  #readAgain({ step, keys }: Reading): void {
    if (step.kind === 'read' && step.form === 'absent') {
      this.#removable.push(...keys.map(({ key }) => key));
    } else for (const again of keys) this.#retries.set(again.key, { ...again, from: '' });
  }

  #wrote(failed: Extract<CopyReply, { kind: 'written' }>['failed'] | null): CopyTurn {
    const batch = this.#writing;
    this.#writing = null;
    if (batch === null) return going;
    if (failed === null) {
      // It may have arrived or not, and may still arrive: a later one with a higher number settles that.
      for (const { key } of batch.items) this.#retries.set(key, { key, from: '', noted: 0 });
      return going;
    }
    const refused = new Set(failed.map(({ key }) => key));
    // A later piece does not fit the earlier ones if a write came between: that is no fault of the target.
    const [first] = failed.filter(({ key }) => !batch.pieces.has(key));
    const [broken] = failed.filter(({ key }) => batch.pieces.has(key));
    if (broken !== undefined) this.#brokenPieces += 1;
    const unfit = this.#isLogical ? first : undefined;
    const fault = unfit ?? (this.#brokenPieces > limits.copyPiecesBroken ? broken : undefined);
    if (fault !== undefined) {
      return { kind: 'failed', reason: `it could not take a key: ${fault.reason}` };
    }
    if (first !== undefined) this.#isLogical = true;
    const copied: string[] = [];
    for (const { key, next } of batch.items) {
      if (refused.has(key)) this.#retries.set(key, { key, from: '', noted: 0 });
      else if (next !== null) this.#retries.set(key, { key, from: next, noted: batch.noted });
      else {
        this.#copiedCount += 1;
        this.#pass.delete(key);
        const text = exactTextOf(key);
        if (text !== null) copied.push(text);
      }
    }
    this.target.missed.settle(copied, batch.noted);
    return going;
  }

  #beginPass(): void {
    for (const key of this.#retries.keys()) this.#pass.add(key);
    for (const text of this.target.missed.keys()) this.#pass.add(bytesOfText(text));
  }

  /** Requests to a former source go to the next one. */
  #giveBack(): void {
    const reading = this.#reading;
    this.#reading = null;
    if (reading !== null) this.#readAgain(reading);
    for (const [key, again] of this.#retries) this.#retries.set(key, { ...again, from: '' });
  }
}
