/** The systems that are compared, each with its own way to carry out an operation. */
import type { Redis } from 'ioredis';
import { placesFor, type RoundTrips } from '../../../local/gateway/round-trips.ts';
import { compatibilityDate } from '../../../local/stack/bundle.ts';
import type { RedisKind } from '../../../local/stack/regions.ts';
import { type Stack, startStack } from '../../../local/stack/stack.ts';
import { connectTo } from '../../support/redis.ts';
import { BenchClient } from '../client.ts';
import type { Carry } from '../closed-loop.ts';
import { HttpConnection } from '../http-connection.ts';
import { carryByLockstep } from '../lockstep-operations.ts';
import { loggedRows } from '../logged-rows.ts';
import { groupOf } from '../process-use.ts';
import { type BareWorker, startBareWorker } from './bare-worker.ts';
import { type EtcdServers, startEtcd } from './etcd-server.ts';
import { type PrimaryServers, startPrimary } from './primary-server.ts';
import type { PeerAnswer, PeerOperation } from './worker/contract.ts';
import { recordKey, records, recordValue } from './workloads.ts';

/** A system under the loads. */
export interface PeerSystem {
  /** Also the prefix of its keys. */
  readonly id: string;
  readonly name: string;
  /** The guarantees of its writes and reads, in some words. */
  readonly guarantee: string;
  /** The port of its Worker. */
  readonly port: number;
  readonly carry: Carry<PeerOperation>;
  /** The process group of its Worker. */
  readonly workers: readonly number[];
  /** The process groups of its databases. */
  readonly servers: readonly number[];
  /** Its databases, if they are Redis. */
  readonly redises: readonly Redis[];
  /** The rows that its coordinator has written so far, if it has one that does. */
  readonly rows?: () => number;
  /** True if its Worker calls the gateways of the regions, which count requests. */
  readonly usesGateways: boolean;
}

/** Everything that runs for the comparison. */
export interface PeerStacks {
  readonly stack: Stack;
  readonly client: BenchClient;
  readonly bare: BareWorker;
  readonly systems: readonly PeerSystem[];
  stop(): Promise<void>;
}

/** The choice of the systems. */
export interface PeerOptions {
  readonly stateDirectory: string;
  readonly regions: number;
  readonly roundTrips: RoundTrips;
  readonly redis: RedisKind;
  /** Start the primary with replicas, and etcd, besides the systems on the regions. */
  readonly withOthers: boolean;
  /** Null if etcd is not there. */
  readonly etcd: string | null;
  /** Offer the inspector of Lockstep's Worker. */
  readonly withInspector?: boolean;
  readonly say: (line: string) => void;
}

