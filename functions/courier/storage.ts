/** The SQLite storage of one courier. */
import type {
  DeliveryAttempt,
  DeliveryDetail,
  DeliveryPage,
  DeliveryQuery,
  DeliveryRecord,
  EventType,
  OutboxEvent,
  ReplayQuery,
  SigningKey,
} from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import type { AttemptOutcome, Judgement } from '../../shared/webhooks/retry-policy.ts';
import type { Sql, SqlObjectStorage } from '../coordinator/storage/sql.ts';
import { hasTable, writtenFormat } from '../platform/storage-form.ts';

/**
 * The format of a courier's storage. Release 0.1 wrote format 1, without a number. A change that the previous release
 * would misread raises the number, and the constructor converts the old format.
 */
export const courierFormat = 2;

const schema = `
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS endpoint (
    one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, url TEXT NOT NULL, secret TEXT,
    previous_secret TEXT, previous_until INTEGER NOT NULL DEFAULT 0, private_key TEXT NOT NULL,
    failing_since INTEGER, rest_until INTEGER NOT NULL DEFAULT 0,
    disabled_at INTEGER, disabled_reason TEXT, told INTEGER NOT NULL DEFAULT 1
  );
  CREATE TABLE IF NOT EXISTS delivery (
    position INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL UNIQUE, type TEXT NOT NULL, at INTEGER NOT NULL,
    body TEXT NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL, due_at INTEGER, step INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, status INTEGER, ms INTEGER, answer TEXT, last_attempt_at INTEGER,
    history TEXT NOT NULL DEFAULT '[]'
  );
  CREATE INDEX IF NOT EXISTS due ON delivery (due_at, position) WHERE state = 'waiting';
  CREATE INDEX IF NOT EXISTS ended ON delivery (since) WHERE state <> 'waiting';
  CREATE INDEX IF NOT EXISTS by_state ON delivery (state, position);
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

/** A delivery that is due for an attempt. */
export interface DueDelivery {
  readonly event: string;
  readonly body: string;
  readonly step: number;
}

/** The number of rows that are deleted at once if there is too little room: more than one handover adds. */
const roomRows = 10 * limits.eventsPerHandover;

type Row = Record<string, string | number | null>;

/** The part of an object's storage that a courier uses, so that tests can replace it. */
export interface CourierSqlStorage extends SqlObjectStorage {
  /** `databaseSize` is the number of bytes in use. */
  readonly sql: Sql & { readonly databaseSize: number };
}

/**
 * The durable state of one courier: its endpoint, the waiting deliveries, and the log. `since` is the time at which a
 * delivery began to wait, or ended. All methods are synchronous; the runtime's output gate holds back responses and
 * requests until earlier writes are durable.
 */
export class CourierStorage {
  readonly #storage: CourierSqlStorage;
  /** An upper bound of the number of waiting deliveries, so that they are counted only if it reaches the limit. */
  #waitingAtMost = 0;
  #endpoint: Endpoint | null = null;
  /** False until the tables exist. */
  #exists = false;

  constructor(storage: CourierSqlStorage) {
    this.#storage = storage;
    this.begin();
  }

  /** Reads the stored state, or starts without one. Throws {@link UnknownStorageFormat} before anything is written. */
  begin(): void {
    const { sql } = this.#storage;
    // An object without storage costs nothing, so a request for an unknown endpoint must not create tables.
    this.#exists = hasTable(sql, 'meta') || hasTable(sql, 'endpoint');
    if (this.#exists) this.#create(writtenFormat(sql, 'courier', courierFormat));
    this.#waitingAtMost = this.#exists ? this.#kept() : 0;
    this.#endpoint = this.#exists ? this.#readEndpoint() : null;
  }

  /** Creates the tables in the current format. `format` is the format of the stored ones, or null if there are none. */
  #create(format: number | null): void {
    const { sql } = this.#storage;
    this.#storage.transactionSync(() => {
      const deliveries = this.#tableText('delivery');
      // Release 0.1 kept only the last attempt.
      if (format === 1 && deliveries !== null && !deliveries.includes('history TEXT')) {
        sql.exec(`ALTER TABLE delivery ADD COLUMN history TEXT NOT NULL DEFAULT '[]'`);
      }
      sql.exec(schema);
      // Skipped in every life after the first, because written rows are billed.
      if (format === courierFormat) return;
      sql.exec("INSERT OR REPLACE INTO meta (name, value) VALUES ('format', ?)", courierFormat);
    });
    this.#exists = true;
  }

  /** The statement that created a table, or null. */
  #tableText(name: string): string | null {
    const [row] = this.#storage.sql
      .exec<Row>(`SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?`, name)
      .toArray();
    return textOrNull(row?.sql);
  }

  /** Null until a target is set. */
  get endpoint(): Endpoint | null {
    return this.#endpoint;
  }

  /** Sets or changes the target. Another URL starts without failures or rest. A new secret replaces the old at once. */
  setTarget({ id, url, secret, signingKey }: Target): void {
    const present = this.#endpoint;
    const { privateKey } = signingKey;
    const isSame =
      present?.url === url &&
      (secret === null || present.secret === secret) &&
      present.privateKey === privateKey;
    if (isSame) return;
    if (!this.#exists) this.#create(null);
    this.#change(
      `INSERT INTO endpoint (one, id, url, secret, private_key) VALUES (1, ?, ?, ?, ?) ON CONFLICT (one)
       DO UPDATE SET url = excluded.url, secret = coalesce(excluded.secret, secret),
       private_key = excluded.private_key, failing_since = CASE url WHEN excluded.url THEN failing_since END,
       rest_until = CASE url WHEN excluded.url THEN rest_until ELSE 0 END`,
      ...[id, url, secret, privateKey],
    );
  }

  /** Makes the current secret the previous one, in force until `previousUntil`. */
  rotate(secret: string, previousUntil: number): void {
    // A repeated call must not shorten the overlap with the secret before it.
    if (this.#endpoint?.secret === secret) return;
    this.#change(
      'UPDATE endpoint SET previous_secret = secret, previous_until = ?, secret = ?',
      ...[previousUntil, secret],
    );
  }

  /** Disables the endpoint. `isReported` is false if the coordinator has yet to learn of it. */
  disable(reason: string, now: number, isReported: boolean): void {
    this.#change(
      'UPDATE endpoint SET disabled_at = ?, disabled_reason = ?, told = ? WHERE disabled_at IS NULL',
      ...[now, reason, isReported ? 1 : 0],
    );
  }

  noteReported(): void {
    this.#change('UPDATE endpoint SET told = 1');
  }

  /** Enables the endpoint, and forgets failures and rests. Waiting deliveries are due now, in order of arrival. */
  enable(now: number): void {
    if (!this.#exists) return;
    this.#change(
      `UPDATE endpoint SET disabled_at = NULL, disabled_reason = NULL, told = 1, failing_since = NULL, rest_until = 0`,
    );
    // A second call writes nothing, because written rows are billed.
    this.#storage.sql.exec(
      `UPDATE delivery INDEXED BY by_state SET due_at = ?1, step = 0, since = ?1
       WHERE state = 'waiting' AND (due_at > ?1 OR step > 0)`,
      now,
    );
  }

  /** Adds events that are new. Beyond the limit, the oldest waiting deliveries fail. */
  add(events: readonly OutboxEvent[], now: number): void {
    this.#storage.transactionSync(() => {
      for (const { id, type, at, body } of events) {
        this.#storage.sql.exec(
          `INSERT OR IGNORE INTO delivery (event, type, at, body, state, since, due_at)
           VALUES (?, ?, ?, ?, 'waiting', ?, ?)`,
          ...[id, type, at, body, now, now],
        );
      }
      this.#makeRoom(now);
      this.#waitingAtMost += events.length;
      if (this.#waitingAtMost <= limits.eventsPerEndpoint) return;
      this.#giveUpOldest(this.#count() - limits.eventsPerEndpoint, now);
      this.#waitingAtMost = this.#count();
    });
  }

  /** Up to `count` due deliveries without those in `excluded`, by due time and then by arrival. */
  due(now: number, count: number, excluded: ReadonlySet<string>): readonly DueDelivery[] {
    return this.#storage.sql
      .exec<Row>(
        // The planner does not know how few rows are in each state, and would sort all waiting deliveries.
        `SELECT event, body, step FROM delivery INDEXED BY due WHERE state = 'waiting' AND due_at <= ?
         ORDER BY due_at, position LIMIT ?`,
        ...[now, count + excluded.size],
      )
      .toArray()
      .map(({ event, body, step }) => ({
        event: String(event),
        body: String(body),
        step: Number(step),
      }))
      .filter(({ event }) => !excluded.has(event))
      .slice(0, count);
  }

  /** The time at which the next delivery outside `excluded` is due; null if none waits. */
  nextDueAt(excluded: ReadonlySet<string>): number | null {
    const next = this.#storage.sql
      .exec<Row>(
        `SELECT event, due_at FROM delivery INDEXED BY due WHERE state = 'waiting' AND due_at > 0
         ORDER BY due_at, position LIMIT ?`,
        excluded.size + 1,
      )
      .toArray()
      .find(({ event }) => !excluded.has(String(event)));
    return next === undefined ? null : Number(next.due_at);
  }

  get isEmpty(): boolean {
    if (!this.#exists) return true;
    const any = this.#storage.sql.exec('SELECT 1 FROM delivery WHERE position > 0 LIMIT 1');
    return any.toArray().length === 0;
  }

  /** Records the outcome of an attempt and its consequences. Ignores a delivery that has been deleted meanwhile. */
  settle(event: string, outcome: AttemptOutcome, judgement: Judgement, now: number): void {
    const { state, nextAttemptAt, failingSince, restUntil } = judgement;
    const status = outcome.kind === 'answered' ? outcome.status : null;
    const answer = outcome.kind === 'answered' ? outcome.answer : outcome.reason;
    this.#storage.transactionSync(() => {
      // The attempts are a column instead of rows, because written rows are billed.
      this.#storage.sql.exec(
        `UPDATE delivery SET state = ?1, due_at = ?2, step = step + 1, attempts = attempts + 1, status = ?3, ms = ?4,
         answer = ?5, last_attempt_at = ?6, since = CASE ?1 WHEN 'waiting' THEN since ELSE ?6 END,
         history = json_insert(CASE WHEN json_array_length(history) >= ?8 THEN json_remove(history, '$[0]')
           ELSE history END, '$[#]', json(?9))
         WHERE event = ?7 AND (state = 'waiting' OR ?1 = 'delivered')`,
        ...[state, nextAttemptAt, status, outcome.ms, answer, now, event],
        ...[limits.attemptsKeptPerDelivery, attemptText(status, outcome.ms, answer, now)],
      );
      const present = this.#endpoint;
      if (failingSince === present?.failingSince && restUntil === null) return;
      this.#change(
        'UPDATE endpoint SET failing_since = ?, rest_until = max(rest_until, ?)',
        ...[failingSince, restUntil ?? 0],
      );
    });
  }

  /**
   * Queues deliveries again, from the start of the schedule. Returns their number, at most
   * `limits.deliveriesPerReplay`.
   */
  replay(what: ReplayQuery, now: number): number {
    if (!this.#exists) return 0;
    const { sql } = this.#storage;
    // Release 0.1 dropped the bodies of delivered events.
    const replayed =
      'event' in what
        ? sql.exec(
            `UPDATE delivery SET state = 'waiting', due_at = ?1, since = ?1, step = 0
             WHERE event = ?2 AND state <> 'waiting' AND body <> '' RETURNING 1`,
            ...[now, what.event],
          )
        : sql.exec(
            `UPDATE delivery SET state = 'waiting', due_at = ?1, since = ?1, step = 0 WHERE position IN
             (SELECT position FROM delivery INDEXED BY by_state WHERE state IN ('failed', ?4) AND at >= ?2
              AND body <> '' LIMIT ?3) RETURNING 1`,
            ...[now, what.since, limits.deliveriesPerReplay],
            what.delivered ? 'delivered' : 'failed',
          );
    const count = replayed.toArray().length;
    this.#waitingAtMost += count;
    return count;
  }

  /** A page of the log, newest first. */
  page({ state, before, limit }: DeliveryQuery): DeliveryPage {
    if (!this.#exists) return { deliveries: [], before: null };
    const { sql } = this.#storage;
    const below = before ?? Number.MAX_SAFE_INTEGER;
    const found =
      state === null
        ? sql.exec<Row>(
            'SELECT * FROM delivery WHERE position < ? ORDER BY position DESC LIMIT ?',
            ...[below, limit + 1],
          )
        : sql.exec<Row>(
            `SELECT * FROM delivery INDEXED BY by_state WHERE state = ? AND position < ?
             ORDER BY position DESC LIMIT ?`,
            ...[state, below, limit + 1],
          );
    const rows = found.toArray();
    const shown = rows.slice(0, limit);
    const last = shown.at(-1);
    const isEnd = rows.length <= limit || last === undefined;
    return { deliveries: shown.map(recordOf), before: isEnd ? null : Number(last.position) };
  }

  /** One delivery with its body and attempts, or null. */
  detail(event: string): DeliveryDetail | null {
    if (!this.#exists) return null;
    const [row] = this.#storage.sql
      .exec<Row>('SELECT * FROM delivery WHERE event = ?', event)
      .toArray();
    if (row === undefined) return null;
    const history: DeliveryDetail['history'] = JSON.parse(String(row.history));
    return { ...recordOf(row), body: String(row.body), history };
  }

  /**
   * Deletes deliveries that ended before `now - keptMs`, or that too many newer ones follow, and fails those that have
   * waited that long at a disabled endpoint. A call touches a bounded number of rows; true if more are left.
   */
  prune(now: number, keptMs: number): boolean {
    const before = now - keptMs;
    return this.#storage.transactionSync(() => {
      const { sql } = this.#storage;
      const old = sql.exec(
        `DELETE FROM delivery WHERE position IN (SELECT position FROM delivery INDEXED BY ended
         WHERE state <> 'waiting' AND since <= ? ORDER BY since LIMIT ?) RETURNING 1`,
        ...[before, roomRows],
      );
      const excess = sql.exec(
        `DELETE FROM delivery WHERE position IN (SELECT position FROM delivery INDEXED BY by_state
         WHERE state IN ('delivered', 'failed') AND position <= ? LIMIT ?) RETURNING 1`,
        ...[this.#newest() - limits.eventsPerEndpoint, roomRows],
      );
      const isFull = [old, excess].some((dropped) => dropped.toArray().length === roomRows);
      // At an enabled endpoint, the schedule ends long before.
      if ((this.#endpoint?.disabledAt ?? null) === null) return isFull;
      const waitedTooLong = sql.exec(
        `UPDATE delivery SET state = 'failed', due_at = NULL, since = ?, answer = ? WHERE position IN
         (SELECT position FROM delivery INDEXED BY by_state WHERE state = 'waiting' AND since <= ?
          ORDER BY position LIMIT ?) RETURNING 1`,
        ...[now, 'The delivery waited too long.', before, roomRows],
      );
      return waitedTooLong.toArray().length === roomRows || isFull;
    });
  }

  /** Keeps the storage far below the platform's limit, beyond which nothing could be added. */
  #makeRoom(now: number): void {
    const { sql } = this.#storage;
    if (sql.databaseSize <= limits.courierLogBytes) return;
    const dropped = sql
      .exec(
        `DELETE FROM delivery WHERE position IN (SELECT position FROM delivery INDEXED BY ended
         WHERE state <> 'waiting' AND since >= 0 ORDER BY since LIMIT ?) RETURNING 1`,
        roomRows,
      )
      .toArray();
    const isFull = dropped.length === 0 && sql.databaseSize > limits.courierBytes;
    if (isFull) this.#giveUpOldest(roomRows, now);
  }

  #giveUpOldest(count: number, now: number): void {
    if (count <= 0) return;
    this.#storage.sql.exec(
      `UPDATE delivery SET state = 'failed', due_at = NULL, since = ?, answer = ? WHERE position IN
       (SELECT position FROM delivery INDEXED BY by_state WHERE state = 'waiting'
        ORDER BY position LIMIT ?)`,
      ...[now, 'Too many newer events were waiting.', count],
    );
  }

  /** The position of the newest delivery; 0 if there is none. */
  #newest(): number {
    const [row] = this.#storage.sql
      .exec<Row>('SELECT max(position) AS newest FROM delivery')
      .toArray();
    return Number(row?.newest ?? 0);
  }

  /**
   * An upper bound of the number of stored deliveries, by their positions: counting would read every row in each new
   * life.
   */
  #kept(): number {
    const [row] = this.#storage.sql
      .exec<Row>('SELECT min(position) AS oldest FROM delivery')
      .toArray();
    return row?.oldest === null ? 0 : this.#newest() - Number(row?.oldest) + 1;
  }

  #count(): number {
    const [row] = this.#storage.sql
      .exec<Row>(
        `SELECT count(*) AS waiting FROM delivery INDEXED BY by_state WHERE state = 'waiting'`,
      )
      .toArray();
    return Number(row?.waiting ?? 0);
  }

  /** Changes the endpoint, if one is set. */
  #change(statement: string, ...values: readonly (string | number | null)[]): void {
    if (!this.#exists) return;
    this.#storage.sql.exec(statement, ...values);
    this.#endpoint = this.#readEndpoint();
  }

  #readEndpoint(): Endpoint | null {
    const [row] = this.#storage.sql.exec<Row>('SELECT * FROM endpoint').toArray();
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

/** The JSON of an attempt. Its response is shortened, because a schedule has many attempts. */
function attemptText(status: number | null, ms: number, answer: string, at: number): string {
  const attempt: DeliveryAttempt = {
    at,
    status,
    ms,
    answer: answer.slice(0, limits.attemptAnswerCharacters).toWellFormed(),
  };
  return JSON.stringify(attempt);
}

function recordOf(row: Row): DeliveryRecord {
  return {
    event: String(row.event),
    // Both columns were written from these types.
    type: String(row.type) as EventType,
    state: String(row.state) as DeliveryRecord['state'],
    attempts: Number(row.attempts),
    status: numberOrNull(row.status),
    ms: numberOrNull(row.ms),
    answer: textOrNull(row.answer),
    lastAttemptAt: numberOrNull(row.last_attempt_at),
    nextAttemptAt: numberOrNull(row.due_at),
    at: Number(row.at),
  };
}

function textOrNull(value: string | number | null | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

function numberOrNull(value: string | number | null | undefined): number | null {
  return typeof value === 'number' ? value : null;
}
