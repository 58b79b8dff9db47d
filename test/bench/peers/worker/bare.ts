/** The floor: a command to all regions at once, with no atomicity, and a read in the nearest region. */
import type { PeerAnswer, PeerOperation, PeerServers } from './contract.ts';
import { commandOf, send, sendToAll } from './regions.ts';

/** Carries out an operation. A modification may overwrite another one: nothing prevents that here. */
export async function bare(
  { regions }: PeerServers,
  operation: PeerOperation,
): Promise<PeerAnswer> {
  const [nearest] = regions;
  if (nearest === undefined) throw new Error('there is no region');
  if (operation.kind === 'read') {
    return { result: await send(nearest, ['GET', operation.key]), aborts: 0 };
  }
  if (operation.kind === 'modify') await send(nearest, ['GET', operation.key]);
  const [result] = await sendToAll(regions, commandOf(operation));
  return { result, aborts: 0 };
}
