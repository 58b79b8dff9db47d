import type {
  Callback,
  EndpointId,
  EventType,
  OwedEvent,
  SigningKey,
  Subscription,
} from '../../shared/wire/confirmations.ts';

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

type OwedRow = {
  position: number;
  endpoint: string;
  id: string;
  type: string;
  at: number;
  body: string;
};

/** Events owed to one endpoint, and up to which position they reach. */
export interface OwedBatch {
  readonly endpoint: EndpointId;
  readonly events: readonly OwedEvent[];
  readonly through: number;
}

/** What a coordinator keeps for systems that hook in: who wants to hear, and what they are still owed. */
export class HookStorage {
  readonly #sql: SqlStorage;
  #owedCount = 0;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
    const [row] = this.#sql.exec<{ count: number }>('SELECT count(*) AS count FROM owed').toArray();
    this.#owedCount = row?.count ?? 0;
  }

  /** True while some courier has to take over events. */
  get owes(): boolean {
    return this.#owedCount > 0;
  }

  owe(events: readonly OwedEvent[]): void {
    for (const { endpoint, id, type, at, body } of events) {
      this.#sql.exec(
        'INSERT INTO owed (endpoint, id, type, at, body) VALUES (?, ?, ?, ?, ?)',
        endpoint,
        id,
        type,
        at,
        body,
      );
    }
    this.#owedCount += events.length;
  }

  /** The endpoints that are owed events, the longest waiting first. */
  owedEndpoints(): readonly EndpointId[] {
    return this.#sql
      .exec<{ endpoint: string }>(
        'SELECT endpoint FROM owed GROUP BY endpoint ORDER BY min(position)',
      )
      .toArray()
      .map(({ endpoint }) => endpoint);
  }

  /** The oldest events that an endpoint is owed. */
  owedTo(endpoint: EndpointId, count: number): OwedBatch {
    const rows = this.#sql
      .exec<OwedRow>(
        'SELECT * FROM owed WHERE endpoint = ? ORDER BY position LIMIT ?',
        endpoint,
        count,
      )
      .toArray();
    const events = rows.map(({ id, type, at, body }) => ({
      endpoint,
      id,
      type: type as EventType,
      at,
      body,
    }));
    return { endpoint, events, through: rows.at(-1)?.position ?? 0 };
  }

  /** The courier has taken the batch over, durably. */
  settle({ endpoint, events, through }: OwedBatch): void {
    this.#sql.exec('DELETE FROM owed WHERE endpoint = ? AND position <= ?', endpoint, through);
    this.#owedCount -= events.length;
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
      .map(({ value }): Subscription => JSON.parse(value));
  }

  keepSubscription(subscription: Subscription): void {
    const value = JSON.stringify(subscription);
    this.#sql.exec(
      'INSERT OR REPLACE INTO subscription VALUES (?, ?)',
      subscription.endpoint,
      value,
    );
  }

  /** Forgets a subscription and what it is owed; false where there is none. */
  dropSubscription(endpoint: EndpointId): boolean {
    const known = this.subscriptions().some((one) => one.endpoint === endpoint);
    this.#sql.exec('DELETE FROM subscription WHERE endpoint = ?', endpoint);
    this.#sql.exec('DELETE FROM owed WHERE endpoint = ?', endpoint);
    this.begin();
    return known;
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
