import type { TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { CommittedWrite, DecidedWrite } from '../../shared/protocol/events.ts';
import type { WriteRecord } from '../../shared/wire/answers.ts';
import type {
  Callback,
  Change,
  ChangesAnswer,
  ChangesQuery,
} from '../../shared/wire/confirmations.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS change (
    sequence INTEGER PRIMARY KEY, write_id TEXT NOT NULL, incarnation INTEGER NOT NULL, number INTEGER NOT NULL,
    decided_at INTEGER NOT NULL, keys TEXT NOT NULL, commands TEXT NOT NULL, callback TEXT
  );
  CREATE INDEX IF NOT EXISTS change_transaction ON change (incarnation, number);
`;

type ChangeRow = {
  sequence: number;
  write_id: string;
  keys: string;
  commands: string;
  record: string;
};

type WriteRow = Omit<ChangeRow, 'sequence' | 'write_id'> & { callback: string | null };

type RecoveredRow = WriteRow & { sequence: number; confirmed_at: number | null };

/** The committed writes in the order of their sequence, without a gap. A row is stored with its decision. */
export class ChangeLog {
  readonly #sql: Sql;

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  begin(): void {
    this.#sql.exec(schema);
  }

  append(write: DecidedWrite, [incarnation, number]: TransactionOrder): void {
    const { record, keys, commands, callback } = write;
    this.#sql.exec(
      'INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      record.sequence,
      record.id,
      incarnation,
      number,
      record.decidedAt,
      JSON.stringify(keys),
      JSON.stringify(commands),
      callback === null ? null : JSON.stringify(callback),
    );
  }

  /** The committed writes of a transaction, whose confirmation may still be owed. */
  writesOf([incarnation, number]: TransactionOrder): readonly CommittedWrite[] {
    return this.#sql
      .exec<WriteRow>(
        `SELECT record, keys, commands, callback FROM change JOIN write ON write.id = write_id
         WHERE change.incarnation = ? AND change.number = ? ORDER BY sequence`,
        incarnation,
        number,
      )
      .toArray()
      .map(writeOf);
  }

  /** One page of what came after `since`. A page ends early where it grows large, but never before its first change. */
  page({ since, limit, prefixes, values }: ChangesQuery, newest: number): ChangesAnswer {
    const oldest = this.#oldest() ?? newest + 1;
    if (since > newest) return { kind: 'ahead', newest };
    if (since < oldest - 1) return { kind: 'expired', oldest };
    const changes: Change[] = [];
    let next = since;
    let bytes = 0;
    for (const row of this.#after(since)) {
      bytes += row.keys.length + row.commands.length + row.record.length;
      if (next > since && (changes.length >= limit || bytes > limits.changesPageBytes)) break;
      next = row.sequence;
      const keys = parse<readonly string[]>(row.keys);
      if (concerns(keys, prefixes)) changes.push(changeOf(row, keys, values));
    }
    return { kind: 'page', changes, next, newest };
  }

  /** Drops what was decided at or before a moment (ms), up to the first change that is not confirmed. */
  prune(before: number): void {
    this.#sql.exec(
      `DELETE FROM change WHERE decided_at <= ?
       AND sequence < coalesce((SELECT min(change.sequence) FROM change
         JOIN decision USING (incarnation, number) WHERE confirmed_at IS NULL), 9007199254740991)`,
      before,
    );
  }

  /** The sequence before the first write that was decided since a moment (ms); null where there is none. */
  placeOf(moment: number): number | null {
    const [row] = this.#sql
      .exec<{ first: number | null }>(
        'SELECT min(sequence) AS first FROM change WHERE decided_at >= ?',
        moment,
      )
      .toArray();
    const first = row?.first ?? null;
    return first === null ? null : first - 1;
  }

  /** The writes after a sequence in their order, as many as are looked at in one step: at least one, where there are any. */
  recoverable(since: number): readonly RecoveredWrite[] {
    const rows = this.#sql.exec<RecoveredRow>(
      `SELECT change.sequence AS sequence, record, change.keys AS keys, commands, callback, confirmed_at FROM change
       JOIN write ON write.id = write_id
       LEFT JOIN decision ON decision.incarnation = change.incarnation AND decision.number = change.number
       WHERE change.sequence > ? ORDER BY change.sequence LIMIT ?`,
      since,
      limits.writesPerRecoveryStep,
    );
    const recovered: RecoveredWrite[] = [];
    let bytes = 0;
    for (const row of rows) {
      bytes += row.keys.length + row.commands.length + row.record.length;
      if (recovered.length > 0 && bytes > limits.changesPageBytes) break;
      const { sequence, confirmed_at: confirmedAt } = row;
      recovered.push({ write: writeOf(row), sequence, confirmedAt });
    }
    return recovered;
  }

  #oldest(): number | null {
    const [row] = this.#sql
      .exec<{ oldest: number | null }>('SELECT min(sequence) AS oldest FROM change')
      .toArray();
    return row?.oldest ?? null;
  }

  #after(since: number): Iterable<ChangeRow> {
    return this.#sql.exec<ChangeRow>(
      `SELECT sequence, write_id, keys, commands, record FROM change JOIN write ON write.id = write_id
       WHERE sequence > ? ORDER BY sequence LIMIT ?`,
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

function changeOf(row: ChangeRow, keys: readonly string[], values: boolean): Change {
  const record = parse<WriteRecord>(row.record);
  // Large, and often not asked for.
  const commands = values ? parse<readonly (readonly string[])[]>(row.commands) : [];
  const write = { record, keys, commands, callback: null };
  return changeFrom(write, row.sequence, values);
}

function concerns(keys: readonly string[], prefixes: readonly string[]): boolean {
  if (prefixes.length === 0) return true;
  return keys.some((key) => prefixes.some((prefix) => key.startsWith(prefix)));
}

/** Rows were written by this class alone, so their JSON has the shape that it gave them. */
function parse<Value>(text: string): Value {
  const value: Value = JSON.parse(text);
  return value;
}
