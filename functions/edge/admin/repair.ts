import { bytesOfText } from '../../../shared/commands/replies.ts';
import type { MemberOrder } from '../../../shared/contracts/members.ts';
import { failure, type Result, success } from '../../../shared/http/problems.ts';
import type { RegionId } from '../../../shared/ids.ts';
import {
  type Compared,
  type ComparisonWorld,
  compareKeys,
  type Digests,
} from '../../region/comparison.ts';

/** What a repair comes to: an order for each source. Keys that all voters hold alike are not in them. */
export type RepairOrder = Extract<MemberOrder, { kind: 'repair' }>;

/** Keys to be repaired, and what is known of them. */
export interface RepairPlan {
  readonly keys: readonly string[];
  /** The region that is right; null: what most voters hold. */
  readonly source: RegionId | null;
  /** Keys to which nothing is written before an operator has named a source. */
  readonly blocked: ReadonlySet<string>;
}

/** One key, and what is to be done about it. */
interface KeyRepair {
  readonly key: string;
  /** Those that are right, of which any may be the source. At least one. */
  readonly sources: readonly [RegionId, ...RegionId[]];
  readonly regions: readonly RegionId[];
}

/** Finds which of the world's regions, all of them voters, differ from the source, and says what to order. */
export async function planRepair(
  world: ComparisonWorld,
  plan: RepairPlan,
): Promise<Result<readonly RepairOrder[]>> {
  const keys = [...new Set(plan.keys)];
  const compared = await compareKeys(world, keys.map(bytesOfText));
  if (!compared.ok) {
    const { region, reason } = compared.fault;
    const detail = `${region} does not answer: ${reason}. No repair was started. Retry.`;
    const members = { regions: [compared.fault] };
    return failure('region-unavailable', detail, members, { 'Retry-After': '1' });
  }
  const voters = world.regions.map(({ id }) => id);
  const repairs: KeyRepair[] = [];
  for (const key of keys) {
    const outcome = compared.value.get(bytesOfText(key)) ?? { kind: 'equal' };
    const repair = repairOf(key, outcome, plan, voters);
    if (!repair.ok) return repair;
    if (repair.value !== null) repairs.push(repair.value);
  }
  return success(ordersOf(repairs));
}

/** What one key needs; null where it needs nothing. */
function repairOf(
  key: string,
  compared: Compared,
  { source, blocked }: RepairPlan,
  voters: readonly RegionId[],
): Result<KeyRepair | null> {
  const others = voters.filter((id) => id !== source);
  const shown = JSON.stringify(key.slice(0, 100));
  if (blocked.has(key)) {
    // Equal or not at this moment: the coordinator has seen them disagree, and waits for a word on all of them.
    if (source !== null) return success({ key, sources: [source], regions: others });
    return undecidable(
      `The key ${shown} waits for an operator, since regions disagreed about it.`,
      key,
    );
  }
  if (compared.kind === 'equal') return success(null);
  const { digests } = compared;
  if (source !== null) {
    // One that is written all the time differs from look to look; a copy of the source is right in any case.
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

/** The voters that hold what more than half of them hold; none where there is no such thing. */
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
 * A region that is to be repaired is out meanwhile, and nothing is copied from it. So the source of a key is one that
 * no other key of the request puts out, if there is such a one.
 */
function ordersOf(repairs: readonly KeyRepair[]): readonly RepairOrder[] {
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
