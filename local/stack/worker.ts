import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { problemIn } from '../command-line.ts';
import type { Bundle } from './bundle.ts';
import { workerdProgram } from './bundle.ts';
import { docsAssetsDirectory } from './docs-assets.ts';
import type { OwnProcess } from './processes.ts';
import { lastLines, startProcess } from './processes.ts';

/** A region as the Worker is told of it. */
export interface WorkerRegion {
  readonly id: string;
  readonly url: string;
  readonly token: string;
  readonly location: readonly [latitude: number, longitude: number];
}

/** A client's token and what it may do. */
export interface StackToken {
  readonly token: string;
  readonly scope: 'read' | 'write' | 'admin';
}

export interface WorkerOptions {
  /** An absolute path. The Worker's storage, settings and log live in it. */
  readonly stateDirectory: string;
  readonly bundle: Bundle;
  /** On 127.0.0.1. */
  readonly port: number;
  readonly regions: readonly WorkerRegion[];
  readonly tokens: readonly StackToken[];
  /** Further variables of the Worker, by name. */
  readonly variables?: Readonly<Record<string, string>>;
}

/** How long the Worker may take to answer for the first time, in ms. */
const startDeadlineMs = 60_000;

/** The Worker under workerd, in a process of its own. */
export interface LocalWorker {
  readonly url: string;
  readonly logFile: string;
  /** Resolves with a reason when the process ends, whoever ended it. */
  readonly ended: Promise<string>;
  /** Ends it in order. */
  stop(): Promise<void>;
  /** Ends it with SIGKILL. */
  kill(): Promise<void>;
}

/** Where the Worker's storage lives: it belongs to the regions' data beside it. */
export function workerStorage(stateDirectory: string): string {
  return join(stateDirectory, 'worker');
}

/**
 * Starts the Worker, and waits until it answers. It runs in the bare runtime: what `wrangler dev` puts in front of a
 * Worker costs several ms a request, and sends some requests again after a crash, which would hide what tests look for.
 *
 * @throws Error with the reason if it does not answer in time; its cause is the end of the log.
 */
export async function startWorker(options: WorkerOptions): Promise<LocalWorker> {
  mkdirSync(workerStorage(options.stateDirectory), { recursive: true });
  const configuration = join(options.stateDirectory, 'worker.capnp');
  writeFileSync(configuration, configurationText(options), { mode: 0o600 });
  const logFile = join(options.stateDirectory, 'worker.log');
  const workerd = startProcess({
    name: 'worker',
    command: workerdProgram(),
    args: ['serve', configuration],
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
    stop: () => workerd.stop(),
    kill: () => workerd.kill(),
  };
}

/** What workerd serves, in its own language. It stands for wrangler.toml and for the platform around a deployment. */
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
  # A request may say in this header where it comes from, as the platform does: {"latitude": "…", "longitude": "…"}.
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
    (name = "ASSETS", service = "assets"),
    ${variables(options).join(',\n    ')},
  ],
  durableObjectNamespaces = [
    (className = "Coordinator", uniqueKey = "lockstep", enableSql = true),
    (className = "Courier", uniqueKey = "lockstep-courier", enableSql = true),
    (className = "ChangeFeed", uniqueKey = "lockstep-feed", enableSql = true),
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

/** The platform's static files: the runtime's own say of no file what it is, and a browser takes no such stylesheet. */
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
  // Such a path counts from the file that names it, which lies beside the bundle.
  const embed = (file: string) => `embed ${quote(`${basename(directory)}/${file}`)}`;
  // A module imports the others by names relative to its own, so that each is named as its file.
  const texts = readdirSync(directory).filter((file) => file.endsWith('.lua'));
  return [
    `(name = "worker.js", esModule = ${embed('worker.js')})`,
    ...texts.map((file) => `(name = ${quote(file)}, text = ${embed(file)})`),
  ];
}

/** What a deployment has as variables and secrets. */
function variables(options: WorkerOptions): readonly string[] {
  const regions = options.regions.map(({ id, url, location }) => ({ id, url, location }));
  const regionTokens = Object.fromEntries(options.regions.map(({ id, token }) => [id, token]));
  const values: Readonly<Record<string, string>> = {
    LOCKSTEP_REGIONS: JSON.stringify(regions),
    LOCKSTEP_REGION_TOKENS: JSON.stringify(regionTokens),
    LOCKSTEP_TOKENS: JSON.stringify(options.tokens),
    // Receivers run beside it.
    LOCKSTEP_ALLOW_LOOPBACK_WEBHOOKS: 'true',
    ...options.variables,
  };
  return Object.entries(values).map(
    ([name, value]) => `(name = ${quote(name)}, text = ${quote(value)})`,
  );
}

/** A text as Cap'n Proto writes it, byte by byte where it is more than plain ASCII. */
function quote(text: string): string {
  const quoted = [...Buffer.from(text, 'utf8')].map((byte) => {
    const character = String.fromCharCode(byte);
    const isPlain = byte >= 0x20 && byte < 0x7f && character !== '"' && character !== '\\';
    return isPlain ? character : `\\x${byte.toString(16).padStart(2, '0')}`;
  });
  return `"${quoted.join('')}"`;
}

/**
 * Waits for the first answer.
 *
 * @returns null once the Worker is well; else what it says is wrong, or that it says nothing.
 */
async function firstComplaint(workerd: OwnProcess, url: string): Promise<string | null> {
  const deadline = performance.now() + startDeadlineMs;
  while (workerd.isRunning && performance.now() < deadline) {
    const response = await fetch(url).catch(() => null);
    const text = await response?.text().catch(() => '');
    // The process may have ended because another server has the port, which then answers in its place.
    if (response !== null && workerd.isRunning) {
      return response.status === 200
        ? null
        : `It answers ${response.status}: ${problemIn(text ?? '')}`;
    }
    await delay(10);
  }
  return workerd.isRunning ? 'It does not answer.' : 'Its process has ended.';
}
