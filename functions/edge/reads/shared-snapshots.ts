/** Lets reads of short strings that meet in an isolate share a snapshot (R25). Any other read takes one of its own. */
import { assert } from '../../../shared/assert.ts';
import type { RegionConfiguration } from '../../../shared/contracts/members.ts';
import type { ReadableRegion } from '../../../shared/contracts/region-client.ts';
import type {
  ReadCommand,
  SnapshotRequest,
  SnapshotResult,
} from '../../../shared/contracts/round.ts';
import { limits } from '../../../shared/limits.ts';
import { everyKey } from '../../../shared/reserved-keys.ts';
import { Gatherer, type SharedCallMember } from '../cache/gatherer.ts';
import type { Background } from '../cache/region-directory.ts';
import type { ReadDependencies } from '../http/dependencies.ts';

/**
 * Takes snapshots for the reads of an isolate. A read joins a snapshot only until that is sent, so the snapshot shows
 * all that was answered before the read began. A read without a part in it (null) takes one of its own.
 */
export class SharedSnapshots {
  readonly #dependencies: ReadDependencies;
  readonly #gatherer: Gatherer<SnapshotRequest, SnapshotResult | null>;

  constructor(dependencies: ReadDependencies) {
    this.#dependencies = dependencies;
    this.#gatherer = new Gatherer(dependencies, {
      members: limits.smallKeysPerRead,
      size: limits.smallKeysPerRead,
      patienceMs: dependencies.configuration.readTimeoutMs + limits.sharedCallGraceMs,
    });
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
    if (!isShared) return client.snapshot(request, readTimeoutMs);
    const { shard, generation, strong } = request;
    const destination = `${region.id} ${shard} ${generation} ${strong}`;
    const keys = keyCount(request.commands);
    const shared = await this.#gatherer
      .ask(destination, request, keys, background, (members) => this.#send(client, members))
      .catch(() => lost);
    return shared ?? client.snapshot(request, readTimeoutMs);
  }

  async #send(
    client: ReadableRegion,
    members: readonly SharedCallMember<SnapshotRequest, SnapshotResult | null>[],
  ): Promise<void> {
    const { readTimeoutMs } = this.#dependencies.configuration;
    const take = (request: SnapshotRequest) =>
      client.shortSnapshot(request, readTimeoutMs).catch(() => lost);
    const [only] = members;
    if (members.length === 1 && only !== undefined) return only.give(await take(only.item));
    const { request, positions } = merged(members.map(({ item }) => item));
    const result = await take(request);
    for (const { item, give } of members) {
      give(result?.kind === 'read' ? partOf(result, item, positions) : result);
    }
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
