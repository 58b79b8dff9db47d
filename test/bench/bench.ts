import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { readArguments, refuse } from '../../local/command-line.ts';
import { redisKind } from '../../local/stack/regions.ts';
import { requireRedis } from '../../local/stack/require-redis.ts';
import type { Stack } from '../../local/stack/stack.ts';
import { startStack } from '../../local/stack/stack.ts';
import { limits } from '../../shared/limits.ts';
import { connectTo } from '../support/redis.ts';
import { BenchClient } from './client.ts';
import { countCommands } from './commands-run.ts';
import { hookVariables, measureCallbackCost, measureHooks, measureWaiting } from './hooks.ts';
import { addedMs, measureLatency } from './latency.ts';
import { describe, type Machine, thisMachine } from './machine.ts';
import type { Figure } from './measure.ts';
import { drawTable, isWithin, median, timed } from './measure.ts';
import { measureMembers } from './members.ts';
import { measurePipeline } from './pipeline.ts';
import { measureReads } from './reads.ts';
import { recordReport } from './record.ts';
import { type BenchReport, drawReport } from './report.ts';
import { reportParts } from './reports.ts';

/**
 * `npm run bench`: five regions with the round trips between AWS regions. It judges ratios and counts within this
 * run, so that another machine comes to the same verdict.
 */

const help = `Usage: npm run bench [-- part] [options]

Measures Lockstep with five regions and the round trips between AWS regions, and exits with code 1 if a figure is beyond
its limit. It takes minutes; a part takes less:

  writes     writes and reads
  pipeline   a pipeline of writes
  hooks      webhooks and the change feed; or one of these alone: hooks waiting
  elements   writes into large collections
  replies    large replies of a region
  scripts    a plain SET's scripts, and users' scripts
  members    regions that fail and return; or one of these alone:
             members outages, members copying, members hold, members reads

These run only by name, and take longer:

  peers      Lockstep beside two-phase commit, Redlock, Redis with WAIT, and etcd
             (--regions, --rtt, --clients, --seconds per load, --runs, --only a,b,c,f,hot,limiter)
  ratios     rates, CPU and latencies as ratios, with their goals; medians of seven runs
             (--regions, --seconds per load, --runs, --only near,region,cold,distance,hot)
  growth     costs of a write as one thing grows at a time (--seconds per load, --most kept,
             --only regions,keys,values,database,clients,rows,kept)
  ycsb       an open loop at rising rates until saturation
             (--regions, --rtt, --seconds per rate, --only a,b,c,f)
  memory     memory of workerd at half of saturation (--regions, --rtt, --minutes)
  profile    the parts of the Worker that use its CPU (--regions, --seconds per load)

  --record   write the results into docs/reference/benchmarks.json, and make its page again
  --help     show this text
`;

/** The parts that can be measured alone, with the titles of their tables. */
const titles: Readonly<Record<string, string>> = {
  writes: 'One write, one read, and many clients',
  pipeline: 'Pipelines',
  hooks: 'Webhooks and the change feed',
  elements: 'Large collections',
  replies: 'Reads in a region',
  scripts: 'Users’ scripts',
  members: 'Regions that fail and return',
};
const parts = Object.keys(titles);

const regionCount = 5;
const reportFile = join('.lockstep', 'bench.json');

const incrementsAtOnce = 100;
const incrementRuns = 3;
const clients = 256;
const writesPerClient = 12;

interface Bench {
  readonly stack: Stack;
  readonly client: BenchClient;
}

function say(line: string): void {
  console.log(line);
}

