/** Clients that each send one operation after another. */
import { HttpConnection } from './http-connection.ts';

/** Carries out one operation, and returns the number of attempts before it that had to be repeated. */
export type Carry<Operation> = (
  connection: HttpConnection,
  operation: Operation,
) => Promise<number>;

/** The load of a closed loop. */
export interface ClosedLoop<Operation> {
  /** Of the HTTP server, on 127.0.0.1. */
  readonly port: number;
  readonly clients: number;
  /** The time in which operations begin, ms. */
  readonly ms: number;
  readonly next: () => Operation;
  readonly carry: Carry<Operation>;
  readonly isRead: (operation: Operation) => boolean;
}

/** The operations of a load that were carried out, by their latencies in ms, and those that were not. */
export interface LoadResult {
  readonly readsMs: readonly number[];
  readonly writesMs: readonly number[];
  readonly aborts: number;
  readonly failed: number;
  /** The first failure, or null. */
  readonly failure: string | null;
  /** From the first request to the last response, ms. */
  readonly tookMs: number;
}

/** Runs it. */
export async function runClosedLoop<Operation>(loop: ClosedLoop<Operation>): Promise<LoadResult> {
  const readsMs: number[] = [];
  const writesMs: number[] = [];
  let aborts = 0;
  let failed = 0;
  let failure: string | null = null;
  const startedAt = performance.now();
  const client = async () => {
    const connection = new HttpConnection(loop.port);
    while (performance.now() - startedAt < loop.ms) {
      const operation = loop.next();
      const from = performance.now();
      try {
        const repeated = await loop.carry(connection, operation);
        aborts += repeated;
        const samples = loop.isRead(operation) ? readsMs : writesMs;
        samples.push(performance.now() - from);
      } catch (error) {
        failed += 1;
        failure ??= String(error).slice(0, 300);
      }
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: loop.clients }, client));
  return { readsMs, writesMs, aborts, failed, failure, tookMs: performance.now() - startedAt };
}

/** The number of operations that were carried out. */
export function doneBy({ readsMs, writesMs }: LoadResult): number {
  return readsMs.length + writesMs.length;
}

/** Operations per second. */
export function perSecond(result: LoadResult): number {
  return (doneBy(result) / result.tookMs) * 1_000;
}
