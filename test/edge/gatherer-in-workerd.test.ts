/** Tests in workerd that a call goes on if the client whose request began it leaves. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { expect, it } from 'vitest';
import { compatibilityDate, projectDirectory, workerdProgram } from '../../local/stack/bundle.ts';
import { freePort } from '../../local/stack/free-port.ts';
import { lastLines, startProcess } from '../../local/stack/processes.ts';

const configurationText = (port: number) => `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "worker", worker = .worker)],
  sockets = [(
    name = "http",
    address = "127.0.0.1:${port}",
    http = (),
    service = (name = "worker", entrypoint = "Front"),
  )],
);

const worker :Workerd.Worker = (
  compatibilityDate = "${compatibilityDate()}",
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  bindings = [(name = "INNER", service = "worker")],
);
`;

it('a call is answered to all other requests if the one that began it is cancelled', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'lockstep-gatherer-'));
  await build({
    root: projectDirectory,
    configFile: false,
    logLevel: 'error',
    build: {
      outDir: directory,
      emptyOutDir: false,
      lib: {
        entry: 'test/edge/gatherer-worker.ts',
        formats: ['es'],
        fileName: () => 'worker.js',
      },
      rollupOptions: { external: ['cloudflare:workers'] },
    },
  });
  const port = await freePort();
  writeFileSync(join(directory, 'gatherer.capnp'), configurationText(port));
  const logFile = join(directory, 'worker.log');
  const workerd = startProcess({
    name: 'gatherer',
    command: workerdProgram(),
    args: ['serve', join(directory, 'gatherer.capnp')],
    workingDirectory: directory,
    stateDirectory: directory,
    logFile,
  });
  try {
    let response: Response | null = null;
    while (response === null) {
      if (!workerd.isRunning) throw new Error(`workerd has ended:\n${lastLines(logFile)}`);
      response = await fetch(`http://127.0.0.1:${port}/`).catch(() => null);
    }
    expect(await response.json()).toEqual(['first of first', 'left', 'b of a b c', 'c of a b c']);
  } finally {
    await workerd.kill();
    rmSync(directory, { recursive: true });
  }
}, 60_000);
