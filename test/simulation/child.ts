import { enableCompileCache } from 'node:module';
import process from 'node:process';
import { loadPatched, type Patch } from './mutation.ts';
import { type Runner, type RunnerName, runners, settings, type Totals } from './runners.ts';

/** What a child process is told in its environment. */
export interface Errand {
  readonly runner: RunnerName;
  readonly patches: readonly Patch[];
}

/** Seeds that a child is to run, one after the other. */
export interface Order {
  readonly from: number;
  readonly count: number;
}

/** What a child says: once that it is ready or cannot begin, then something of each seed. */
export type Report =
  | { readonly kind: 'ready' }
  | { readonly kind: 'broken'; readonly reason: string }
  | { readonly kind: 'passed'; readonly seed: number; readonly totals: Totals }
  | { readonly kind: 'violated'; readonly seed: number; readonly reason: string };

/** The environment variable that holds the errand, as JSON. */
export const errandVariable = 'LOCKSTEP_SIMULATION_ERRAND';

const given = process.env[errandVariable];
// Imported for its types and names, this file does nothing.
if (given !== undefined && process.send !== undefined) await serve(JSON.parse(given));

async function serve({ runner: name, patches }: Errand): Promise<void> {
  // Most of a short errand is loading, and mutants load the same files but for one.
  enableCompileCache();
  let runner: Runner | null = null;
  // The parent has what it wanted, or is gone.
  process.on('disconnect', () => void leave(runner));
  try {
    const unloaded = loadPatched([...(settings[name] ?? []), ...patches]);
    runner = await runners[name]();
    if (unloaded().length > 0) throw new Error(`the runner ${name} does not load ${unloaded()}`);
    const begun = runner;
    process.on('message', (order: Order) => void obey(begun, order));
    say({ kind: 'ready' });
  } catch (error) {
    say({ kind: 'broken', reason: textOf(error) });
  }
}

async function leave(runner: Runner | null): Promise<void> {
  await runner?.end?.();
  process.exit();
}

async function obey(runner: Runner, { from, count }: Order): Promise<void> {
  for (let seed = from; seed < from + count; seed += 1) {
    try {
      say({ kind: 'passed', seed, totals: numbersOf(await runner.run(seed)) });
    } catch (error) {
      say({ kind: 'violated', seed, reason: textOf(error) });
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

function say(report: Report): void {
  process.send?.(report);
}
