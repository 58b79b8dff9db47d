/** Stores the answers of writes under their idempotency keys. */
import type { WriteRecord } from '../../../shared/contracts/coordinator.ts';
import { plainKeyOf } from '../../../shared/http/idempotency.ts';
import type { RecordedWrite } from '../../../shared/protocol/io/events.ts';
import type { DecidedWrite } from '../../../shared/protocol/io/stored.ts';
import { packBytes, unpackBytes } from './packed.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

/**
 * A row has a record of its own, besides the one in the log, because the two are kept for different times. The outcome
 * is in `part`.
 */
const schema = `
  CREATE TABLE IF NOT EXISTS kept_answer (
    key TEXT PRIMARY KEY, digest TEXT NOT NULL, kept_until INTEGER NOT NULL, record TEXT NOT NULL, part BLOB NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS kept_answer_age ON kept_answer (kept_until);
`;

/** The answers of the writes that came with an idempotency key, each until the moment that it names (rule R46). */
export class KeptAnswers {
  readonly #sql: Sql;
  /** Until when keys of release 0.1, which belong to no token, are kept, ms since the epoch. */
  readonly #plainKeysUntil: () => number;

  constructor(storage: Pick<SqlObjectStorage, 'sql'>, plainKeysUntil: () => number) {
    this.#sql = storage.sql;
    this.#plainKeysUntil = plainKeysUntil;
  }

  begin(): void {
    this.#sql.exec(schema);
  }

  /** Keeps the answer of a write, if it has a key. Returns its bytes, about. */
  keep({ record, idempotency }: Pick<DecidedWrite, 'record' | 'idempotency'>): number {
    if (idempotency === null) return 0;
    return this.keepUntil(record.keptUntil ?? record.decidedAt, record, idempotency);
  }

  /** Keeps an answer until a moment, ms since the epoch. Returns its bytes, about. */
  keepUntil(
    keptUntil: number,
    record: WriteRecord,
    { key, digest }: NonNullable<DecidedWrite['idempotency']>,
  ): number {
    const text = JSON.stringify({ ...record, part: '' });
    this.#sql.exec(
      'INSERT INTO kept_answer (key, digest, kept_until, record, part) VALUES (?, ?, ?, ?, ?)',
      ...[key, digest, keptUntil, text, packBytes(record.part)],
    );
    return text.length + record.part.length;
  }

  /** The write recorded under an idempotency key, or null. `now` is the clock, ms since the epoch. */
  under(key: string, now: number): RecordedWrite | null {
    const recorded = this.#find(key);
    if (recorded !== null || now > this.#plainKeysUntil()) return recorded;
    return this.#find(plainKeyOf(key));
  }

  /** Drops some answers whose moment came before `moment`, ms since the epoch; true if there may be more to drop. */
  drop(moment: number, rows: number): boolean {
    const dropped = this.#sql
      .exec(
        `DELETE FROM kept_answer WHERE key IN (SELECT key FROM kept_answer INDEXED BY kept_answer_age
         WHERE kept_until < ? ORDER BY kept_until LIMIT ?) RETURNING 1`,
        moment,
        rows,
      )
      .toArray();
    return dropped.length === rows;
  }

  #find(key: string): RecordedWrite | null {
    const [row] = this.#sql
      .exec<{ digest: string; record: string; part: ArrayBuffer }>(
        'SELECT digest, record, part FROM kept_answer WHERE key = ?',
        key,
      )
      .toArray();
    if (row === undefined) return null;
    const record: WriteRecord = JSON.parse(row.record);
    return { record: { ...record, part: unpackBytes(row.part) }, digest: row.digest };
  }
}
