/** Stores the members of a shard. */
import type {
  BlockedKey,
  MemberChange,
  RegionConfiguration,
} from '../../../shared/contracts/members.ts';
import type { RoundPair } from '../../../shared/contracts/round.ts';
import type { RegionId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type {
  Leaving,
  Membership,
  MissedKeys,
  StoredRegion,
} from '../../../shared/protocol/io/stored.ts';
import type { AddressStorage } from '../region-registry.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

/** The pair of a region changes with every round, so the log has it (log-step.ts): `counter` and `mark` are unused. */
const schema = `
  CREATE TABLE IF NOT EXISTS member (
    id TEXT PRIMARY KEY, generation INTEGER NOT NULL, begun INTEGER NOT NULL, counter INTEGER, mark TEXT,
    membership TEXT NOT NULL, former TEXT NOT NULL, takes INTEGER NOT NULL DEFAULT 0,
    agreed INTEGER
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS missed (
    region TEXT NOT NULL, key TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (region, key)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS blocked (key TEXT PRIMARY KEY, detail TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS member_history (sequence INTEGER PRIMARY KEY, value TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS region_address (id TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
`;

type MemberRow = {
  id: RegionId;
  generation: number;
  begun: number;
  membership: string;
  former: string;
  takes: number;
  agreed: number | null;
};

/** The stored members of a shard: their states, the keys that each has missed, and the history of their changes. */
export class MemberStorage implements AddressStorage {
  readonly #sql: Sql;
  /** The stored row of each region, without its pair, as text. */
  readonly #rows = new Map<RegionId, string>();

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
    this.#addColumn('takes', 'INTEGER NOT NULL DEFAULT 0');
    this.#addColumn('agreed', 'INTEGER');
  }

  /** Adds a column that the table of an older form does not have. */
  #addColumn(column: string, type: string): void {
    const columns = this.#sql.exec<{ name: string }>(
      "SELECT name FROM pragma_table_info('member')",
    );
    if (columns.toArray().some(({ name }) => name === column)) return;
    this.#sql.exec(`ALTER TABLE member ADD COLUMN ${column} ${type}`);
  }

  /** The regions, each with its pair. */
  regions(pairs: Readonly<Record<RegionId, RoundPair>>): readonly StoredRegion[] {
    const regions = this.#sql
      .exec<MemberRow>('SELECT * FROM member ORDER BY id')
      .toArray()
      .map((row) => regionOf(row, pairs[row.id] ?? null));
    for (const stored of regions) this.#rows.set(stored.region, textWithoutPair(stored));
    return regions;
  }

  /** Stores a region, without its pair, unless its row has all of that. */
  keepRegion(stored: StoredRegion): void {
    const { region, generation, former, begun, takes, agreed, membership } = stored;
    const text = textWithoutPair(stored);
    if (this.#rows.get(region) === text) return;
    this.#rows.set(region, text);
    this.#sql.exec(
      `INSERT OR REPLACE INTO member (id, generation, begun, membership, former, takes, agreed)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      region,
      generation,
      begun ? 1 : 0,
      membershipText(membership),
      JSON.stringify(former),
      takes,
      agreed,
    );
  }

  /** Forgets a region and the keys that it missed. */
  forget(region: RegionId): void {
    this.#rows.delete(region);
    this.#sql.exec('DELETE FROM member WHERE id = ?', region);
    this.copied(region, null);
  }

  missed(): readonly MissedKeys[] {
    const missed = new Map<RegionId, [key: string, sequence: number][]>();
    const rows = this.#sql.exec<{ region: RegionId; key: string; sequence: number }>(
      'SELECT region, key, sequence FROM missed ORDER BY region, key',
    );
    for (const { region, key, sequence } of rows) {
      const keys = missed.get(region);
      if (keys === undefined) missed.set(region, [[key, sequence]]);
      else keys.push([key, sequence]);
    }
    return [...missed].map(([region, keys]) => ({ region, keys }));
  }

  /** Marks keys as missed. If a key is marked already, the higher sequence counts. */
  miss({ region, keys }: MissedKeys): void {
    for (const [key, sequence] of keys) {
      this.#sql.exec(
        `INSERT INTO missed (region, key, sequence) VALUES (?, ?, ?)
         ON CONFLICT (region, key) DO UPDATE SET sequence = max(sequence, excluded.sequence)`,
        region,
        key,
        sequence,
      );
    }
  }

  /** Clears the marks of keys; null: all marks of the region. */
  copied(region: RegionId, keys: readonly string[] | null): void {
    if (keys === null) this.#sql.exec('DELETE FROM missed WHERE region = ?', region);
    for (const key of keys ?? []) {
      this.#sql.exec('DELETE FROM missed WHERE region = ? AND key = ?', region, key);
    }
  }

  blocked(): readonly BlockedKey[] {
    return this.#sql
      .exec<{ key: string; detail: string }>('SELECT key, detail FROM blocked ORDER BY key')
      .toArray();
  }

  block(keys: readonly BlockedKey[]): void {
    for (const { key, detail } of keys) {
      this.#sql.exec('INSERT OR REPLACE INTO blocked (key, detail) VALUES (?, ?)', key, detail);
    }
  }

  unblock(keys: readonly string[]): void {
    for (const key of keys) this.#sql.exec('DELETE FROM blocked WHERE key = ?', key);
  }

  /** Adds to the history, to which the retention of writes does not apply. */
  remember(change: MemberChange): void {
    const value = JSON.stringify(change);
    this.#sql.exec('INSERT INTO member_history VALUES (?, ?)', change.sequence, value);
  }

  /** The changes before a sequence, newest first; null: from the newest on. */
  history(before: number | null, limit: number): readonly MemberChange[] {
    return this.#sql
      .exec<{ value: string }>(
        'SELECT value FROM member_history WHERE sequence < ? ORDER BY sequence DESC LIMIT ?',
        before ?? Number.MAX_SAFE_INTEGER,
        limit,
      )
      .toArray()
      .map(({ value }) => parse<MemberChange>(value));
  }

  /** Drops the oldest entries of the history beyond its bound. */
  prune(): void {
    this.#sql.exec(
      `DELETE FROM member_history WHERE sequence <=
       (SELECT sequence FROM member_history ORDER BY sequence DESC LIMIT 1 OFFSET ?)`,
      limits.memberChangesKept,
    );
  }

  addresses(): ReadonlyMap<RegionId, RegionConfiguration | null> {
    const rows = this.#sql
      .exec<{ id: RegionId; value: string | null }>('SELECT id, value FROM region_address')
      .toArray();
    return new Map(
      rows.map(({ id, value }) => [id, value === null ? null : parse<RegionConfiguration>(value)]),
    );
  }

  keepAddress(region: RegionId, address: RegionConfiguration | null): void {
    const value = address === null ? null : JSON.stringify(address);
    this.#sql.exec(
      'INSERT OR REPLACE INTO region_address (id, value) VALUES (?, ?)',
      region,
      value,
    );
  }

  dropAddress(region: RegionId): void {
    this.#sql.exec('DELETE FROM region_address WHERE id = ?', region);
  }
}

function regionOf(row: MemberRow, pair: RoundPair | null): StoredRegion {
  const { id, generation, begun, membership, former, takes, agreed } = row;
  return {
    region: id,
    generation,
    former: parse<readonly number[]>(former),
    begun: begun === 1,
    takes,
    agreed,
    pair,
    membership: membershipOf(membership),
  };
}

function textWithoutPair(stored: StoredRegion): string {
  return JSON.stringify({ ...stored, pair: null });
}

/** The stored form of a reason to leave, or of a membership with one: release 0.1 named `manualReturn` `held`. */
type StoredForm<Reason extends Leaving> = Omit<Reason, 'manualReturn'> & { readonly held: boolean };

/** A membership as it is stored. */
type StoredMembership =
  | StoredForm<Exclude<Membership, { state: 'voter' }>>
  | {
      readonly state: 'voter';
      readonly since: number;
      readonly leaving: StoredForm<Leaving> | null;
    };

function membershipText(membership: Membership): string {
  const form = (reason: Leaving) => {
    const { manualReturn: held, ...rest } = reason;
    return { ...rest, held };
  };
  if (membership.state !== 'voter') return JSON.stringify(form(membership));
  const { leaving } = membership;
  return JSON.stringify({ ...membership, leaving: leaving === null ? null : form(leaving) });
}

function membershipOf(text: string): Membership {
  const stored = parse<StoredMembership>(text);
  if (stored.state !== 'voter') {
    const { held: manualReturn, ...rest } = stored;
    return { ...rest, manualReturn } as Membership;
  }
  if (stored.leaving === null) return { ...stored, leaving: null };
  const { held: manualReturn, ...rest } = stored.leaving;
  return { ...stored, leaving: { ...rest, manualReturn } };
}

/** Only this class writes the rows, so their JSON has the expected shape. */
function parse<Value>(text: string): Value {
  const value: Value = JSON.parse(text);
  return value;
}
