import { enableCompileCache } from 'node:module';
import process from 'node:process';
import { loadPatched, type Patch } from './mutation.ts';
import { type Runner, type RunnerName, runners, settings, type Totals } from './runners.ts';

/** The task of a child process, in its environment. */
export interface Task {
  readonly runner: RunnerName;
  readonly patches: readonly Patch[];
}

/** Seeds that a child is to run, one after the other. */
export interface SeedRange {
  readonly from: number;
  readonly count: number;
}

/** The messages of a child: that it is ready or cannot begin, then the result of each seed. */
export type Report =
  | { readonly kind: 'ready' }
  | { readonly kind: 'broken'; readonly reason: string }
  | { readonly kind: 'passed'; readonly seed: number; readonly totals: Totals }
  | { readonly kind: 'violated'; readonly seed: number; readonly reason: string };

/** The environment variable that holds the task, as JSON. */
export const taskVariable = 'LOCKSTEP_SIMULATION_TASK';

const given = process.env[taskVariable];
// Imported for its types and names, this file does nothing.
if (given !== undefined && process.send !== undefined) await serve(JSON.parse(given));

async function serve({ runner: name, patches }: Task): Promise<void> {
  // Most of a short task is loading, and mutants load the same files but for one.
  enableCompileCache();
  let runner: Runner | null = null;
  // The parent has its results, or is gone.
  process.on('disconnect', () => void endRunner(runner));
  try {
    const unloaded = loadPatched([...(settings[name] ?? []), ...patches]);
    runner = await runners[name]();
    if (unloaded().length > 0) throw new Error(`the runner ${name} does not load ${unloaded()}`);
    const begun = runner;
    process.on('message', (range: SeedRange) => void runSeeds(begun, range));
    report({ kind: 'ready' });
  } catch (error) {
    report({ kind: 'broken', reason: textOf(error) });
  }
}

async function endRunner(runner: Runner | null): Promise<void> {
  await runner?.end?.();
  process.exit();
}

async function runSeeds(runner: Runner, { from, count }: SeedRange): Promise<void> {
  for (let seed = from; seed < from + count; seed += 1) {
    try {
      report({ kind: 'passed', seed, totals: numbersOf(await runner.run(seed)) });
    } catch (error) {
      report({ kind: 'violated', seed, reason: textOf(error) });
    }
  }
}

function numbersOf(summary: object): Totals {
  const entries = Object.entries(summary);
  return Object.fromEntries(entries.filter(([, value]) => typeof value === 'number'));
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function report(report: Report): void {
  process.send?.(report);
}
