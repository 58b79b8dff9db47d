/** Converts the deliveries of earlier formats, which had a row of the table `delivery` each, to batches. */
import type { DeliveryRecord, EventType } from '../../shared/contracts/webhooks-and-feed.ts';
import { limits } from '../../shared/limits.ts';
import type { SqlObjectStorage } from '../coordinator/storage/sql.ts';
import { hasTable } from '../platform/storage-form.ts';
import type { BatchStorage } from './batch-storage.ts';
import type { Delivery } from './delivery.ts';

type Row = Record<string, string | number | null>;

/** Thrown while a storage is being converted. The next attempt to begin continues. */
export class StorageBeingConverted extends Error {
  override readonly name = 'StorageBeingConverted';
}

/** True if deliveries of an earlier format are left. */
export function hasOldDeliveries(storage: SqlObjectStorage): boolean {
  return hasTable(storage.sql, 'delivery');
}

/**
 * Converts the oldest deliveries, at most about `limits.deliveriesConvertedAtOnce` and `limits.bytesConvertedAtOnce`.
 * True if all are converted. The caller provides the transaction.
 */
export function convertDeliveries(storage: SqlObjectStorage, batches: BatchStorage): boolean {
  const { sql } = storage;
  let [converted, bytes, last] = [0, 0, 0];
  for (;;) {
    const part = readPart(storage, last);
    const newest = part.at(-1);
    if (newest === undefined) {
      sql.exec('DROP TABLE delivery');
      return true;
    }
    const bodies = part.map((row) => new TextEncoder().encode(String(row.body)));
    const deliveries = part.map((row, index) => deliveryOf(row, bodies[index]?.length ?? 0));
    batches.append(null, deliveries, bodies, Math.min(...deliveries.map(({ since }) => since)));
    batches.save();
    last = Number(newest.position);
    converted += part.length;
    bytes += bodies.reduce((sum, body) => sum + body.length, 0);
    if (converted >= limits.deliveriesConvertedAtOnce || bytes >= limits.bytesConvertedAtOnce) {
      sql.exec('DELETE FROM delivery WHERE position <= ?', last);
      return false;
    }
  }
}

/** The rows after a position that make one batch. */
function readPart({ sql }: SqlObjectStorage, after: number): readonly Row[] {
  const part: Row[] = [];
  let characters = 0;
  const rows = sql.exec<Row>(
    'SELECT * FROM delivery WHERE position > ? ORDER BY position LIMIT ?',
    ...[after, limits.eventsPerHandover],
  );
  for (const row of rows) {
    // A character has up to three bytes.
    characters += String(row.body).length;
    if (part.length > 0 && 3 * characters > limits.courierRowBytes) break;
    part.push(row);
  }
  return part;
}

function deliveryOf(row: Row, bodyBytes: number): Delivery {
  // Release 0.1 kept only the last attempt.
  const history: Delivery['history'] = JSON.parse(String(row.history ?? '[]'));
  return {
    event: String(row.event),
    // Both columns were written from these types.
    type: String(row.type) as EventType,
    state: String(row.state) as DeliveryRecord['state'],
    at: Number(row.at),
    bodyBytes,
    since: Number(row.since),
    dueAt: row.due_at === null ? null : Number(row.due_at),
    step: Number(row.step),
    attempts: Number(row.attempts),
    status: row.status === null ? null : Number(row.status),
    ms: row.ms === null ? null : Number(row.ms),
    answer: row.answer === null ? null : String(row.answer),
    lastAttemptAt: row.last_attempt_at === null ? null : Number(row.last_attempt_at),
    history,
  };
}
