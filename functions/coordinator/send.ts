/** Sends rounds and snapshots to regions, and turns their results into events for the core. */
import { unreachable } from '../../shared/assert.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RoundResult, SnapshotResult } from '../../shared/contracts/round.ts';
import type { TransactionOrder } from '../../shared/ids.ts';
import type { CoordinatorEvent } from '../../shared/protocol/io/events.ts';
import type { Send, SentRound, SentSnapshot } from '../../shared/protocol/io/ready.ts';
import type { StoredDecision } from '../../shared/protocol/io/stored.ts';

/** The stored decisions about the transactions that an answer names. */
export interface RecordedDecisions {
  readonly horizon: TransactionOrder;
  decisionsOf(transactions: readonly TransactionOrder[]): readonly StoredDecision[];
}

const unknownRegion = { kind: 'silent', reason: 'it is not configured' } as const;

/**
 * Sends once, and calls `take` with the event that completes it. The storage is read in the same turn: a transaction
 * that was decided between the read and the event would look aborted. Rejects only with an error of `take`. `client` is
 * null for a region without an address.
 */
export async function sendToRegion(
  send: Send,
  client: RegionClient | null,
  decisions: RecordedDecisions,
  take: (event: CoordinatorEvent) => void,
): Promise<void> {
  const { timeoutMs } = send;
  switch (send.kind) {
    case 'round': {
      const result = await (client?.round(send.round, timeoutMs) ?? unknownRegion);
      take(answered(send, result, decisions));
      break;
    }
    case 'snapshot': {
      const result = await (client?.snapshot(send.request, timeoutMs) ?? unknownRegion);
      take(snapshotCompleted(send, result, decisions));
      break;
    }
    default:
      unreachable(send);
  }
}

function answered(
  { region, number: round }: SentRound,
  result: RoundResult,
  decisions: RecordedDecisions,
): CoordinatorEvent {
  const older = result.kind === 'executed' ? result.reply.older : [];
  const recorded = decisions
    .decisionsOf(older.map(({ transaction }) => transaction))
    .map(({ transaction }) => transaction);
  return { kind: 'round-completed', region, round, result, recorded };
}

function snapshotCompleted(
  { region, number }: SentSnapshot,
  result: SnapshotResult,
  decisions: RecordedDecisions,
): CoordinatorEvent {
  const holders = result.kind === 'read' ? result.locks.map(({ holder }) => holder) : [];
  const recorded = decisions.decisionsOf(holders);
  return {
    kind: 'snapshot-completed',
    region,
    number,
    result,
    recorded,
    horizon: decisions.horizon,
  };
}
