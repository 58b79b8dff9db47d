/** The part of an object's SQLite that is used here, so that a test can stand in for it. */
export interface Sql {
  /** The bytes that are in use: what was deleted does not count. */
  readonly databaseSize: number;
  exec<Row extends Record<string, string | number | null>>(
    statement: string,
    ...values: (string | number | null)[]
  ): Iterable<Row> & { toArray(): Row[] };
}

/** The storage of an object as far as it is used. */
export interface SqlObjectStorage {
  readonly sql: Sql;
  /** Throws what `work` throws, and then nothing of it is kept. */
  transactionSync<Result>(work: () => Result): Result;
}
