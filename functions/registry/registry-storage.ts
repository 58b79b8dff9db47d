/** Stores the map of the shards, in the SQLite of the registry's object. */
import { assert } from '../../shared/assert.ts';
import type { ProvingStorage } from '../../shared/contracts/rpc.ts';
import { parseShardMap } from '../../shared/shards/map-schema.ts';
import type { ShardMap } from '../../shared/shards/shard-map.ts';
import type { SqlObjectStorage } from '../coordinator/storage/sql.ts';
import { hasTable, writtenFormat } from '../platform/storage-form.ts';

/**
 * The format of the registry's storage. Raise it with each change that the previous release would misread, and convert
 * the old format when a life begins.
 */
export const registryFormat = 1;

const schema = `
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS shard_map (version INTEGER PRIMARY KEY, value TEXT NOT NULL);
`;

/** The durable state of the registry: the newest map of the shards. */
export class RegistryStorage implements ProvingStorage {
  readonly #storage: SqlObjectStorage;
  #map: ShardMap | null = null;
  #writesBegun = 0;

  constructor(storage: SqlObjectStorage) {
    this.#storage = storage;
  }

  /**
   * Returns the stored map; stores and returns `first` if there is none. Throws {@link UnknownStorageFormat} before it
   * writes anything, and an error if the stored map is damaged: no map is better than a wrong one.
   */
  begin(first: ShardMap): ShardMap {
    const { sql } = this.#storage;
    if (hasTable(sql, 'meta')) writtenFormat(sql, 'registry', registryFormat);
    const map = this.#storage.transactionSync(() => {
      sql.exec(schema);
      return this.#read() ?? this.#keep(first);
    });
    this.#map = map;
    return map;
  }

  /** The newest map. */
  get map(): ShardMap {
    assert(this.#map !== null, 'the life has begun');
    return this.#map;
  }

  /** The number of writes that this instance has begun; each that succeeds proves that it owns its storage. */
  get writesBegun(): number {
    return this.#writesBegun;
  }

  /** A write whose success proves that this instance still owns its storage. */
  prove(): void {
    this.#writesBegun += 1;
    this.#storage.sql.exec(
      `INSERT INTO meta (name, value) VALUES ('proof', 1)
       ON CONFLICT (name) DO UPDATE SET value = (value + 1) % 1000000`,
    );
  }

  #read(): ShardMap | null {
    const [row] = this.#storage.sql
      .exec<{ value: string }>(
        'SELECT value FROM shard_map WHERE version > 0 ORDER BY version DESC LIMIT 1',
      )
      .toArray();
    if (row === undefined) return null;
    const parsed = parseShardMap(JSON.parse(row.value));
    if (!parsed.ok) throw new Error(`the stored map cannot be read: ${parsed.detail}`);
    return parsed.map;
  }

  #keep(map: ShardMap): ShardMap {
    const { sql } = this.#storage;
    this.#writesBegun += 1;
    sql.exec("INSERT OR REPLACE INTO meta (name, value) VALUES ('format', ?)", registryFormat);
    sql.exec(
      'INSERT INTO shard_map (version, value) VALUES (?, ?)',
      ...[map.version, JSON.stringify(map)],
    );
    return map;
  }
}
