/** Numbers the formats of the storage, and converts old ones. */
import { limits } from '../../../shared/limits.ts';
import { hasTable, writtenFormat } from '../../platform/storage-form.ts';
import type { Sql } from './sql.ts';

/**
 * The format of a coordinator's storage. Format 1 is that of release 0.1, which stored no number; 2 had the same tables,
 * with packed values; 3 has the log of steps. Raise it with each change that the previous release would misread, and
 * convert the old format when a life begins.
 */
export const storageFormat = 3;

/**
 * The format of a storage that has taken part in a joint write: format 3 with loans and with the shares of joint commits. A
 * release that knows only format 3 would drop the other shares, and forget the loans. A shard that is alone never has it.
 */
export const jointStorageFormat = 4;

/** True for a storage in a form that needs no conversion. */
export function isCurrent(format: number | null): boolean {
  return format === storageFormat || format === jointStorageFormat;
}

/** The format of the storage, or null if it is empty. It only reads. */
export function formatOf(sql: Sql): number | null {
  return hasTable(sql, 'meta') ? writtenFormat(sql, 'coordinator', jointStorageFormat) : null;
}

/** Converts the tables of format 1 to those of format 2. Keys, commands and outcomes keep their old form. */
const fromFormat1 = `
  ALTER TABLE write ADD COLUMN kept_until INTEGER;
  ALTER TABLE write ADD COLUMN rejected INTEGER;
  ALTER TABLE write ADD COLUMN part BLOB;
  DROP INDEX age;
  UPDATE write SET rejected = 1
    WHERE id NOT IN (SELECT write_id FROM change_log WHERE write_id IS NOT NULL);
  UPDATE write SET kept_until = decided_at + ${limits.keysKeptMsDefault} WHERE idempotency_key IS NOT NULL;
  INSERT INTO meta SELECT 'plain_keys_until', max(kept_until) FROM write HAVING max(kept_until) IS NOT NULL;
`;

/**
 * Converts the storage of release 0.1 to format 2. Idempotency keys of release 0.1 belong to no token; until the last of them
 * expires (`plain_keys_until`), a key that is not found under its token is looked up without it.
 */
export function convertFromFormat1(sql: Sql, format: number | null): void {
  // A storage from before release 0.1 may lack these tables: then there is nothing to convert.
  if (format === 1 && hasTable(sql, 'write')) sql.exec(fromFormat1);
}
