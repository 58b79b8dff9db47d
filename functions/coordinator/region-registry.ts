/** Keeps the addresses and the clients of the regions. */
import type { AdminCommand, RegionConfiguration } from '../../shared/contracts/members.ts';
import type { RegionClient } from '../../shared/contracts/region-client.ts';
import type { RegionId } from '../../shared/ids.ts';
import { limits } from '../../shared/limits.ts';

/** The stored addresses of regions that operators added, and the ids of those that they removed. */
export interface AddressStorage {
  /** By region; null for a region that was removed. */
  addresses(): ReadonlyMap<RegionId, RegionConfiguration | null>;
  /** Stores an address; null stores that the region was removed. */
  keepAddress(region: RegionId, address: RegionConfiguration | null): void;
  dropAddress(region: RegionId): void;
}

/** The result of noting an order. */
export type Noted =
  /** The core decides about the order. If it refuses, `undo` reverts the stored change. */
  | { readonly kind: 'noted'; readonly undo: () => void }
  | { readonly kind: 'refused'; readonly detail: string };

type Connect = (address: RegionConfiguration) => RegionClient;

/**
 * The regions of a shard, with a client per region: the configured regions, plus those that operators have added, minus
 * those that they have removed. The last order of an operator counts, even if the configuration changes later.
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

  /** The regions that are configured or were added, without those removed. */
  get all(): readonly RegionConfiguration[] {
    const known = new Map<RegionId, RegionConfiguration | null>(
      this.#configured.map((address) => [address.id, address]),
    );
    for (const [id, address] of this.#storage.addresses()) known.set(id, address);
    return [...known.values()].filter((address) => address !== null);
  }

  /** The client of a region, or null. A removed region keeps its client in this life, for its last rounds. */
  clientOf(region: RegionId): RegionClient | null {
    return this.#clients.get(region) ?? null;
  }

  /**
   * Stores the change of the regions by an order, before the core gets the order: after a crash, the next instance
   * begins with the stored regions and completes it. `members` are the core's regions, including those about to leave.
   */
  note(
    command: AdminCommand,
    address: RegionConfiguration | null,
    members: readonly RegionId[],
  ): Noted {
    if (command.kind === 'add') return this.#noteAdded(command.region, address, members);
    if (command.kind === 'remove') return this.#noteRemoved(command.region);
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
    // An added region is deleted. A configured one is marked as removed, or the next instance would have it again.
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
