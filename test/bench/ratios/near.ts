/** Rates and CPU without round trips, of a bare Worker's on the same gateways and cores. */
import { doneBy, perSecond, runClosedLoop } from '../closed-loop.ts';
import type { HttpConnection } from '../http-connection.ts';
import type { Figure } from '../measure.ts';
import { median } from '../measure.ts';
import type { PeerStacks, PeerSystem } from '../peers/systems.ts';
import type { PeerOperation } from '../peers/worker/contract.ts';
import { cpuMsOf } from '../process-use.ts';
import { type ReportTable, shown } from '../report.ts';
import { figureOfRuns } from './runs.ts';

/** The goals for rates, of the bare Worker's, by the number of clients. */
const setGoals = { 1: 0.5, 16: 0.9, 64: 1.5, 256: 2 } as const;
const getGoals = { 1: 0.8, 64: 1, 256: 1.2 } as const;
const setCpuClients = 256;
const setCpuGoal = 3.5;
const getCpuClients = 64;
const getCpuGoal = 3;
const getLatencyGoal = 1.2;

const keys = 100_000;
const readKeys = 100;
const value = 'x'.repeat(32);

type Kind = 'set' | 'get' | 'nothing';

interface Cell {
  readonly rate: number;
  readonly cpuUs: number;
  readonly p50Ms: number;
}

/** The cells of all runs, by kind, clients and system. */
type Cells = Map<string, Cell[]>;

/** Figures with their goals, and all rates and CPU times as a table. */
export interface NearResult {
  readonly figures: readonly Figure[];
  readonly table: ReportTable;
}

/** Measures them; Lockstep and the bare Worker take turns, and who begins alternates. */
export async function measureNear(
  peers: PeerStacks,
  {
    runs,
    ms,
    say,
  }: { readonly runs: number; readonly ms: number; readonly say: (line: string) => void },
): Promise<NearResult> {
  const [ours, bare] = peers.systems;
  if (ours === undefined || bare?.id !== 'bare') throw new Error('there is no bare Worker');
  await prepareReads(ours, bare);
  const cells: Cells = new Map();
  for (const system of [ours, bare]) await measureCell(peers, system, 'set', 64, ms);
  for (let run = 0; run < runs; run += 1) {
    const pair = run % 2 === 0 ? [ours, bare] : [bare, ours];
    const both = async (kind: Kind, clients: number) => {
      for (const system of pair) {
        if (kind === 'nothing' && system === ours) continue;
        const cell = await measureCell(peers, system, kind, clients, ms);
        const name = `${kind} ${clients} ${system.id}`;
        cells.set(name, [...(cells.get(name) ?? []), cell]);
      }
    };
    for (const clients of Object.keys(setGoals)) await both('set', Number(clients));
    for (const clients of Object.keys(getGoals)) await both('get', Number(clients));
    for (const clients of [getCpuClients, setCpuClients]) await both('nothing', clients);
    say(`  run ${run + 1} of ${runs}`);
  }
  return { figures: figuresOf(cells), table: tableOf(cells) };
}

async function prepareReads(...systems: readonly PeerSystem[]): Promise<void> {
  for (const system of systems) {
    await runClosedLoop({
      ...{ port: system.port, clients: 1, ms: 1_000, carry: system.carry },
      next: countedUp((number) => ({
        kind: 'set',
        key: `${system.id}:get:${number % readKeys}`,
        value,
      })),
      isRead: () => false,
    });
  }
}

function countedUp(operationOf: (number: number) => PeerOperation): () => PeerOperation {
  let number = 0;
  return () => {
    number += 1;
    return operationOf(number);
  };
}

/** A request that the bare Worker answers without any work. */
async function askForNothing(connection: HttpConnection): Promise<number> {
  const { status } = await connection.post('/nothing', '{}');
  if (status !== 200) throw new Error(`the bare Worker answered ${status}`);
  return 0;
}

