/** Stores the steps of the coordinator, one row each, and finds them again. */
import { assert } from '../../../shared/assert.ts';
import { type Bytes, codesOf } from '../../../shared/contracts/bytes.ts';
import { compareOrder, type TransactionOrder, type WriteId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import {
  fingerprintBytes,
  manyKeys,
  ofCommit,
  ofConfirmation,
  ofKey,
  ofWrite,
} from './fingerprints.ts';
import { decodeStep, encodeStep, type LogHead, type LogStep, type ReadStep } from './log-step.ts';
import { packBytes, packTexts, unpackBytes } from './packed.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';
import { type Searched, Unindexed } from './unindexed.ts';

/**
 * The positions of the log follow each other without a gap. A step whose body is larger than a row may be takes several;
 * the first has their number in `parts`, the others 0. `at` (ms since the epoch) and `sequence` (of the last change up
 * to this step) never fall, so that a step is found by either with a few reads. `incarnation` and `number` name the
 * highest commit of the step. `finds` has a fingerprint of everything that a step is looked up by.
 *
 * A row of `log_index` has the fingerprints of many steps together, from `first` to `last`, and the range of the ids and
 * of the transactions in them, so that a look-up reads few rows, however many steps are kept.
 *
 * The one row of `log_head` has the state after steps that added nothing else since the row of the log at `position`: of
 * them there may be very many, while a region is away, and a new life would read them all.
 */
const schema = `
  CREATE TABLE IF NOT EXISTS log (
    position INTEGER PRIMARY KEY, parts INTEGER NOT NULL, at INTEGER NOT NULL, sequence INTEGER NOT NULL,
    incarnation INTEGER, number INTEGER, finds BLOB NOT NULL, body BLOB NOT NULL
  );
  CREATE TABLE IF NOT EXISTS log_index (
    last INTEGER PRIMARY KEY, first INTEGER NOT NULL, low_id TEXT, high_id TEXT, low_incarnation INTEGER,
    low_number INTEGER, high_incarnation INTEGER, high_number INTEGER, finds BLOB NOT NULL
  );
  CREATE TABLE IF NOT EXISTS log_head (id INTEGER PRIMARY KEY, position INTEGER NOT NULL, head TEXT NOT NULL);
`;

/** The first and the last row of a range. */
type Range = { first: number; last: number };

/** A step in the log. */
export interface StoredStep extends ReadStep {
  readonly position: number;
  /** The position of the step after it. */
  readonly next: number;
  readonly at: number;
  /** The sequence of the last change up to this step. */
  readonly sequence: number;
}

/** The facts about a step by which pruning decides. */
export interface OldStep {
  /** Of its last row. */
  readonly last: number;
  readonly at: number;
  readonly sequence: number;
  /** Its highest commit, or null. */
  readonly highest: TransactionOrder | null;
}

type OldRow = {
  position: number;
  parts: number;
  at: number;
  sequence: number;
  incarnation: number | null;
  number: number | null;
};

/**
 * The log of a coordinator: each step of the core that stores anything adds one row, and rows are dropped from the
 * beginning. In memory it has the fingerprints of the last few thousand entries, and nothing that grows with the log.
 */
export class StepLog {
  readonly #sql: Sql;
  /** The positions of the first and of the last row; the last is 0 in an empty log. */
  #first = 1;
  #last = 0;
  #at = 0;
  #sequence = 0;
  #head: LogHead | null = null;
  /** The last row that the index covers. */
  #indexedTo = 0;
  #unindexed = new Unindexed();
  /** The newest step for each fingerprint since the last row of the index, and between the last two. */
  #recent = new Map<Bytes, number>();
  #older = new Map<Bytes, number>();

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
    this.#readSteps();
    const [row] = this.#sql
      .exec<{ head: string }>('SELECT head FROM log_head WHERE id = 1 AND position = ?', this.#last)
      .toArray();
    if (row !== undefined) this.#head = JSON.parse(row.head);
  }

  #readSteps(): void {
    const [oldest] = this.#sql
      .exec<{ position: number }>('SELECT position FROM log ORDER BY position LIMIT 1')
      .toArray();
    const [newest] = this.#sql
      .exec<{ position: number }>('SELECT position FROM log ORDER BY position DESC LIMIT 1')
      .toArray();
    const [indexed] = this.#sql
      .exec<{ last: number }>('SELECT last FROM log_index ORDER BY last DESC LIMIT 1')
      .toArray();
    if (oldest === undefined || newest === undefined) return;
    this.#first = oldest.position;
    this.#last = newest.position;
    this.#indexedTo = indexed?.last ?? oldest.position - 1;
    for (const step of this.stepsFrom(this.#indexedTo + 1)) {
      this.#note(step, fingerprintsOf(step), step.position);
    }
    const last = this.#lastStep();
    this.#at = last.at;
    this.#sequence = last.sequence;
    this.#head = last.head;
  }

  /** The small state after the last step; null before the first. */
  get head(): LogHead | null {
    return this.#head;
  }

  /** The sequence of the last change; 0 before the first. */
  get sequence(): number {
    return this.#sequence;
  }

  /** The position of the first step that is kept. */
  get first(): number {
    return this.#first;
  }

  /** The position of the last row; 0 in an empty log. */
  get last(): number {
    return this.#last;
  }

  /** The position of the next step. */
  get next(): number {
    return this.#last + 1;
  }

  /**
   * Adds a step. `at` is when it happened, ms since the epoch, and `sequence` that of its last change; neither falls in
   * the log. Returns the bytes of the step.
   */
  append(step: LogStep, at: number, sequence: number): number {
    this.#at = Math.max(this.#at, at);
    this.#sequence = Math.max(this.#sequence, sequence);
    this.#head = step.head;
    const position = this.next;
    const body = codesOf(encodeStep(step));
    const finds = fingerprintsOf(step);
    const highest = highestOf(step);
    const room = limits.rowBytes - limits.recordBytes - finds.length * fingerprintBytes;
    const parts = Math.max(1, Math.ceil(body.length / room));
    for (let part = 0; part < parts; part += 1) {
      const isFirst = part === 0;
      this.#sql.exec(
        `INSERT INTO log (position, parts, at, sequence, incarnation, number, finds, body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
        position + part,
        isFirst ? parts : 0,
        this.#at,
        this.#sequence,
        isFirst ? (highest?.[0] ?? null) : null,
        isFirst ? (highest?.[1] ?? null) : null,
        packBytes(isFirst ? finds.join('') : ''),
        parts === 1 ? body.buffer : body.slice(part * room, (part + 1) * room).buffer,
      );
    }
    this.#last = position + parts - 1;
    this.#unindexed.bytes += body.length;
    this.#note(step, finds, position);
    if (this.#unindexed.isDue) this.#index();
    return body.length;
  }

  /** The step at a position, which must be that of a step. */
  stepAt(position: number): StoredStep {
    const [row] = this.#sql
      .exec<{ parts: number; at: number; sequence: number; body: ArrayBuffer }>(
        'SELECT parts, at, sequence, body FROM log WHERE position = ?',
        position,
      )
      .toArray();
    assert(row !== undefined && row.parts > 0, 'a step begins at this position');
    const { parts, at, sequence } = row;
    let body = unpackBytes(row.body);
    for (let part = 1; part < parts; part += 1) body += unpackBytes(this.#partAt(position + part));
    return { ...decodeStep(body), position, next: position + parts, at, sequence };
  }

  /** Stores the state after a step that adds nothing else. */
  keepHead(head: LogHead): void {
    this.#head = head;
    this.#sql.exec(
      'INSERT OR REPLACE INTO log_head (id, position, head) VALUES (1, ?, ?)',
      this.#last,
      JSON.stringify(head),
    );
  }

  /** The steps from a position on, in order. The position must be that of a step, or beyond the last. */
  *stepsFrom(position: number): Generator<StoredStep> {
    for (let at = Math.max(position, this.#first); at <= this.#last; ) {
      const step = this.stepAt(at);
      yield step;
      at = step.next;
    }
  }

  /** The position of the first step with a later sequence; that of the next step if there is none. */
  firstAfter(sequence: number): number {
    return this.#firstWhere(this.#first, this.next, (at) => this.#sequenceAt(at) > sequence);
  }

  /** The position of the first step with a later sequence than `step`, behind it. It looks in growing strides. */
  nextChangeAfter({ sequence, next }: Pick<StoredStep, 'sequence' | 'next'>): number {
    const isBeyond = (at: number) => this.#sequenceAt(at) > sequence;
    let low = next;
    for (let at = low, stride = 1; at < this.next; at += stride, stride *= 2) {
      if (isBeyond(at)) return this.#firstWhere(low, at, isBeyond);
      low = at + 1;
    }
    return this.#firstWhere(low, this.next, isBeyond);
  }

  /** The position of the first step at a moment (ms since the epoch) or later. */
  firstSince(moment: number): number {
    return this.#firstWhere(
      this.#first,
      this.next,
      (at) => this.#column('SELECT at AS value FROM log WHERE position = ?', at) >= moment,
    );
  }

  /** The steps that may have the record of a write, the newest first. */
  *stepsWithWrite(id: WriteId): Generator<StoredStep> {
    const find = ofWrite(id);
    const ranges = () =>
      this.#sql.exec<Range>(
        `SELECT first, last FROM log_index WHERE low_id <= ? AND high_id >= ? AND instr(finds, ?) > 0
         ORDER BY last DESC`,
        id,
        id,
        packBytes(find),
      );
    yield* this.#stepsWith(find, ranges);
  }

  /** The steps that may have a commit, the newest first. */
  stepsWithCommit(transaction: TransactionOrder): Iterable<StoredStep> {
    return this.#stepsWithTransaction(ofCommit(transaction), transaction);
  }

  /** The steps that may have the confirmation of a commit, the newest first. */
  stepsWithConfirmation(transaction: TransactionOrder): Iterable<StoredStep> {
    return this.#stepsWithTransaction(ofConfirmation(transaction), transaction);
  }

  /** The steps that may have a commit to a key, the newest first, besides those with too many keys to list. */
  stepsWithKey(key: string): Iterable<StoredStep> {
    return this.#stepsWithAny(ofKey(key), null);
  }

  /** The steps with too many keys to list that may have a commit to a key, the newest first. */
  stepsWithManyKeys(key: string): Iterable<StoredStep> {
    return this.#stepsWithAny(ofKey(manyKeys), packTexts([key]));
  }

  #stepsWithAny(find: Bytes, within: Bytes | null): Iterable<StoredStep> {
    const ranges = () =>
      this.#sql.exec<Range>(
        'SELECT first, last FROM log_index WHERE instr(finds, ?) > 0 ORDER BY last DESC',
        packBytes(find),
      );
    return this.#stepsWith(find, ranges, within);
  }

  /** The oldest steps, which begin in the first `rows`. The last step of the log is not among them. */
  oldest(rows: number): readonly OldStep[] {
    return this.#sql
      .exec<OldRow>(
        'SELECT position, parts, at, sequence, incarnation, number FROM log ORDER BY position LIMIT ?',
        rows,
      )
      .toArray()
      .filter(({ parts }) => parts > 0)
      .map(({ position, parts, at, sequence, incarnation, number }) => ({
        last: position + parts - 1,
        at,
        sequence,
        highest: incarnation === null || number === null ? null : ([incarnation, number] as const),
      }))
      .filter(({ last }) => last < this.#last);
  }

  /** Drops the steps up to the one whose last row is at `last`. The last step must stay: it has the present state. */
  drop(last: number): void {
    assert(last < this.#last, 'the last step stays');
    this.#sql.exec('DELETE FROM log WHERE position <= ?', last);
    this.#sql.exec('DELETE FROM log_index WHERE last <= ?', last);
    this.#first = last + 1;
  }

  /** Remembers a step at a position, with its fingerprints, until they are indexed. */
  #note(step: Searched, finds: readonly Bytes[], position: number): void {
    for (const find of finds) this.#recent.set(find, position);
    this.#unindexed.add(step, finds);
  }

  /** Adds a row to the index, for all steps since the last one. */
  #index(): void {
    const { lowId, highId, low, high, finds } = this.#unindexed;
    this.#sql.exec(
      `INSERT INTO log_index (last, first, low_id, high_id, low_incarnation, low_number, high_incarnation,
         high_number, finds)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      this.#last,
      this.#indexedTo + 1,
      lowId,
      highId,
      low?.[0] ?? null,
      low?.[1] ?? null,
      high?.[0] ?? null,
      high?.[1] ?? null,
      packBytes(finds.join('')),
    );
    this.#indexedTo = this.#last;
    this.#unindexed = new Unindexed();
    this.#older = this.#recent;
    this.#recent = new Map();
  }

  *#stepsWithTransaction(
    find: Bytes,
    [incarnation, number]: TransactionOrder,
  ): Generator<StoredStep> {
    const ranges = () =>
      this.#sql.exec<Range>(
        `SELECT first, last FROM log_index
         WHERE (low_incarnation, low_number) <= (?, ?) AND (high_incarnation, high_number) >= (?, ?)
           AND instr(finds, ?) > 0
         ORDER BY last DESC`,
        incarnation,
        number,
        incarnation,
        number,
        packBytes(find),
      );
    yield* this.#stepsWith(find, ranges);
  }

  /** The steps with a fingerprint, the newest first: of the memory, and then of the index. `within`: see `#stepsIn`. */
  *#stepsWith(
    find: Bytes,
    ranges: () => Iterable<Range>,
    within: Bytes | null = null,
  ): Generator<StoredStep> {
    const recent = this.#recent.get(find) ?? this.#older.get(find) ?? 0;
    if (recent >= this.#first) yield this.stepAt(recent);
    // The memory has only the newest step of those with the same fingerprint.
    if (recent > this.#indexedTo) {
      yield* this.#stepsIn({ first: this.#indexedTo + 1, last: recent - 1 }, find, within);
    }
    for (const range of [...ranges()]) yield* this.#stepsIn(range, find, within);
  }

  /** The steps of a range with a fingerprint, and with the bytes `within` if they are in one row. */
  *#stepsIn({ first, last }: Range, find: Bytes, within: Bytes | null): Generator<StoredStep> {
    const bounds = [first, last, packBytes(find)] as const;
    const rows =
      within === null
        ? this.#sql.exec<{ position: number }>(
            'SELECT position FROM log WHERE position BETWEEN ? AND ? AND instr(finds, ?) > 0 ORDER BY position DESC',
            ...bounds,
          )
        : this.#sql.exec<{ position: number }>(
            `SELECT position FROM log WHERE position BETWEEN ? AND ? AND instr(finds, ?) > 0
             AND (parts > 1 OR instr(body, ?) > 0) ORDER BY position DESC`,
            ...bounds,
            packBytes(within),
          );
    for (const { position } of rows.toArray()) yield this.stepAt(position);
  }

  #partAt(position: number): ArrayBuffer {
    const [row] = this.#sql
      .exec<{ body: ArrayBuffer }>('SELECT body FROM log WHERE position = ?', position)
      .toArray();
    assert(row !== undefined, 'a step has all its rows');
    return row.body;
  }

  #lastStep(): StoredStep {
    // The last row may be a further part of the last step.
    const [row] = this.#sql
      .exec<{ position: number }>(
        'SELECT position FROM log WHERE parts > 0 ORDER BY position DESC LIMIT 1',
      )
      .toArray();
    assert(row !== undefined, 'a log with rows has a step');
    return this.stepAt(row.position);
  }

  /** The first position from `from` on, before `end`, for which `isBeyond` is true, as for all after it; else `end`. */
  #firstWhere(from: number, end: number, isBeyond: (position: number) => boolean): number {
    let low = from;
    let high = end;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (isBeyond(middle)) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #sequenceAt(position: number): number {
    return this.#column('SELECT sequence AS value FROM log WHERE position = ?', position);
  }

  #column(statement: string, position: number): number {
    const [row] = this.#sql.exec<{ value: number }>(statement, position).toArray();
    assert(row !== undefined, 'the positions of the log have no gap');
    return row.value;
  }
}

/** The fingerprints of all that a step is looked up by, each once. */
function fingerprintsOf({ decisions, rejected, abandoned, confirmed }: Searched): readonly Bytes[] {
  const keys = new Set(decisions.flatMap((decision) => decision.keys));
  const isListed = keys.size <= limits.keysListedPerStep;
  return [
    ...decisions.flatMap(({ writes }) => writes.map(({ record }) => ofWrite(record.id))),
    ...[...rejected, ...abandoned].map(({ id }) => ofWrite(id)),
    ...decisions.map(({ transaction }) => ofCommit(transaction)),
    ...confirmed.map(({ transaction }) => ofConfirmation(transaction)),
    ...(isListed ? [...keys].map(ofKey) : [ofKey(manyKeys)]),
  ];
}

function highestOf({ decisions }: LogStep): TransactionOrder | null {
  return decisions.reduce<TransactionOrder | null>(
    (highest, { transaction }) =>
      highest === null || compareOrder(transaction, highest) > 0 ? transaction : highest,
    null,
  );
}
