/** Stores the open loans of a shard to joint transactions of others, and its own joint commits. */
import { assert } from '../../../shared/assert.ts';
import {
  formatTransactionName,
  keyOf,
  parseTransactionName,
  type ShardId,
  type TransactionOrder,
} from '../../../shared/ids.ts';
import type { StorageWrite } from '../../../shared/protocol/io/ready.ts';
import type {
  StoredDecision,
  StoredJointCommit,
  StoredLoan,
} from '../../../shared/protocol/io/stored.ts';
import { hasTable } from '../../platform/storage-form.ts';
import type { LoggedJoint, LogHead } from './log-step.ts';
import { packBytes, packTexts, unpackBytes, unpackTexts } from './packed.ts';
import type { Sql, SqlObjectStorage } from './sql.ts';
import type { StepLog } from './step-log.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS loan (
    incarnation INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, keys BLOB NOT NULL,
    PRIMARY KEY (incarnation, number)
  ) WITHOUT ROWID;
`;

type LoanRow = { incarnation: number; number: number; name: string; keys: ArrayBuffer };

/** The open loans: a row each. The table is made with the first of them, so a shard without any has none. */
export class LoanStorage {
  readonly #sql: Sql;
  #hasTable = false;

  constructor(storage: Pick<SqlObjectStorage, 'sql'>) {
    this.#sql = storage.sql;
  }

  /** The open loans, oldest first. */
  all(): readonly StoredLoan[] {
    this.#hasTable = hasTable(this.#sql, 'loan');
    if (!this.#hasTable) return [];
    return this.#sql
      .exec<LoanRow>('SELECT * FROM loan ORDER BY incarnation, number')
      .toArray()
      .map(({ incarnation, number, name, keys }) => {
        const parsed = parseTransactionName(name);
        assert(parsed !== null, 'a loan names its transaction');
        const transaction = [incarnation, number] as const;
        return { transaction, name: parsed, keys: unpackTexts(unpackBytes(keys)) };
      });
  }

  /** Keys are lent. */
  add({ transaction: [incarnation, number], name, keys }: StoredLoan): void {
    if (!this.#hasTable) this.#sql.exec(schema);
    this.#hasTable = true;
    this.#sql.exec(
      'INSERT INTO loan (incarnation, number, name, keys) VALUES (?, ?, ?, ?)',
      incarnation,
      number,
      formatTransactionName(name),
      packBytes(packTexts(keys)),
    );
  }

  /** Home has concluded the loan. */
  end([incarnation, number]: TransactionOrder): void {
    this.#sql.exec('DELETE FROM loan WHERE incarnation = ? AND number = ?', incarnation, number);
  }
}

/** A decision as the log has it. */
interface Logged {
  readonly transaction: TransactionOrder;
  readonly keys: readonly string[];
  readonly sequence: number;
  readonly joint?: LoggedJoint;
}

/** The shares of the other shards, if the decision is about a joint transaction. */
export function sharesOf({ joint }: Logged): Pick<StoredDecision, 'otherShares'> {
  return joint === undefined ? {} : { otherShares: joint.otherShares };
}

/** The joint commit of which this shard is home, with the guests that have not acknowledged it; null for another one. */
function jointCommitIn(
  { transaction, keys, sequence, joint }: Logged,
  unacknowledged: readonly ShardId[],
): StoredJointCommit | null {
  if (joint?.own === undefined) return null;
  const { shard, now } = joint.own;
  const shares = [{ shard, transaction, keys }, ...joint.otherShares];
  return { transaction, shares, sequence, now, unacknowledged };
}

/** A joint commit that some guest has yet to acknowledge, and the position of its step. */
interface Unacknowledged {
  readonly position: number;
  readonly guests: readonly ShardId[];
}

/** The joint commits of which this shard is home, until every guest has acknowledged them. */
export class JointCommits {
  readonly #log: StepLog;
  /** In the order of the log. */
  readonly #unacknowledged = new Map<string, Unacknowledged>();

  constructor(log: StepLog) {
    this.#log = log;
  }

  /** The position of the first step with such a commit; null if there is none. */
  get first(): number | null {
    const [first] = this.#unacknowledged.values();
    return first?.position ?? null;
  }

  /** The guests that have not acknowledged, for the small state; null if there are none. */
  get guests(): NonNullable<LogHead['guests']> | null {
    if (this.#unacknowledged.size === 0) return null;
    return Object.fromEntries([...this.#unacknowledged].map(([key, { guests }]) => [key, guests]));
  }

  /** Reads a commit of a step at the beginning of a life. */
  load(transaction: TransactionOrder, position: number): void {
    const guests = this.#log.head?.guests?.[keyOf(transaction)];
    if (guests !== undefined) this.#unacknowledged.set(keyOf(transaction), { position, guests });
  }

  /** Notes the commits and acknowledgements of a step that is about to be added at `position`. */
  note(writes: readonly StorageWrite[], position: number): void {
    for (const write of writes) {
      if (write.kind === 'commit' && write.joint !== undefined) {
        const { unacknowledged: guests } = write.joint;
        this.#unacknowledged.set(keyOf(write.transaction), { position, guests });
      }
      if (write.kind !== 'guest-acknowledged') continue;
      const key = keyOf(write.transaction);
      const known = this.#unacknowledged.get(key);
      const guests = (known?.guests ?? []).filter((guest) => guest !== write.guest);
      if (known === undefined || guests.length === 0) this.#unacknowledged.delete(key);
      else this.#unacknowledged.set(key, { ...known, guests });
    }
  }

  /** Those that some guest has yet to acknowledge. */
  all(): readonly StoredJointCommit[] {
    return [...this.#unacknowledged].flatMap(([key, { position, guests }]) => {
      const { decisions } = this.#log.stepAt(position);
      const decision = decisions.find((one) => keyOf(one.transaction) === key);
      const commit = decision === undefined ? null : jointCommitIn(decision, guests);
      return commit === null ? [] : [commit];
    });
  }

  /** The one of this order, acknowledged or not; null if none is recorded. */
  find(transaction: TransactionOrder): StoredJointCommit | null {
    const key = keyOf(transaction);
    for (const { decisions } of this.#log.stepsWithCommit(transaction)) {
      const found = decisions.find((one) => keyOf(one.transaction) === key);
      const guests = this.#unacknowledged.get(key)?.guests ?? [];
      if (found !== undefined) return jointCommitIn(found, guests);
    }
    return null;
  }
}