/** Starts all of it, with the records of YCSB in each system. */
export async function startPeers(options: PeerOptions): Promise<PeerStacks> {
  const { stateDirectory, regions, roundTrips, redis, withOthers, say } = options;
  const places = placesFor(regions);
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const each of stops.reverse()) await each();
  };
  try {
    const stack = await startStack({
      ...{ stateDirectory, regions, roundTrips, redis },
      port: 0,
      fresh: true,
      withInspector: options.withInspector ?? false,
    });
    stops.push(() => stack.stop());
    const redises = stack.regions.map((region) => connectTo(region.redis.port));
    stops.push(async () => {
      for (const each of redises) each.disconnect();
    });
    const primary = withOthers
      ? await startPrimary(stateDirectory, places, roundTrips, redis)
      : null;
    if (primary !== null) stops.push(() => primary.stop());
    const etcd =
      withOthers && options.etcd !== null
        ? await startEtcd(stateDirectory, places, roundTrips)
        : null;
    if (etcd !== null) stops.push(() => etcd.stop());
    const bare = await startBareWorker(stateDirectory, compatibilityDate(), {
      regions: stack.regions.map(({ gateway: { url, token } }) => ({ url, token })),
      primary: primary?.url ?? null,
      etcd: etcd?.url ?? null,
    });
    stops.push(() => bare.stop());
    const client = new BenchClient(stack);
    const systems = systemsOf({ stateDirectory, stack, redises, bare, primary, etcd });
    say('Loading the records …');
    for (const system of systems) await loadRecords(system, client);
    return { stack, client, bare, systems, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Running {
  readonly stateDirectory: string;
  readonly stack: Stack;
  readonly redises: readonly Redis[];
  readonly bare: BareWorker;
  readonly primary: PrimaryServers | null;
  readonly etcd: EtcdServers | null;
}

function systemsOf(running: Running): readonly PeerSystem[] {
  const { stateDirectory, stack, redises, bare, primary, etcd } = running;
  const regionGroups = stack.regions.map(({ place }) =>
    groupOf(stateDirectory, `region-${place.id}`),
  );
  const onRegions = { servers: regionGroups, redises, usesGateways: true };
  const byBare = (id: string, name: string, guarantee: string) => ({
    ...{ id, name, guarantee, port: bare.port, workers: [bare.group] },
    carry: carryByBareWorker(id),
  });
  const target = {
    token: stack.tokens.write,
    region: stack.regions[0]?.place.id ?? '',
  };
  const systems: PeerSystem[] = [
    {
      ...onRegions,
      id: 'ours',
      name: 'Lockstep',
      guarantee: 'all regions or none; strictly serializable; reads in the nearest region',
      port: Number(new URL(stack.url).port),
      carry: (connection, operation) => carryByLockstep(target, connection, operation),
      workers: [groupOf(stateDirectory, 'worker')],
      rows: () => loggedRows(stateDirectory),
    },
    {
      ...onRegions,
      ...byBare(
        'bare',
        'parallel SET, no atomicity',
        'none: regions differ after a fault or a race',
      ),
    },
    {
      ...onRegions,
      ...byBare(
        'two-phase',
        'textbook two-phase commit',
        'all regions or none, unless the coordinator fails',
      ),
    },
    {
      ...onRegions,
      ...byBare(
        'redlock',
        'Redlock around a compare-and-set',
        'one writer per key while clocks agree; no atomicity',
      ),
    },
  ];
  if (primary !== null) {
    const guarantee = 'one order, by the primary; a failover can lose acknowledged writes';
    const { groups: servers, redises: own } = primary;
    systems.push({
      ...byBare('primary', 'Redis primary with WAIT for all', guarantee),
      ...{ servers, redises: own, usesGateways: false },
    });
  }
  if (etcd !== null) {
    const others = { servers: etcd.groups, redises: [], usesGateways: false };
    const guarantee = 'strictly serializable; a majority has each write';
    systems.push(
      { ...byBare('etcd', 'etcd, linearizable reads', guarantee), ...others },
      {
        ...byBare(
          'etcd-serializable',
          'etcd, serializable reads',
          `${guarantee}; reads may be stale`,
        ),
        ...others,
      },
    );
  }
  return systems;
}

function carryByBareWorker(id: string): Carry<PeerOperation> {
  return async (connection, operation) => {
    const { status, body } = await connection.post(`/${id}`, JSON.stringify(operation));
    if (status !== 200) throw new Error(`${id} answered ${status}: ${body}`);
    const { aborts }: PeerAnswer = JSON.parse(body);
    return aborts;
  };
}

/** A pipeline holds up to a hundred commands here. */
const recordsPerPipeline = 100;

/** Writes all records: past the system if its databases are Redis servers without a state of Lockstep. */
async function loadRecords(system: PeerSystem, client: BenchClient): Promise<void> {
  const numbers = Array.from({ length: records }, (_, number) => number);
  const commandOf = (number: number) => ['SET', recordKey(system.id, number), recordValue(number)];
  if (system.id === 'ours') {
    for (let first = 0; first < records; first += recordsPerPipeline) {
      const some = numbers.slice(first, first + recordsPerPipeline);
      await client.pipeline(some.map(commandOf));
    }
    return;
  }
  const direct = system.usesGateways ? system.redises : system.redises.slice(0, 1);
  for (const redis of direct) {
    const pipeline = redis.pipeline();
    for (const number of numbers) pipeline.set(recordKey(system.id, number), recordValue(number));
    await pipeline.exec();
  }
  if (system.redises.length === 0) await loadByClients(system, numbers);
}

async function loadByClients(system: PeerSystem, numbers: readonly number[]): Promise<void> {
  const left = [...numbers];
  const client = async () => {
    const connection = new HttpConnection(system.port);
    for (let number = left.pop(); number !== undefined; number = left.pop()) {
      const key = recordKey(system.id, number);
      await system.carry(connection, { kind: 'set', key, value: recordValue(number) });
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: 64 }, client));
}
