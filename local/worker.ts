import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { OwnProcess } from './processes.ts';
import { lastLines, startProcess } from './processes.ts';
import type { Place } from './rtt.ts';

/** A region as the Worker is told of it. */
export interface WorkerRegion {
  readonly id: string;
  readonly url: string;
  readonly token: string;
  readonly location: readonly [latitude: number, longitude: number];
}

/** A client's token and what it may do. */
export interface ClientToken {
  readonly token: string;
  readonly scope: 'read' | 'write' | 'admin';
}

export interface WorkerOptions {
  /** An absolute path. The Worker's storage, settings and log live in it. */
  readonly stateDirectory: string;
  /** On 127.0.0.1. */
  readonly port: number;
  readonly regions: readonly WorkerRegion[];
  readonly tokens: readonly ClientToken[];
  /** Where requests seem to come from: the nearest region serves their reads. */
  readonly place: Place;
  /** Further variables of the Worker, by name. */
  readonly variables?: Readonly<Record<string, string>>;
}

/** How long the Worker may take to answer for the first time, in ms. The first start on a machine is the slowest. */
const startDeadlineMs = 90_000;

const projectDirectory = dirname(dirname(fileURLToPath(import.meta.url)));

/** The Worker under workerd, in a process of its own. */
export interface LocalWorker {
  readonly url: string;
  readonly logFile: string;
  /** Resolves with a reason when the Worker's process ends, whoever ended it. */
  readonly ended: Promise<string>;
  /** Ends it in order. */
  stop(): Promise<void>;
  /** Ends it, workerd included, with SIGKILL. */
  kill(): Promise<void>;
}

/** Where the Worker's storage lives: it belongs to the regions' data beside it. */
export function workerStorage(stateDirectory: string): string {
  return join(stateDirectory, 'worker');
}

/**
 * Starts the Worker, and waits until it answers.
 *
 * @throws Error with the log's last lines where it does not.
 */
export async function startWorker(options: WorkerOptions): Promise<LocalWorker> {
  const settings = join(options.stateDirectory, 'settings');
  mkdirSync(settings, { recursive: true });
  writeFileSync(join(settings, 'worker.env'), environmentFile(options), { mode: 0o600 });
  writeFileSync(join(settings, 'place.json'), placeFile(options.place));
  const logFile = join(options.stateDirectory, 'worker.log');
  const wrangler = startProcess({
    name: 'worker',
    command: process.execPath,
    args: wranglerArguments(options, settings),
    environment: wranglerEnvironment(options, settings),
    workingDirectory: projectDirectory,
    stateDirectory: options.stateDirectory,
    logFile,
  });
  const url = `http://127.0.0.1:${options.port}`;
  const complaint = await firstComplaint(wrangler, `${url}/healthz`);
  if (complaint !== null) {
    await wrangler.kill();
    const log = lastLines(logFile);
    throw new Error(`The Worker did not start. ${complaint}\nIts log ends with:\n${log}`);
  }
  return {
    url,
    logFile,
    ended: wrangler.ended,
    stop: () => wrangler.stop(),
    kill: () => wrangler.kill(),
  };
}

function wranglerArguments(options: WorkerOptions, settings: string): readonly string[] {
  const require = createRequire(import.meta.url);
  const entry = require.resolve('wrangler');
  const flags: Readonly<Record<string, string>> = {
    ip: '127.0.0.1',
    port: String(options.port),
    'inspector-port': '0',
    'persist-to': workerStorage(options.stateDirectory),
    'env-file': join(settings, 'worker.env'),
    'log-level': 'warn',
    'show-interactive-dev-session': 'false',
  };
  const variables = Object.entries(options.variables ?? {});
  return [
    ...[join(dirname(dirname(entry)), 'bin', 'wrangler.js'), 'dev'],
    ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
    ...variables.map(([name, value]) => `--var=${name}:${value}`),
  ];
}

/** Keeps wrangler from asking questions, from calling home, and from writing outside of the state directory. */
function wranglerEnvironment(
  options: WorkerOptions,
  settings: string,
): Readonly<Record<string, string>> {
  return {
    CI: '1',
    NO_COLOR: '1',
    FORCE_COLOR: '0',
    WRANGLER_WRITE_LOGS: 'false',
    WRANGLER_SEND_METRICS: 'false',
    WRANGLER_SEND_ERROR_REPORTS: 'false',
    WRANGLER_HIDE_BANNER: 'true',
    WRANGLER_LOG_PATH: join(options.stateDirectory, 'wrangler-logs'),
    WRANGLER_REGISTRY_PATH: join(options.stateDirectory, 'wrangler-registry'),
    // Instead of asking a server on the Internet where this machine is.
    CLOUDFLARE_CF_FETCH_PATH: join(settings, 'place.json'),
  };
}

/** What a deployment has as variables and secrets. Values of this file go before those of wrangler.toml. */
function environmentFile(options: WorkerOptions): string {
  const regions = options.regions.map(({ id, url, location }) => ({ id, url, location }));
  const regionTokens = Object.fromEntries(options.regions.map(({ id, token }) => [id, token]));
  const values: Readonly<Record<string, unknown>> = {
    LOCKSTEP_REGIONS: regions,
    LOCKSTEP_REGION_TOKENS: regionTokens,
    LOCKSTEP_TOKENS: options.tokens,
  };
  // Single quotes keep the text as it is; no id, URL or token has one in it.
  const lines = Object.entries(values).map(([name, value]) => `${name}='${JSON.stringify(value)}'`);
  return `${lines.join('\n')}\n`;
}

function placeFile(place: Place): string {
  const [latitude, longitude] = place.location;
  return JSON.stringify({ latitude: String(latitude), longitude: String(longitude), colo: 'LOC' });
}

/**
 * Waits for the first answer.
 *
 * @returns null once the Worker is well; else what it says is wrong, or that it says nothing.
 */
async function firstComplaint(wrangler: OwnProcess, url: string): Promise<string | null> {
  const deadline = performance.now() + startDeadlineMs;
  while (wrangler.isRunning && performance.now() < deadline) {
    const response = await fetch(url).catch(() => null);
    const text = await response?.text().catch(() => '');
    if (response?.status === 200 && wrangler.isRunning) return null;
    // A problem comes from Lockstep itself, such as about its configuration, and waiting does not mend it.
    const type = response?.headers.get('content-type') ?? '';
    if (type.startsWith('application/problem+json')) return text ?? '';
    await delay(25);
  }
  return wrangler.isRunning ? 'It does not answer.' : 'Its process has ended.';
}
