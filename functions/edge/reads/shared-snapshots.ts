/** Lets reads of short strings that meet in an isolate share a snapshot (R25). Any other read takes one of its own. */
import { assert } from '../../../shared/assert.ts';
import type { RegionConfiguration } from '../../../shared/contracts/members.ts';
import type {
  ReadableRegion,
  ReadCommand,
  SnapshotRequest,
  SnapshotResult,
} from '../../../shared/contracts/round.ts';
import { limits } from '../../../shared/limits.ts';
import { everyKey } from '../../../shared/reserved-keys.ts';
import type { Background } from '../cache/region-directory.ts';
import type { ReadDependencies } from '../http/dependencies.ts';

/** One read of a shared snapshot. `give` gets its result, or null if it has to take a snapshot of its own. */
interface Member {
  readonly request: SnapshotRequest;
  readonly give: (result: SnapshotResult | null) => void;
}

/** The reads that share a snapshot. */
interface Gathering {
  readonly members: Member[];
  keys: number;
}

/** The last shared snapshot of a region. */
interface Sent {
  readonly at: number;
  readonly members: number;
  isAnswered: boolean;
}

/**
 * Takes snapshots for the reads of an isolate. A read joins a snapshot only until that is sent, so the snapshot shows
 * all that was answered before the read began.
 *
 * A lone read is sent at once. While others are on their way, reads are gathered for one turn of the event loop. The
 * request that begins a gathering sends it, and continues in the background if its client leaves.
 */
export class SharedSnapshots {
  readonly #dependencies: ReadDependencies;
  readonly #open = new Map<string, Gathering>();
  readonly #sent = new Map<string, Sent>();

  constructor(dependencies: ReadDependencies) {
    this.#dependencies = dependencies;
  }

  /** Takes the snapshot in `region`, alone or with others. */
  async take(
    region: RegionConfiguration,
    request: SnapshotRequest,
    background: Background,
  ): Promise<SnapshotResult> {
    const { readTimeoutMs } = this.#dependencies.configuration;
    const client = this.#dependencies.regionOf(region);
    const isShared = request.settle.length === 0 && client.isShort(request.commands);
    const shared = isShared ? await this.#join(region, client, request, background) : null;
    return shared ?? client.snapshot(request, readTimeoutMs);
  }

  async #join(
    { id }: RegionConfiguration,
    client: ReadableRegion,
    request: SnapshotRequest,
    background: Background,
  ): Promise<SnapshotResult | null> {
    const { promise, resolve: give } = Promise.withResolvers<SnapshotResult | null>();
    const name = `${id} ${request.generation} ${request.strong}`;
    const keys = keyCount(request.commands);
    const open = this.#open.get(name);
    if (open !== undefined && open.keys + keys <= limits.smallKeysPerRead) {
      open.members.push({ request, give });
      open.keys += keys;
    } else {
      const gathering = { members: [{ request, give }], keys };
      this.#open.set(name, gathering);
      background(this.#send(name, gathering, client));
    }
    // The runtime takes a request for stuck if it waits for the work of another one alone: this timer is its own.
    const patienceMs = this.#dependencies.configuration.readTimeoutMs + limits.sharedCallGraceMs;
    return this.#dependencies.withTimeout(promise, patienceMs).catch(() => lost);
  }

  async #send(name: string, gathering: Gathering, client: ReadableRegion): Promise<void> {
    if (this.#isBusy(name)) await this.#dependencies.pause(0);
    // From here on, no read joins: the snapshot may show a moment before it began.
    if (this.#open.get(name) === gathering) this.#open.delete(name);
    const { members } = gathering;
    const sent: Sent = {
      at: this.#dependencies.now(),
      members: members.length,
      isAnswered: false,
    };
    this.#sent.set(name, sent);
    const { request, positions } = merged(members.map((member) => member.request));
    const { readTimeoutMs } = this.#dependencies.configuration;
    const result = await client.shortSnapshot(request, readTimeoutMs).catch(() => lost);
    sent.isAnswered = true;
    for (const { request: own, give } of members) {
      give(result?.kind === 'read' ? partOf(result, own, positions) : result);
    }
  }

  /** True if further reads are likely to come in this turn. */
  #isBusy(name: string): boolean {
    const sent = this.#sent.get(name);
    if (sent === undefined) return false;
    if (sent.members > 1) return true;
    const { readTimeoutMs } = this.#dependencies.configuration;
    return !sent.isAnswered && this.#dependencies.now() - sent.at < readTimeoutMs;
  }
}

/** The result of a snapshot whose end was lost. */
const lost: SnapshotResult = {
  kind: 'silent',
  reason: 'no answer in time',
  isUnanswered: true,
};

function keyCount(commands: readonly ReadCommand[]): number {
  return commands.reduce((sum, { args }) => sum + args.length - 1, 0);
}

/** One request for all reads, with each command once, and the position of each. */
function merged(requests: readonly SnapshotRequest[]): {
  readonly request: SnapshotRequest;
  readonly positions: ReadonlyMap<string, number>;
} {
  const [first] = requests;
  assert(first !== undefined, 'a shared snapshot has a read');
  const keys = new Set<string>();
  const commands: ReadCommand[] = [];
  const positions = new Map<string, number>();
  for (const request of requests) {
    for (const key of request.keys) keys.add(key);
    for (const command of request.commands) {
      const name = nameOf(command);
      if (!positions.has(name)) positions.set(name, commands.push(command) - 1);
    }
  }
  return { request: { ...first, keys: [...keys], commands }, positions };
}

/** Equal for equal commands. */
function nameOf({ args }: ReadCommand): string {
  return JSON.stringify(args);
}

/** The replies to the commands of one read, and the locks that it meets. A reply that is missing is so here. */
function partOf(
  { replies, locks }: Extract<SnapshotResult, { kind: 'read' }>,
  { keys, commands }: SnapshotRequest,
  positions: ReadonlyMap<string, number>,
): SnapshotResult {
  return {
    kind: 'read',
    replies: commands.flatMap((command) => {
      const at = positions.get(nameOf(command));
      return at === undefined ? [] : replies.slice(at, at + 1);
    }),
    locks: locks.filter(({ key }) => key === everyKey || keys.includes(key)),
  };
}
