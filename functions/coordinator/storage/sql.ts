/** The SQLite of a Durable Object, as types. */

/** A value of a row. A BLOB is an ArrayBuffer. */
export type SqlValue = string | number | null | ArrayBuffer;

/** The part of an object's SQLite that is used here, so that a test can replace it. */
export interface Sql {
  /** The bytes in use, without deleted rows. */
  readonly databaseSize: number;
  exec<Row extends Record<string, SqlValue>>(
    statement: string,
    ...values: SqlValue[]
  ): Iterable<Row> & { toArray(): Row[] };
}

/** The part of an object's storage that is used here. */
export interface SqlObjectStorage {
  readonly sql: Sql;
  /** Runs `work` in a transaction. An error of `work` is thrown, and rolls everything back. */
  transactionSync<Result>(work: () => Result): Result;
}
