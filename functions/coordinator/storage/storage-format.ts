import { limits } from '../../../shared/limits.ts';
import { hasTable, writtenFormat } from '../../platform/storage-form.ts';
import type { Sql } from './sql.ts';

/**
 * The form of a coordinator's storage. Format 1 is that of release 0.1, which wrote no number. Raise it with each change
 * that the release before would misread, and turn the old form into the new one when a life begins.
 */
export const storageFormat = 2;

/** The format of the storage, or null where nothing is stored. It only reads. */
export function formatOf(sql: Sql): number | null {
  return hasTable(sql, 'meta') ? writtenFormat(sql, 'coordinator', storageFormat) : null;
}

/**
 * What a storage has to have before the tables and indexes of this release are made. Keys, commands and outcomes stay in
 * their old form, which change-log.ts reads.
 */
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
 * Turns the form of an older release into that of this one. Idempotency keys of release 0.1 belong to no token; until the
 * last of them is over (`plain_keys_until`), a key that is not found under its token is looked up without it.
 */
export function upgrade(sql: Sql, format: number | null): void {
  // Before release 0.1 there was a time without these tables: then there is nothing to turn.
  if (format === 1 && hasTable(sql, 'write')) sql.exec(fromFormat1);
}
