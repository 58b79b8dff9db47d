/** Redis with one primary: a write is answered once WAIT says that all replicas have it. Reads ask the primary. */
import type { PeerAnswer, PeerOperation, PeerServers } from './contract.ts';
import { attemptsMaximum } from './contract.ts';
import { commandOf, send, type Words } from './regions.ts';

/** KEYS: the key. ARGV: the expected value, the new one. Returns 1 if it was the expected one. */
const compareAndSet = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`;

/** Carries out an operation. */
export async function primaryWithWait(
  { primary }: PeerServers,
  operation: PeerOperation,
): Promise<PeerAnswer> {
  if (primary === null) throw new Error('there is no primary');
  const read = (words: Words) => send({ url: `${primary}/read`, token: '' }, words);
  const write = (words: Words) => send({ url: `${primary}/write`, token: '' }, words);
  const { key } = operation;
  if (operation.kind === 'read') return { result: await read(['GET', key]), aborts: 0 };
  if (operation.kind !== 'modify') return { result: await write(commandOf(operation)), aborts: 0 };
  for (let aborts = 0; aborts < attemptsMaximum; aborts += 1) {
    const expected = String(await read(['GET', key]));
    const words = ['EVAL', compareAndSet, 1, key, expected, operation.value];
    if ((await write(words)) === 1) return { result: 'OK', aborts };
  }
  throw new Error('given up');
}
