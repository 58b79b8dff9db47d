/** Reads the format number of an object's storage. */
import type { Sql } from '../coordinator/storage/sql.ts';

/** Thrown if this release cannot read the format of a storage, which is left unchanged. */
export class UnknownStorageFormat extends Error {
  override readonly name = 'UnknownStorageFormat';

  /** `whose` names the object; this release reads its storage up to the format `newest`. */
  constructor(whose: string, format: number, newest: number) {
    super(
      `the ${whose}'s storage has format ${format}, and this release reads up to ${newest}: deploy the release that wrote it, or a later one`,
    );
  }
}

/**
 * The format in the table `meta` of a storage; 1 if there is none, because release 0.1 stored no number. It only reads.
 * Throws {@link UnknownStorageFormat} for a format later than `newest`.
 */
export function writtenFormat(sql: Sql, whose: string, newest: number): number {
  if (!hasTable(sql, 'meta')) return 1;
  const [row] = sql
    .exec<{ value: number }>("SELECT value FROM meta WHERE name = 'format'")
    .toArray();
  const format = row?.value ?? 1;
  if (format > newest) throw new UnknownStorageFormat(whose, format, newest);
  return format;
}

/** True if the storage has a table of this name. */
export function hasTable(sql: Sql, name: string): boolean {
  const tables = sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name);
  return tables.toArray().length > 0;
}
