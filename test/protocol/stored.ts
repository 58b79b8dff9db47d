import type { RegionId } from '../../shared/ids.ts';
import type { Absence, Leaving, Stored, StoredRegion } from '../../shared/protocol/io/stored.ts';
import { initialMap, ownershipIn } from '../../shared/shards/shard-map.ts';
import { Tables } from '../simulation/storage.ts';

/** The stored state of a region that has always voted and has answered before. */
export function voterOf(region: RegionId, given: Partial<StoredRegion> = {}): StoredRegion {
  const membership = { state: 'voter', since: 0, leaving: null } as const;
  return {
    region,
    generation: 7,
    former: [],
    begun: true,
    takes: 0,
    agreed: null,
    pair: null,
    membership,
    ...given,
  };
}

/** Of a region that voted until it fell silent. */
export function outOf(region: RegionId, given: Partial<Absence> = {}): StoredRegion {
  const membership = { state: 'out', since: 0, ...silence, ...given } as const;
  return voterOf(region, { membership });
}

/** Why a region that fell silent leaves. */
export const silence: Leaving = {
  cause: 'silent',
  detail: 'connection refused',
  whole: false,
  manualReturn: false,
};

/** The only shard of a map, as its storage has it. */
export const ownsAll = ownershipIn(initialMap(1), 0);

/** The tables that an instance finds which starts from `stored`. */
export function tablesOf(stored: Stored): Tables {
  const { epoch, incarnation, sequence, now, regions, missed, blocked, unconfirmed } = stored;
  const { isResting, ownership } = stored;
  const tables = new Tables();
  Object.assign(tables, { epoch, incarnation, sequence, now, isResting, ownership });
  for (const region of regions) tables.regions.set(region.region, region);
  for (const { region, keys } of missed) tables.missed.set(region, new Map(keys));
  for (const one of blocked) tables.blocked.set(one.key, one);
  for (const commit of unconfirmed) {
    tables.commits.set(commit.transaction.join('.'), { ...commit, confirmed: false });
  }
  return tables;
}
