import { InvariantViolation } from '../../assert.ts';
import type { CoordinatorReads } from '../handlers/coordinator-reads.ts';
import type { Loans } from '../handlers/loans.ts';
import type { CoordinatorConfig } from '../io/config.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { ShardState } from '../io/shard-state.ts';
import type { Stored } from '../io/stored.ts';
import type { BlockedKeys } from '../membership/blocked-keys.ts';
import type { Members } from '../membership/members.ts';
import type { OwnedSlots } from '../ownership/owned-slots.ts';
import type { Shards } from '../ownership/shards.ts';
import type { RegionLinks } from '../regions/region-links.ts';
import type { Rest } from '../regions/rest.ts';
import type { PendingConfirmations } from '../transactions/pending-confirmations.ts';
import type { PendingWrites } from '../transactions/pending-writes.ts';
import type { Transactions } from '../transactions/transactions.ts';

/** All parts of a coordinator, for its invariants to read. Nothing may be changed through it. */
export interface CoordinatorInternals {
  readonly config: CoordinatorConfig;
  readonly stored: Stored;
  readonly state: ShardState;
  readonly ready: ReadyBuilder;
  readonly links: RegionLinks;
  readonly pendingWrites: PendingWrites;
  readonly transactions: Transactions;
  readonly pendingConfirmations: PendingConfirmations;
  readonly blocked: BlockedKeys;
  readonly members: Members;
  readonly reads: CoordinatorReads;
  readonly rest: Rest;
  readonly slots: OwnedSlots;
  readonly shards: Shards;
  readonly loans: Loans;
}

/**
 * Throws unless `condition` holds. `claim` is the broken claim, `subject` its subject; texts are joined only to fail.
 */
export function must(condition: boolean, claim: string, ...subject: readonly unknown[]): void {
  if (condition) return;
  const named = subject.length === 0 ? '' : `: ${subject.map(String).join(', ')}`;
  throw new InvariantViolation(`${claim}${named}`);
}