/** A hundred concurrent increments of one key. */
async function measureIncrements(
  { stack, client }: Bench,
  farthestMs: number,
): Promise<readonly Figure[]> {
  const sent: number[] = [];
  let wrongSums = 0;
  const nominalMs = addedMs(stack);
  stack.total.reset();
  for (let run = 0; run < incrementRuns; run += 1) {
    await client.settled();
    const key = `increments:${run}`;
    const all = Array.from({ length: incrementsAtOnce }, () => ['INCR', key]);
    const ms = await timed(() => Promise.all(all.map((op) => client.write({ ops: [op] }))));
    sent.push(ms);
    await client.settled();
    const sums = await client.everywhere(key);
    wrongSums += sums.filter((sum) => sum !== String(incrementsAtOnce)).length;
  }
  return [
    {
      name: `${incrementsAtOnce} increments of one key at once, in round trips`,
      value: median(sent) / farthestMs,
      unit: 'ratio',
      limit: 3,
    },
    {
      name: `  in round trips of ${nominalMs} ms`,
      value: median(sent) / nominalMs,
      unit: 'ratio',
      limit: 3,
    },
    { name: '  regions with a wrong sum', value: wrongSums, unit: 'count', limit: 0 },
  ];
}

/** Many clients on distinct keys: the requests and Redis commands per write. */
async function measureLoad({ stack, client }: Bench): Promise<readonly Figure[]> {
  await client.settled();
  const redises = stack.regions.map(({ redis }) => connectTo(redis.port));
  await Promise.all(redises.map((redis) => redis.config('RESETSTAT')));
  stack.total.reset();
  for (const { gateway } of stack.regions) gateway.meter.reset();
  const latencies: number[] = [];
  const loop = async (name: number) => {
    for (let count = 0; count < writesPerClient; count += 1) {
      const op = ['SET', `load:${name}:${count}`, 'x'.repeat(32)];
      latencies.push(await timed(() => client.write({ ops: [op] })));
    }
  };
  const loadMs = await timed(() =>
    Promise.all(Array.from({ length: clients }, (_, name) => loop(name))),
  );
  await client.settled();
  const writes = clients * writesPerClient;
  const rounds = stack.regions.map(({ gateway }) => gateway.meter.requests);
  const commands = await Promise.all(redises.map(countCommands));
  for (const redis of redises) redis.disconnect();
  return [
    {
      name: `${clients} clients, p50 of a write`,
      value: median(latencies),
      unit: 'ms',
      limit: null,
    },
    { name: '  throughput', value: (writes / loadMs) * 1_000, unit: 'writes/s', limit: null },
    {
      name: '  HTTP rounds per write and region',
      value: Math.max(...rounds) / writes,
      unit: 'count',
      limit: 0.1,
    },
    {
      name: '  Redis commands per write and region',
      value: Math.max(...commands) / writes,
      unit: 'count',
      limit: 0.2,
    },
    {
      name: '  requests in flight at once',
      value: stack.total.inFlightMaximum,
      unit: 'count',
      limit: limits.connections,
    },
  ];
}

async function measureWrites(bench: Bench): Promise<readonly Figure[]> {
  say('One client …');
  const { farthestMs, figures } = await measureLatency(bench.stack, bench.client, say);
  say(`${incrementsAtOnce} increments at once …`);
  const increments = await measureIncrements(bench, farthestMs);
  const reads = await measureReads(bench.stack, bench.client, say);
  say(`${clients} clients …`);
  return [...figures, ...increments, ...reads, ...(await measureLoad(bench))];
}

/** Five regions, with the round trips between them: writes, reads, and the cost of callbacks. */
async function measureOverDistance(part: string | undefined): Promise<readonly Figure[]> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-bench-'));
  const stack = await startStack({
    stateDirectory,
    regions: regionCount,
    roundTrips: 'aws',
    redis: redisKind(),
    port: 0,
    fresh: true,
    variables: hookVariables,
    progress: say,
  });
  try {
    const bench = { stack, client: new BenchClient(stack) };
    await bench.client.write({ ops: [['SET', 'warm', 'up']], ack: 'confirmed' });
    if (part === 'pipeline') return await measurePipeline(bench.client, say);
    const writes = part === 'hooks' ? [] : await measureWrites(bench);
    if (part === 'writes') return writes;
    const pipelines = part === 'hooks' ? [] : await measurePipeline(bench.client, say);
    say('Callbacks …');
    return [...writes, ...pipelines, ...(await measureCallbackCost(bench.client, say))];
  } finally {
    await stack.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}

