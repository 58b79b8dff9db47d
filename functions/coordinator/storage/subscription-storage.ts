import type {
  Callback,
  EndpointId,
  EventType,
  OutboxEvent,
  SigningKey,
  Subscription,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../../shared/limits.ts';
import type { HandoverStorage, OutboxBatch } from '../notify/courier-dispatcher.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS owed (
    position INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
    at INTEGER NOT NULL, body TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS owed_endpoint ON owed (endpoint, position);
  CREATE TABLE IF NOT EXISTS target (endpoint TEXT PRIMARY KEY, url TEXT NOT NULL, secret TEXT) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS subscription (endpoint TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS signing_key (id TEXT PRIMARY KEY, private TEXT NOT NULL, public TEXT NOT NULL) WITHOUT ROWID;
`;

type OutboxRow = {
  position: number;
  endpoint: string;
  id: string;
  type: string;
  at: number;
  body: string;
};

/** What a coordinator keeps for systems that hook in: who wants to hear, and what they are still owed. */
export class HookStorage implements HandoverStorage {
  readonly #sql: Sql;
  /** How many events each endpoint is owed, whose turn comes first at first: to ask the table would read all of it. */
  readonly #outboxCounts = new Map<EndpointId, number>();
  /** Their hosts, as far as they were asked for. */
  readonly #hosts = new Map<EndpointId, string | null>();
  /** The target that pruning looked at last. */
  #prunedTo = '';

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
    const rows = this.#sql.exec<{ endpoint: string; count: number }>(
      'SELECT endpoint, count(*) AS count FROM owed GROUP BY endpoint ORDER BY min(position)',
    );
    for (const { endpoint, count } of rows) this.#outboxCounts.set(endpoint, count);
  }

  /** True while some courier has to take over events. */
  get hasOutbox(): boolean {
    return this.#outboxCounts.size > 0;
  }

  /** How many endpoints are owed events. */
  get outboxCount(): number {
    return this.#outboxCounts.size;
  }

  queueEvents(events: readonly OutboxEvent[]): void {
    for (const { endpoint, id, type, at, body } of events) {
      this.#sql.exec(
        'INSERT INTO owed (endpoint, id, type, at, body) VALUES (?, ?, ?, ?, ?)',
        endpoint,
        id,
        type,
        at,
        body,
      );
      this.#outboxCounts.set(endpoint, (this.#outboxCounts.get(endpoint) ?? 0) + 1);
    }
  }

  /** The endpoints that are owed events, in their turn: one that was just served comes last. Goes on as they change. */
  outboxEndpoints(): Iterator<EndpointId> {
    return this.#outboxCounts.keys();
  }

  /** The host of an endpoint that is owed events; null if nobody knows it any more. */
  hostOf(endpoint: EndpointId): string | null {
    const known = this.#hosts.get(endpoint);
    if (known !== undefined) return known;
    const subscribed = () => this.subscriptions().find((one) => one.endpoint === endpoint);
    const { url = null } = this.targetOf(endpoint) ?? subscribed() ?? {};
    const host = url === null ? null : new URL(url).host;
    if (this.#outboxCounts.has(endpoint)) this.#hosts.set(endpoint, host);
    return host;
  }

  /** The oldest events that an endpoint is owed, and as many as fit a call: at least one. */
  outboxOf(endpoint: EndpointId, count: number): OutboxBatch {
    const rows = this.#sql.exec<OutboxRow>(
      'SELECT * FROM owed WHERE endpoint = ? ORDER BY position LIMIT ?',
      endpoint,
      count,
    );
    const events: OutboxEvent[] = [];
    let through = 0;
    let characters = 0;
    for (const { position, id, type, at, body } of rows) {
      characters += body.length;
      if (events.length > 0 && characters > limits.handoverCharacters) break;
      through = position;
      events.push({ endpoint, id, type: type as EventType, at, body });
    }
    return { endpoint, events, through };
  }

  /** The courier has taken the batch over, durably. */
  settle({ endpoint, through }: OutboxBatch): void {
    // Counted, as the endpoint may have been unsubscribed meanwhile, with all that it was owed.
    const settled = this.#sql
      .exec('DELETE FROM owed WHERE endpoint = ? AND position <= ? RETURNING 1', endpoint, through)
      .toArray().length;
    const left = (this.#outboxCounts.get(endpoint) ?? 0) - settled;
    this.#outboxCounts.delete(endpoint);
    if (left > 0) this.#outboxCounts.set(endpoint, left);
    else this.#hosts.delete(endpoint);
  }

  /** Remembers where the callbacks of an endpoint go. */
  keepTarget(callback: Callback | null): void {
    if (callback === null) return;
    const { endpoint, url, secret } = callback;
    this.#sql.exec('INSERT OR IGNORE INTO target VALUES (?, ?, ?)', endpoint, url, secret);
  }

  targetOf(endpoint: EndpointId): { readonly url: string; readonly secret: string | null } | null {
    const [row] = this.#sql
      .exec<{ url: string; secret: string | null }>(
        'SELECT url, secret FROM target WHERE endpoint = ?',
        endpoint,
      )
      .toArray();
    return row ?? null;
  }

  subscriptions(): readonly Subscription[] {
    return this.#sql
      .exec<{ value: string }>('SELECT value FROM subscription')
      .toArray()
      .map(({ value }): Subscription => ({ owner: null, ...JSON.parse(value) }));
  }

  keepSubscription(subscription: Subscription): void {
    const value = JSON.stringify(subscription);
    this.#sql.exec(
      'INSERT OR REPLACE INTO subscription VALUES (?, ?)',
      subscription.endpoint,
      value,
    );
    // Its address may be another one.
    this.#hosts.delete(subscription.endpoint);
  }

  /** Forgets a subscription and what it is owed; false where there is none. */
  dropSubscription(endpoint: EndpointId): boolean {
    const known = this.subscriptions().some((one) => one.endpoint === endpoint);
    this.#sql.exec('DELETE FROM subscription WHERE endpoint = ?', endpoint);
    this.#sql.exec('DELETE FROM owed WHERE endpoint = ?', endpoint);
    this.#outboxCounts.delete(endpoint);
    this.#hosts.delete(endpoint);
    return known;
  }

  /**
   * Drops the targets of callbacks that are owed nothing: each further event brings its target along. One call looks at a
   * bounded number of them, and the next one goes on from there.
   */
  prune(): void {
    const looked = this.#sql
      .exec<{ endpoint: string }>(
        'SELECT endpoint FROM target WHERE endpoint > ? ORDER BY endpoint LIMIT ?',
        this.#prunedTo,
        limits.targetsPerPrune,
      )
      .toArray();
    for (const { endpoint } of looked) {
      if (this.#outboxCounts.has(endpoint)) continue;
      this.#sql.exec('DELETE FROM target WHERE endpoint = ?', endpoint);
    }
    const isEnd = looked.length < limits.targetsPerPrune;
    this.#prunedTo = isEnd ? '' : (looked.at(-1)?.endpoint ?? '');
  }

  signingKey(): SigningKey | null {
    const [row] = this.#sql
      .exec<{ id: string; private: string; public: string }>('SELECT * FROM signing_key LIMIT 1')
      .toArray();
    if (row === undefined) return null;
    return { id: row.id, privateKey: row.private, publicKey: row.public };
  }

  /** Keeps a new key, unless there is one already; the kept one is returned. */
  keepSigningKey(key: SigningKey): SigningKey {
    const known = this.signingKey();
    if (known !== null) return known;
    this.#sql.exec(
      'INSERT INTO signing_key VALUES (?, ?, ?)',
      key.id,
      key.privateKey,
      key.publicKey,
    );
    return key;
  }
}
