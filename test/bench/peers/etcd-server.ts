/** An etcd with one member per region, over peer links with the round trips between the regions. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Coordinates, RoundTrips } from '../../../local/gateway/round-trips.ts';
import { freePort } from '../../../local/stack/free-port.ts';
import { type OwnProcess, startProcess } from '../../../local/stack/processes.ts';
import { type DelayingProxy, startDelayingProxy } from './delaying-proxy.ts';
import { roundTripMsBetween } from './distances.ts';

const startDeadlineMs = 60_000;
/** etcd advises a heartbeat of about the longest round trip, and ten times that for elections; ms. */
const heartbeatMs = { near: 100, far: 300 } as const;

/** A running cluster. */
export interface EtcdServers {
  /** The client address of the member in the first region, which leads. */
  readonly url: string;
  /** The process groups of the members. */
  readonly groups: readonly number[];
  stop(): Promise<void>;
}

/** The version of the etcd on the PATH, or null. Installs it if that needs no question: by apt, as root. */
export function etcdVersion(say: (line: string) => void): string | null {
  const known = versionOfEtcd();
  if (known !== null || process.getuid?.() !== 0) return known;
  say('No etcd on the PATH: installing it with apt-get.');
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const run = (...args: readonly string[]) =>
    spawnSync('apt-get', args, { env: environment, stdio: ['ignore', 'ignore', 'ignore'] });
  run('update', '-q');
  run('install', '-q', '-y', '--no-install-recommends', 'etcd-server');
  return versionOfEtcd();
}

function versionOfEtcd(): string | null {
  const { stdout } = spawnSync('etcd', ['--version'], { encoding: 'utf8' });
  return /^etcd Version: (\S+)/m.exec(stdout ?? '')?.[1] ?? null;
}

interface Member {
  readonly name: string;
  readonly place: Coordinates;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly proxy: DelayingProxy;
}

/** Starts the members, empty, and makes the first one the leader: it is the nearest to the clients. */
export async function startEtcd(
  stateDirectory: string,
  places: readonly Coordinates[],
  roundTrips: RoundTrips,
): Promise<EtcdServers> {
  const directory = directoryFor(stateDirectory);
  const members: Member[] = [];
  for (const place of places) {
    const peerPort = await freePort();
    const proxy = await startDelayingProxy({
      targetPort: peerPort,
      roundTripMsOf: (first) => {
        const sender = senderOf(first, members) ?? members[0];
        return sender === undefined ? 0 : roundTripMsBetween(sender.place.id, place.id, roundTrips);
      },
    });
    const name = place.id;
    members.push({ name, place, clientPort: await freePort(), peerPort, proxy });
  }
  const processes = members.map((member) => {
    const beat = roundTrips === 'none' ? heartbeatMs.near : heartbeatMs.far;
    return startMember(member, members, { stateDirectory, directory, beat });
  });
  const stop = async () => {
    await Promise.all(processes.map((member) => member.stop()));
    await Promise.all(members.map(({ proxy }) => proxy.close()));
    rmSync(directory, { recursive: true, force: true });
  };
  const url = `http://127.0.0.1:${members[0]?.clientPort}`;
  try {
    await leading(members, processes);
    return { url, groups: processes.map(({ pid }) => pid), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** etcd syncs its log to disk for each write, and Redis does not here: in memory, neither waits for the disk. */
function directoryFor(stateDirectory: string): string {
  const memory = '/dev/shm';
  const directory = existsSync(memory)
    ? join(memory, `lockstep-bench-etcd-${process.pid}`)
    : join(stateDirectory, 'etcd');
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** Members say in a header of each request under which address they are reached. */
function senderOf(firstBytes: Buffer, members: readonly Member[]): Member | undefined {
  const [, port] =
    /\r\nx-peerurls: *http:\/\/127\.0\.0\.1:(\d+)/i.exec(firstBytes.toString('latin1')) ?? [];
  return members.find(({ proxy }) => proxy.port === Number(port));
}

function startMember(
  member: Member,
  members: readonly Member[],
  options: { readonly stateDirectory: string; readonly directory: string; readonly beat: number },
): OwnProcess {
  const { name, clientPort, peerPort, proxy } = member;
  const { stateDirectory, directory, beat } = options;
  const cluster = members.map((each) => `${each.name}=http://127.0.0.1:${each.proxy.port}`);
  const settings: Readonly<Record<string, string>> = {
    name,
    'data-dir': join(directory, name),
    'listen-peer-urls': `http://127.0.0.1:${peerPort}`,
    'initial-advertise-peer-urls': `http://127.0.0.1:${proxy.port}`,
    'listen-client-urls': `http://127.0.0.1:${clientPort}`,
    'advertise-client-urls': `http://127.0.0.1:${clientPort}`,
    'initial-cluster': cluster.join(','),
    'initial-cluster-state': 'new',
    'heartbeat-interval': String(beat),
    'election-timeout': String(beat * 10),
    'log-level': 'error',
  };
  return startProcess({
    name: `etcd-${name}`,
    command: 'etcd',
    args: Object.entries(settings).map(([setting, value]) => `--${setting}=${value}`),
    workingDirectory: directory,
    stateDirectory,
    logFile: join(stateDirectory, `etcd-${name}.log`),
  });
}

interface Status {
  readonly leader?: string;
  readonly header?: { readonly member_id?: string };
}

/** Resolves once the first member leads. */
async function leading(
  members: readonly Member[],
  processes: readonly OwnProcess[],
): Promise<void> {
  const deadline = performance.now() + startDeadlineMs;
  while (performance.now() < deadline) {
    if (processes.some(({ isRunning }) => !isRunning)) break;
    const states = await Promise.all(members.map(statusOf));
    const wanted = states[0]?.header?.member_id;
    const leader = states.findIndex(({ header, leader: id }) => {
      return id !== undefined && id !== '0' && header?.member_id === id;
    });
    if (leader === 0 && states.every((state) => state.leader === wanted)) return;
    const from = members[leader];
    if (from !== undefined && leader > 0) {
      await post(from, '/v3/maintenance/transfer-leadership', { targetID: wanted });
    }
    await delay(200);
  }
  const logs = processes.map(({ name }) => name).join(', ');
  throw new Error(`etcd did not start (${logs}).`);
}

async function statusOf(member: Member): Promise<Status> {
  const text = await post(member, '/v3/maintenance/status', {});
  return text === null ? {} : JSON.parse(text);
}

async function post({ clientPort }: Member, path: string, body: unknown): Promise<string | null> {
  try {
    const response = await fetch(`http://127.0.0.1:${clientPort}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
    });
    return response.ok ? await response.text() : null;
  } catch {
    // It does not listen yet.
    return null;
  }
}
