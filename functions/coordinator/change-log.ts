import { assert } from '../../shared/assert.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CommittedWrite, DecidedWrite, StorageWrite } from '../../shared/protocol/events.ts';
import { concerns, flushedKey } from '../../shared/protocol/own-keys.ts';
import type { WriteRecord } from '../../shared/wire/answers.ts';
import type {
  Callback,
  Change,
  ChangesAnswer,
  ChangesQuery,
} from '../../shared/wire/confirmations.ts';
import type { MemberChange } from '../../shared/wire/members.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

/** A row tells of a write, or of a change of members: then `member` holds it, and it has no write and no transaction. */
const schema = `
  CREATE TABLE IF NOT EXISTS change_log (
    sequence INTEGER PRIMARY KEY, write_id TEXT, incarnation INTEGER, number INTEGER, decided_at INTEGER NOT NULL,
    keys TEXT NOT NULL, commands TEXT NOT NULL, callback TEXT, member TEXT
  );
  CREATE INDEX IF NOT EXISTS change_log_transaction ON change_log (incarnation, number);
`;

type ChangeRow = {
  sequence: number;
  keys: string;
  commands: string;
  record: string | null;
  member: string | null;
};

type WriteRow = { record: string; keys: string; commands: string; callback: string | null };

type RecoveredRow = WriteRow & { sequence: number; confirmed_at: number | null };

