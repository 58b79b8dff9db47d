/** `npm run bench -- profile`: the parts of the Worker that use its CPU, by V8's profiler. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redisKind } from '../../local/stack/regions.ts';
import { doneBy, runClosedLoop } from './closed-loop.ts';
import { Inspector, type ProfiledFunction } from './inspector.ts';
import { type PeerStacks, startPeers } from './peers/systems.ts';
import type { PeerOperation } from './peers/worker/contract.ts';
import { cpuMsOf } from './process-use.ts';
import type { PartReport, ReportTable } from './report.ts';

/** The size of the measurement. */
export interface ProfileOptions {
  readonly regions: number;
  /** Of each load, in ms. */
  readonly ms: number;
  readonly say: (line: string) => void;
}

interface Load {
  readonly name: string;
  readonly kind: 'set' | 'read';
  readonly clients: number;
}

const loads: readonly Load[] = [
  { name: 'SET, 256 clients', kind: 'set', clients: 256 },
  { name: 'SET, 1 client', kind: 'set', clients: 1 },
  { name: 'strong GET, 64 clients', kind: 'read', clients: 64 },
];

/** The parts of the Worker: the first whose folder a module is in. */
const areas: readonly (readonly [folder: string, area: string])[] = [
  ['shared/protocol/', 'the protocol'],
  ['functions/coordinator/storage/', 'the coordinator’s log'],
  ['functions/coordinator/', 'the coordinator around the protocol'],
  ['functions/region/', 'requests to regions, and their answers'],
  ['functions/edge/', 'the edge'],
  ['shared/commands/', 'commands: exact JSON, compiling'],
  ['shared/', 'messages, schemas and the rest of shared'],
  ['functions/', 'couriers, feed, platform'],
  ['node_modules/hono', 'hono'],
  ['node_modules/', 'other libraries'],
];

/** V8's samples outside of the modules: names of its own in brackets, and built-in functions. */
const builtIn = 'built-in functions, V8 and workerd below them';
const outside = 'workerd outside of JavaScript';
const collector = 'garbage collection';

const keys = 10_000;
const value = 'x'.repeat(32);

interface Profiled {
  readonly load: Load;
  readonly shares: ReadonlyMap<string, number>;
  readonly cpuUs: number;
}

/** Profiles each load, one after the other, on one stack. */
export async function measureProfile({ regions, ms, say }: ProfileOptions): Promise<PartReport> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-profile-'));
  const peers = await startPeers({
    ...{ stateDirectory, regions, roundTrips: 'none', say },
    redis: redisKind(),
    withOthers: false,
    etcd: null,
    withInspector: true,
  });
  try {
    const modules = modulesOf(join(stateDirectory, 'bundle', 'worker.js'));
    const profiled: Profiled[] = [];
    for (const load of loads) {
      say(`${load.name} …`);
      // The first time compiles the busiest functions.
      await carryOut(peers, load, ms);
      profiled.push(await profileOf(peers, load, ms, modules));
    }
    return {
      title: 'The CPU of the Worker, by parts',
      setting: `${regions} regions, without round trips; ${ms / 1_000} s per load, after as long to warm up. Shares of the samples of V8’s profiler in which the Worker was not idle, in per cent.`,
      tables: [tableOf(profiled)],
      figures: [],
      pictures: [],
      note: 'The profiler sees the thread of the Worker alone, and slows it down: the CPU times here are greater than those above. Work of workerd for a built-in function, such as `fetch` or a statement of SQLite, counts as that function’s.',
    };
  } finally {
    await peers.stop();
    rmSync(stateDirectory, { recursive: true });
  }
}

async function carryOut(
  { client, systems: [ours] }: PeerStacks,
  { kind, clients }: Load,
  ms: number,
): Promise<number> {
  if (ours === undefined) throw new Error('there is no system');
  let number = 0;
  const next = (): PeerOperation => {
    number += 1;
    const key = `profile:${number % keys}`;
    return kind === 'set' ? { kind, key, value } : { kind, key };
  };
  const { port, carry } = ours;
  const result = await runClosedLoop({ port, carry, clients, ms, next, isRead: () => false });
  if (result.failed > 0) throw new Error(`${kind}: ${result.failure}`);
  await client.settled();
  return doneBy(result);
}

async function profileOf(
  peers: PeerStacks,
  load: Load,
  ms: number,
  modules: Modules,
): Promise<Profiled> {
  const { inspectorUrl } = peers.stack;
  if (inspectorUrl === null) throw new Error('the Worker has no inspector');
  const inspector = await Inspector.connect(inspectorUrl, 'worker worker');
  const workers = peers.systems[0]?.workers ?? [];
  const from = cpuMsOf(workers);
  let done = 0;
  const functions = await inspector.profile(async () => {
    done = await carryOut(peers, load, ms);
  });
  const cpuMs = cpuMsOf(workers) - from;
  inspector.close();
  return { load, shares: sharesOf(functions, modules), cpuUs: (cpuMs * 1_000) / done };
}

/** The first line of each module in the bundle, in order. */
type Modules = readonly (readonly [line: number, path: string])[];

/** The bundler writes the path of each module as a comment before its text. */
function modulesOf(bundle: string): Modules {
  return readFileSync(bundle, 'utf8')
    .split('\n')
    .flatMap((text, line) => {
      const path = /^\/\/ (\S+\.(?:ts|js|mjs|cjs|lua))$/.exec(text)?.[1];
      return path === undefined ? [] : [[line, path.replace(/^(?:\.\.\/)+/, '')] as const];
    });
}

function areaOf({ name, url, line }: ProfiledFunction, modules: Modules): string | null {
  if (name === '(idle)') return null;
  if (name === '(garbage collector)') return collector;
  if (name === '(program)' || name === '(root)') return outside;
  if (!url.endsWith('worker.js')) return builtIn;
  const path = modules.findLast(([first]) => first <= line)?.[1] ?? '';
  return areas.find(([folder]) => path.includes(folder))?.[1] ?? builtIn;
}

function sharesOf(
  functions: readonly ProfiledFunction[],
  modules: Modules,
): ReadonlyMap<string, number> {
  const shares = new Map<string, number>();
  let all = 0;
  for (const each of functions) {
    const area = areaOf(each, modules);
    if (area === null) continue;
    shares.set(area, (shares.get(area) ?? 0) + each.samples);
    all += each.samples;
  }
  return new Map([...shares].map(([area, samples]) => [area, samples / all]));
}

function tableOf(profiled: readonly Profiled[]): ReportTable {
  const named = [...new Set([...areas.map(([, area]) => area), builtIn, outside, collector])];
  const greatest = (area: string) =>
    Math.max(...profiled.map(({ shares }) => shares.get(area) ?? 0));
  const sorted = named.toSorted((one, other) => greatest(other) - greatest(one));
  const cell = (share: number) => (share * 100).toFixed(1);
  return {
    title: 'Shares of the CPU',
    columns: ['part', ...profiled.map(({ load }) => load.name)],
    rows: [
      ...sorted.map((area) => [area, ...profiled.map(({ shares }) => cell(shares.get(area) ?? 0))]),
      [
        'CPU of workerd per operation, µs',
        ...profiled.map(({ cpuUs }) => Math.round(cpuUs).toLocaleString('en-US')),
      ],
    ],
  };
}
