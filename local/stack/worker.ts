/** Runs the Worker under workerd. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { problemIn } from '../command-line.ts';
import type { Bundle } from './bundle.ts';
import { workerdProgram } from './bundle.ts';
import { docsAssetsDirectory } from './docs-assets.ts';
import type { OwnProcess } from './processes.ts';
import { lastLines, startProcess } from './processes.ts';

/** A region in the Worker's configuration. */
export interface WorkerRegion {
  readonly id: string;
  readonly url: string;
  readonly token: string;
  readonly location: readonly [latitude: number, longitude: number];
}

/** A client's token and its scope. */
export interface StackToken {
  readonly token: string;
  readonly scope: 'read' | 'write' | 'admin';
}

/** The configuration of a local Worker. */
export interface WorkerOptions {
  /** An absolute path, for the Worker's storage, settings and log. */
  readonly stateDirectory: string;
  readonly bundle: Bundle;
  /** On 127.0.0.1. */
  readonly port: number;
  readonly regions: readonly WorkerRegion[];
  readonly tokens: readonly StackToken[];
  /** Further variables of the Worker, by name. */
  readonly variables?: Readonly<Record<string, string>>;
  /** The port of V8's inspector on 127.0.0.1; without it there is none. */
  readonly inspectorPort?: number;
}

/** The time within which the Worker must give its first response, in ms. */
const startDeadlineMs = 60_000;

/** The Worker under workerd, in a process of its own. */
export interface LocalWorker {
  readonly url: string;
  readonly logFile: string;
  /** Resolves when the process ends, with its signal or exit code. */
  readonly ended: Promise<string>;
  /** Stops it in order. */
  stop(): Promise<void>;
  /** Ends it by SIGKILL. */
  kill(): Promise<void>;
  /** Stops the process (SIGSTOP) until `resume`, `stop` or `kill`. Its connections stay open and unanswered. */
  pause(): void;
  /** Continues a paused process (SIGCONT). */
  resume(): void;
}

/**
 * The time for which the Worker may run after SIGTERM, in ms. It waits for open streams, and learns only at the next
 * heartbeat that the client of one has left. A kill loses nothing that was answered, so it need not wait that long.
 */
const workerGraceMs = 500;

/** The directory of the Worker's storage, which belongs to the data of the regions. */
export function workerStorage(stateDirectory: string): string {
  return join(stateDirectory, 'worker');
}

/**
 * Starts the Worker, and waits for its first response. It runs in the bare runtime: the proxy of `wrangler dev` costs
 * several ms per request, and resends some requests after a crash, which would hide faults from tests.
 *
 * @throws Error with the reason if it does not start in time; its cause is the end of the log.
 */
export async function startWorker(options: WorkerOptions): Promise<LocalWorker> {
  mkdirSync(workerStorage(options.stateDirectory), { recursive: true });
  const configuration = join(options.stateDirectory, 'worker.capnp');
  writeFileSync(configuration, configurationText(options), { mode: 0o600 });
  const logFile = join(options.stateDirectory, 'worker.log');
  const workerd = startProcess({
    name: 'worker',
    command: workerdProgram(),
    args: ['serve', configuration, ...inspectorArguments(options)],
    stateDirectory: options.stateDirectory,
    logFile,
  });
  const url = `http://127.0.0.1:${options.port}`;
  const complaint = await firstComplaint(workerd, `${url}/healthz`);
  if (complaint !== null) {
    await workerd.kill();
    throw new Error(`The Worker did not start. ${complaint} Its log is ${logFile}.`, {
      cause: lastLines(logFile),
    });
  }
  return {
    url,
    logFile,
    ended: workerd.ended,
    stop: () => workerd.stop(workerGraceMs),
    kill: () => workerd.kill(),
    pause: () => workerd.pause(),
    resume: () => workerd.resume(),
  };
}

function inspectorArguments({ inspectorPort }: WorkerOptions): readonly string[] {
  return inspectorPort === undefined ? [] : [`--inspector-addr=127.0.0.1:${inspectorPort}`];
}

/** The configuration of workerd, in the place of wrangler.toml and the platform. */
function configurationText(options: WorkerOptions): string {
  const { bundle, port, stateDirectory } = options;
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "assets", worker = .assets),
    (name = "files", disk = (path = ${quote(docsAssetsDirectory)})),
    (name = "storage", disk = (path = ${quote(workerStorage(stateDirectory))}, writable = true)),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  # Requests may give their location in this header, in the form of the platform: {"latitude": "…", "longitude": "…"}.
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (cfBlobHeader = "CF-Blob"), service = "worker")],
);

