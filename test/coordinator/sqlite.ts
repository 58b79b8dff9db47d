import { DatabaseSync, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import type { Sql, SqlObjectStorage, SqlValue } from '../../functions/coordinator/storage/sql.ts';

/** The bounds of the platform, which a local SQLite does not have. */
const rowBytes = 2_000_000;
const parameters = 100;
const statementBytes = 100_000;
const pageBytes = 4_096;

/** Bytes as the platform counts those of a value. */
function bytesOf(value: SqlValue): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  return value instanceof ArrayBuffer ? value.byteLength : 8;
}

/** A row as the platform gives it: a BLOB is an ArrayBuffer of its own. */
function rowOf(row: Record<string, SQLOutputValue>): Record<string, SQLOutputValue | ArrayBuffer> {
  const isBlob = (value: SQLOutputValue) => value instanceof Uint8Array;
  if (!Object.values(row).some(isBlob)) return row;
  const values = Object.entries(row).map(([name, value]) => [
    name,
    value instanceof Uint8Array ? new Uint8Array(value).buffer : value,
  ]);
  return Object.fromEntries(values);
}

/** The SQLite of one object, in memory, with the bounds of the platform. */
export class MemoryStorage implements SqlObjectStorage {
  readonly #database = new DatabaseSync(':memory:');
  /** The database size that it reports, unless a test sets it. */
  #databaseSize: number | null = null;
  /** Throws the error with which a statement is to fail. */
  fails: (statement: string, values: readonly SqlValue[]) => void = () => {};
  readonly sql: Sql & { databaseSize: number };

  constructor() {
    this.#database.exec(`PRAGMA page_size = ${pageBytes}`);
    const exec: Sql['exec'] = <Row extends Record<string, SqlValue>>(
      text: string,
      ...values: SqlValue[]
    ) => {
      const rows = this.#run(text, values) as Row[];
      return Object.assign(rows.values(), { toArray: () => rows });
    };
    const sizeOf = () => this.#databaseSize ?? this.#bytesInUse();
    const setSize = (bytes: number) => {
      this.#databaseSize = bytes;
    };
    this.sql = {
      exec,
      get databaseSize() {
        return sizeOf();
      },
      /** Set by tests of a full object. */
      set databaseSize(bytes: number) {
        setSize(bytes);
      },
    };
  }

  /** Lets the database grow to `bytes`, and no further: then it is full, as the platform's is at its bound. */
  limit(bytes: number): void {
    this.#database.exec(`PRAGMA max_page_count = ${Math.ceil(bytes / pageBytes)}`);
  }

  /** The rows written so far, of tables and of their indexes, as the platform bills them. */
  get rowsWritten(): number {
    return this.#rowsWritten;
  }

  #rowsWritten = 0;
  readonly #statements = new Map<string, StatementSync>();

  transactionSync<Result>(work: () => Result): Result {
    this.#database.exec('SAVEPOINT work');
    try {
      const result = work();
      this.#database.exec('RELEASE work');
      return result;
    } catch (error) {
      // A database that is full has rolled all of it back already.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK TO work; RELEASE work');
      throw error;
    }
  }

  #run(text: string, values: readonly SqlValue[]): unknown[] {
    this.fails(text, values);
    if (values.length > parameters) throw new Error('too many SQL variables');
    if (Buffer.byteLength(text) > statementBytes) throw new Error('statement too long');
    const bytes = values.reduce<number>((sum, value) => sum + bytesOf(value), 0);
    if (bytes >= rowBytes) throw new Error('string or blob too big: SQLITE_TOOBIG');
    // A text with several statements has no values.
    if (/;\s*\S/.test(text)) {
      this.#database.exec(text);
      return [];
    }
    const before = this.#changes();
    const given = values.map((value) =>
      value instanceof ArrayBuffer ? new Uint8Array(value) : value,
    );
    const rows = this.#prepared(text)
      .all(...given)
      .map(rowOf);
    const changed = this.#changes() - before;
    if (changed > 0) this.#rowsWritten += changed * (1 + this.#indexesOf(text));
    return rows;
  }

  #changes(): number {
    return Number(this.#prepared('SELECT total_changes() AS n').get()?.n ?? 0);
  }

  /** The most indexes that the table of a statement has: partial ones count, too. */
  #indexesOf(text: string): number {
    const [, table = ''] = /(?:INTO|UPDATE|FROM)\s+(\w+)/i.exec(text) ?? [];
    const named = "SELECT count(*) AS n FROM sqlite_master WHERE type = 'index' AND tbl_name = ?";
    return Number(this.#prepared(named).get(table)?.n ?? 0);
  }

  #prepared(text: string): StatementSync {
    const known = this.#statements.get(text) ?? this.#database.prepare(text);
    this.#statements.set(text, known);
    return known;
  }

  #bytesInUse(): number {
    const pages = this.#database
      .prepare(
        'SELECT (SELECT * FROM pragma_page_count) - (SELECT * FROM pragma_freelist_count) AS n',
      )
      .get();
    return Number(pages?.n ?? 0) * pageBytes;
  }
}
