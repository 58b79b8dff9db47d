/** The doctor's checks of one region: its server's version, role, persistence, eviction policy and memory. */
import type { RegionStatus } from '../../../shared/contracts/members.ts';
import type { RegionClient } from '../../../shared/contracts/region-client.ts';
import type { CommandResult } from '../../../shared/contracts/round.ts';
import type { ShardId } from '../../../shared/ids.ts';
import { limits } from '../../../shared/limits.ts';
import { keysOf } from '../../region/encoding.ts';
import { bad, type CommandRunner, type DoctorCheck, doubtful, good, unreported } from './check.ts';
import { type ClockReading, clockCheck, readClock, roundTripCheck } from './clock-check.ts';
import { scriptChecks } from './script-checks.ts';

/** The region to examine. */
export interface RegionProbe {
  readonly client: Pick<RegionClient, 'run'>;
  /** Its state in the coordinator, or null if that is unknown. */
  readonly status: RegionStatus | null;
  /** An id that the names of the doctor's own keys contain. */
  readonly runId: string;
  readonly voteDeadlineMs: number;
  readonly shards: readonly ShardId[];
  now(): number;
}

/** The results for one region. */
export interface Findings {
  readonly checks: readonly DoctorCheck[];
  readonly clock: ClockReading | null;
  /** The id of the server's process; null if it is not reported. */
  readonly runId: string | null;
  /** The number of keys besides Lockstep's own records; null if it is not reported. */
  readonly keys: number | null;
}

type Info = ReadonlyMap<string, string>;

const memoryFullShare = 0.9;
const memoryTightShare = 0.75;

/** Checks one region. Writes only keys under `lockstep:doctor:`, and removes them. */
export async function examine(probe: RegionProbe): Promise<Findings> {
  const run: CommandRunner = (...command) => probe.client.run(command, limits.doctorTimeoutMs);
  const ping = await run('PING');
  if (ping.kind !== 'answered') {
    return {
      checks: [noAnswer(ping), stateCheck(probe.status)],
      clock: null,
      runId: null,
      keys: null,
    };
  }
  const info = await readInfo(run);
  const clock = await readClock(run, () => probe.now());
  const keys = await countKeys(run, probe.shards);
  const regionNow = probe.now() + (clock?.aheadMs ?? 0);
  const checks = [
    good('answers', 'yes'),
    stateCheck(probe.status),
    roundTripCheck(clock, probe.voteDeadlineMs),
    clockCheck(clock),
    versionCheck(info),
    roleCheck(await run('ROLE'), info),
    await persistenceCheck(run, info),
    await evictionCheck(run, info),
    memoryCheck(info),
    ...(await scriptChecks(run, probe.runId, regionNow)),
    keysCheck(keys),
  ];
  return { checks, clock, runId: info.get('run_id') ?? null, keys };
}

/** The fields of INFO. Managed servers may report none. */
async function readInfo(run: CommandRunner): Promise<Info> {
  const texts: string[] = [];
  for (const section of ['server', 'persistence', 'memory', 'replication']) {
    const result = await run('INFO', section);
    if (result.kind === 'answered' && typeof result.reply === 'string') texts.push(result.reply);
  }
  const fields = texts.flatMap((text) => [...text.matchAll(/^([a-z_0-9]+):([^\r\n]*)/gm)]);
  return new Map(fields.map(([, name = '', value = '']) => [name, value]));
}

function noAnswer(result: Exclude<CommandResult, { kind: 'answered' }>): DoctorCheck {
  const found = result.kind === 'error' ? result.message : result.reason;
  const advice =
    'Check that the URL and the token belong to this database, and that it runs. No further check was possible.';
  return bad('answers', found, advice);
}

function stateCheck(status: RegionStatus | null): DoctorCheck {
  if (status === null) {
    const advice =
      'The coordinator does not answer, or does not know this region: GET /v1/admin/regions.';
    return { name: 'state', status: 'unknown', found: 'unknown', advice };
  }
  const { state, cause, detail, held, health } = status;
  const found = [state, cause, detail].filter((part) => part !== null).join(', ');
  if (state === 'voter' && health === 'answering') return good('state', found);
  if (state === 'voter') {
    const advice =
      health === 'refusing'
        ? 'It is evicted soon if the other regions accept the writes that it refuses. Check the error: memory, disk, or a replica.'
        : 'It is about to be evicted. Restore the database or its network.';
    return doubtful('state', `${found}, ${health}`, advice);
  }
  if (state === 'copying') return doubtful('state', found, 'Nothing: it votes again by itself.');
  const advice = held
    ? 'It returns on request: POST /v1/admin/regions/<id>/return.'
    : cause === 'refusing'
      ? 'It returns by itself once its server accepts writes: check the error (memory, disk, a replica).'
      : 'It returns by itself once it answers.';
  return bad('state', found, advice);
}

