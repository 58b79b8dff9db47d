/** Stores requests under their idempotency keys. */
import type {
  KeptResponse,
  KeyedRequest,
  RequestBegun,
  RequestEnd,
} from '../../../shared/contracts/requests.ts';
import { limits } from '../../../shared/limits.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS request (
    token TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, seed TEXT NOT NULL, at INTEGER NOT NULL,
    response TEXT, PRIMARY KEY (token, key)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS request_age ON request (at);
`;

type Row = { digest: string; seed: string; at: number; response: string | null };

/**
 * Requests with an Idempotency-Key that are not writes, and the responses to those that were executed. A key is kept
 * for limits.requestsKeptMs after its first request, never shorter: if there is no room, new keys are refused.
 */
export class RequestStorage {
  readonly #sql: Sql;
  /**
   * The attempts under way, each with its start, ms since the epoch. They end with this life: then another may begin.
   */
  readonly #underway = new Map<string, { readonly attempt: string; readonly since: number }>();
  /** The number of kept requests, by token; null until it is first needed in this life. */
  #counts: Map<string, number> | null = null;

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
  }

  /** Begins a request. `now` is the clock, ms since the epoch. */
  beginRequest(request: KeyedRequest, now: number): RequestBegun {
    this.#dropOld(now);
    const known = this.#find(request, now);
    if (known === null) return this.#take(request, now);
    if (known.digest !== request.digest) return { kind: 'reused' };
    const keptUntil = known.at + limits.requestsKeptMs;
    if (known.response !== null) {
      const response: KeptResponse = JSON.parse(known.response);
      return { kind: 'done', response, keptUntil };
    }
    const underway = this.#underway.get(keyOf(request));
    const isOther = underway !== undefined && underway.attempt !== request.attempt;
    if (isOther && now - underway.since < limits.requestUnderwayMs) return { kind: 'underway' };
    this.#underway.set(keyOf(request), { attempt: request.attempt, since: now });
    return { kind: 'begun', seed: known.seed, keptUntil };
  }

  /** Notes how an attempt ended. The first response that is kept stays. */
  endRequest(request: KeyedRequest, end: RequestEnd, now: number): void {
    const place = keyOf(request);
    if (this.#underway.get(place)?.attempt === request.attempt) this.#underway.delete(place);
    const { token, key, digest } = request;
    const known = this.#find(request, now);
    if (end === 'unknown' || known?.digest !== digest || known.response !== null) return;
    if (end === 'nothing-done') {
      // Another attempt has begun meanwhile, and relies on the entry.
      if (this.#underway.has(place)) return;
      this.#sql.exec('DELETE FROM request WHERE token = ? AND key = ?', token, key);
      this.#count(token, -1);
      return;
    }
    const response = JSON.stringify(end);
    // Without a kept response, a repeated request is executed again from the same seed, with the same effect.
    if (response.length > limits.requestResponseCharacters) return;
    this.#sql.exec(
      'UPDATE request SET response = ? WHERE token = ? AND key = ?',
      ...[response, token, key],
    );
  }

  #take({ token, key, digest, attempt }: KeyedRequest, now: number): RequestBegun {
    const counts = this.#counted();
    const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
    const isFull =
      all >= limits.requestsKept || (counts.get(token) ?? 0) >= limits.requestsKeptPerToken;
    if (isFull) return { kind: 'full' };
    this.#sql.exec(
      'INSERT INTO request (token, key, digest, seed, at) VALUES (?, ?, ?, ?, ?)',
      ...[token, key, digest, attempt, now],
    );
    this.#count(token, 1);
    this.#underway.set(keyOf({ token, key }), { attempt, since: now });
    return { kind: 'begun', seed: attempt, keptUntil: now + limits.requestsKeptMs };
  }

  /** The entry of a key, or null if there is none or its time is over. */
  #find({ token, key }: KeyedRequest, now: number): Row | null {
    const [row] = this.#sql
      .exec<Row>(
        'SELECT digest, seed, at, response FROM request WHERE token = ? AND key = ?',
        ...[token, key],
      )
      .toArray();
    if (row === undefined) return null;
    if (row.at > now - limits.requestsKeptMs) return row;
    this.#sql.exec('DELETE FROM request WHERE token = ? AND key = ?', token, key);
    this.#count(token, -1);
    return null;
  }

  /** Drops some expired entries: more per new request than the one that it adds. */
  #dropOld(now: number): void {
    const old = this.#sql
      .exec<{ token: string; key: string }>(
        'SELECT token, key FROM request WHERE at <= ? ORDER BY at LIMIT ?',
        ...[now - limits.requestsKeptMs, limits.requestsPerPrune],
      )
      .toArray();
    for (const { token, key } of old) {
      this.#sql.exec('DELETE FROM request WHERE token = ? AND key = ?', token, key);
      this.#count(token, -1);
    }
  }

  #count(token: string, change: number): void {
    this.#counts?.set(token, (this.#counts.get(token) ?? 0) + change);
  }

  #counted(): ReadonlyMap<string, number> {
    if (this.#counts === null) {
      const rows = this.#sql.exec<{ token: string; count: number }>(
        'SELECT token, count(*) AS count FROM request GROUP BY token',
      );
      this.#counts = new Map([...rows].map(({ token, count }) => [token, count]));
    }
    return this.#counts;
  }
}

function keyOf({ token, key }: Pick<KeyedRequest, 'token' | 'key'>): string {
  return `${token}:${key}`;
}
