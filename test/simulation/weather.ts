import type { Random } from './random.ts';

/** The faults of a run, and their rates. */
export interface Weather {
  readonly regions: number;
  readonly connections: number;
  /** Of each message, one way: it is lost. */
  readonly loss: number;
  /** Of each round: it is executed a second time, later. */
  readonly duplication: number;
  /** Of each message: it takes seconds. */
  readonly straggling: number;
  /** The same for messages between readers and regions; without it, as for all others. */
  readonly readerStraggling?: number;
  /** Mean time between crashes of the coordinator, ms; 0: none. */
  readonly crashEveryMs: number;
  /** Of each crash: the old instance lives on without knowing. */
  readonly zombies: number;
  /** The most by which the clock of a region may be off, ms. */
  readonly skewMs: number;
  /** The most by which a clock may run fast and slow in turn: 100 is a rate of 5 % off. */
  readonly wobblesMs: readonly number[];
  /** Mean time between outages of a region, ms; 0: none. An outage is of the region, or of its way to some. */
  readonly outageEveryMs: number;
  /** The number of regions that may fail at once. */
  readonly outagesAtOnce: number;
  /** One way to the farthest region, ms. */
  readonly farMs: number;
  /** Mean time between losses of a region's data, ms; 0: none. */
  readonly lossEveryMs: number;
  readonly minVoters: number;
  /** The keys that clients write and read; with `fill`, all of them exist from the beginning. */
  readonly keys: readonly string[];
  readonly fill: boolean;
  /** The share of reads among the requests of clients. */
  readonly reads: number;
  /** Of requests that arrive once more, much later: they get a new `notAfter`, as a request without one does. */
  readonly renewals: number;
  /** Of all reads: they go by the edge's own code. */
  readonly atEdge: number;
  /** All clients read in the same region. */
  readonly readsInOne: boolean;
  /** The least and the most requests of a client, and its longest pause in between, ms. */
  readonly turns: readonly [least: number, most: number];
  readonly pauseMs: number;
  /** Mean time between orders of an operator, ms; 0: none. */
  readonly commandsEveryMs: number;
  /** Mean time between additions and removals of regions by an operator, ms; 0: none. */
  readonly changesEveryMs: number;
  /** Of each removal: another region that holds everything is force-recovered just before. */
  readonly forceRecoveries: number;
  /** The share of callers who reach an instance that was left behind, if there is one. */
  readonly strayCallers: number;
  /** Of all reads: they go through the coordinator at once. */
  readonly through: number;
  /** Instances that were left behind hear of readers too. */
  readonly staleLeaseRequests: boolean;
  /** Of each outage: the coordinator is replaced at the same time, and only the old instance reaches the region. */
  readonly splits: number;
  /** Of each copy that begins: a fault happens during it. */
  readonly disturbs: number;
  /** Of each loss of data: only the last few things that the region did are lost. */
  readonly recentLosses: number;
  /** The share of deletions among the writes of clients, beside all others. */
  readonly deletes: number;
  /** Of the writes of clients: every key is deleted. */
  readonly flushes: number;
  /** Of the writes of clients: it sets a short expiry, and more happens to the key in the same step. */
  readonly expiries: number;
}

/** Who asks a region: the coordinator, an older instance that goes on, or a reader at the edge. */
export type Asker = 'coordinator' | 'stale' | 'edge';

export const generation = 1_000;

/** The most by which the clock of a region is off by a constant, and by turns besides, ms. */
const skewMaximumMs = 400;
const wobbleMaximumMs = 100;

/** The most by which the clock of a region is off, ms. */
export const clocksApartMs = skewMaximumMs + wobbleMaximumMs;

