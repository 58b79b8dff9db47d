/** Converts the tables of formats 1 and 2, which had a row for each write, change and decision, to the log of steps. */
import type { WriteRecord } from '../../../shared/contracts/coordinator.ts';
import type { MemberChange } from '../../../shared/contracts/members.ts';
import type {
  Callback,
  EventType,
  OutboxEvent,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import type { RegionId, TransactionOrder } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { CommittedWrite } from '../../../shared/protocol/io/stored.ts';
import { hasTable } from '../../platform/storage-form.ts';
import type { KeptAnswers } from './kept-answers.ts';
import type { LoggedDecision, LogHead, LogStep } from './log-step.ts';
import { unpackBytes, unpackCommands, unpackTexts } from './packed.ts';
import type { Sql } from './sql.ts';
import type { StepLog } from './step-log.ts';

/** The parts of the storage that take the converted rows. */
export interface Converted {
  readonly sql: Sql;
  readonly log: StepLog;
  readonly answers: KeptAnswers;
  readonly outbox: { queueEvents(events: readonly OutboxEvent[]): void };
}

/** A packed value, or JSON in rows of members and of release 0.1. */
type Packed = string | ArrayBuffer;

/** A record, and its outcome; release 0.1 stored the outcome in the record. */
type RecordRow = { record: string; part: ArrayBuffer | null };

type ChangeRow = RecordRow & {
  sequence: number;
  incarnation: number | null;
  number: number | null;
  keys: Packed;
  commands: Packed;
  callback: string | null;
  member: string | null;
};

type DecisionRow = { keys: Packed; confirmed_at: number | null };

/** The tables that the log replaces. */
const replaced = ['change_log', 'write', 'decision', 'owed'];

const nothing: LogStep = {
  head: { now: 0, open: 1, isResting: false, pairs: {} },
  decisions: [],
  rejected: [],
  abandoned: [],
  members: [],
  confirmed: [],
};

/**
 * Moves all rows of a storage of format 1 or 2 into the log, and drops their tables. It reads a few rows at a time, but
 * is one transaction, so the storage has either form.
 */
export function convertToLog(converted: Converted): void {
  const { sql, log } = converted;
  const metaOf = (name: string) => {
    const rows = sql.exec<{ value: number }>('SELECT value FROM meta WHERE name = ?', name);
    return rows.toArray()[0]?.value ?? 0;
  };
  const newest = metaOf('sequence');
  // A storage from before release 0.1 may lack the tables.
  const open = hasTable(sql, 'change_log') ? convertTables(converted, newest) : null;
  const now = metaOf('now');
  const isResting = metaOf('resting') === 1;
  const head = { now, open: open ?? log.next, isResting, pairs: pairsIn(sql) };
  log.append({ ...nothing, head }, now, newest);
  sql.exec("DELETE FROM meta WHERE name IN ('sequence', 'now', 'resting')");
}

/** The pairs of the regions, which their rows had. */
function pairsIn(sql: Sql): LogHead['pairs'] {
  const rows = sql
    .exec<{ id: RegionId; counter: number; mark: string }>(
      'SELECT id, counter, mark FROM member WHERE counter IS NOT NULL AND mark IS NOT NULL',
    )
    .toArray();
  return Object.fromEntries(rows.map(({ id, counter, mark }) => [id, [counter, mark]]));
}

/** Returns the position of the first unconfirmed commit, or null. `newest` is the sequence of the last change. */
function convertTables(converted: Converted, newest: number): number | null {
  const { sql } = converted;
  const [oldest] = sql
    .exec<{ sequence: number }>('SELECT sequence FROM change_log ORDER BY sequence LIMIT 1')
    .toArray();
  convertRejected(converted, oldest === undefined ? newest : oldest.sequence - 1);
  const open = convertChanges(converted);
  convertAnswers(converted);
  convertOutbox(converted);
  for (const table of replaced) sql.exec(`DROP TABLE ${table}`);
  return open;
}

/** Converts the writes that were rejected or given up: they have no sequence, and come before the first change. */
function convertRejected({ sql, log }: Converted, sequence: number): void {
  let after = '';
  for (;;) {
    const rows = sql
      .exec<RecordRow & { id: string; decided_at: number }>(
        'SELECT id, decided_at, record, part FROM write WHERE id > ? AND rejected = 1 ORDER BY id LIMIT ?',
        after,
        limits.rowsPerConversion,
      )
      .toArray();
    for (const row of rows) {
      const { abandoned: reason }: { readonly abandoned?: string } = JSON.parse(row.record);
      const step =
        reason === undefined
          ? { ...nothing, rejected: [recordIn(row)] }
          : { ...nothing, abandoned: [{ id: row.id, reason }] };
      log.append(step, row.decided_at, sequence);
    }
    after = rows.at(-1)?.id ?? '';
    if (rows.length < limits.rowsPerConversion) return;
  }
}

/** Converts the changes, a step for each transaction. Returns the position of the first unconfirmed commit, or null. */
function convertChanges({ sql, log }: Converted): number | null {
  let open: number | null = null;
  let since = 0;
  for (;;) {
    const rows = changesAfter(sql, since);
    const [first] = rows;
    if (first === undefined) return open;
    since = rows.at(-1)?.sequence ?? since;
    const { step, at } = stepOf(sql, rows);
    if (step.decisions.length > step.confirmed.length) open ??= log.next;
    log.append(step, at, since);
  }
}

/** The next change, with the others of its transaction. */
function changesAfter(sql: Sql, since: number): readonly ChangeRow[] {
  const read = (statement: string, ...values: number[]) =>
    sql.exec<ChangeRow>(statement, ...values).toArray();
  const [next] = read(
    `SELECT sequence, log.incarnation AS incarnation, log.number AS number, keys, commands, callback, member, record,
       part
     FROM change_log AS log LEFT JOIN write ON write.id = write_id WHERE sequence > ? ORDER BY sequence LIMIT 1`,
    since,
  );
  if (next === undefined || next.incarnation === null || next.number === null) {
    return next === undefined ? [] : [next];
  }
  return read(
    `SELECT sequence, log.incarnation AS incarnation, log.number AS number, keys, commands, callback, member, record,
       part
     FROM change_log AS log LEFT JOIN write ON write.id = write_id
     WHERE log.incarnation = ? AND log.number = ? AND sequence > ? ORDER BY sequence`,
    next.incarnation,
    next.number,
    since,
  );
}

/** The step of a transaction, or of a change of members, and when it happened, ms since the epoch. */
function stepOf(
  sql: Sql,
  rows: readonly ChangeRow[],
): { readonly step: LogStep; readonly at: number } {
  const members = rows.flatMap(({ member }): readonly MemberChange[] =>
    member === null ? [] : [JSON.parse(member)],
  );
  const writes = rows.filter(({ member }) => member === null).map(writeOf);
  const [first] = rows;
  const at = Math.max(0, ...members.map((change) => change.at), ...writes.map(momentOf));
  if (writes.length === 0 || first === undefined) return { step: { ...nothing, members }, at };
  const transaction: TransactionOrder = [first.incarnation ?? 0, first.number ?? 0];
  const [decided] = sql
    .exec<DecisionRow>(
      'SELECT keys, confirmed_at FROM decision WHERE incarnation = ? AND number = ?',
      ...transaction,
    )
    .toArray();
  const decision: LoggedDecision = {
    transaction,
    keys: decided === undefined ? writes.flatMap(({ keys }) => keys) : textsIn(decided.keys),
    sequence: rows.at(-1)?.sequence ?? 0,
    writes,
  };
  const confirmedAt = decided === undefined ? at : decided.confirmed_at;
  const confirmed = confirmedAt === null ? [] : [{ transaction, at: confirmedAt }];
  return { step: { ...nothing, members, decisions: [decision], confirmed }, at };
}

function momentOf({ record }: CommittedWrite): number {
  return record.decidedAt;
}

function convertAnswers({ sql, answers }: Converted): void {
  let after = '';
  for (;;) {
    const rows = sql
      .exec<RecordRow & { idempotency_key: string; digest: string; kept_until: number }>(
        `SELECT idempotency_key, digest, kept_until, record, part FROM write
         WHERE idempotency_key > ? ORDER BY idempotency_key LIMIT ?`,
        after,
        limits.rowsPerConversion,
      )
      .toArray();
    for (const row of rows) {
      const { idempotency_key: key, digest, kept_until: keptUntil } = row;
      answers.keepUntil(keptUntil, recordIn(row), { key, digest });
    }
    after = rows.at(-1)?.idempotency_key ?? '';
    if (rows.length < limits.rowsPerConversion) return;
  }
}

function convertOutbox({ sql, outbox }: Converted): void {
  let after = 0;
  for (;;) {
    const rows = sql
      .exec<{
        position: number;
        endpoint: string;
        id: string;
        type: string;
        at: number;
        body: string;
      }>(
        'SELECT position, endpoint, id, type, at, body FROM owed WHERE position > ? ORDER BY position LIMIT ?',
        after,
        limits.rowsPerConversion,
      )
      .toArray();
    outbox.queueEvents(
      rows.map(({ endpoint, id, type, at, body }) => {
        return { endpoint, id, type: type as EventType, at, body };
      }),
    );
    after = rows.at(-1)?.position ?? after;
    if (rows.length < limits.rowsPerConversion) return;
  }
}

function writeOf(row: ChangeRow): CommittedWrite {
  const keys = textsIn(row.keys);
  const commands =
    typeof row.commands === 'string'
      ? parse<readonly (readonly string[])[]>(row.commands)
      : unpackCommands(unpackBytes(row.commands), keys);
  const callback = row.callback === null ? null : parse<Callback>(row.callback);
  return { record: recordIn(row), keys, commands, callback };
}

function recordIn({ record, part }: RecordRow): WriteRecord {
  const parsed = parse<WriteRecord>(record);
  return part === null ? parsed : { ...parsed, part: unpackBytes(part) };
}

function textsIn(packed: Packed): readonly string[] {
  return typeof packed === 'string'
    ? parse<readonly string[]>(packed)
    : unpackTexts(unpackBytes(packed));
}

/** Only earlier releases wrote the rows, so their JSON has the expected shape. */
function parse<Value>(text: string): Value {
  const value: Value = JSON.parse(text);
  return value;
}
