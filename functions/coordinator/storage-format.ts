import type { Sql } from './sql.ts';

/**
 * The form of a coordinator's storage. Format 1 is that of release 0.1, which wrote no number. Raise it with each change
 * that the release before would misread, and turn the old form into the new one when a life begins.
 */
export const storageFormat = 1;

/** Thrown where the storage has a form that this release cannot read: nothing of it was read or changed. */
export class UnknownStorageFormat extends Error {
  override readonly name = 'UnknownStorageFormat';

  constructor(format: number) {
    super(
      `the coordinator's storage has format ${format}, and this release reads up to ${storageFormat}: deploy the release that wrote it, or a later one`,
    );
  }
}

/** The format of the storage, or null where nothing is stored. It only reads. */
export function formatOf(sql: Sql): number | null {
  const [table] = sql
    .exec<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'")
    .toArray();
  if (table === undefined) return null;
  const [row] = sql
    .exec<{ value: number }>("SELECT value FROM meta WHERE name = 'format'")
    .toArray();
  const format = row?.value ?? 1;
  if (format > storageFormat) throw new UnknownStorageFormat(format);
  return format;
}