/** Runs the regions' scripts itself. */
async function measureInScripts(): Promise<readonly Figure[]> {
  await import('../../local/pages/lua-imports.ts');
  const { measureElements } = await import('./elements.ts');
  return measureElements(say);
}

/** Runs the regions' scripts itself. */
async function measureRepliesOfRegions(): Promise<readonly Figure[]> {
  await import('../../local/pages/lua-imports.ts');
  const { measureReplies } = await import('./replies.ts');
  return measureReplies(say);
}

/** Sends scripts to one region of its own. */
async function measureUserScripts(): Promise<readonly Figure[]> {
  await import('../../local/pages/lua-imports.ts');
  const { measureScripts } = await import('./scripts.ts');
  return measureScripts(say);
}

async function measure(part?: string, only?: string): Promise<readonly Figure[]> {
  if (part === 'members') return measureMembers(say, only);
  if (part === 'hooks' && only === 'waiting') return measureWaiting(say);
  if (part === 'elements') return measureInScripts();
  if (part === 'replies') return measureRepliesOfRegions();
  if (part === 'scripts') return measureUserScripts();
  const figures = [...(await measureOverDistance(part))];
  const isNear = part === undefined || part === 'hooks';
  if (isNear) figures.push(...(await measureHooks(say)));
  if (part === undefined) {
    figures.push(
      ...(await measureInScripts()),
      ...(await measureRepliesOfRegions()),
      ...(await measureUserScripts()),
      ...(await measureMembers(say)),
    );
  }
  return figures;
}

const text = { type: 'string' } as const;
const optionsOfReports = {
  ...{ regions: text, rtt: text, clients: text, seconds: text, minutes: text, runs: text },
  only: text,
  most: text,
};

async function main(): Promise<boolean> {
  const { positionals, values } = readArguments(help, {
    allowPositionals: true,
    options: { record: { type: 'boolean', default: false }, ...optionsOfReports },
  });
  const [part, only] = positionals;
  const isKnown = part === undefined || parts.includes(part) || part in reportParts;
  if (!isKnown) refuse(help, `There is no part named ${part}.`);
  if (!requireRedis()) return false;
  const machine = thisMachine();
  say(describe(machine));
  const makeReport = reportParts[part ?? ''];
  if (makeReport !== undefined) {
    const given = process.argv.slice(2).filter((argument) => argument !== '--record');
    const command = `npm run bench -- ${given.join(' ')}`;
    const report = { ...(await makeReport(values, say)), command };
    for (const line of drawReport(report)) say(line);
    return conclude(report, machine, values.record);
  }
  const figures = await measure(part, only);
  if (part === undefined && values.record) refuse(help, '--record takes one part.');
  for (const line of drawTable(figures)) say(line);
  const known = titles[part ?? ''] ?? 'All parts';
  const command = `npm run bench${part === undefined ? '' : ` -- ${part}`}`;
  const none = { tables: [], pictures: [], note: null };
  return conclude({ title: known, command, setting: '', figures, ...none }, machine, values.record);
}

/** Writes the figures to a file, and with `--record` to the page. True if all are within their bounds. */
function conclude(report: BenchReport, machine: Machine, isRecorded: boolean): boolean {
  const figures = report.figures.map((figure) => ({ ...figure, pass: isWithin(figure) }));
  const { tables } = report;
  mkdirSync('.lockstep', { recursive: true });
  writeFileSync(
    reportFile,
    `${JSON.stringify({ at: new Date().toISOString(), machine, figures, tables }, null, 2)}\n`,
  );
  for (const { name, svg } of report.pictures) {
    writeFileSync(join('.lockstep', `${name}.svg`), svg);
  }
  say(`\nThe same is in ${reportFile}.`);
  if (isRecorded) recordReport(report, machine);
  return report.figures.every(isWithin);
}

process.exit((await main()) ? 0 : 1);
