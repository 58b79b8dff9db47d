/** Stores the slots that a shard owns. */
import { assert } from '../../../shared/assert.ts';
import type { ShardId } from '../../../shared/ids.ts';
import { parseOwnership } from '../../../shared/shards/map-schema.ts';
import type { Ownership } from '../../../shared/shards/shard-map.ts';
import { hasTable } from '../../platform/storage-form.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS owned_slots (shard INTEGER PRIMARY KEY, value TEXT);
`;

type Row = { shard: ShardId; value: string | null };

/** The only shard of releases that did not store which one it was. */
const shardOfOldReleases: ShardId = 0;

/** The shard whose storage this is; null if nothing was ever stored. It only reads. */
export function storedShardOf(sql: Sql): ShardId | null {
  if (!hasTable(sql, 'owned_slots')) return hasTable(sql, 'meta') ? shardOfOldReleases : null;
  const [row] = sql
    .exec<{ shard: ShardId }>('SELECT shard FROM owned_slots WHERE shard >= 0')
    .toArray();
  return row?.shard ?? shardOfOldReleases;
}

/** The number of a shard, and the slots that it owns. A storage of an older release has none of this. */
export class SlotStorage {
  readonly #sql: Sql;
  readonly #shard: ShardId;

  constructor(storage: Pick<SqlObjectStorage, 'sql'>, shard: ShardId) {
    this.#sql = storage.sql;
    this.#shard = shard;
  }

  begin(): void {
    this.#sql.exec(schema);
    const insert = 'INSERT OR IGNORE INTO owned_slots (shard, value) VALUES (?, NULL)';
    if (this.#row() === undefined) this.#sql.exec(insert, this.#shard);
  }

  /** The slots that the shard owns; null if no answer of the registry has been stored. */
  read(): Ownership | null {
    const row = this.#row();
    assert(row?.shard === this.#shard, 'a storage belongs to one shard');
    return row.value === null ? null : parseOwnership(JSON.parse(row.value));
  }

  keep(ownership: Ownership): void {
    this.#sql.exec(
      'INSERT OR REPLACE INTO owned_slots (shard, value) VALUES (?, ?)',
      ...[this.#shard, JSON.stringify(ownership)],
    );
  }

  #row(): Row | undefined {
    return this.#sql
      .exec<Row>('SELECT shard, value FROM owned_slots WHERE shard >= 0')
      .toArray()[0];
  }
}
