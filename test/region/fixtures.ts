/** Shortcuts for rounds, decisions, parts and operations. */
import { createHash } from 'node:crypto';
import { channelKey } from '../../shared/commands/keys.ts';
import { readLua } from '../../shared/commands/lua-text.ts';
import type { Check, Operation, ReplySort } from '../../shared/contracts/frame.ts';
import type {
  Decision,
  Part,
  Prepare,
  ReadCommand,
  Round,
  RoundReply,
  RoundResult,
  SnapshotRequest,
  Vote,
} from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import { everyKey, flushedKey } from '../../shared/reserved-keys.ts';
import { jsonOfOutcomes } from './replies.ts';

let marksMade = 0;

/** A round of the first incarnation with a fresh nonce, which accepts any data. `given` overrides its members. */
export function roundOf(given: Partial<Round>): Round {
  marksMade += 1;
  return {
    shard: 0,
    generation: 1,
    role: 'voter',
    epoch: 1,
    incarnation: 1,
    begin: true,
    takes: Number.MAX_SAFE_INTEGER,
    askOlder: false,
    lowWatermark: [0, 0],
    lastAcknowledged: null,
    nonce: `m${marksMade}`,
    decisions: [],
    prepares: [],
    lease: null,
    copy: null,
    ...given,
  };
}

/** A prepare of transaction 1.`sequence`. */
export function prepareOf(
  sequence: number,
  keys: readonly string[],
  ...parts: readonly Part[]
): Prepare {
  return { transaction: [1, sequence], keys, now: Date.now(), parts };
}

/** A commit of transaction 1.`sequence`. */
export function commitOf(sequence: number, keys: readonly string[]): Decision {
  return { transaction: [1, sequence], outcome: 'commit', keys };
}

/** An abort of transaction 1.`sequence`. */
export function abortOf(sequence: number, keys: readonly string[]): Decision {
  return { transaction: [1, sequence], outcome: 'abort', keys };
}

/** A part without checks. */
export function part(...operations: readonly Operation[]): Part {
  return { checks: [], operations, continueOnError: false };
}

/** A part with one check. */
export function checked(check: Check, ...operations: readonly Operation[]): Part {
  return { checks: [check], operations, continueOnError: false };
}

/** The part, but with errors among its replies: an operation that fails does not undo the others. */
export function continuingOnError(given: Part): Part {
  return { ...given, continueOnError: true };
}

/** `SET key value [PXAT pxat]` as an inline intent. */
export function set(key: string, value: string, pxat = ''): Operation {
  return {
    kind: 'set',
    args: [key, value, pxat],
    writes: [0],
    reads: [],
    reply: null,
    seed: null,
  };
}

/** A command that changes its first argument. */
export function write(...args: readonly string[]): Operation {
  return { kind: 'write', args, writes: [1], reads: [], reply: null, seed: null };
}

/** `INCR key`, which returns every digit. */
export function increment(key: string): Operation {
  return { ...write('INCR', key), reply: 'exact' };
}

/** `RENAME from to`. */
export function rename(from: string, to: string): Operation {
  return { ...write('RENAME', from, to), writes: [1, 2] };
}

/** A user's script that declares `keys`; its draws have the seed 7. */
export function script(
  text: string,
  keys: readonly string[] = [],
  argv: readonly string[] = [],
): Operation {
  const args = [createHash('sha1').update(text).digest('hex'), countedText(text), ...keys, ...argv];
  const writes = keys.map((_, index) => index + 2);
  return { kind: 'script', args, writes, reads: [], reply: null, seed: 7 };
}

/** The text of a script as the client sends it to a region. */
export function countedText(text: string): string {
  return readLua(text).counted;
}

/** A command that reads its first argument. */
export function read(args: readonly string[], reply: ReplySort = null): Operation {
  return { kind: 'read', args, writes: [], reads: [1], reply, seed: null };
}

/** `DEL key…`. */
export function del(...keys: readonly string[]): Operation {
  const writes = keys.map((_, index) => index + 1);
  return { kind: 'delete', args: ['DEL', ...keys], writes, reads: [], reply: null, seed: null };
}

/** `SPOP key [count]`, drawn with `seed`. */
export function pop(key: string, count: string, seed: number): Operation {
  return { kind: 'pop', args: [key, count], writes: [0], reads: [], reply: null, seed };
}

/** `PUBLISH channel message`. */
export function publish(channel: string, message: string): Operation {
  const args = [channelKey(channel), channel, message];
  return { kind: 'publish', args, writes: [0], reads: [], reply: null, seed: null };
}

/** `TTL key` or `PTTL key`. */
export function ttl(name: 'TTL' | 'PTTL', key: string): Operation {
  return { kind: 'ttl', args: [name, key], writes: [], reads: [1], reply: null, seed: null };
}

/** A snapshot of `keys` by `commands`. */
export function snapshotOf(
  keys: readonly string[],
  commands: readonly ReadCommand[],
  given: Partial<SnapshotRequest> = {},
): SnapshotRequest {
  return {
    shard: 0,
    generation: 1,
    strong: true,
    leased: false,
    lastAcknowledged: null,
    settle: [],
    keys,
    commands,
    ...given,
  };
}

/** A read command whose first argument is its key. */
export function command(args: readonly string[], reply: ReadCommand['reply'] = null): ReadCommand {
  return { args, reads: [1], reply };
}

/** The reply of a round that was executed; throws for any other. */
export function executed(result: RoundResult): RoundReply {
  if (result.kind !== 'executed') throw new Error(`not executed: ${JSON.stringify(result)}`);
  return result.reply;
}

/** The outcomes of a yes vote as JSON; throws for any other vote. */
export function outcomesOf(vote: Vote | undefined): string {
  if (vote?.kind !== 'yes') throw new Error(`not a yes: ${JSON.stringify(vote)}`);
  return jsonOfOutcomes(vote.outcomes);
}

/** The same decision under another incarnation. */
export function ofIncarnation<Item extends { readonly transaction: TransactionOrder }>(
  incarnation: number,
  item: Item,
): Item {
  return { ...item, transaction: [incarnation, item.transaction[1]] };
}

/** `FLUSHALL`. */
export const flush: Operation = {
  kind: 'flush',
  args: [everyKey, flushedKey],
  writes: [0, 1],
  reads: [],
  reply: null,
  seed: null,
};
