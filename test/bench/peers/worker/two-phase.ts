/**
 * Textbook two-phase commit: each region locks the key and stores the write, and once all have, each applies it. The
 * coordinator keeps no log, so a write whose Worker stops in between stays half done: a durable log would cost more.
 */
import type { PeerAnswer, PeerOperation, PeerServers, PeerWrite } from './contract.ts';
import { attemptsMaximum, limiterWindowMs } from './contract.ts';
import { pause } from './pause.ts';
import { send, sendToAll } from './regions.ts';

const lockMs = 10_000;
const pauseMsMaximum = 50;

/**
 * Phase one. KEYS: the lock, the key. ARGV: the transaction, the time of the lock in ms, the command's name, its value
 * or '', the lifetime that a new key gets in ms or '', and for a compare-and-set the expected value. Returns 1 if it is
 * prepared, 0 if the key is locked, -1 if the value is another one.
 */
const prepare = `if redis.call('HSETNX', KEYS[1], 'transaction', ARGV[1]) == 0 then return 0 end
if ARGV[6] and redis.call('GET', KEYS[2]) ~= ARGV[6] then redis.call('DEL', KEYS[1]) return -1 end
redis.call('HSET', KEYS[1], 'name', ARGV[3], 'value', ARGV[4], 'lifetime', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`;

/** Phase two. KEYS: the lock, the key. ARGV: the transaction, and 'commit' or 'abort'. Returns the command's reply. */
const decide = `local stored = redis.call('HMGET', KEYS[1], 'transaction', 'name', 'value', 'lifetime')
if stored[1] ~= ARGV[1] then return false end
redis.call('DEL', KEYS[1])
if ARGV[2] == 'abort' then return false end
if stored[2] == 'SET' then return redis.call('SET', KEYS[2], stored[3]) end
local count = redis.call('INCR', KEYS[2])
if count == 1 and stored[4] ~= '' then redis.call('PEXPIRE', KEYS[2], stored[4]) end
return count`;

/** Carries out an operation. Reads ask the nearest region, and ignore locks. */
export async function twoPhase(
  { regions }: PeerServers,
  operation: PeerOperation,
): Promise<PeerAnswer> {
  const [nearest] = regions;
  if (nearest === undefined) throw new Error('there is no region');
  const read = () => send(nearest, ['GET', operation.key]);
  if (operation.kind === 'read') return { result: await read(), aborts: 0 };
  const lock = `lock:${operation.key}`;
  const transaction = crypto.randomUUID();
  for (let aborts = 0; aborts < attemptsMaximum; aborts += 1) {
    const expected = operation.kind === 'modify' ? [String(await read())] : [];
    const stored = [...intentOf(operation), ...expected];
    const prepares = [prepare, 2, lock, operation.key, transaction, lockMs, ...stored];
    const votes = await sendToAll(regions, ['EVAL', ...prepares]);
    const isCommitted = votes.every((vote) => vote === 1);
    const decision = isCommitted ? 'commit' : 'abort';
    const decided = ['EVAL', decide, 2, lock, operation.key, transaction, decision];
    const prepared = regions.filter((_, at) => votes[at] === 1);
    const [result] = await sendToAll(prepared, decided);
    if (isCommitted) return { result, aborts };
    await pause(Math.random() * pauseMsMaximum);
  }
  throw new Error('given up');
}

/** The name of the command, its value, and the lifetime of a new key. */
function intentOf(write: PeerWrite): readonly [string, string, string | number] {
  if (write.kind === 'increment') return ['INCR', '', ''];
  return write.kind === 'limit' ? ['INCR', '', limiterWindowMs] : ['SET', write.value, ''];
}