const worker :Workerd.Worker = (
  compatibilityDate = ${quote(bundle.compatibilityDate)},
  modules = [
    ${modules(bundle).join(',\n    ')},
  ],
  bindings = [
    (name = "COORDINATOR", durableObjectNamespace = "Coordinator"),
    (name = "COURIER", durableObjectNamespace = "Courier"),
    (name = "FEED", durableObjectNamespace = "ChangeFeed"),
    (name = "REGISTRY", durableObjectNamespace = "Registry"),
    (name = "ASSETS", service = "assets"),
    ${variables(options).join(',\n    ')},
  ],
  durableObjectNamespaces = [
    (className = "Coordinator", uniqueKey = "lockstep", enableSql = true),
    (className = "Courier", uniqueKey = "lockstep-courier", enableSql = true),
    (className = "ChangeFeed", uniqueKey = "lockstep-feed", enableSql = true),
    (className = "Registry", uniqueKey = "lockstep-registry", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "storage"),
);

const assets :Workerd.Worker = (
  compatibilityDate = ${quote(bundle.compatibilityDate)},
  modules = [(name = "assets.js", esModule = ${quote(assetsModule)})],
  bindings = [(name = "FILES", service = "files")],
);
`;
}

/**
 * Serves static files as the platform does: workerd's own file service sets no content type, without which browsers
 * refuse stylesheets.
 */
const assetsModule = `
const types = { css: 'text/css', html: 'text/html', js: 'text/javascript', png: 'image/png' };
export default {
  async fetch(request, { FILES }) {
    const file = await FILES.fetch(request);
    const type = types[new URL(request.url).pathname.split('.').at(-1)];
    if (!file.ok || type === undefined) return file;
    return new Response(file.body, { headers: { ...Object.fromEntries(file.headers), 'content-type': type } });
  },
};
`;

function modules({ directory }: Bundle): readonly string[] {
  // Such a path is relative to the configuration file, which is in the same directory as the bundle.
  const embed = (file: string) => `embed ${quote(`${basename(directory)}/${file}`)}`;
  // Modules are named like their files, because imports are relative to the module's name.
  const texts = readdirSync(directory).filter((file) => file.endsWith('.lua'));
  return [
    `(name = "worker.js", esModule = ${embed('worker.js')})`,
    ...texts.map((file) => `(name = ${quote(file)}, text = ${embed(file)})`),
  ];
}

/** The variables and secrets of the Worker. */
function variables(options: WorkerOptions): readonly string[] {
  const regions = options.regions.map(({ id, url, location }) => ({ id, url, location }));
  const regionTokens = Object.fromEntries(options.regions.map(({ id, token }) => [id, token]));
  const values: Readonly<Record<string, string>> = {
    LOCKSTEP_REGIONS: JSON.stringify(regions),
    LOCKSTEP_REGION_TOKENS: JSON.stringify(regionTokens),
    LOCKSTEP_TOKENS: JSON.stringify(options.tokens),
    // Receivers run on this machine.
    LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: 'true',
    ...options.variables,
  };
  return Object.entries(values).map(
    ([name, value]) => `(name = ${quote(name)}, text = ${quote(value)})`,
  );
}

/** A text of Cap'n Proto, with bytes outside of plain ASCII as escapes. */
function quote(text: string): string {
  const quoted = [...Buffer.from(text, 'utf8')].map((byte) => {
    const character = String.fromCharCode(byte);
    const isPlain = byte >= 0x20 && byte < 0x7f && character !== '"' && character !== '\\';
    return isPlain ? character : `\\x${byte.toString(16).padStart(2, '0')}`;
  });
  return `"${quoted.join('')}"`;
}

/**
 * Waits for the first response.
 *
 * @returns null once the Worker is well, otherwise its complaint.
 */
async function firstComplaint(workerd: OwnProcess, url: string): Promise<string | null> {
  const deadline = performance.now() + startDeadlineMs;
  while (workerd.isRunning && performance.now() < deadline) {
    const response = await fetch(url).catch(() => null);
    const text = await response?.text().catch(() => '');
    // The process may have ended because another server has the port, which then answers instead.
    if (response !== null && workerd.isRunning) {
      return response.status === 200
        ? null
        : `It answers ${response.status}: ${problemIn(text ?? '')}`;
    }
    await delay(10);
  }
  return workerd.isRunning ? 'It does not answer.' : 'Its process has ended.';
}
