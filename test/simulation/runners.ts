import type { Patch } from './mutation.ts';

/** The results of a seeded run, as numbers that can be added up. */
export type Totals = Readonly<Record<string, number>>;

/** One run that depends on its seed alone. It throws if a promise is broken. */
export interface Runner {
  run(seed: number): object | Promise<object>;
  /** Releases the resources of all its runs. */
  end?(): Promise<void>;
}

/** Every kind of seeded run. A child process loads the one that it is to run, after it has been patched. */
export const runners = {
  /** Coordinators, regions and clients in bad weather. */
  simulation: (): Promise<Runner> => import('./simulation-run.ts'),
  /** The same with members that come and go, copied in many small steps. */
  members: (): Promise<Runner> => import('./member-run.ts'),
  /** The same with operators who send regions away and call them back. */
  copies: (): Promise<Runner> => import('./copy-run.ts'),
  /** The same with operators who add and remove regions. */
  changes: (): Promise<Runner> => import('./change-run.ts'),
  /** The same with members that come and go while all keys are deleted now and then. */
  flushes: (): Promise<Runner> => import('./flush-run.ts'),
  /** The same with keys that expire while they are written. */
  expiries: (): Promise<Runner> => import('./expiry-run.ts'),
  /** The same with much that is read through coordinators, also through one that was left behind. */
  reads: (): Promise<Runner> => import('./read-run.ts'),
  /** The same with reads by the edge's own code. */
  edge: (): Promise<Runner> => import('./edge-run.ts'),
  /** The same with few keys and late answers, so that many reads share snapshots. */
  shared: (): Promise<Runner> => import('./shared-run.ts'),
  /** Fair weather in which regions fail together, in one of a few ways. */
  outage: (): Promise<Runner> => import('./outage-run.ts'),
  /** Regions of which one is changed around Lockstep, and how that is mended. */
  divergence: (): Promise<Runner> => import('./divergence-run.ts'),
  /** Followers of the change feed, with publishing, pages and sleep in any order. */
  feed: (): Promise<Runner> => import('./feed-run.ts'),
  /** Regions of which one was changed around Lockstep. */
  agreement: (): Promise<Runner> => import('./agreement-run.ts'),
  /** Random rounds in the model of a region and in its scripts. */
  region: (): Promise<Runner> => import('./region-run.ts'),
  /** Rounds of transactions that set values, in the model of a region and in its scripts. */
  sets: (): Promise<Runner> => import('./set-run.ts'),
  /** Rounds and reads of several shards, in the model of a region and in its scripts. */
  joint: (): Promise<Runner> => import('./joint-run.ts'),
  /** A redis-server whose memory runs out. */
  memory: (): Promise<Runner> => import('./memory-run.ts'),
  /** Transactions that set expiries, in the model of a region and in its scripts, early and late. */
  staging: (): Promise<Runner> => import('./staging-run.ts'),
  /** Two regions that run the same scripts of users. */
  scripts: (): Promise<Runner> => import('./script-run.ts'),
  /** A region client whose answers are lost. */
  client: (): Promise<Runner> => import('./client-run.ts'),
  /** One coordinator whose frames have priorities and whose clock jumps back. */
  order: (): Promise<Runner> => import('./order-run.ts'),
  /** A region whose answers are lost for minutes. */
  gate: (): Promise<Runner> => import('./gate-run.ts'),
  /** A region that goes back in time, and a late copy of a round that is refused there. */
  late: (): Promise<Runner> => import('./late-copy-run.ts'),
  /** One client with few connections, on a network without faults. */
  pace: (): Promise<Runner> => import('./pace-run.ts'),
  /** One coordinator that is mostly idle, and dies now and then. */
  idle: (): Promise<Runner> => import('./idle-run.ts'),
  /** A coordinator that begins over data of somebody else's. */
  founding: (): Promise<Runner> => import('./founding-run.ts'),
  /** More clients than connections, with regions that hang and return. */
  saturation: (): Promise<Runner> => import('./saturation-run.ts'),
  /** The coordinators of a few shards that are born while the registry is silent, and an edge whose map is old. */
  ownership: (): Promise<Runner> => import('./ownership-run.ts'),
  /** Coordinators of several shards over the same regions, in bad weather. */
  shards: (): Promise<Runner> => import('./shards-run.ts'),
  /** Scenes of joint writes, by hand; a seed names one. */
  scenes: (): Promise<Runner> => import('./scenes-run.ts'),
  /** One coordinator on an object's SQLite, with the platform's bounds. */
  storage: (): Promise<Runner> => import('./storage-run.ts'),
} as const;

/** Names a kind of seeded run. */
export type RunnerName = keyof typeof runners;

const smallCopies: readonly Patch[] = [
  limit('copyBytesPerStep', '30'),
  limit('copyWritePauseKeys', '1'),
  limit('missedKeysPerRegion', '12'),
  limit('copyWritePauseMaxMs', '1_600'),
];

/** The patches that a kind of run needs besides any mutant: a copy of a few keys is to take several steps. */
export const settings: Partial<Record<RunnerName, readonly Patch[]>> = {
  members: [...smallCopies, limit('copyKeysPerStep', '2')],
  copies: [...smallCopies, limit('copyKeysPerStep', '1')],
  changes: [...smallCopies, limit('copyKeysPerStep', '2')],
  reads: [...smallCopies, limit('copyKeysPerStep', '2')],
  edge: [...smallCopies, limit('copyKeysPerStep', '2')],
  shared: [...smallCopies, limit('copyKeysPerStep', '2')],
  flushes: [...smallCopies, limit('copyKeysPerStep', '2')],
  // The storage of such a run is small, so its size is looked at more often.
  storage: [
    {
      file: 'shared/storage-limits.ts',
      find: '\n  roomBytes: ',
      replace: '\n  roomBytes: 20_000, // ',
    },
  ],
};

/** Comments out the old value in the file. */
function limit(name: string, value: string): Patch {
  return { file: 'shared/limits.ts', find: `\n  ${name}: `, replace: `\n  ${name}: ${value}, // ` };
}
