/** Plans the repair of keys that regions hold differently (R39). It sends nothing. */
import { bytesOfText } from '../../../shared/contracts/bytes.ts';
import type { AdminCommand } from '../../../shared/contracts/members.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { RegionId } from '../../../shared/ids.ts';
import {
  type Compared,
  type ComparisonScope,
  compareKeys,
  type Digests,
} from '../../region/comparison.ts';

/**
 * A command of the plan: copies keys from a source to the regions that differ. Keys that all voters hold alike are
 * omitted.
 */
export type RepairCommand = Extract<AdminCommand, { kind: 'repair' }>;

/** The keys to repair, and the knowledge about them. */
export interface RepairPlan {
  readonly keys: readonly string[];
  /** The correct region; null stands for the majority of the voters. */
  readonly source: RegionId | null;
  /** Keys that accept no writes until an operator has named a source. */
  readonly blocked: ReadonlySet<string>;
}

/** A key, and its repair. */
interface KeyRepair {
  readonly key: string;
  /** The regions that hold the correct value. Each may be the source. */
  readonly sources: readonly [RegionId, ...RegionId[]];
  readonly regions: readonly RegionId[];
}

/**
 * Compares the keys in the regions of `scope`, all of them voters, and plans a command per source. Returns
 * `region-unavailable` if a region does not answer, and `order-refused` if a key has no evident source.
 */
export async function planRepair(
  scope: ComparisonScope,
  plan: RepairPlan,
): Promise<Result<readonly RepairCommand[]>> {
  const keys = [...new Set(plan.keys)];
  const compared = await compareKeys(scope, keys.map(bytesOfText));
  if (!compared.ok) {
    const { region, reason } = compared.fault;
    const detail = `${region} does not answer: ${reason}. No repair was started. Retry.`;
    const members = { regions: [compared.fault] };
    return failure('region-unavailable', detail, members, { 'Retry-After': '1' });
  }
  const voters = scope.regions.map(({ id }) => id);
  const repairs: KeyRepair[] = [];
  for (const key of keys) {
    const outcome = compared.value.get(bytesOfText(key)) ?? { kind: 'equal' };
    const repair = repairOf(key, outcome, plan, voters);
    if (!repair.ok) return repair;
    if (repair.value !== null) repairs.push(repair.value);
  }
  return success(commandsOf(repairs));
}

/** The repair of one key, or null if it needs none. */
function repairOf(
  key: string,
  compared: Compared,
  { source, blocked }: RepairPlan,
  voters: readonly RegionId[],
): Result<KeyRepair | null> {
  const others = voters.filter((id) => id !== source);
  const shown = JSON.stringify(key.slice(0, 100));
  if (blocked.has(key)) {
    // Needed even if the regions agree now: the coordinator has seen them disagree, and blocks the key until it is
    // repaired.
    if (source !== null) return success({ key, sources: [source], regions: others });
    return undecidable(
      `The key ${shown} waits for an operator, since regions disagreed about it.`,
      key,
    );
  }
  if (compared.kind === 'equal') return success(null);
  const { digests } = compared;
  if (source !== null) {
    // A key under constant writes differs in each comparison. Copying it from the source is right in any case.
    const isRestless = compared.kind === 'restless';
    const regions = others.filter((id) => isRestless || digests[id] !== digests[source]);
    return success(regions.length === 0 ? null : { key, sources: [source], regions });
  }
  if (compared.kind === 'restless') {
    return undecidable(
      `The key ${shown} is being written, so its regions cannot be compared.`,
      key,
    );
  }
  const majority = majorityOf(digests, voters);
  const [first, ...more] = majority;
  if (first === undefined) {
    return undecidable(`No majority of the voters holds the same value for the key ${shown}.`, key);
  }
  const regions = voters.filter((id) => !majority.includes(id));
  return success({ key, sources: [first, ...more], regions });
}

/** The voters that hold the value of more than half of the voters; empty without such a majority. */
function majorityOf(digests: Digests, voters: readonly RegionId[]): readonly RegionId[] {
  for (const id of voters) {
    const alike = voters.filter((other) => digests[other] === digests[id]);
    if (alike.length * 2 > voters.length) return alike;
  }
  return [];
}

function undecidable(what: string, key: string): ReturnType<typeof failure> {
  const detail = `${what} No repair was started. Name the correct region as \`source\`.`;
  return failure('order-refused', detail, { key });
}

/**
 * Groups the repairs by source. A region under repair is out, and nothing can be copied from it, so a source that no
 * other repair evicts is preferred.
 */
function commandsOf(repairs: readonly KeyRepair[]): readonly RepairCommand[] {
  const leaving = new Set(repairs.flatMap(({ regions }) => regions));
  const bySource = Map.groupBy(
    repairs,
    ({ sources }) => sources.find((id) => !leaving.has(id)) ?? sources[0],
  );
  return [...bySource].map(([source, some]) => ({
    kind: 'repair',
    source,
    keys: some.map(({ key, regions }) => ({ key, regions })),
  }));
}