async function measureCell(
  { client }: PeerStacks,
  system: PeerSystem,
  kind: Kind,
  clients: number,
  ms: number,
): Promise<Cell> {
  await client.settled();
  const from = cpuMsOf(system.workers);
  const next = countedUp((number): PeerOperation => {
    if (kind === 'set') return { kind, key: `${system.id}:set:${number % keys}`, value };
    return { kind: 'read', key: `${system.id}:get:${number % readKeys}` };
  });
  const result = await runClosedLoop({
    ...{ port: system.port, clients, ms, next },
    carry: kind === 'nothing' ? askForNothing : system.carry,
    isRead: () => true,
  });
  if (result.failed > 0) throw new Error(`${kind} of ${system.name}: ${result.failure}`);
  const cpuMs = cpuMsOf(system.workers) - from;
  return {
    rate: perSecond(result),
    cpuUs: (cpuMs * 1_000) / doneBy(result),
    p50Ms: median(result.readsMs),
  };
}

function figuresOf(cells: Cells): readonly Figure[] {
  const cellsOf = (name: string) => cells.get(name) ?? [];
  const ratios = (one: string, other: string, of: (cell: Cell) => number) =>
    cellsOf(one).map((cell, run) => of(cell) / of(cellsOf(other)[run] ?? cell));
  const rateOf = ({ rate }: Cell) => rate;
  const cpuOf = ({ cpuUs }: Cell) => cpuUs;
  const rates = (kind: 'set' | 'get', goals: Readonly<Record<string, number>>, name: string) =>
    Object.entries(goals).map(([clients, least]) =>
      figureOfRuns(
        `${name} per second at ${clients} ${clients === '1' ? 'client' : 'clients'}, of a bare Worker's`,
        'ratio',
        ratios(`${kind} ${clients} ours`, `${kind} ${clients} bare`, rateOf),
        { least },
      ),
    );
  return [
    figureOfRuns(
      `CPU of workerd per SET at ${setCpuClients} clients, of a bare Worker's empty request`,
      'ratio',
      ratios(`set ${setCpuClients} ours`, `nothing ${setCpuClients} bare`, cpuOf),
      { most: setCpuGoal },
    ),
    figureOfRuns(
      `CPU of workerd per strong GET at ${getCpuClients} clients, of a bare Worker's empty request`,
      'ratio',
      ratios(`get ${getCpuClients} ours`, `nothing ${getCpuClients} bare`, cpuOf),
      { most: getCpuGoal },
    ),
    ...rates('set', setGoals, 'SETs'),
    ...rates('get', getGoals, 'strong GETs'),
    figureOfRuns(
      `p50 of a strong GET at ${getCpuClients} clients, of a plain GET through a bare Worker`,
      'ratio',
      ratios(`get ${getCpuClients} ours`, `get ${getCpuClients} bare`, ({ p50Ms }) => p50Ms),
      { most: getLatencyGoal },
    ),
  ];
}

function tableOf(cells: Cells): ReportTable {
  const names: Readonly<Record<string, string>> = {
    'set ours': 'SET of Lockstep',
    'set bare': 'parallel SET by a bare Worker',
    'get ours': 'strong GET of Lockstep',
    'get bare': 'GET by a bare Worker',
    'nothing bare': 'empty request to a bare Worker',
  };
  const rows = [...cells].map(([name, runs]) => {
    const [kind, clients, system] = name.split(' ');
    const of = (value: (cell: Cell) => number) => shown(median(runs.map(value)));
    return [
      names[`${kind} ${system}`] ?? name,
      clients ?? '',
      of(({ rate }) => rate),
      of(({ p50Ms }) => p50Ms),
      of(({ cpuUs }) => cpuUs),
    ];
  });
  return {
    title: 'Rates and CPU without round trips',
    columns: ['request', 'clients', 'per second', 'p50, ms', 'CPU of workerd, µs'],
    rows,
  };
}
