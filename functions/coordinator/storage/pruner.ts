/** Drops old entries of the storage. */
import type { Retention } from '../../../shared/config/configuration.ts';
import { compareOrder, type TransactionOrder } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import type { SqlObjectStorage } from './sql.ts';

type LogRow = {
  sequence: number;
  incarnation: number | null;
  number: number | null;
  decided_at: number;
};

type Pruned = Pick<Retention, 'keptMs' | 'keptWrites'> & {
  /** True if room is short: entries without a promise are then dropped at the age of `limits.keptMsMinimum`. */
  readonly isPressed: boolean;
};

/** The stored horizon: decisions about transactions up to and including it may have been dropped. */
export interface Horizon {
  horizon: TransactionOrder;
}

/**
 * Drops entries past their retention, in slices of a few rows. Each table is pruned from the beginning of an index,
 * so no position has to be stored, no slice scans rows that stay, and a new life has nothing to catch up on. A slice
 * deletes before it writes, so it works in a full storage.
 */
export class Pruner {
  readonly #storage: SqlObjectStorage;
  readonly #horizon: Horizon;

  constructor(storage: SqlObjectStorage, horizon: Horizon) {
    this.#storage = storage;
    this.#horizon = horizon;
  }

  /** Drops one slice; true if there may be more to drop. */
  slice(now: number, pruned: Pruned): boolean {
    return this.#storage.transactionSync(() => {
      const leastMs = pruned.isPressed ? limits.keptMsMinimum : pruned.keptMs;
      const before = now - Math.min(leastMs, pruned.keptMs);
      const changes = this.#dropChanges(before, pruned.keptWrites);
      const rejected = this.#dropRejected(before);
      const keys = this.#dropKeys(now, before);
      return changes || rejected || keys;
    });
  }

  /**
   * Drops changes from the beginning of the log, with their records and decisions, so that the log never has a gap. It
   * stops at the oldest write that some region has yet to apply. A record that is promised to an idempotency key stays.
   */
  #dropChanges(before: number, keptWrites: number): boolean {
    const { sql } = this.#storage;
    const newest = this.#number('SELECT max(sequence) AS value FROM change_log') ?? 0;
    const open = this.#firstUnconfirmed();
    const rows = sql
      .exec<LogRow>(
        `SELECT sequence, incarnation, number, decided_at FROM change_log
         ORDER BY sequence LIMIT ?`,
        limits.rowsPerPrune,
      )
      .toArray();
    const isKept = (row: LogRow) =>
      row.sequence >= open || (row.decided_at > before && row.sequence > newest - keptWrites);
    const kept = rows.findIndex(isKept);
    const dropped = kept < 0 ? rows : rows.slice(0, kept);
    const last = dropped.at(-1)?.sequence;
    if (last === undefined) return false;
    sql.exec(
      `DELETE FROM write WHERE idempotency_key IS NULL
       AND id IN (SELECT write_id FROM change_log WHERE sequence <= ?)`,
      last,
    );
    // A decision stays until the last of its writes is dropped.
    sql.exec(
      `DELETE FROM decision WHERE sequence <= ? AND (incarnation, number) IN
       (SELECT incarnation, number FROM change_log WHERE sequence <= ?)`,
      last,
      last,
    );
    sql.exec('DELETE FROM change_log WHERE sequence <= ?', last);
    this.#raiseHorizon(dropped);
    return dropped.length === limits.rowsPerPrune;
  }

  /** The sequence of the first write that some region has yet to apply. */
  #firstUnconfirmed(): number {
    const first = this.#number(
      `SELECT min(change_log.sequence) AS value FROM change_log
       WHERE (incarnation, number) = (SELECT incarnation, number FROM decision
         WHERE confirmed_at IS NULL ORDER BY sequence LIMIT 1)`,
    );
    return first ?? Number.MAX_SAFE_INTEGER;
  }

  /** Drops rejections without an idempotency key. */
  #dropRejected(before: number): boolean {
    const dropped = this.#storage.sql
      .exec(
        `DELETE FROM write WHERE id IN (SELECT id FROM write INDEXED BY rejected
         WHERE rejected = 1 AND idempotency_key IS NULL AND decided_at <= ?
         ORDER BY decided_at LIMIT ?) RETURNING 1`,
        before,
        limits.rowsPerPrune,
      )
      .toArray();
    return dropped.length === limits.rowsPerPrune;
  }

  /** Drops expired idempotency keys, with their records, unless these are kept for another reason. */
  #dropKeys(now: number, before: number): boolean {
    const { sql } = this.#storage;
    const over = sql
      .exec<{ id: string; decided_at: number; rejected: number | null; logged: number }>(
        `SELECT id, decided_at, rejected, EXISTS (SELECT 1 FROM change_log AS log
           WHERE log.incarnation = write.incarnation AND log.number = write.number
           AND log.write_id = write.id) AS logged
         FROM write INDEXED BY keyed WHERE idempotency_key IS NOT NULL AND kept_until < ?
         ORDER BY kept_until LIMIT ?`,
        // The next life may run on a machine whose clock is behind this one's.
        now - limits.keysGraceMs,
        limits.rowsPerPrune,
      )
      .toArray();
    for (const { id, decided_at: decidedAt, rejected, logged } of over) {
      const stays = logged === 1 || (rejected === 1 && decidedAt > before);
      if (!stays) sql.exec('DELETE FROM write WHERE id = ?', id);
      else {
        sql.exec(
          'UPDATE write SET idempotency_key = NULL, digest = NULL, kept_until = NULL WHERE id = ?',
          id,
        );
      }
    }
    return over.length === limits.rowsPerPrune;
  }

  #raiseHorizon(dropped: readonly LogRow[]): void {
    let highest = this.#horizon.horizon;
    for (const { incarnation, number } of dropped) {
      if (incarnation === null || number === null) continue;
      if (compareOrder([incarnation, number], highest) > 0) highest = [incarnation, number];
    }
    this.#horizon.horizon = highest;
  }

  #number(statement: string): number | null {
    const [row] = this.#storage.sql.exec<{ value: number | null }>(statement).toArray();
    return row?.value ?? null;
  }
}
