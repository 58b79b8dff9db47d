/**
 * The algorithm that Redis documents as Redlock: a lock that a majority of regions grants, around a compare-and-set.
 * Pauses between attempts are those of the client library node-redlock by default.
 */
import type { PeerAnswer, PeerOperation, PeerServer, PeerServers } from './contract.ts';
import { attemptsMaximum } from './contract.ts';
import { pause } from './pause.ts';
import { commandOf, send, sendToAll } from './regions.ts';

const lockMs = 10_000;
const pauseMs = 200;
const pauseJitterMs = 100;

/** KEYS: the lock. ARGV: its token. */
const release = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;

/**
 * Carries out an operation. Reads ask the nearest region, and ignore locks. `later` keeps the Worker alive for the
 * release of the lock, for which the client does not wait.
 */
export async function redlock(
  { regions }: PeerServers,
  operation: PeerOperation,
  later: (work: Promise<unknown>) => void,
): Promise<PeerAnswer> {
  const [nearest] = regions;
  if (nearest === undefined) throw new Error('there is no region');
  const read = () => send(nearest, ['GET', operation.key]);
  if (operation.kind === 'read') return { result: await read(), aborts: 0 };
  const lock = `lock:${operation.key}`;
  const token = crypto.randomUUID();
  const released = () => sendToAll(regions, ['EVAL', release, 1, lock, token]);
  for (let aborts = 0; aborts < attemptsMaximum; aborts += 1) {
    if (await isGranted(regions, ['SET', lock, token, 'NX', 'PX', lockMs])) {
      // The value can only be trusted once the lock is there.
      if (operation.kind === 'modify') await read();
      const [result] = await sendToAll(regions, commandOf(operation));
      later(released());
      return { result, aborts };
    }
    await released();
    await pause(pauseMs + (Math.random() * 2 - 1) * pauseJitterMs);
  }
  throw new Error('given up');
}

/** Resolves when a majority has granted the lock, or can no longer grant it. */
function isGranted(
  regions: readonly PeerServer[],
  words: readonly (string | number)[],
): Promise<boolean> {
  const majority = Math.floor(regions.length / 2) + 1;
  return new Promise((resolve, reject) => {
    let granted = 0;
    let refused = 0;
    for (const region of regions) {
      send(region, words).then((reply) => {
        if (reply === 'OK') granted += 1;
        else refused += 1;
        if (granted >= majority) resolve(true);
        else if (refused > regions.length - majority) resolve(false);
      }, reject);
    }
  });
}
