/** The stored endpoint of a courier: its target, its secrets, and whether it rests or is disabled. */
import type { SigningKey } from '../../shared/contracts/webhooks-and-feed.ts';
import type { Sql } from '../coordinator/storage/sql.ts';

/** The table of the endpoint, which has one row. */
export const endpointSchema = `
  CREATE TABLE IF NOT EXISTS endpoint (
    one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, url TEXT NOT NULL, secret TEXT,
    previous_secret TEXT, previous_until INTEGER NOT NULL DEFAULT 0, private_key TEXT NOT NULL,
    failing_since INTEGER, rest_until INTEGER NOT NULL DEFAULT 0,
    disabled_at INTEGER, disabled_reason TEXT, told INTEGER NOT NULL DEFAULT 1
  );
`;

/** The endpoint of a courier. Contains secrets: never log it, never send it outside the object. */
export interface Endpoint {
  readonly id: string;
  readonly url: string;
  readonly secret: string | null;
  /** Also signs, until `previousUntil`, in ms. */
  readonly previousSecret: string | null;
  readonly previousUntil: number;
  readonly privateKey: string;
  readonly failingSince: number | null;
  /** The time before which nothing is sent, in ms. */
  readonly restUntil: number;
  readonly disabledAt: number | null;
  readonly disabledReason: string | null;
  /** False while the coordinator has yet to learn that the endpoint is disabled. */
  readonly isReported: boolean;
}

/** The target to set. */
export interface Target {
  readonly id: string;
  readonly url: string;
  /** Null keeps the current secret. */
  readonly secret: string | null;
  readonly signingKey: SigningKey;
}

type Row = Record<string, string | number | null>;

/** The endpoint, which is stored at once by each change. Without one, changes do nothing. */
export class EndpointStorage {
  readonly #sql: Sql;
  #present: Endpoint | null = null;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** Reads the endpoint, if the tables exist. */
  begin(exists: boolean): void {
    this.#present = exists ? this.#read() : null;
  }

  /** Null until a target is set. */
  get present(): Endpoint | null {
    return this.#present;
  }

  /** True if the target is set already. */
  has({ url, secret, signingKey }: Target): boolean {
    const present = this.#present;
    return (
      present?.url === url &&
      (secret === null || present.secret === secret) &&
      present.privateKey === signingKey.privateKey
    );
  }

  /** Sets or changes the target. Another URL starts without failures or rest. A new secret replaces the old at once. */
  setTarget({ id, url, secret, signingKey }: Target): void {
    this.#change(
      `INSERT INTO endpoint (one, id, url, secret, private_key) VALUES (1, ?, ?, ?, ?) ON CONFLICT (one)
       DO UPDATE SET url = excluded.url, secret = coalesce(excluded.secret, secret),
       private_key = excluded.private_key, failing_since = CASE url WHEN excluded.url THEN failing_since END,
       rest_until = CASE url WHEN excluded.url THEN rest_until ELSE 0 END`,
      ...[id, url, secret, signingKey.privateKey],
    );
  }

  /** Makes the current secret the previous one, in force until `previousUntil`. */
  rotate(secret: string, previousUntil: number): void {
    // A repeated call must not shorten the overlap with the secret before it.
    if (this.#present === null || this.#present.secret === secret) return;
    this.#change(
      'UPDATE endpoint SET previous_secret = secret, previous_until = ?, secret = ?',
      ...[previousUntil, secret],
    );
  }

  /** Disables the endpoint. `isReported` is false if the coordinator has yet to learn of it. */
  disable(reason: string, now: number, isReported: boolean): void {
    if (this.#present === null) return;
    this.#change(
      'UPDATE endpoint SET disabled_at = ?, disabled_reason = ?, told = ? WHERE disabled_at IS NULL',
      ...[now, reason, isReported ? 1 : 0],
    );
  }

  noteReported(): void {
    if (this.#present !== null) this.#change('UPDATE endpoint SET told = 1');
  }

  /** Enables the endpoint, and forgets failures and rests. */
  enable(): void {
    if (this.#present === null) return;
    this.#change(
      `UPDATE endpoint SET disabled_at = NULL, disabled_reason = NULL, told = 1, failing_since = NULL, rest_until = 0`,
    );
  }

  /** Records the consequences of an attempt for the endpoint. Writes only a change, because written rows are billed. */
  noteAttempt(failingSince: number | null, restUntil: number | null): void {
    if (failingSince === this.#present?.failingSince && restUntil === null) return;
    if (this.#present === null) return;
    this.#change(
      'UPDATE endpoint SET failing_since = ?, rest_until = max(rest_until, ?)',
      ...[failingSince, restUntil ?? 0],
    );
  }

  #change(statement: string, ...values: readonly (string | number | null)[]): void {
    this.#sql.exec(statement, ...values);
    this.#present = this.#read();
  }

  #read(): Endpoint | null {
    const [row] = this.#sql.exec<Row>('SELECT * FROM endpoint').toArray();
    if (row === undefined) return null;
    return {
      id: String(row.id),
      url: String(row.url),
      secret: textOrNull(row.secret),
      previousSecret: textOrNull(row.previous_secret),
      previousUntil: Number(row.previous_until),
      privateKey: String(row.private_key),
      failingSince: numberOrNull(row.failing_since),
      restUntil: Number(row.rest_until),
      disabledAt: numberOrNull(row.disabled_at),
      disabledReason: textOrNull(row.disabled_reason),
      isReported: row.told === 1,
    };
  }
}

function textOrNull(value: Row[string] | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

function numberOrNull(value: Row[string] | undefined): number | null {
  return typeof value === 'number' ? value : null;
}
