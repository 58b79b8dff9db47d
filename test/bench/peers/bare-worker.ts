/** Runs the bare Worker of the benchmark under workerd, in a process of its own. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { workerdProgram } from '../../../local/stack/bundle.ts';
import { freePort } from '../../../local/stack/free-port.ts';
import { lastLines, startProcess } from '../../../local/stack/processes.ts';
import type { PeerServers } from './worker/contract.ts';

/** A running bare Worker. */
export interface BareWorker {
  readonly port: number;
  /** Its process group. */
  readonly group: number;
  stop(): Promise<void>;
}

const sourceDirectory = join(import.meta.dirname, 'worker');
const startDeadlineMs = 20_000;

/** Starts it, with the compatibility date of Lockstep's own Worker. */
export async function startBareWorker(
  stateDirectory: string,
  compatibilityDate: string,
  servers: PeerServers,
): Promise<BareWorker> {
  const directory = join(stateDirectory, 'bare-worker');
  mkdirSync(directory, { recursive: true });
  const modules = readdirSync(sourceDirectory).filter((file) => file.endsWith('.ts'));
  for (const file of modules) {
    const source = readFileSync(join(sourceDirectory, file), 'utf8');
    writeFileSync(join(directory, file), stripTypeScriptTypes(source));
  }
  const port = await freePort();
  const configuration = join(directory, 'worker.capnp');
  writeFileSync(configuration, configurationText(modules, port, compatibilityDate, servers));
  const logFile = join(directory, 'worker.log');
  const workerd = startProcess({
    name: 'bare-worker',
    command: workerdProgram(),
    args: ['serve', configuration],
    stateDirectory,
    logFile,
  });
  const deadline = performance.now() + startDeadlineMs;
  while (!(await answers(port))) {
    if (!workerd.isRunning || performance.now() > deadline) {
      await workerd.kill();
      throw new Error(`The bare Worker did not start:\n${lastLines(logFile)}`);
    }
    await delay(20);
  }
  return { port, group: workerd.pid, stop: () => workerd.stop(500) };
}

async function answers(port: number): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/nothing`).catch(() => null);
  await response?.text();
  return response?.status === 200;
}

function configurationText(
  files: readonly string[],
  port: number,
  compatibilityDate: string,
  servers: PeerServers,
): string {
  // The entry comes first.
  const ordered = files.toSorted((a, b) => Number(b === 'worker.ts') - Number(a === 'worker.ts'));
  const modules = ordered.map((file) => `(name = "${file}", esModule = embed "${file}")`);
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "worker")],
);

const worker :Workerd.Worker = (
  compatibilityDate = "${compatibilityDate}",
  modules = [
    ${modules.join(',\n    ')},
  ],
  bindings = [(name = "SERVERS", text = ${JSON.stringify(JSON.stringify(servers))})],
);
`;
}