/** The weather of the simulation. */
export function weatherOf(random: Random): Weather {
  const regions = random.pick([1, 2, 3, 3, 3, 5]);
  const bad = random.chance(0.85);
  return {
    regions,
    connections: random.pick([6, 6, 3, regions + 1]),
    loss: bad ? random.pick([0, 0.01, 0.05, 0.2]) : 0,
    duplication: bad ? random.pick([0, 0.05, 0.3]) : 0,
    straggling: bad ? random.pick([0, 0.02, 0.1]) : 0,
    crashEveryMs: bad ? random.pick([0, 400, 2_000]) : 0,
    zombies: random.pick([0, 0.5, 1]),
    wobblesMs: [0, 50, wobbleMaximumMs],
    skewMs: random.pick([0, 20, skewMaximumMs]),
    outageEveryMs: bad ? random.pick([0, 0, 5_000]) : 0,
    outagesAtOnce: random.pick([1, 1, 2]),
    farMs: 120,
    lossEveryMs: bad ? random.pick([0, 0, 4_000, 10_000]) : 0,
    minVoters: random.pick([1, 1, Math.min(2, regions)]),
    keys: ['a', 'b', 'c', 'd'],
    fill: false,
    reads: 0.35,
    renewals: 0,
    atEdge: 0,
    readsInOne: random.chance(0.2),
    turns: [4, 14],
    pauseMs: random.pick([200, 200, 200, 2_000]),
    strayCallers: 0.5,
    splits: random.pick([0, 0.3]),
    disturbs: 0,
    through: 0.1,
    staleLeaseRequests: random.chance(0.5),
    recentLosses: 0,
    deletes: 0,
    commandsEveryMs: bad ? random.pick([0, 0, 0, 6_000]) : 0,
    flushes: 0,
    expiries: 0,
    changesEveryMs: 0,
    forceRecoveries: 0,
  };
}

/** Weather in which members come and go all the time, with more to copy than one step takes. */
export function memberWeatherOf(random: Random): Weather {
  const regions = random.pick([2, 3, 3, 4]);
  return {
    regions,
    connections: random.pick([6, 6, regions + 1]),
    loss: random.pick([0, 0, 0.02, 0.1]),
    duplication: random.pick([0, 0.1, 0.4]),
    straggling: random.pick([0, 0.05, 0.2]),
    crashEveryMs: random.pick([0, 2_000, 8_000]),
    zombies: random.pick([0, 0.5, 1]),
    wobblesMs: [wobbleMaximumMs],
    skewMs: random.pick([0, skewMaximumMs]),
    outageEveryMs: random.pick([0, 3_000, 6_000]),
    outagesAtOnce: random.pick([1, 2]),
    farMs: random.pick([10, 120]),
    lossEveryMs: random.pick([0, 3_000, 8_000]),
    minVoters: random.pick([1, 1, 2]),
    keys: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'i', 'j', 'k', 'l', 'm'],
    fill: true,
    reads: random.pick([0.3, 0.7]),
    renewals: 0,
    atEdge: 0,
    readsInOne: random.chance(0.5),
    turns: [8, 16],
    pauseMs: random.pick([500, 3_000]),
    strayCallers: random.pick([0.5, 0]),
    splits: random.pick([0, 0.6]),
    disturbs: random.pick([0, 0.5]),
    through: random.pick([0.1, 0.6]),
    staleLeaseRequests: random.chance(0.5),
    recentLosses: random.pick([0, 0.5]),
    deletes: random.pick([0, 0.15]),
    commandsEveryMs: random.pick([0, 0, 3_000]),
    flushes: 0,
    expiries: 0,
    changesEveryMs: 0,
    forceRecoveries: 0,
  };
}

/** Weather in which operators send regions away and call them back all the time, so that there is always a copy. */
export function copyWeatherOf(random: Random): Weather {
  return {
    ...memberWeatherOf(random),
    loss: 0,
    duplication: random.pick([0.3, 0.9]),
    straggling: random.pick([0, 0.1]),
    crashEveryMs: 0,
    outageEveryMs: 0,
    farMs: random.pick([10, 120, 300]),
    lossEveryMs: 6_000,
    recentLosses: 0.3,
    disturbs: random.pick([0, 0.5]),
    reads: random.pick([0, 0.3]),
    through: 0.1,
    turns: [25, 50],
    pauseMs: 700,
    commandsEveryMs: 600,
  };
}

/** Weather in which members come and go while every key is deleted now and then. */
export function flushWeatherOf(random: Random): Weather {
  return {
    ...memberWeatherOf(random),
    flushes: random.pick([0.03, 0.15]),
    pauseMs: random.pick([100, 500, 1_500]),
    turns: [12, 25],
  };
}