function versionCheck(info: Info): DoctorCheck {
  const version = info.get('redis_version');
  if (version === undefined) {
    return unreported('version', 'Check that it is compatible with Redis 7.0 or later.');
  }
  if (Number.parseInt(version, 10) >= 7) return good('version', version);
  const advice = 'Use Redis 7.0 or later: older ones may refuse a commit when memory is short.';
  return doubtful('version', version, advice);
}

function roleCheck(result: CommandResult, info: Info): DoctorCheck {
  const reported =
    result.kind === 'answered' && Array.isArray(result.reply) ? String(result.reply[0]) : null;
  const role = reported ?? info.get('role') ?? null;
  if (role === null) return unreported('role', 'Make sure that this URL leads to the primary.');
  if (role === 'master') return good('role', 'primary');
  return bad(
    'role',
    role,
    'Use the URL of the primary: a replica loses the writes that it accepts.',
  );
}

async function persistenceCheck(run: CommandRunner, info: Info): Promise<DoctorCheck> {
  const name = 'persistence';
  const enabled = info.get('aof_enabled');
  const append = enabled ?? (await setting(run, 'appendonly'));
  if (append === null) return unreported(name, 'Make sure that every acknowledged write is kept.');
  if (append !== '1' && append !== 'yes') {
    const advice =
      'Set `appendonly yes`. Otherwise a crash loses writes, and the region is evicted and copied whole.';
    return bad(name, 'no append-only file', advice);
  }
  const sync = await setting(run, 'appendfsync');
  if (sync === 'always') return good(name, 'append-only file, synced always');
  const advice =
    'Nothing, if you accept the risk: a crash may lose the last acknowledged writes, and the region is then evicted and copied whole. `appendfsync always` prevents that.';
  const found = 'append-only file, synced';
  const when = sync === 'no' ? 'by its operating system' : sync;
  if (when !== null) return doubtful(name, `${found} ${when}`, advice);
  return { name, status: 'unknown', found: `${found}: not reported`, advice };
}

async function evictionCheck(run: CommandRunner, info: Info): Promise<DoctorCheck> {
  const policy = (await setting(run, 'maxmemory-policy')) ?? info.get('maxmemory_policy') ?? null;
  if (policy === null) return unreported('eviction', 'Make sure that eviction is off.');
  if (policy === 'noeviction') return good('eviction', policy);
  const advice = 'Set `maxmemory-policy noeviction`: evicted keys are lost in this region alone.';
  return bad('eviction', policy, advice);
}

function memoryCheck(info: Info): DoctorCheck {
  const used = Number(info.get('used_memory') ?? Number.NaN);
  const most = Number(info.get('maxmemory') ?? Number.NaN);
  if (Number.isNaN(used) || Number.isNaN(most)) {
    return unreported(
      'memory',
      'Monitor it: a region without memory is evicted, and if all are full, writes that take memory are refused.',
    );
  }
  const megabytes = (bytes: number) => `${Math.round(bytes / 1_000_000)} MB`;
  if (most === 0) return good('memory', `${megabytes(used)} used, no bound set`);
  const found = `${megabytes(used)} of ${megabytes(most)} used`;
  const share = used / most;
  if (share < memoryTightShare) return good('memory', found);
  const advice =
    'Give it more memory, or delete data: without memory it is evicted, and if all are full, writes that take memory are refused.';
  return share < memoryFullShare ? doubtful('memory', found, advice) : bad('memory', found, advice);
}

async function countKeys(run: CommandRunner, shards: readonly ShardId[]): Promise<number | null> {
  const size = await run('DBSIZE');
  const own = await run('EXISTS', ...shards.flatMap(keysOf));
  if (size.kind !== 'answered' || own.kind !== 'answered') return null;
  const keys = Number(size.reply) - Number(own.reply);
  return Number.isNaN(keys) ? null : keys;
}

function keysCheck(keys: number | null): DoctorCheck {
  if (keys !== null) return good('keys', String(keys));
  return unreported('keys', 'The duration of a copy cannot be estimated.');
}

/** A configuration setting of the server, or null if it does not report it. */
async function setting(run: CommandRunner, name: string): Promise<string | null> {
  const result = await run('CONFIG', 'GET', name);
  if (result.kind !== 'answered' || !Array.isArray(result.reply)) return null;
  const value: unknown = result.reply[1];
  return typeof value === 'string' ? value : null;
}
