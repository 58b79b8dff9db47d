import { assert } from './assert.ts';

/** The number of a shard. A single shard exists today, number 0, but each id and key name carries it. */
export type ShardId = number;

/** The only shard today. Where there are more, the slot of the first key says which. */
export const onlyShard: ShardId = 0;

/** The name of the Durable Objects of a shard: its coordinator, and its feed. */
export function shardNameOf(shard: ShardId): string {
  return `shard-${shard}`;
}

/** The id of a region as configured, such as `us-east-1`. */
export type RegionId = string;

/**
 * The id of a transaction: `shard.incarnation.sequence`. Regions order the transactions of a shard by
 * (incarnation, sequence).
 */
export interface TransactionId {
  readonly shard: ShardId;
  readonly incarnation: number;
  readonly sequence: number;
}

/** A transaction id without its shard, as it stands inside a shard's own records: [incarnation, sequence]. */
export type TransactionOrder = readonly [incarnation: number, sequence: number];

/** The id of a write as its client sees it: `<shard>-<uuid v7>`. The shard leads a later question to its coordinator. */
export type WriteId = string;

const transactionIdPattern = /^(\d{1,5})\.(\d{1,15})\.(\d{1,15})$/;
const writeIdPattern =
  /^(\d{1,5})-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** `shard.incarnation.sequence`. */
export function formatTransactionId(id: TransactionId): string {
  return `${id.shard}.${id.incarnation}.${id.sequence}`;
}

/** The transaction id that `text` spells, or null where it spells none. */
export function parseTransactionId(text: string): TransactionId | null {
  const match = transactionIdPattern.exec(text);
  if (match === null) return null;
  return { shard: Number(match[1]), incarnation: Number(match[2]), sequence: Number(match[3]) };
}

/** Negative, zero or positive, as `a` is older than, the same as, or newer than `b`. */
export function compareOrder(a: TransactionOrder, b: TransactionOrder): number {
  return a[0] - b[0] || a[1] - b[1];
}

/** Names a new write. `uuid` is a fresh UUID v7 in lower case. */
export function writeIdOf(shard: ShardId, uuid: string): WriteId {
  const id = `${shard}-${uuid}`;
  assert(shardOfWriteId(id) === shard, `a write id is <shard>-<uuid v7>, not ${id}`);
  return id;
}

/** `incarnation.sequence`, as a key of maps and for people. */
export function keyOf(order: TransactionOrder): string {
  return `${order[0]}.${order[1]}`;
}

/** The shard that keeps the write `id`, or null where `id` is no write id. */
export function shardOfWriteId(id: string): ShardId | null {
  const match = writeIdPattern.exec(id);
  return match === null ? null : Number(match[1]);
}
