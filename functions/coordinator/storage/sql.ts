/** A value of a row. A BLOB is an ArrayBuffer. */
export type SqlValue = string | number | null | ArrayBuffer;

/** The part of an object's SQLite that is used here, so that a test can stand in for it. */
export interface Sql {
  /** The bytes that are in use: what was deleted does not count. */
  readonly databaseSize: number;
  exec<Row extends Record<string, SqlValue>>(
    statement: string,
    ...values: SqlValue[]
  ): Iterable<Row> & { toArray(): Row[] };
}

/** The storage of an object as far as it is used. */
export interface SqlObjectStorage {
  readonly sql: Sql;
  /** Throws what `work` throws, and then nothing of it is kept. */
  transactionSync<Result>(work: () => Result): Result;
}
