/** `npm run torture`: the real stack under faults and load, and the judgement of all that its clients saw. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { messageOf, readArguments, refuse } from '../../local/command-line.ts';
import { Screen } from '../../local/playground/screen.ts';
import { redisKind } from '../../local/stack/regions.ts';
import type { Recorder } from './recorder.ts';
import { progressLines, saveHistory, verdictLines } from './report.ts';
import { torture } from './run.ts';

const help = `Usage: npm run torture -- [options]

Starts regions and the Worker on this machine, and lets clients write and read while it loses, delays and repeats
requests and responses, kills and stops the Worker and the servers of the regions, takes regions back to earlier copies
of their data, and lets a stale Worker act beside its successor. Then it ends all faults, and checks that one order
explains all that the clients saw. It exits with code 1 if none does. The history stays in .lockstep/torture.

  --minutes <number>   how long the faults go on (30)
  --seconds <number>   the same in seconds
  --seed <number>      the seed of all faults and clients (by the clock)
  --clients <number>   how many clients write and read (12)
  --help               show this text

Faults come at the drawn times, and meet requests as these happen to be: a seed repeats a run roughly, not exactly.
`;

const { values } = readArguments(help, {
  options: {
    minutes: { type: 'string', default: '30' },
    seconds: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    clients: { type: 'string', default: '12' },
  },
});

const seed = numberOf('seed', values.seed, 0);
const clients = numberOf('clients', values.clients, 1);
const seconds =
  values.seconds === undefined
    ? 60 * numberOf('minutes', values.minutes, 1)
    : numberOf('seconds', values.seconds, 1);
if (redisKind() === 'embedded') {
  refuse(help, 'Put a redis-server or a valkey-server on the PATH: it is killed and stopped.');
}

/** A log gets the table at this interval; a terminal's is redrawn more often. */
const logEveryMs = 10_000;

const screen = new Screen(process.stdout);
const startedAt = new Date().toISOString().replaceAll(/[:.]/g, '-').slice(0, 19);
const directory = resolve('.lockstep', 'torture', `${startedAt}-seed-${seed}`);
mkdirSync(directory, { recursive: true });
screen.say(`Seed ${seed}, ${seconds} s, ${clients} clients; everything is in ${directory}`);

let shownAt = 0;
let saidFaults = 0;

function onProgress(phase: string, recorder: Recorder): void {
  if (screen.isDrawn) {
    for (const { at, text } of recorder.faults.slice(saidFaults)) {
      screen.say(`${((at - recorder.startedAt) / 1_000).toFixed(1).padStart(7)} s  ${text}`);
    }
    saidFaults = recorder.faults.length;
  } else if (performance.now() - shownAt < logEveryMs) return;
  shownAt = performance.now();
  screen.show(progressLines(phase, recorder));
}

try {
  const outcome = await torture({ seconds, seed, clients, stateDirectory: directory, onProgress });
  const { history, recorder, violations } = outcome;
  const file = join(directory, 'history.jsonl');
  await saveHistory(file, history, recorder.faults, violations);
  screen.release();
  for (const line of verdictLines(history, recorder, violations)) screen.say(line);
  screen.say(`The history is ${file}; --seed ${seed} repeats the faults.`);
  if (violations.length > 0) process.exitCode = 1;
  else removeData(directory);
} catch (error) {
  screen.release();
  screen.say(`The run failed: ${messageOf(error)}. Its logs are in ${directory}`);
  process.exitCode = 1;
}

/** Removes the data of a run without a violation. Its history and logs stay. */
function removeData(stateDirectory: string): void {
  for (const name of readdirSync(stateDirectory)) {
    const isKept = /\.(?:log|jsonl)$/.test(name);
    if (!isKept) rmSync(join(stateDirectory, name), { recursive: true, force: true });
  }
}

function numberOf(name: string, text: string, least: number): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= least) return number;
  return refuse(help, `--${name} must be a whole number of at least ${least}, not ${text}.`);
}
