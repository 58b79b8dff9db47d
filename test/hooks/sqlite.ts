import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import type { Sql, SqlObjectStorage } from '../../functions/coordinator/sql.ts';

type Values = (string | number | null)[];

/** The SQLite of one object, in memory. */
export class MemoryStorage implements SqlObjectStorage {
  readonly #database = new DatabaseSync(':memory:');
  readonly sql: Sql & { databaseSize: number } = {
    /** Set by tests of a full object. */
    databaseSize: 0,
    exec: <Row extends Record<string, string | number | null>>(text: string, ...values: Values) => {
      const rows = this.#run(text, values) as Row[];
      return Object.assign(rows.values(), { toArray: () => rows });
    },
  };

  transactionSync<Result>(work: () => Result): Result {
    this.#database.exec('SAVEPOINT work');
    try {
      const result = work();
      this.#database.exec('RELEASE work');
      return result;
    } catch (error) {
      this.#database.exec('ROLLBACK TO work; RELEASE work');
      throw error;
    }
  }

  #run(text: string, values: readonly SQLInputValue[]): unknown[] {
    // Several statements in one text have no values.
    if (/;\s*\S/.test(text)) {
      this.#database.exec(text);
      return [];
    }
    return this.#database.prepare(text).all(...values);
  }
}
