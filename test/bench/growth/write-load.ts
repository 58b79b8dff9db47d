/** One load of writes on a stack, with its costs per write. */
import { doneBy, perSecond, runClosedLoop } from '../closed-loop.ts';
import { countCommands } from '../commands-run.ts';
import { median, percentile } from '../measure.ts';
import { cpuMsOf } from '../process-use.ts';
import { shown } from '../report.ts';
import type { GrowthStack } from './growth-stack.ts';

/** The operations of the write of a number. */
export type OperationsOf = (number: number) => readonly (readonly string[])[];

/** The costs of a write under a load. */
export interface WriteCost {
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly workerUs: number;
  /** Of one region. */
  readonly serverUs: number;
  readonly requests: number;
  readonly commands: number;
  readonly bytes: number;
  /** The number of writes that were refused, or not answered. */
  readonly failed: number;
}

/** The columns of {@link cellsOf}. */
export const costColumns = [
  'per second',
  'p50',
  'p99',
  'CPU Worker',
  'CPU region',
  'requests',
  'commands',
  'bytes',
  'failed',
] as const;

/** The units of the columns, for a note. */
export const costNote =
  'Times of writes in ms. Per write: the CPU of the Worker in µs, and of each region its CPU in µs, requests, Redis commands, and bytes sent to it.';

/** Runs a closed loop of writes. */
export async function measureWriteLoad(
  stack: GrowthStack,
  clients: number,
  ms: number,
  operationsOf: OperationsOf,
): Promise<WriteCost> {
  const { port, target, total, redises, servers } = stack;
  await stack.settled();
  await Promise.all(redises.map((redis) => redis.config('RESETSTAT')));
  total.reset();
  const worker = cpuMsOf([stack.worker]);
  const server = cpuMsOf(servers);
  let number = 0;
  const result = await runClosedLoop<number>({
    ...{ port, clients, ms },
    next: () => {
      number += 1;
      return number;
    },
    carry: async (connection, next) => {
      const body = JSON.stringify({ ops: operationsOf(next) });
      const answer = await connection.post('/v1/writes', body, target.token);
      if (answer.status !== 200) throw new Error(`${answer.status}: ${answer.body}`);
      return 0;
    },
    isRead: () => false,
  });
  if (result.failed > 0) console.log(`  ${result.failed} writes failed: ${result.failure}`);
  const writes = doneBy(result);
  const workerMs = cpuMsOf([stack.worker]) - worker;
  const serverMs = cpuMsOf(servers) - server;
  const commands = await Promise.all(redises.map(countCommands));
  const perRegion = (sum: number) => sum / writes / redises.length;
  return {
    rate: perSecond(result),
    p50Ms: median(result.writesMs),
    p99Ms: percentile(result.writesMs, 99),
    workerUs: (workerMs * 1_000) / writes,
    serverUs: perRegion(serverMs * 1_000),
    requests: perRegion(total.requests),
    commands: perRegion(commands.reduce((sum, count) => sum + count, 0)),
    bytes: perRegion(total.bytesIn),
    failed: result.failed,
  };
}

/** A row of a table: the columns of costs. */
export function cellsOf(cost: WriteCost): readonly string[] {
  const { rate, p50Ms, p99Ms, workerUs, serverUs, requests, commands, bytes, failed } = cost;
  return [rate, p50Ms, p99Ms, workerUs, serverUs, requests, commands, bytes, failed].map(shown);
}