/** Weather in which keys expire while they are written, and decisions come late. */
export function expiryWeatherOf(random: Random): Weather {
  return {
    ...weatherOf(random),
    straggling: random.pick([0, 0.05, 0.2]),
    lossEveryMs: 0,
    skewMs: random.pick([0, skewMaximumMs]),
    keys: ['a', 'b'],
    reads: 0.15,
    turns: [10, 25],
    pauseMs: random.pick([20, 200, 600]),
    expiries: random.pick([0.6, 0.9]),
  };
}

/** Weather in which many read through the coordinator, and some through one that was left behind. */
export function readWeatherOf(random: Random): Weather {
  return {
    ...memberWeatherOf(random),
    loss: 0,
    straggling: 0,
    crashEveryMs: random.pick([0, 8_000]),
    outageEveryMs: 6_000,
    outagesAtOnce: 1,
    splits: random.pick([0.5, 1]),
    farMs: random.pick([10, 120]),
    lossEveryMs: random.pick([0, 3_000]),
    recentLosses: 0.7,
    minVoters: 1,
    strayCallers: 0,
    keys: ['a', 'b'],
    reads: 0.6,
    through: random.pick([0.5, 1]),
    turns: [20, 30],
    pauseMs: random.pick([300, 1_500]),
    commandsEveryMs: 0,
  };
}

/** Weather in which all reads go by the edge's own code, while regions, leases and coordinators come and go. */
export function edgeWeatherOf(random: Random): Weather {
  return {
    ...memberWeatherOf(random),
    loss: random.pick([0, 0.02]),
    straggling: random.pick([0, 0.1]),
    crashEveryMs: random.pick([0, 3_000]),
    outageEveryMs: random.pick([0, 3_000]),
    lossEveryMs: random.pick([0, 5_000]),
    keys: ['a', 'b', 'c'],
    reads: 0.7,
    renewals: 0.7,
    atEdge: 1,
    turns: [15, 25],
    pauseMs: random.pick([100, 700]),
    commandsEveryMs: random.pick([0, 4_000]),
  };
}

/** Weather in which many read the same key at the edge, in one region, and some answers of it come late. */
export function sharedWeatherOf(random: Random): Weather {
  return {
    ...calmWeather(random),
    readerStraggling: 0.3,
    farMs: random.pick([10, 120]),
    keys: ['a'],
    reads: 0.8,
    atEdge: 1,
    readsInOne: true,
    turns: [60, 100],
    pauseMs: 10,
  };
}

/** Weather in which operators add and remove regions all the time. */
export function changeWeatherOf(random: Random): Weather {
  return {
    ...memberWeatherOf(random),
    crashEveryMs: random.pick([0, 3_000, 8_000]),
    outageEveryMs: random.pick([0, 6_000]),
    lossEveryMs: 0,
    recentLosses: 0,
    minVoters: 1,
    keys: ['a', 'b', 'c', 'd'],
    reads: random.pick([0.5, 0.7]),
    through: 0.1,
    turns: [20, 40],
    pauseMs: random.pick([200, 700]),
    commandsEveryMs: random.pick([0, 0, 6_000]),
    changesEveryMs: random.pick([800, 2_500]),
    forceRecoveries: random.pick([0, 0.3, 0.6]),
  };
}

/** Weather in which nothing goes wrong by itself. */
export function calmWeather(random: Random): Weather {
  const regions = random.pick([2, 3]);
  return {
    regions,
    connections: 6,
    loss: 0,
    duplication: 0,
    straggling: 0,
    crashEveryMs: 0,
    zombies: 0,
    wobblesMs: [],
    skewMs: 20,
    outageEveryMs: 0,
    outagesAtOnce: 1,
    farMs: 120,
    lossEveryMs: 0,
    minVoters: 1,
    keys: ['a', 'b', 'c', 'd'],
    fill: false,
    reads: 0,
    renewals: 0,
    atEdge: 0,
    readsInOne: false,
    turns: [4, 14],
    pauseMs: 200,
    strayCallers: 0,
    splits: 0,
    disturbs: 0,
    through: 0,
    staleLeaseRequests: false,
    recentLosses: 0,
    deletes: 0,
    flushes: 0,
    expiries: 0,
    changesEveryMs: 0,
    forceRecoveries: 0,
    commandsEveryMs: 0,
  };
}
