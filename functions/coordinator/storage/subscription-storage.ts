/** Stores subscriptions, and the outbox of their events. */
import type { Bytes } from '../../../shared/contracts/bytes.ts';
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
import { packBytes, packTexts, unpackBytes, unpackTexts } from './packed.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

/** The events of a step for one endpoint are one row of `outbox`, or several if they are large, as packed texts. */
const schema = `
  CREATE TABLE IF NOT EXISTS outbox (
    endpoint TEXT NOT NULL, position INTEGER NOT NULL, events BLOB NOT NULL, PRIMARY KEY (endpoint, position)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS target (endpoint TEXT PRIMARY KEY, url TEXT NOT NULL, secret TEXT) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS subscription (endpoint TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS signing_key (id TEXT PRIMARY KEY, private TEXT NOT NULL, public TEXT NOT NULL) WITHOUT ROWID;
`;

type OutboxRow = { position: number; events: ArrayBuffer };

/** The stored subscriptions of webhooks, the targets of callbacks, and the outbox of events for couriers. */
export class SubscriptionStorage implements HandoverStorage {
  readonly #sql: Sql;
  /** The number of rows in the outbox per endpoint, the next to serve first: a query would read the whole table. */
  readonly #outboxCounts = new Map<EndpointId, number>();
  /** The hosts of these endpoints, as far as they were needed. */
  readonly #hosts = new Map<EndpointId, string | null>();
  /** The last position in the outbox. */
  #position = 0;
  /** The last target that pruning has examined. */
  #prunedTo = '';

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
    const rows = this.#sql.exec<{ endpoint: string; count: number; newest: number }>(
      `SELECT endpoint, count(*) AS count, max(position) AS newest FROM outbox
       GROUP BY endpoint ORDER BY min(position)`,
    );
    for (const { endpoint, count, newest } of rows) {
      this.#outboxCounts.set(endpoint, count);
      this.#position = Math.max(this.#position, newest);
    }
  }

  /** True while there are events in the outbox. */
  get hasOutbox(): boolean {
    return this.#outboxCounts.size > 0;
  }

  /** The number of endpoints with events in the outbox. */
  get outboxCount(): number {
    return this.#outboxCounts.size;
  }

  queueEvents(events: readonly OutboxEvent[]): void {
    const byEndpoint = Map.groupBy(events, ({ endpoint }) => endpoint);
    for (const [endpoint, ofOne] of byEndpoint) {
      for (const row of rowsOf(ofOne)) {
        this.#position += 1;
        this.#sql.exec(
          'INSERT INTO outbox (endpoint, position, events) VALUES (?, ?, ?)',
          endpoint,
          this.#position,
          packBytes(row),
        );
        this.#outboxCounts.set(endpoint, (this.#outboxCounts.get(endpoint) ?? 0) + 1);
      }
    }
  }

  /**
   * The endpoints with events in the outbox; one that was just served comes last. The iterator follows their changes.
   */
  outboxEndpoints(): Iterator<EndpointId> {
    return this.#outboxCounts.keys();
  }

  /** The host of an endpoint with events in the outbox; null if its target is no longer known. */
  hostOf(endpoint: EndpointId): string | null {
    const known = this.#hosts.get(endpoint);
    if (known !== undefined) return known;
    const subscribed = () => this.all().find((one) => one.endpoint === endpoint);
    const { url = null } = this.targetOf(endpoint) ?? subscribed() ?? {};
    const host = url === null ? null : new URL(url).host;
    if (this.#outboxCounts.has(endpoint)) this.#hosts.set(endpoint, host);
    return host;
  }

  /**
   * The oldest events of an endpoint, as many as fit into one call: at least those of one row, if there is any.
   */
  outboxOf(endpoint: EndpointId, count: number): OutboxBatch {
    const rows = this.#sql.exec<OutboxRow>(
      'SELECT position, events FROM outbox WHERE endpoint = ? ORDER BY position LIMIT ?',
      endpoint,
      count,
    );
    const events: OutboxEvent[] = [];
    let through = 0;
    let bytes = 0;
    for (const row of rows) {
      const more = eventsIn(endpoint, unpackBytes(row.events));
      bytes += row.events.byteLength;
      const isFull = events.length + more.length > count || bytes > limits.handoverCharacters;
      if (events.length > 0 && isFull) break;
      through = row.position;
      events.push(...more);
    }
    return { endpoint, events, through };
  }

  /** Removes a batch that its courier has stored. */
  settle({ endpoint, through }: OutboxBatch): void {
    // The deleted rows are counted: unsubscribing the endpoint meanwhile may have deleted them already.
    const settled = this.#sql
      .exec(
        'DELETE FROM outbox WHERE endpoint = ? AND position <= ? RETURNING 1',
        endpoint,
        through,
      )
      .toArray().length;
    const left = (this.#outboxCounts.get(endpoint) ?? 0) - settled;
    this.#outboxCounts.delete(endpoint);
    if (left > 0) this.#outboxCounts.set(endpoint, left);
    else this.#hosts.delete(endpoint);
  }

  /** Stores the target of a callback. */
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

  all(): readonly Subscription[] {
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
    // Its address may have changed.
    this.#hosts.delete(subscription.endpoint);
  }

  /** Deletes a subscription and its events; false if there is none. */
  dropSubscription(endpoint: EndpointId): boolean {
    const known = this.all().some((one) => one.endpoint === endpoint);
    this.#sql.exec('DELETE FROM subscription WHERE endpoint = ?', endpoint);
    this.#sql.exec('DELETE FROM outbox WHERE endpoint = ?', endpoint);
    this.#outboxCounts.delete(endpoint);
    this.#hosts.delete(endpoint);
    return known;
  }

  /**
   * Drops the targets of callbacks without events in the outbox: each further event comes with its target. One call
   * examines a bounded number of targets, and the next continues from there.
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

  /** Stores a new key, unless there is one already; returns the stored key. */
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

/** Packs events of one endpoint into as few rows as their size and number allow. */
function rowsOf(events: readonly OutboxEvent[]): readonly Bytes[] {
  const rows: Bytes[] = [];
  let row = '';
  let count = 0;
  for (const { id, type, at, body } of events) {
    const packed = packTexts([id, type, String(at), body]);
    const isFull =
      row.length + packed.length > limits.outboxRowBytes || count === limits.eventsPerHandover;
    if (count > 0 && isFull) {
      rows.push(row);
      row = '';
      count = 0;
    }
    row += packed;
    count += 1;
  }
  if (count > 0) rows.push(row);
  return rows;
}

/** The events in a row. Only this class writes the rows, so they have the expected form. */
function eventsIn(endpoint: EndpointId, row: Bytes): readonly OutboxEvent[] {
  const texts = unpackTexts(row);
  const events: OutboxEvent[] = [];
  for (let from = 0; from < texts.length; from += 4) {
    const [id = '', type = '', at = '', body = ''] = texts.slice(from, from + 4);
    events.push({ endpoint, id, type: type as EventType, at: Number(at), body });
  }
  return events;
}
