import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { type Report, type SeedRange, type Task, taskVariable } from './child.ts';
import { treeRoot } from './mutation.ts';
import type { RunnerName } from './runners.ts';

/** The seeded runs to make, and how. */
export interface Work extends Task {
  readonly from: number;
  readonly count: number;
  /** Child processes at once. */
  readonly jobs: number;
  /** True if the first failure ends the work. */
  readonly onlyFirst: boolean;
  /** Called after each seed. */
  readonly onProgress?: (outcome: Outcome) => void;
}

/** A seed that did not pass. */
export interface Failure {
  readonly seed: number;
  readonly reason: string;
  /** True if the run threw; false if its process died or came to no end, which proves no rule. */
  readonly thrown: boolean;
}

/** The results of the runs so far. */
export interface Outcome {
  readonly done: number;
  readonly totals: ReadonlyMap<string, number>;
  readonly failures: readonly Failure[];
}

/** A run takes milliseconds; one that takes this long runs in circles, ms. */
const patienceMs = 60_000;

/** Enough for a run, and little enough that one which runs in circles does not take the machine along. */
const heapMegabytes = 512;

/** The seeds and the command that repeats a failure. */
export function replayOf(runner: RunnerName, seed: number): string {
  if (runner === 'simulation') return `SEED=${seed} npm test -- test/simulation/simulation.test.ts`;
  return `npm run soak -- --runner ${runner} --from ${seed} --seeds 1`;
}

/** Makes the runs. It throws if they cannot be made at all, as with a patch whose source has changed. */
export async function runInParallel(work: Work): Promise<Outcome> {
  const runner = new ParallelRunner(work);
  await Promise.all(Array.from({ length: work.jobs }, () => runner.runBatches()));
  return runner.outcome;
}

class ParallelRunner {
  readonly #work: Work;
  readonly #totals = new Map<string, number>();
  readonly #failures: Failure[] = [];
  #done = 0;
  #next: number;

  constructor(work: Work) {
    this.#work = work;
    this.#next = work.from;
  }

  get outcome(): Outcome {
    return { done: this.#done, totals: this.#totals, failures: this.#failures };
  }

  /** Runs batches in child processes, one after the other, until no seed is left. A child that dies is replaced. */
  async runBatches(): Promise<void> {
    let child: Child | null = null;
    try {
      for (let range = this.#take(); range !== null; range = this.#take()) {
        let left: SeedRange | null = range;
        while (left !== null && left.count > 0 && !this.#isOver) {
          child ??= await Child.start(this.#work);
          left = await child.run(left, (report) => this.#note(report));
          if (left !== null) child = null;
        }
      }
    } finally {
      child?.end();
    }
  }

  get #isOver(): boolean {
    return this.#work.onlyFirst && this.#failures.length > 0;
  }

  #take(): SeedRange | null {
    const { from: first, count: all, jobs, onlyFirst } = this.#work;
    const remaining = first + all - this.#next;
    if (remaining <= 0 || this.#isOver) return null;
    const from = this.#next;
    const batch = onlyFirst ? 1 : Math.ceil(Math.min(50, all / jobs / 4));
    const count = Math.min(remaining, batch);
    this.#next += count;
    return { from, count };
  }

  #note(result: Failure | Extract<Report, { kind: 'passed' }>): void {
    this.#done += 1;
    if ('thrown' in result) this.#failures.push(result);
    else {
      for (const [name, value] of Object.entries(result.totals)) {
        this.#totals.set(name, (this.#totals.get(name) ?? 0) + value);
      }
    }
    this.#work.onProgress?.(this.outcome);
  }
}

type Note = (result: Failure | Extract<Report, { kind: 'passed' }>) => void;

/** One child process. */
class Child {
  readonly #process: ChildProcess;

  private constructor(started: ChildProcess) {
    this.#process = started;
  }

  static start({ runner, patches }: Task): Promise<Child> {
    const task: Task = { runner, patches };
    const started = fork(fileURLToPath(new URL('./child.ts', import.meta.url)), [], {
      execArgv: [`--max-old-space-size=${heapMegabytes}`],
      env: {
        ...process.env,
        [taskVariable]: JSON.stringify(task),
        // Every child loads the same files, but for those with a patch.
        NODE_COMPILE_CACHE: join(treeRoot, '.lockstep', 'compiled'),
      },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error(`a child of ${runner} ended before it began`));
      started.once('exit', onExit);
      started.once('message', (report: Report) => {
        started.off('exit', onExit);
        if (report.kind === 'ready') resolve(new Child(started));
        else reject(new Error(report.kind === 'broken' ? report.reason : report.kind));
        if (report.kind !== 'ready') started.disconnect();
      });
    });
  }

  /** Runs seeds. If the process did not survive one, returns the seeds after that. */
  run(range: SeedRange, note: Note): Promise<SeedRange | null> {
    const { promise, resolve } = Promise.withResolvers<SeedRange | null>();
    const end = range.from + range.count;
    let seed = range.from;
    let why = 'its process died';
    const give = () => {
      why = `it came to no end within ${patienceMs} ms`;
      this.#process.kill('SIGKILL');
    };
    let timer = setTimeout(give, patienceMs);
    const finish = (left: SeedRange | null) => {
      clearTimeout(timer);
      this.#process.off('message', onMessage);
      this.#process.off('exit', onExit);
      resolve(left);
    };
    const onExit = () => {
      note({ seed, reason: why, thrown: false });
      finish({ from: seed + 1, count: end - seed - 1 });
    };
    const onMessage = (report: Report) => {
      clearTimeout(timer);
      timer = setTimeout(give, patienceMs);
      if (report.kind === 'passed') note(report);
      if (report.kind === 'violated') note({ seed, reason: report.reason, thrown: true });
      seed += 1;
      if (seed === end) finish(null);
    };
    this.#process.on('message', onMessage);
    this.#process.on('exit', onExit);
    this.#process.send(range);
    return promise;
  }

  end(): void {
    if (this.#process.connected) this.#process.disconnect();
  }
}
