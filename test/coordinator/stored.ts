import { CoordinatorStorage } from '../../functions/coordinator/storage/coordinator-storage.ts';
import type { Retention } from '../../shared/config/configuration.ts';
import type { MemberChange } from '../../shared/contracts/members.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';
import type { DecidedWrite } from '../../shared/protocol/io/stored.ts';
import type { MemoryStorage } from './sqlite.ts';

/** The default retention of a coordinator. */
export const retention: Retention = {
  keptMs: limits.decisionsKeptMs,
  keptWrites: limits.decisionsKept,
  keptBytes: limits.keptBytesDefault,
  keysKeptMs: limits.keysKeptMsDefault,
};

/** A new instance of a coordinator on the stored state, and the state that it starts from. */
export function begun(memory: MemoryStorage, changes: Partial<Retention> = {}) {
  const storage = new CoordinatorStorage(memory, { ...retention, ...changes }, 0);
  return { storage, stored: storage.begin(1) };
}

/** Drops all that may be dropped at `now`, slice by slice. Returns the number of slices. */
export function pruneAll(
  storage: CoordinatorStorage,
  now: number,
  kept?: Pick<Retention, 'keptMs' | 'keptWrites'>,
): number {
  let slices = 1;
  while (storage.prune(now, kept)) slices += 1;
  return slices;
}

/** A committed write to one key; its transaction is `[1, sequence]`. */
export function writeOf(
  sequence: number,
  decidedAt: number,
  key = `key:${sequence}`,
): DecidedWrite {
  return {
    record: {
      id: `0-${sequence}`,
      outcome: 'committed',
      transaction: `0.1.${sequence}`,
      sequence,
      part: '[0,"OK"]',
      votes: [],
      decidedAt,
      attempts: 0,
      appliedIn: [],
      ms: 1,
    },
    keys: [key],
    commands: [['SET', key, 'v']],
    callback: null,
    idempotency: null,
  };
}

/** The optional parts of a {@link commit}, besides its sequence. */
interface Committed {
  readonly at?: number;
  readonly key?: string;
  readonly missedBy?: readonly string[];
}

export function commit(
  storage: CoordinatorStorage,
  sequence: number,
  { at = sequence, key = `key:${sequence}`, missedBy = [] }: Committed = {},
): void {
  const write = writeOf(sequence, at, key);
  const transaction: TransactionOrder = [1, sequence];
  const { keys } = write;
  storage.write([
    { kind: 'commit', transaction, keys, writes: [write], sequence, now: at, missedBy },
  ]);
}

export function confirm(storage: CoordinatorStorage, sequence: number, now: number): void {
  storage.write([{ kind: 'confirm', transactions: [[1, sequence]], now }]);
}

/** The change that evicts the region `beta`. */
export function changeAt(sequence: number, at = sequence): MemberChange {
  return {
    sequence,
    at,
    epoch: sequence + 100,
    region: 'beta',
    event: 'out',
    cause: 'silent',
    detail: 'it did not answer',
  };
}

export function change(storage: CoordinatorStorage, sequence: number, at = sequence): void {
  const changes = [changeAt(sequence, at)];
  storage.write([{ kind: 'members', epoch: sequence + 100, changes }]);
}

/** The rows that the statements of `work` return. */
export function rowsRead(memory: MemoryStorage, work: () => void): number {
  const { exec } = memory.sql;
  let rows = 0;
  const counting: typeof exec = (text, ...values) => {
    const result = exec<never>(text, ...values).toArray();
    rows += result.length;
    return Object.assign(result.values(), { toArray: () => result });
  };
  Object.assign(memory.sql, { exec: counting });
  work();
  Object.assign(memory.sql, { exec });
  return rows;
}
