import type { RegionId } from '../../ids.ts';
import type { RegionLink } from '../regions/region-link.ts';
import { removal } from './leaving.ts';
import type { MemberChanges, MembersParts } from './members-parts.ts';
import { assertTransition } from './region-states.ts';
import { isForceRecovered, type Rejoin } from './rejoin.ts';

/** Which regions belong to the shard: adds new ones, removes those that are not configured, and forgets these at last. */
export class Roster {
  readonly #parts: MembersParts;
  readonly #members: MemberChanges;
  readonly #rejoin: Rejoin;

  constructor(parts: MembersParts, members: MemberChanges, rejoin: Rejoin) {
    this.#parts = parts;
    this.#members = members;
    this.#rejoin = rejoin;
  }

  /** Brings the members that storage knows in line with the configuration, in the first step of an instance. */
  reconcile(): void {
    const { config, links, ready } = this.#parts;
    for (const region of config.regions) if (!links.has(region)) this.join(region, 0);
    for (const link of links.all) {
      const { membership } = link;
      if (membership.state === 'copying') {
        // It goes on under a new token: steps of the last instance may still be on their way.
        const { token: _, ...absence } = membership;
        this.#members.set(link, { ...absence, state: 'out' }, 'copy-interrupted');
      }
      if (!link.isVoter) links.fail(link, 'it has not been asked yet', ready.now);
      if (config.regions.includes(link.region)) continue;
      // No other region has the right data: a later instance removes it, once it has been copied.
      if (isForceRecovered(link) && links.voters.length === 0) continue;
      this.remove(link);
    }
  }

  /**
   * A region that this shard has not known so far: everything is copied to it before it votes. Up to `takes` keys that
   * Lockstep did not put there may be lost in it.
   */
  join(region: RegionId, takes: number): void {
    const { links, ready } = this.#parts;
    const since = ready.now;
    const detail = 'it is new: everything has to be copied to it';
    const membership = {
      state: 'out',
      since,
      cause: 'new',
      detail,
      whole: true,
      manualReturn: false,
    } as const;
    // It may have been a region of this shard before it was removed.
    assertTransition('added', links.find(region)?.membership ?? null, membership);
    const link = links.add(region, 0, [this.#parts.stored.generation], membership);
    link.takes = takes;
    links.fail(link, 'it has not been asked yet', since);
    ready.persist({ kind: 'region', region: link.stored });
    this.#members.note(region, 'added', 'new', detail);
  }

  /**
   * The region is forgotten once no reader can use it any more: a region that was force-recovered instead must not
   * decide before that, nor in the next life of this coordinator (rules R30 and R38).
   */
  remove(link: RegionLink): void {
    if (link.isVoter) this.#members.suspect(link, removal);
    else {
      if (this.#rejoin.progressOf(link) !== null) this.#rejoin.cancel();
      this.#members.leave(link, removal, 'removed');
      this.forgetRemoved();
    }
  }

  /** Forgets the removed regions whose leases are over. Called in each step, after its event. */
  forgetRemoved(): void {
    const { links, ready } = this.#parts;
    for (const link of links.all) {
      if (link.isVoter || link.leaving?.cause !== 'removed') continue;
      ready.schedule(link.lease.endsAt);
      if (link.lease.endsAt <= ready.now) this.#forget(link);
    }
  }

  #forget(link: RegionLink): void {
    assertTransition('forgotten', link.membership, null);
    link.leave();
    this.#parts.links.remove(link.region);
    this.#parts.ready.persist({ kind: 'forget', region: link.region });
    this.#members.note(link.region, 'removed', 'removed', 'it is no region of this shard any more');
  }
}
