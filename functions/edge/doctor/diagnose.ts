/** The doctor: checks every region, and then the deployment as a whole. */
import type { Configuration } from '../../../shared/config/configuration.ts';
import type { CoordinatorStatus } from '../../../shared/contracts/coordinator.ts';
import type { RegionConfiguration } from '../../../shared/contracts/members.ts';
import type { RegionClient } from '../../../shared/contracts/region-client.ts';
import type { ShardId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { bad, type DoctorCheck, doubtful, good } from './check.ts';
import { examine, type Findings } from './region-checks.ts';

/** The deployment to examine. */
export interface DoctorInput {
  readonly configuration: Pick<Configuration, 'tokens' | 'voteDeadlineMs'>;
  readonly regions: readonly RegionConfiguration[];
  readonly shards: readonly ShardId[];
  /** The status of each shard whose coordinator answers. */
  readonly statuses: readonly CoordinatorStatus[];
  /** That of the first shard; null if its coordinator does not answer. */
  readonly status: CoordinatorStatus | null;
  /** A new id, which names the doctor's own keys. */
  readonly runId: string;
  regionOf(region: RegionConfiguration): Pick<RegionClient, 'run'>;
  now(): number;
}

/** The result of every check. It contains no token. */
export interface Diagnosis {
  readonly verdict: 'ok' | 'warning' | 'problem';
  readonly deployment: readonly DoctorCheck[];
  readonly regions: readonly {
    readonly id: string;
    readonly host: string;
    readonly checks: readonly DoctorCheck[];
  }[];
}

/** Markers expire after this time, in ms, in case the doctor is interrupted. */
const markerLifeMs = '60000';

/** Checks each region, and compares the regions with each other. */
export async function diagnose(input: DoctorInput): Promise<Diagnosis> {
  const { regions, status, configuration, runId } = input;
  const findings = await Promise.all(
    regions.map((region) =>
      examine({
        client: input.regionOf(region),
        status: status?.regions.find((known) => known.region === region.id) ?? null,
        runId,
        voteDeadlineMs: configuration.voteDeadlineMs,
        shards: input.shards,
        now: () => input.now(),
      }),
    ),
  );
  const deployment = [
    ...coordinatorsChecks(input),
    regionsCheck(regions),
    votersCheck(status, regions),
    databasesCheck(regions, findings, await markersSeen(input)),
    clocksCheck(findings),
    countsCheck(status, regions, findings),
    tokensCheck(input),
  ];
  const all = [...deployment, ...findings.flatMap(({ checks }) => checks)];
  return {
    verdict: verdictOf(all),
    deployment,
    regions: regions.map(({ id, url }, index) => ({
      id,
      host: new URL(url).host,
      checks: findings[index]?.checks ?? [],
    })),
  };
}

function verdictOf(checks: readonly DoctorCheck[]): Diagnosis['verdict'] {
  if (checks.some(({ status }) => status === 'problem')) return 'problem';
  return checks.every(({ status }) => status === 'ok') ? 'ok' : 'warning';
}

/** The checks of the coordinator of each shard. With one shard they do not name it. */
function coordinatorsChecks({ shards, statuses }: DoctorInput): readonly DoctorCheck[] {
  return shards.flatMap((shard) => {
    const status = statuses.find((one) => one.shard === shard) ?? null;
    const checks = coordinatorChecks(status);
    if (shards.length === 1) return checks;
    return checks.map((check) => ({ ...check, name: `${check.name} of shard ${shard}` }));
  });
}

function coordinatorChecks(status: CoordinatorStatus | null): readonly DoctorCheck[] {
  if (status === null) {
    const advice = 'Check the logs of the Worker and of the Durable Object Coordinator.';
    return [bad('coordinator', 'it does not answer', advice)];
  }
  const { incarnation, epoch, blockedKeys, slots } = status;
  if (slots?.phase === 'waiting') {
    const advice = 'Check the logs of the Worker and of the Durable Object Registry.';
    return [bad('coordinator', slots.detail, advice)];
  }
  const answering = good('coordinator', `answers, incarnation ${incarnation}, epoch ${epoch}`);
  if (blockedKeys === 0) return [answering];
  const advice = 'Name the correct region: GET /v1/admin/in-doubt, POST /v1/admin/repair.';
  return [answering, bad('blocked keys', `waiting for an operator: ${blockedKeys}`, advice)];
}

/** Checks that the voters hold the same number of keys, apart from writes in progress. */
function countsCheck(
  status: CoordinatorStatus | null,
  regions: readonly RegionConfiguration[],
  findings: readonly Findings[],
): DoctorCheck {
  const name = 'key counts';
  if (status?.founding) {
    const { detail } = status.founding;
    return bad(name, detail, 'Choose how to start: POST /v1/admin/found.');
  }
  const counted = regions.flatMap(({ id }, index) => {
    const keys = findings[index]?.keys ?? null;
    const known = status?.regions.find(({ region }) => region === id);
    return keys === null || known?.state !== 'voter' ? [] : [{ id, keys, known }];
  });
  if (status === null || counted.length < 2) {
    const advice = 'Compare them once two regions vote and answer.';
    return { name, status: 'unknown', found: 'fewer than two could be counted', advice };
  }
  const counts = counted.map(({ keys }) => keys);
  const found = counted.map(({ id, keys }) => `${id} ${keys}`).join(', ');
  const underWay = counted.reduce((sum, { known }) => sum + known.unacknowledged, status.undecided);
  const apart = Math.max(...counts) - Math.min(...counts);
  if (apart === 0 || apart <= underWay) return good(name, found);
  const advice =
    'Writes in progress and keys that have just expired differ for a moment. If the difference persists, compare the regions: POST /v1/admin/verify.';
  return doubtful(name, found, advice);
}

function regionsCheck({ length }: readonly RegionConfiguration[]): DoctorCheck {
  if (length >= 2) return good('regions', String(length));
  const advice =
    'Configure at least two regions: a single region does not protect against its own loss.';
  return bad('regions', String(length), advice);
}

function votersCheck(
  status: CoordinatorStatus | null,
  regions: readonly RegionConfiguration[],
): DoctorCheck {
  if (status === null) {
    const advice = 'Retry once the coordinator answers.';
    return { name: 'voters', status: 'unknown', found: 'the coordinator does not answer', advice };
  }
  const { minVoters } = status;
  const voters = status.regions.filter(({ state }) => state === 'voter').length;
  const found = `${voters} of ${regions.length} vote; it takes ${minVoters} to write`;
  if (voters < minVoters) {
    return bad('voters', found, 'Bring regions back: writes need more voters.');
  }
  if (minVoters < 2 && regions.length > 2) {
    const advice = 'Raise LOCKSTEP_MIN_VOTERS to 2; otherwise writes continue with a single copy.';
    return doubtful('voters', found, advice);
  }
  if (minVoters === regions.length && minVoters > 1) {
    const advice = 'Lower LOCKSTEP_MIN_VOTERS, or the outage of any one region stops all writes.';
    return doubtful('voters', found, advice);
  }
  return good('voters', found);
}

/**
 * Per region, the regions whose markers it holds, after every region's marker was written; null if it cannot be read.
 */
async function markersSeen({
  regions,
  runId,
  regionOf,
}: DoctorInput): Promise<readonly (readonly string[] | null)[]> {
  const markerOf = ({ id }: RegionConfiguration) => `lockstep:doctor:{${runId}}:marker:${id}`;
  const markers = regions.map(markerOf);
  const each = <Value>(act: (region: RegionConfiguration) => Promise<Value>) =>
    Promise.all(regions.map(act));
  await each((region) =>
    regionOf(region).run(
      ['SET', markerOf(region), '1', 'PX', markerLifeMs],
      limits.doctorTimeoutMs,
    ),
  );
  const seen = await each(async (region) => {
    const result = await regionOf(region).run(['MGET', ...markers], limits.doctorTimeoutMs);
    if (result.kind !== 'answered' || !Array.isArray(result.reply)) return null;
    const values: readonly unknown[] = result.reply;
    return regions.flatMap(({ id }, index) => (values[index] == null ? [] : [id]));
  });
  await each((region) => regionOf(region).run(['DEL', markerOf(region)], limits.doctorTimeoutMs));
  return seen;
}

/** Checks that no two regions share a database: they would vote twice for one copy. */
function databasesCheck(
  regions: readonly RegionConfiguration[],
  findings: readonly Findings[],
  seen: readonly (readonly string[] | null)[],
): DoctorCheck {
  const shared = new Set<string>();
  let areComplete = true;
  for (const [index, { id }] of regions.entries()) {
    const markers = seen[index] ?? null;
    const isComplete = markers?.includes(id) === true;
    areComplete &&= isComplete;
    for (const other of markers ?? [])
      if (other !== id) shared.add([id, other].sort().join(' and '));
    const runId = findings[index]?.runId ?? null;
    const twin = regions.findIndex(
      (_, at) => at < index && runId !== null && findings[at]?.runId === runId,
    );
    if (twin >= 0) shared.add([id, regions[twin]?.id ?? ''].sort().join(' and '));
  }
  if (shared.size > 0) {
    const advice = 'Give each region its own database: these would vote twice for one copy.';
    return bad('databases', `the same: ${[...shared].join('; ')}`, advice);
  }
  if (areComplete) return good('databases', 'one for each region');
  const advice = 'Not every region took a marker, so compare their URLs by hand.';
  return { name: 'databases', status: 'unknown', found: 'not all could be asked', advice };
}

/** Compares the clocks of the regions: while they differ, regions disagree on whether a key has expired. */
function clocksCheck(findings: readonly Findings[]): DoctorCheck {
  const clocks = findings.flatMap(({ clock }) => clock ?? []);
  if (clocks.length < 2) {
    const advice = 'Make sure that a time service sets them all.';
    return { name: 'clocks', status: 'unknown', found: 'too few report the time', advice };
  }
  const least = clocks.reduce((one, other) => (other.aheadMs < one.aheadMs ? other : one));
  const most = clocks.reduce((one, other) => (other.aheadMs > one.aheadMs ? other : one));
  const errorMs = least === most ? 0 : least.errorMs + most.errorMs;
  const apartMs = most.aheadMs - least.aheadMs;
  const found = `${Math.round(apartMs)} ms apart at most, give or take ${Math.round(errorMs)} ms`;
  if (apartMs - errorMs <= limits.clockSkewMs) return good('clocks', found);
  return bad('clocks', found, 'Set the clocks by a time service.');
}

/** Checks that no client has a region's token: with it, the client could bypass Lockstep. */
function tokensCheck({ configuration, regions }: DoctorInput): DoctorCheck {
  const scopes = configuration.tokens.map(({ scope }) => scope);
  const count = (scope: string) => scopes.filter((one) => one === scope).length;
  const found = `${count('read')} read, ${count('write')} write, ${count('admin')} admin`;
  const isShared = regions.some(({ token }) =>
    configuration.tokens.some((client) => client.token === token),
  );
  if (!isShared) return good('tokens', found);
  const advice =
    'Give clients tokens that are not region tokens: with a region token they can bypass Lockstep.';
  return bad('tokens', `${found}; one is a region's too`, advice);
}
