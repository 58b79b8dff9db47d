/** The ids of shards, regions, transactions and writes, and their text forms. */
import { assert } from './assert.ts';

/** The number of a shard. Every id and record contains it. It is never given to another shard. */
export type ShardId = number;

/** The name of the Durable Objects of a shard: its coordinator, and its feed. */
export function shardNameOf(shard: ShardId): string {
  return `shard-${shard}`;
}

/** The shard whose Durable Object has this name; null if none has. */
export function shardOfName(name: string): ShardId | null {
  const match = shardNamePattern.exec(name);
  return match === null ? null : Number(match[1]);
}

/** The id of a region as configured, such as `us-east-1`. */
export type RegionId = string;

/**
 * The id of a transaction: `shard.incarnation.sequence`. (incarnation, sequence) orders the transactions of a shard.
 */
export interface TransactionId {
  readonly shard: ShardId;
  readonly incarnation: number;
  readonly sequence: number;
}

/** A transaction id within its shard: [incarnation, sequence]. */
export type TransactionOrder = readonly [incarnation: number, sequence: number];

/**
 * The full name of a joint transaction: `shard/birth/incarnation.sequence` of its home. `birth` is home's first generation:
 * a coordinator that has lost its storage is born again, and must not be taken for the former one.
 */
export interface TransactionName extends TransactionId {
  readonly birth: number;
}

/** The id of a write for clients: `<shard>-<uuid v7>`. The shard identifies the coordinator that has the outcome. */
export type WriteId = string;

const shardNamePattern = /^shard-(0|[1-9]\d{0,4})$/;
const transactionIdPattern = /^(\d{1,5})\.(\d{1,15})\.(\d{1,15})$/;
const transactionNamePattern = /^(\d{1,5})\/(\d{1,15})\/(\d{1,15})\.(\d{1,15})$/;
const writeIdPattern =
  /^(\d{1,5})-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** `shard.incarnation.sequence`. */
export function formatTransactionId(id: TransactionId): string {
  return `${id.shard}.${id.incarnation}.${id.sequence}`;
}

/** Parses `shard.incarnation.sequence`, or returns null if `text` has another form. */
export function parseTransactionId(text: string): TransactionId | null {
  const match = transactionIdPattern.exec(text);
  if (match === null) return null;
  return { shard: Number(match[1]), incarnation: Number(match[2]), sequence: Number(match[3]) };
}

/** `shard/birth/incarnation.sequence`. */
export function formatTransactionName({
  shard,
  birth,
  incarnation,
  sequence,
}: TransactionName): string {
  return `${shard}/${birth}/${incarnation}.${sequence}`;
}

/** Parses `shard/birth/incarnation.sequence`, or returns null if `text` has another form. */
export function parseTransactionName(text: string): TransactionName | null {
  const match = transactionNamePattern.exec(text);
  if (match === null) return null;
  const [shard, birth, incarnation, sequence] = match.slice(1).map(Number);
  if (shard === undefined || birth === undefined) return null;
  if (incarnation === undefined || sequence === undefined) return null;
  return { shard, birth, incarnation, sequence };
}

/** Negative if `a` is older than `b`, positive if it is newer, otherwise 0. */
export function compareOrder(a: TransactionOrder, b: TransactionOrder): number {
  return a[0] - b[0] || a[1] - b[1];
}

/** The id of a new write. `uuid` is a new UUID v7 in lower case. */
export function writeIdOf(shard: ShardId, uuid: string): WriteId {
  const id = `${shard}-${uuid}`;
  assert(shardOfWriteId(id) === shard, `a write id is <shard>-<uuid v7>, not ${id}`);
  return id;
}

/** The id of the same write in another shard. */
export function writeIdIn(shard: ShardId, id: WriteId): WriteId {
  return writeIdOf(shard, id.slice(id.indexOf('-') + 1));
}

/** `incarnation.sequence`, as a map key and for people. */
export function keyOf(order: TransactionOrder): string {
  return `${order[0]}.${order[1]}`;
}

/** The shard of the write `id`, or null if `id` is not a write id. */
export function shardOfWriteId(id: string): ShardId | null {
  const match = writeIdPattern.exec(id);
  return match === null ? null : Number(match[1]);
}
