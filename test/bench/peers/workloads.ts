/** The loads of the comparison: those of YCSB, one hot key, and a rate limiter. */
import { Zipfian } from '../zipfian.ts';
import type { PeerOperation } from './worker/contract.ts';

/** The number of records of YCSB, and of users of the rate limiter. */
export const records = 1_000;
const valueBytes = 1_000;

/** The loads by their short names. */
export const workloads = {
  a: 'YCSB A: 50 % reads, 50 % updates',
  b: 'YCSB B: 95 % reads, 5 % updates',
  c: 'YCSB C: reads alone',
  f: 'YCSB F: 50 % reads, 50 % read-modify-writes',
  hot: 'one hot key: INCR',
  limiter: 'a rate limiter: a fixed window per user',
} as const;

/** The short name of a load. */
export type PeerLoad = keyof typeof workloads;

/** All of them. */
export const workloadNames = Object.keys(workloads).filter(isWorkload);

/** True if there is a load of this name. */
export function isWorkload(name: string): name is PeerLoad {
  return name in workloads;
}

const readShare: Readonly<Record<PeerLoad, number>> = {
  a: 0.5,
  b: 0.95,
  c: 1,
  f: 0.5,
  hot: 0,
  limiter: 0,
};

/** A value of the records' size, another one for each number. */
export function recordValue(number: number): string {
  return `${number}:`.padEnd(valueBytes, 'abcdefghij');
}

/** The key of a record. */
export function recordKey(prefix: string, number: number): string {
  return `${prefix}:record:${number}`;
}

/** A source of operations. Records are drawn as YCSB does, with keys under `prefix`. */
export function operationsOf(
  workload: PeerLoad,
  prefix: string,
  random: () => number,
): () => PeerOperation {
  const zipfian = new Zipfian(records, random);
  let made = Math.floor(random() * 1_000_000_000);
  return () => {
    if (workload === 'hot') return { kind: 'increment', key: `${prefix}:hot` };
    if (workload === 'limiter') return { kind: 'limit', key: `${prefix}:user:${zipfian.next()}` };
    const key = recordKey(prefix, zipfian.next());
    if (random() < readShare[workload]) return { kind: 'read', key };
    made += 1;
    const value = recordValue(made);
    return workload === 'f' ? { kind: 'modify', key, value } : { kind: 'set', key, value };
  };
}
