import { availableParallelism } from 'node:os';
import process from 'node:process';
import { readArguments, refuse } from '../../local/command-line.ts';
import { type Failure, type Outcome, replayOf, runInParallel } from './parallel-runner.ts';
import { type RunnerName, runners } from './runners.ts';

/** `npm run soak`: seeded runs by the thousand, on every core. */

const help = `Usage: npm run soak -- [options]

Runs seeded simulations on every core. It prints each violation with the command that repeats it, and exits with code 1
if there is one.

  --seeds <number>   how many seeds (10000)
  --from <number>    the first seed (1)
  --jobs <number>    how many processes (one per core)
  --runner <name>    the kind of run, by a name below (simulation)
  --help             show this text

Runners: ${Object.keys(runners).join(' ')}
`;

const { values } = readArguments(help, {
  options: {
    seeds: { type: 'string', default: '10000' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    runner: { type: 'string', default: 'simulation' },
  },
});

const count = wholeNumber('seeds', values.seeds, 1);
const from = wholeNumber('from', values.from, 0);
const jobs = wholeNumber('jobs', values.jobs, 1);
const runner = runnerNamed(values.runner);

/** A log gets a line at this interval; a terminal's line is redrawn more often. */
const logEveryMs = 10_000;
const drawEveryMs = 200;
const isTerminal = process.stderr.isTTY === true;

const startedAt = performance.now();
let drawnAt = startedAt;
let printed = 0;

const outcome = await runInParallel({
  runner,
  patches: [],
  from,
  count,
  jobs,
  onlyFirst: false,
  onProgress,
});
if (isTerminal) process.stderr.write('\r\u001b[K');
drawTotals(outcome);
process.exitCode = outcome.failures.length > 0 || outcome.done < count ? 1 : 0;

function onProgress(progress: Outcome): void {
  for (const failure of progress.failures.slice(printed)) printViolation(failure);
  printed = progress.failures.length;
  const now = performance.now();
  if (now - drawnAt < (isTerminal ? drawEveryMs : logEveryMs)) return;
  drawnAt = now;
  const line = progressLine(progress, (now - startedAt) / 1_000);
  process.stderr.write(isTerminal ? `\r\u001b[K${line}` : `${line}\n`);
}

function progressLine({ done, failures }: Outcome, seconds: number): string {
  const rate = done / seconds;
  const left = Math.ceil((count - done) / rate);
  const share = ((100 * done) / count).toFixed(1);
  return (
    `${done} of ${count} seeds (${share} %), ${rate.toFixed(0)} per second, ` +
    `${left} s left, ${failures.length} violations`
  );
}

function printViolation({ seed, reason }: Failure): void {
  if (isTerminal) process.stderr.write('\r\u001b[K');
  console.log(`VIOLATION at seed ${seed}; repeat it by\n  ${replayOf(runner, seed)}\n${reason}\n`);
}

function drawTotals({ done, totals, failures }: Outcome): void {
  const seconds = (performance.now() - startedAt) / 1_000;
  const rows: readonly (readonly [name: string, value: string])[] = [
    ['seeds', `${done} (${from} to ${from + count - 1})`],
    ['seconds', `${seconds.toFixed(1)} with ${jobs} processes`],
    ...[...totals].map(([name, value]) => [name, String(value)] as const),
    ['violations', String(failures.length)],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) console.log(`${name.padEnd(width)}  ${value}`);
  if (failures.length > 0) console.log(`of seeds    ${failures.map(({ seed }) => seed).join(' ')}`);
}

function wholeNumber(name: string, text: string, least: number): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= least) return number;
  return refuse(help, `--${name} must be a whole number of at least ${least}, not ${text}.`);
}

function runnerNamed(name: string): RunnerName {
  const names = Object.keys(runners) as RunnerName[];
  const known = names.find((one) => one === name);
  if (known !== undefined) return known;
  return refuse(help, `--runner must be one of the names below, not ${name}.`);
}
