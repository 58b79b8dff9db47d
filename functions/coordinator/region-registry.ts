import type { AdminCommand, RegionConfiguration } from '../../shared/contracts/members.ts';
import type { RegionClient } from '../../shared/contracts/round.ts';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';

/** Where it is kept which regions were added or removed while Lockstep ran. */
export interface AddressStorage {
  /** Null stands for a region that was removed. */
  addresses(): ReadonlyMap<RegionId, RegionConfiguration | null>;
  /** Keeps an address, or with null that the region was removed. */
  keepAddress(region: RegionId, address: RegionConfiguration | null): void;
  dropAddress(region: RegionId): void;
}

/** What noting an order came to. */
export type Noted =
  /** The order is for the core. Where that refuses it, `undo` takes back what was stored for it. */
  | { readonly kind: 'noted'; readonly undo: () => void }
  | { readonly kind: 'refused'; readonly detail: string };

type Connect = (address: RegionConfiguration) => RegionClient;

/**
 * The regions of a shard, and a client for each: those of the configuration, changed by what operators have added and
 * removed since. What an operator said last counts, also after the configuration has changed.
 */
export class RegionRegistry {
  readonly #configured: readonly RegionConfiguration[];
  readonly #storage: AddressStorage;
  readonly #connect: Connect;
  readonly #clients = new Map<RegionId, RegionClient>();

  constructor(
    configured: readonly RegionConfiguration[],
    storage: AddressStorage,
    connect: Connect,
  ) {
    this.#configured = configured;
    this.#storage = storage;
    this.#connect = connect;
    for (const address of this.all) this.#clients.set(address.id, connect(address));
  }

  /** Configured or added, without those removed. */
  get all(): readonly RegionConfiguration[] {
    const known = new Map<RegionId, RegionConfiguration | null>(
      this.#configured.map((address) => [address.id, address]),
    );
    for (const [id, address] of this.#storage.addresses()) known.set(id, address);
    return [...known.values()].filter((address) => address !== null);
  }

  /** One that was removed keeps its client for as long as this instance lives: it may have rounds to end. */
  clientOf(region: RegionId): RegionClient | null {
    return this.#clients.get(region) ?? null;
  }

  /**
   * Stores what an order changes of the regions, before the core takes the order: one that a crash cuts short
   * is then carried out by the next instance, which begins with the regions as stored. `members` are those that the
   * core knows, also where they are about to leave.
   */
  note(
    order: AdminCommand,
    address: RegionConfiguration | null,
    members: readonly RegionId[],
  ): Noted {
    if (order.kind === 'add') return this.#noteAdded(order.region, address, members);
    if (order.kind === 'remove') return this.#noteRemoved(order.region);
    return { kind: 'noted', undo: () => {} };
  }

  #noteAdded(
    region: RegionId,
    address: RegionConfiguration | null,
    members: readonly RegionId[],
  ): Noted {
    if (address?.id !== region) return refused('the address of the region is missing');
    const { all } = this;
    const present = new Set([...all.map(({ id }) => id), ...members]);
    if (present.has(region)) {
      return refused(`${region} is a member; remove it first, and add it once it has left`);
    }
    if (present.size >= limits.regions) {
      return refused(`there are ${limits.regions} regions, and no more are allowed; remove one`);
    }
    const twin = all.find(({ url }) => url === address.url);
    // Two members on one database would vote twice for one copy of the data.
    if (twin !== undefined) return refused(`${twin.id} has the same URL; name another database`);
    const client = this.#clients.get(region);
    const undoStored = this.#change(region, () => this.#storage.keepAddress(region, address));
    this.#clients.set(region, this.#connect(address));
    const undo = () => {
      undoStored();
      if (client === undefined) this.#clients.delete(region);
      else this.#clients.set(region, client);
    };
    return { kind: 'noted', undo };
  }

  #noteRemoved(region: RegionId): Noted {
    // One that was added is forgotten; one of the configuration would be back with the next instance.
    const isConfigured = this.#configured.some(({ id }) => id === region);
    const undo = this.#change(region, () => {
      if (isConfigured) this.#storage.keepAddress(region, null);
      else this.#storage.dropAddress(region);
    });
    return { kind: 'noted', undo };
  }

  #change(region: RegionId, change: () => void): () => void {
    const before = this.#storage.addresses().get(region);
    change();
    return () => {
      if (before === undefined) this.#storage.dropAddress(region);
      else this.#storage.keepAddress(region, before);
    };
  }
}

function refused(detail: string): Noted {
  return { kind: 'refused', detail };
}
