import type { MemberEvent, OutCause } from '../../contracts/members.ts';
import type { RegionId } from '../../ids.ts';
import type { Membership } from '../io/stored.ts';
import type { RegionLink } from '../regions/region-link.ts';
import type { MembersParts } from './members-parts.ts';
import { assertTransition, type RegionEvent } from './region-states.ts';

/** Writes changes of members: the state of a region, and the entries of the history with the events about them. */
export class MemberRecords {
  readonly #parts: Pick<MembersParts, 'config' | 'state' | 'ready' | 'eventRouter'>;

  constructor(parts: Pick<MembersParts, 'config' | 'state' | 'ready' | 'eventRouter'>) {
    this.#parts = parts;
  }

  /** Changes the membership of a region, and stores it with this step. */
  set(link: RegionLink, membership: Membership, event: RegionEvent): void {
    assertTransition(event, link.membership, membership);
    link.membership = membership;
    // Only a region whose own data are kept takes over any number of keys: in every other case they would be deleted.
    const isKept = membership.state === 'voter' || membership.cause === 'believed';
    if (!isKept && link.takes === Number.MAX_SAFE_INTEGER) link.agree(0, null);
    this.#parts.ready.persist({ kind: 'region', region: link.stored });
  }

  /** Adds an entry to the history and to the change feed, and queues the events about it. */
  note(region: RegionId, event: MemberEvent, cause: OutCause | null, detail: string): void {
    const { config, state, ready, eventRouter } = this.#parts;
    state.sequence += 1;
    const { epoch, sequence } = state;
    const change = { sequence, at: ready.now, epoch, region, event, cause, detail };
    ready.persist({ kind: 'members', epoch, changes: [change] });
    const events = eventRouter.ofMember(change, config.shard);
    if (events.length > 0) ready.persist({ kind: 'queue-region-events', events });
  }
}