/** The committed writes and the changes of members in the order of their sequence, without a gap. */
export class ChangeLog {
  readonly #sql: Sql;

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
  }

  /** Adds a committed write; it is stored with its decision, and its record beside it. Returns about the bytes that it takes. */
  append(write: DecidedWrite, [incarnation, number]: TransactionOrder): number {
    const { record, callback } = write;
    const keys = JSON.stringify(write.keys);
    const commands = JSON.stringify(write.commands);
    this.#sql.exec(
      `INSERT INTO change_log (sequence, write_id, incarnation, number, decided_at, keys, commands, callback)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      record.sequence,
      record.id,
      incarnation,
      number,
      record.decidedAt,
      keys,
      commands,
      callback === null ? null : JSON.stringify(callback),
    );
    return keys.length + commands.length;
  }

  appendMember(change: MemberChange): void {
    this.#sql.exec(
      `INSERT INTO change_log (sequence, decided_at, keys, commands, member) VALUES (?, ?, '[]', '[]', ?)`,
      change.sequence,
      change.at,
      JSON.stringify(change),
    );
  }

  /** The committed writes of a transaction, whose confirmation may still be owed. */
  writesOf([incarnation, number]: TransactionOrder): readonly CommittedWrite[] {
    return this.#sql
      .exec<WriteRow>(
        `SELECT record, keys, commands, callback FROM change_log JOIN write ON write.id = write_id
         WHERE change_log.incarnation = ? AND change_log.number = ? ORDER BY sequence`,
        incarnation,
        number,
      )
      .toArray()
      .map(writeOf);
  }

  /** One page of what came after `since`. A page ends early where it grows large, but never before its first change. */
  page(query: ChangesQuery, newest: number): ChangesAnswer {
    const { since, limit } = query;
    const oldest = this.#oldest() ?? newest + 1;
    if (since > newest) return { kind: 'ahead', newest };
    if (since < oldest - 1) return { kind: 'expired', oldest };
    const changes: Change[] = [];
    let next = since;
    let bytes = 0;
    for (const row of this.#after(since)) {
      bytes += sizeOf(row);
      if (next > since && (changes.length >= limit || bytes > limits.changesPageBytes)) break;
      next = row.sequence;
      const change = askedFor(row, query);
      if (change !== null) changes.push(change);
    }
    return { kind: 'page', changes, next, newest };
  }

  /** The newest change, or null if none is kept. */
  newest(): Change | null {
    const [row] = this.#sql
      .exec<{ sequence: number | null }>('SELECT max(sequence) AS sequence FROM change_log')
      .toArray();
    const sequence = row?.sequence ?? null;
    if (sequence === null) return null;
    const since = sequence - 1;
    const page = this.page(
      { since, limit: 1, prefixes: [], values: true, members: true },
      sequence,
    );
    return page.kind === 'page' ? (page.changes[0] ?? null) : null;
  }

  /** The sequence before the first change since a moment (ms); null where there is none. */
  placeOf(moment: number): number | null {
    const [row] = this.#sql
      .exec<{ first: number | null }>(
        'SELECT min(sequence) AS first FROM change_log WHERE decided_at >= ?',
        moment,
      )
      .toArray();
    const first = row?.first ?? null;
    return first === null ? null : first - 1;
  }

  /** The sequence of the newest kept write to a key; null where there is none. It may look through all of the log. */
  lastWriteTo(key: string): number | null {
    // The text of an array holds the text of its elements, but one element may hold the text of another, quotes and all.
    const rows = this.#sql.exec<{ sequence: number; keys: string }>(
      `SELECT sequence, keys FROM change_log WHERE instr(keys, ?) > 0 OR instr(keys, ?) > 0
       ORDER BY sequence DESC`,
      JSON.stringify(key),
      JSON.stringify(flushedKey),
    );
    for (const row of rows) {
      const keys = parse<readonly string[]>(row.keys);
      if (keys.includes(key) || keys.includes(flushedKey)) return row.sequence;
    }
    return null;
  }

  /** The writes after a sequence in their order, as many as are looked at in one step: at least one, where there are any. */
  recoverable(since: number): readonly RecoveredWrite[] {
    const rows = this.#sql.exec<RecoveredRow>(
      `SELECT log.sequence AS sequence, record, log.keys AS keys, commands, callback, confirmed_at
       FROM change_log AS log
       JOIN write ON write.id = write_id
       LEFT JOIN decision ON decision.incarnation = log.incarnation AND decision.number = log.number
       WHERE log.sequence > ? ORDER BY log.sequence LIMIT ?`,
      since,
      limits.writesPerRecoveryStep,
    );
    const recovered: RecoveredWrite[] = [];
    let bytes = 0;
    for (const row of rows) {
      bytes += sizeOf(row);
      if (recovered.length > 0 && bytes > limits.changesPageBytes) break;
      const { sequence, confirmed_at: confirmedAt } = row;
      recovered.push({ write: writeOf(row), sequence, confirmedAt });
    }
    return recovered;
  }

  #oldest(): number | null {
    const [row] = this.#sql
      .exec<{ oldest: number | null }>('SELECT min(sequence) AS oldest FROM change_log')
      .toArray();
    return row?.oldest ?? null;
  }

  #after(since: number): Iterable<ChangeRow> {
    return this.#sql.exec<ChangeRow>(
      `SELECT sequence, keys, commands, record, member FROM change_log
       LEFT JOIN write ON write.id = write_id WHERE sequence > ? ORDER BY sequence LIMIT ?`,
      since,
      limits.changesPerPage,
    );
  }
}

/** A write whose events may be owed once more. */
export interface RecoveredWrite {
  readonly sequence: number;
  readonly write: CommittedWrite;
  readonly confirmedAt: number | null;
}

function writeOf({ record, keys, commands, callback }: WriteRow): CommittedWrite {
  return {
    record: parse<WriteRecord>(record),
    keys: parse<readonly string[]>(keys),
    commands: parse<readonly (readonly string[])[]>(commands),
    callback: callback === null ? null : parse<Callback>(callback),
  };
}

/** A committed write as the feed tells it. */
export function changeFrom(
  { record, keys, commands }: CommittedWrite,
  sequence: number,
  values: boolean,
): Change {
  const { id, transaction, decidedAt, part } = record;
  const thin = { sequence, id, transaction, at: decidedAt, keys };
  return values ? { ...thin, commands, part } : thin;
}

/** A change of members as the feed tells it. It is of no write, and has no keys. */
function memberChangeFrom(member: MemberChange): Change {
  return { sequence: member.sequence, id: '', transaction: '', at: member.at, keys: [], member };
}

/** What `writes` add to the log, as the feed tells it, in the order of the log. */
export function changesIn(writes: readonly StorageWrite[]): readonly Change[] {
  const changes = writes.flatMap((write) => {
    if (write.kind === 'members') return write.changes.map(memberChangeFrom);
    if (write.kind !== 'commit') return [];
    return write.writes.flatMap((decided) => {
      const { sequence } = decided.record;
      return sequence === null ? [] : [changeFrom(decided, sequence, true)];
    });
  });
  return changes.sort((a, b) => a.sequence - b.sequence);
}

/** The change of a row, or null where it was not asked for. */
function askedFor(row: ChangeRow, { prefixes, values, members }: ChangesQuery): Change | null {
  const { sequence, record, member } = row;
  if (member !== null) return members ? memberChangeFrom(parse<MemberChange>(member)) : null;
  assert(record !== null, 'a write of the log has its record');
  const keys = parse<readonly string[]>(row.keys);
  if (!concerns(keys, prefixes)) return null;
  // Large, and often not asked for.
  const commands = values ? parse<readonly (readonly string[])[]>(row.commands) : [];
  const write = { record: parse<WriteRecord>(record), keys, commands, callback: null };
  return changeFrom(write, sequence, values);
}

/** About the bytes that a row takes. */
function sizeOf(row: {
  readonly keys: string;
  readonly commands: string;
  readonly record: string | null;
}): number {
  return row.keys.length + row.commands.length + (row.record?.length ?? 0);
}

/** Rows were written by this class alone, so their JSON has the shape that it gave them. */
function parse<Value>(text: string): Value {
  const value: Value = JSON.parse(text);
  return value;
}
