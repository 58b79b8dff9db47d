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
 * Requests under their Idempotency-Keys, and the responses of those that were carried out. A key is kept for
 * limits.requestsKeptMs from the first request on, and never forgotten before: if there is no room, new ones are refused.
 */
export class RequestStorage {
  readonly #sql: Sql;
  /** The attempts that are being carried out, and since when, ms. They end with this life: then the next one may begin. */
  readonly #underway = new Map<string, { readonly attempt: string; readonly since: number }>();
  /** How many requests are kept, by token; null until it is asked for in this life. */
  #counts: Map<string, number> | null = null;

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
  }

  /** Takes a request in. `now` is the clock, ms. */
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
      // Another attempt may have begun meanwhile, and counts on what is kept.
      if (this.#underway.has(place)) return;
      this.#sql.exec('DELETE FROM request WHERE token = ? AND key = ?', token, key);
      this.#count(token, -1);
      return;
    }
    const response = JSON.stringify(end);
    // Of a larger one the seed stays: the request is carried out again, with the same effect.
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

  /** What is kept under a key, unless its time is over. */
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

  /** Drops some of those whose time is over: each that comes makes room for more than itself. */
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
