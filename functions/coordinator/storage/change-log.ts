/** Stores the change log, and reads pages of it. */
import { assert } from '../../../shared/assert.ts';
import type { WriteRecord } from '../../../shared/contracts/coordinator.ts';
import type { MemberChange } from '../../../shared/contracts/members.ts';
import type {
  Callback,
  Change,
  ChangesAnswer,
  ChangesQuery,
} from '../../../shared/contracts/webhooks-and-feed.ts';
import type { TransactionOrder } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { StorageWrite } from '../../../shared/protocol/io/ready.ts';
import type { CommittedWrite, DecidedWrite } from '../../../shared/protocol/io/stored.ts';
import { concerns, flushedKey } from '../../../shared/reserved-keys.ts';
import { packCommands, packTexts, unpackBytes, unpackCommands, unpackTexts } from './packed.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';

/**
 * A row describes a write, or a change of members: such a row has the change in `member`, and no write or transaction.
 * `keys` and `commands` are packed; in rows of members and of release 0.1 they are JSON.
 */
const schema = `
  CREATE TABLE IF NOT EXISTS change_log (
    sequence INTEGER PRIMARY KEY, write_id TEXT, incarnation INTEGER, number INTEGER, decided_at INTEGER NOT NULL,
    keys TEXT NOT NULL, commands TEXT NOT NULL, callback TEXT, member TEXT
  );
  CREATE INDEX IF NOT EXISTS change_log_transaction ON change_log (incarnation, number);
`;

type ChangeRow = {
  sequence: number;
  keys: Packed;
  commands: Packed;
  record: string | null;
  part: ArrayBuffer | null;
  member: string | null;
};

/** A packed value, or JSON in rows of members and of release 0.1. */
type Packed = string | ArrayBuffer;

/** A record, and the bytes of its outcome; release 0.1 stored the outcome in the record. */
export type RecordRow = { record: string; part: ArrayBuffer | null };

