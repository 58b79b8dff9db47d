/** `npm run bench -- growth`: the costs of a write as one thing grows at a time. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Figure } from '../measure.ts';
import { type LineAxes, lineChart, type PlotLine } from '../plot.ts';
import { type PartReport, type ReportPicture, type ReportTable, shown } from '../report.ts';
import { type GrowthStack, startGrowthStack } from './growth-stack.ts';
import type { KeptCost } from './kept-writes.ts';
import { measureRows } from './rows.ts';
import {
  cellsOf,
  costColumns,
  costNote,
  measureWriteLoad,
  type OperationsOf,
} from './write-load.ts';

/** The size of the measurement. */
export interface GrowthOptions {
  /** Of each load, in ms. */
  readonly ms: number;
  /** The names of the things that grow. */
  readonly only: readonly string[];
  /** The most kept writes, and the most keys in the database. */
  readonly most: number;
  readonly say: (line: string) => void;
}

/** One thing that grows, with its table and its picture. */
interface Grown {
  readonly table: ReportTable;
  readonly pictures: readonly ReportPicture[];
  readonly figures?: readonly Figure[];
}

const manyClients = 64;
const value = 'x'.repeat(32);
const usualRegions = 3;

const regionCounts = [1, 2, 3, 4, 5, 6, 7];
const keysPerWrite = [1, 3, 10, 30, 100];
const valueSizes = [10, 100, 1_000, 10_000, 100_000];
const sizes = [1_000, 10_000, 100_000, 1_000_000];
const clientCounts = [1, 4, 16, 64, 256, 1_024, 4_096];

const setOne: OperationsOf = (number) => [['SET', `growth:${number}`, value]];

type Measure = (options: GrowthOptions) => Promise<Grown>;

const parts: Readonly<Record<string, Measure>> = {
  regions: async ({ ms, say }) => {
    const rows: Row[] = [];
    for (const count of regionCounts) {
      const stack = await startGrowthStack(count);
      try {
        rows.push(await rowOf(stack, count, ms, setOne));
      } finally {
        await stack.stop();
      }
      say(`  ${count} regions`);
    }
    return grown('Regions', 'regions', rows);
  },
  keys: (options) =>
    onOneStack('Keys per write', 'keys', keysPerWrite, options, (count) => (number) => {
      return Array.from({ length: count }, (_, at) => ['SET', `growth:${number}:${at}`, value]);
    }),
  values: (options) =>
    onOneStack('Bytes of a value', 'bytes', valueSizes, options, (bytes) => {
      const text = 'x'.repeat(bytes);
      return (number) => [['SET', `growth:${number % 1_000}`, text]];
    }),
  database: (options) => {
    let filled = 0;
    const fill = async (stack: GrowthStack, keys: number) => {
      await Promise.all(stack.redises.map((redis) => fillRegion(redis, filled, keys)));
      filled = keys;
    };
    const counts = sizes.filter((size) => size <= options.most);
    // A prime spreads the writes over all keys.
    const operationsOf = (keys: number) => (number: number) => [
      ['SET', `growth:${(number * 7_919) % keys}`, value],
    ];
    return onOneStack('Keys in the database', 'keys', counts, options, operationsOf, fill);
  },
  clients: async ({ ms, say }) => {
    const stack = await startGrowthStack(usualRegions);
    try {
      const rows: Row[] = [];
      await measureWriteLoad(stack, manyClients, ms, setOne);
      for (const clients of clientCounts) {
        const cost = await measureWriteLoad(stack, clients, ms, setOne);
        rows.push({ size: clients, p50Ms: cost.p50Ms, rate: cost.rate, cells: cellsOf(cost) });
        say(`  ${clients} writes in flight`);
      }
      const columns = ['in flight', ...costColumns];
      return {
        ...grown('Writes in flight', 'writes in flight', rows),
        table: tableOf('Writes in flight', columns, rows),
      };
    } finally {
      await stack.stop();
    }
  },
  rows: async ({ say }) => ({ ...measureRows(say), pictures: [] }),
  kept: async ({ most }) => {
    return keptGrown(keptWritesApart(sizes.filter((size) => size <= most)));
  },
};

/** The names of all things that can grow. */
export const growthNames = Object.keys(parts);

/** Measures those that are named. */
export async function measureGrowth(options: GrowthOptions): Promise<PartReport> {
  const tables: ReportTable[] = [];
  const pictures: ReportPicture[] = [];
  const figures: Figure[] = [];
  for (const [name, measure] of Object.entries(parts)) {
    if (!options.only.includes(name)) continue;
    options.say(`Growth: ${name} …`);
    const one = await measure(options);
    tables.push(one.table);
    pictures.push(...one.pictures);
    figures.push(...(one.figures ?? []));
  }
  return {
    title: 'Growth',
    setting: `${usualRegions} regions if nothing else is said, without round trips; SETs of new keys with 32 bytes; ${options.ms / 1_000} s per load, with ${manyClients} clients, after one with a single client.`,
    tables,
    figures,
    pictures,
    note: costNote,
  };
}

interface Row {
  readonly size: number;
  /** Of one client. */
  readonly p50Ms: number;
  readonly rate: number;
  readonly cells: readonly string[];
}

async function rowOf(
  stack: GrowthStack,
  size: number,
  ms: number,
  operationsOf: OperationsOf,
): Promise<Row> {
  const alone = await measureWriteLoad(stack, 1, ms, operationsOf);
  const many = await measureWriteLoad(stack, manyClients, ms, operationsOf);
  const cells = [shown(alone.p50Ms), ...cellsOf(many)];
  return { size, p50Ms: alone.p50Ms, rate: many.rate, cells };
}

