/** Holds the model and both servers to the same claims. */
import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import { claimAllKeys } from './claims/all-keys.ts';
import { claimCopies } from './claims/copies.ts';
import { claimDecisions } from './claims/decisions.ts';
import { claimElements } from './claims/elements.ts';
import { claimExpiry } from './claims/expiry.ts';
import { claimFarLocks } from './claims/far-locks.ts';
import { claimFences } from './claims/fences.ts';
import { claimInspections } from './claims/inspections.ts';
import { claimLeases } from './claims/leases.ts';
import { claimMessages } from './claims/messages.ts';
import { claimPhases } from './claims/phases.ts';
import { claimSnapshots } from './claims/snapshots.ts';
import { claimStaging } from './claims/staging.ts';
import { type Implementation, implementations } from './implementations.ts';

describe.each(implementations)('a region in %s', (_, open) => {
  let current: Implementation;
  beforeAll(async () => {
    current = await open();
  });
  beforeEach(() => current.wipe());
  afterAll(() => current.stop());

  claimFences(() => current);
  claimFarLocks(() => current);
  claimDecisions(() => current);
  claimStaging(() => current);
  claimAllKeys(() => current);
  claimElements(() => current);
  claimExpiry(() => current);
  claimMessages(() => current);
  claimSnapshots(() => current);
  claimLeases(() => current);
  claimPhases(() => current);
  claimCopies(() => current);
  claimInspections(() => current);
});