type WriteRow = RecordRow & { keys: Packed; commands: Packed; callback: string | null };

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

  /** Adds a committed write, whose record is in the table `write`. Returns its approximate size, in bytes. */
  append(write: DecidedWrite, [incarnation, number]: TransactionOrder): number {
    const { record, callback } = write;
    const keys = packTexts(write.keys);
    const commands = packCommands(write.commands, write.keys);
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
    return keys.byteLength + commands.byteLength;
  }

  appendMember(change: MemberChange): void {
    this.#sql.exec(
      `INSERT INTO change_log (sequence, decided_at, keys, commands, member) VALUES (?, ?, '[]', '[]', ?)`,
      change.sequence,
      change.at,
      JSON.stringify(change),
    );
  }

  /** The committed writes of a transaction, for the events that follow its confirmation. */
  writesOf([incarnation, number]: TransactionOrder): readonly CommittedWrite[] {
    return this.#sql
      .exec<WriteRow>(
        `SELECT record, part, keys, commands, callback FROM change_log JOIN write ON write.id = write_id
         WHERE change_log.incarnation = ? AND change_log.number = ? ORDER BY sequence`,
        incarnation,
        number,
      )
      .toArray()
      .map(writeOf);
  }

  /** A page of the changes after `since`. It ends early if it grows large, but covers at least one change. */
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

  /** The sequence before the first change since a moment, ms since the epoch; null if there is no such change. */
  sequenceBefore(moment: number): number | null {
    const [row] = this.#sql
      .exec<{ first: number | null }>(
        'SELECT min(sequence) AS first FROM change_log WHERE decided_at >= ?',
        moment,
      )
      .toArray();
    const first = row?.first ?? null;
    return first === null ? null : first - 1;
  }

  /** The sequence of the newest kept write to a key, or null. It may scan the whole log. */
  lastWriteTo(key: string): number | null {
    // A match is only a hint: a key may contain the packed form, or the JSON, of another.
    const rows = this.#sql.exec<{ sequence: number; keys: Packed }>(
      `SELECT sequence, keys FROM change_log
       WHERE instr(keys, ?) > 0 OR instr(keys, ?) > 0 OR instr(keys, ?) > 0 OR instr(keys, ?) > 0
       ORDER BY sequence DESC`,
      packTexts([key]),
      packTexts([flushedKey]),
      JSON.stringify(key),
      JSON.stringify(flushedKey),
    );
    for (const row of rows) {
      const keys = keysOf(row);
      if (keys.includes(key) || keys.includes(flushedKey)) return row.sequence;
    }
    return null;
  }

  /** The writes after a sequence, in order, as many as one step of a recovery takes: at least one, if there is any. */
  recoverable(since: number): readonly RecoveredWrite[] {
    const rows = this.#sql.exec<RecoveredRow>(
      `SELECT log.sequence AS sequence, record, part, log.keys AS keys, commands, callback, confirmed_at
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
      `SELECT sequence, keys, commands, record, part, member FROM change_log
       LEFT JOIN write ON write.id = write_id WHERE sequence > ? ORDER BY sequence LIMIT ?`,
      since,
      limits.changesPerPage,
    );
  }
}

/** A write whose events may be sent again. */
export interface RecoveredWrite {
  readonly sequence: number;
  readonly write: CommittedWrite;
  readonly confirmedAt: number | null;
}

function writeOf(row: WriteRow): CommittedWrite {
  const keys = keysOf(row);
  const { callback } = row;
  return {
    record: recordIn(row),
    keys,
    commands: commandsOf(row, keys),
    callback: callback === null ? null : parse<Callback>(callback),
  };
}

/** The record in its row. */
export function recordIn({ record, part }: RecordRow): WriteRecord {
  const parsed = parse<WriteRecord>(record);
  return part === null ? parsed : { ...parsed, part: unpackBytes(part) };
}

/** The keys in a row of the log or of a decision. */
export function keysOf({ keys }: { readonly keys: Packed }): readonly string[] {
  return typeof keys === 'string' ? parse<readonly string[]>(keys) : unpackTexts(keys);
}

function commandsOf(
  { commands }: { readonly commands: Packed },
  keys: readonly string[],
): readonly (readonly string[])[] {
  return typeof commands === 'string'
    ? parse<readonly (readonly string[])[]>(commands)
    : unpackCommands(commands, keys);
}

/** A committed write in the form of the feed. */
export function changeFrom(
  { record, keys, commands }: CommittedWrite,
  sequence: number,
  values: boolean,
): Change {
  const { id, transaction, decidedAt, part } = record;
  const thin = { sequence, id, transaction, at: decidedAt, keys };
  return values ? { ...thin, commands, part } : thin;
}

/** A change of members in the form of the feed. It belongs to no write, and has no keys. */
function memberChangeFrom(member: MemberChange): Change {
  return { sequence: member.sequence, id: '', transaction: '', at: member.at, keys: [], member };
}

/** The changes that `writes` add to the log, in its order and in the form of the feed. */
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

/** The change of a row, or null if the query does not ask for it. */
function askedFor(row: ChangeRow, { prefixes, values, members }: ChangesQuery): Change | null {
  const { sequence, record, part, member } = row;
  if (member !== null) return members ? memberChangeFrom(parse<MemberChange>(member)) : null;
  assert(record !== null, 'a write of the log has its record');
  const keys = keysOf(row);
  if (!concerns(keys, prefixes)) return null;
  // Unpacked only on request, because they may be large.
  const commands = values ? commandsOf(row, keys) : [];
  const write = { record: recordIn({ record, part }), keys, commands, callback: null };
  return changeFrom(write, sequence, values);
}

/** The approximate size of a row, in bytes. */
function sizeOf({
  keys,
  commands,
  record,
  part,
}: Pick<ChangeRow, 'keys' | 'commands' | 'record' | 'part'>): number {
  const packed = [keys, commands, part ?? ''].reduce<number>(
    (sum, value) => sum + (typeof value === 'string' ? value.length : value.byteLength),
    0,
  );
  return packed + (record?.length ?? 0);
}

/** Only this class writes the rows, so their JSON has the expected shape. */
function parse<Value>(text: string): Value {
  const value: Value = JSON.parse(text);
  return value;
}
