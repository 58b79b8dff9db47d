/** Commands to the gateways of the regions. */
import type { PeerServer, PeerWrite } from './contract.ts';
import { limiterScript, limiterWindowMs } from './contract.ts';

/** A command of Redis. */
export type Words = readonly (string | number)[];

/** Sends a command to one region. Throws unless it is carried out. */
export async function send({ url, token }: PeerServer, words: Words): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify(words),
  });
  const answer: { readonly result?: unknown; readonly error?: string } = JSON.parse(
    await response.text(),
  );
  if (answer.error !== undefined) throw new Error(answer.error);
  return answer.result;
}

/** Sends a command to all regions at once, and waits for all of them. */
export function sendToAll(
  regions: readonly PeerServer[],
  words: Words,
): Promise<readonly unknown[]> {
  return Promise.all(regions.map((region) => send(region, words)));
}

/** The command that carries out a write in one region, with any value there. */
export function commandOf(write: PeerWrite): Words {
  switch (write.kind) {
    case 'set':
    case 'modify':
      return ['SET', write.key, write.value];
    case 'increment':
      return ['INCR', write.key];
    case 'limit':
      return ['EVAL', limiterScript, 1, write.key, limiterWindowMs];
  }
}