async function onOneStack(
  title: string,
  name: string,
  counts: readonly number[],
  { ms, say }: GrowthOptions,
  operationsFor: (size: number) => OperationsOf,
  prepare: (stack: GrowthStack, size: number) => Promise<void> = async () => {},
): Promise<Grown> {
  const stack = await startGrowthStack(usualRegions);
  try {
    const rows: Row[] = [];
    await measureWriteLoad(stack, manyClients, ms, setOne);
    for (const size of counts) {
      await prepare(stack, size);
      rows.push(await rowOf(stack, size, ms, operationsFor(size)));
      say(`  ${size.toLocaleString('en-US')} ${name}`);
    }
    return grown(title, name, rows);
  } finally {
    await stack.stop();
  }
}

const keysPerScript = 10_000;

/** Adds keys `from` to `to` to a region, past Lockstep: their values are the same in all regions. */
async function fillRegion(redis: Redis, from: number, to: number): Promise<void> {
  const script =
    "for number = ARGV[1], ARGV[2] do redis.call('SET', 'growth:' .. number, ARGV[3]) end";
  for (let first = from; first < to; first += keysPerScript) {
    const last = Math.min(to, first + keysPerScript) - 1;
    await redis.call('EVAL', script, '0', String(first), String(last), value);
  }
  // A rewrite of the log, which such a growth begins, takes a core for a while.
  while (/^aof_rewrite_in_progress:1/m.test(await redis.info('persistence'))) await delay(100);
}

function tableOf(title: string, columns: readonly string[], rows: readonly Row[]): ReportTable {
  return {
    title,
    columns,
    rows: rows.map(({ size, cells }) => [size.toLocaleString('en-US'), ...cells]),
  };
}

function grown(title: string, name: string, rows: readonly Row[]): Grown {
  const lines = (of: (row: Row) => number, label: string): readonly PlotLine[] => [
    { name: label, points: rows.map((row) => [row.size, of(row)]) },
  ];
  const file = title.toLowerCase().replaceAll(' ', '-');
  return {
    table: tableOf(title, [name, 'alone, p50', ...costColumns], rows),
    pictures: [
      picture(
        `growth-${file}`,
        { title, x: name, y: 'writes per second' },
        lines(({ rate }) => rate, `${manyClients} clients`),
      ),
    ],
  };
}

function picture(name: string, axes: LineAxes, lines: readonly PlotLine[]): ReportPicture {
  const svg = lineChart({ ...axes, isLogarithmicX: true }, lines);
  return { name, alt: `${axes.title}: ${axes.y}`, svg };
}

/** Measures kept writes in a process of its own, which shows its progress itself. */
function keptWritesApart(kept: readonly number[]): readonly KeptCost[] {
  const program = join(import.meta.dirname, 'kept-process.ts');
  const measured = spawnSync(process.execPath, ['--expose-gc', program, JSON.stringify(kept)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (measured.status !== 0) throw new Error('the measurement of kept writes failed');
  return JSON.parse(measured.stdout);
}

function keptGrown(costs: readonly KeptCost[]): Grown {
  const lines = (name: string, of: (cost: KeptCost) => number): PlotLine => ({
    name,
    points: costs.map((cost) => [cost.kept, of(cost)]),
  });
  const axes = { title: 'Writes kept', x: 'writes kept', isLogarithmicY: true };
  return {
    figures: goalsOf(costs),
    table: {
      title: 'Writes kept by the coordinator',
      columns: [
        'writes kept',
        'start, ms',
        'its heap, MB',
        'heap of a writer, MB',
        'a write, µs',
        'rows per write',
        'a record, µs',
        'a page of 100 changes, µs',
        'database, MB',
      ],
      rows: costs.map((cost) => [
        cost.kept.toLocaleString('en-US'),
        shown(cost.beginMs),
        shown(cost.heapBytes / 1_000_000),
        shown(cost.writerHeapBytes / 1_000_000),
        shown(cost.writeUs),
        shown(cost.rowsPerWrite),
        shown(cost.recordUs),
        shown(cost.pageUs),
        shown(cost.databaseBytes / 1_000_000),
      ]),
    },
    pictures: [
      picture('growth-kept-start', { ...axes, y: 'ms to start a life' }, [
        lines('start', ({ beginMs }) => beginMs),
      ]),
      picture('growth-kept-times', { ...axes, y: 'µs' }, [
        lines('a write', ({ writeUs }) => writeUs),
        lines('a record', ({ recordUs }) => recordUs),
        lines('a page', ({ pageUs }) => pageUs),
      ]),
    ],
  };
}

/** A start with this number of writes kept has a goal, in ms; and the heap with the most of them, in MB. */
const startedWrites = 100_000;
const startMsMost = 500;
const heapMbMost = 40;

function goalsOf(costs: readonly KeptCost[]): readonly Figure[] {
  const started = costs.find(({ kept }) => kept === startedWrites);
  const most = costs.at(-1);
  const figures: Figure[] = [];
  if (started !== undefined) {
    const name = `start of a coordinator with ${startedWrites.toLocaleString('en-US')} writes kept`;
    figures.push({ name, value: started.beginMs, unit: 'ms', limit: startMsMost });
  }
  if (most !== undefined) {
    const name = `heap of a coordinator with ${most.kept.toLocaleString('en-US')} writes kept`;
    const value = Math.max(most.heapBytes, most.writerHeapBytes) / 1_000_000;
    figures.push({ name, value, unit: 'MB', limit: heapMbMost });
  }
  return figures;
}
