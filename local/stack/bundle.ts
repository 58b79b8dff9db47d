/** Bundles the Worker with wrangler. */
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { lastLines, startProcess } from './processes.ts';

/** The root of the project, independent of the working directory. */
export const projectDirectory = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const require = createRequire(import.meta.url);
const wranglerEntry = require.resolve('wrangler');

/** The Worker as it would be deployed. */
export interface Bundle {
  /** The directory of `worker.js` and the texts that it imports. */
  readonly directory: string;
  /** From wrangler.toml. */
  readonly compatibilityDate: string;
}

/**
 * Bundles the Worker into the state directory, exactly as for a deployment.
 *
 * @throws Error with wrangler's output if that fails.
 */
export async function bundleWorker(stateDirectory: string): Promise<Bundle> {
  const directory = bundleIn(stateDirectory);
  rmSync(directory, { recursive: true, force: true });
  const logFile = join(stateDirectory, 'bundle.log');
  const wrangler = startProcess({
    name: 'bundle',
    command: process.execPath,
    args: [
      join(dirname(dirname(wranglerEntry)), 'bin', 'wrangler.js'),
      ...['deploy', '--dry-run', '--outdir', directory],
    ],
    environment: quietWrangler,
    workingDirectory: projectDirectory,
    stateDirectory,
    logFile,
  });
  await wrangler.ended;
  if (wrangler.exitCode !== 0) {
    throw new Error(`The Worker cannot be bundled:\n${lastLines(logFile, 60)}`);
  }
  return { directory, compatibilityDate: compatibilityDate() };
}

/** Copies a bundle into the state directory, so that the Worker's configuration can refer to it. */
export function copyBundle(bundle: Bundle, stateDirectory: string): Bundle {
  const directory = bundleIn(stateDirectory);
  rmSync(directory, { recursive: true, force: true });
  cpSync(bundle.directory, directory, { recursive: true });
  return { ...bundle, directory };
}

function bundleIn(stateDirectory: string): string {
  return join(stateDirectory, 'bundle');
}

/** The path of the workerd that is installed with wrangler. */
export function workerdProgram(): string {
  const manifest = createRequire(wranglerEntry).resolve('workerd/package.json');
  return join(dirname(manifest), 'bin', 'workerd');
}

/** Keeps wrangler from asking questions, sending data, and writing files elsewhere. */
export const quietWrangler: Readonly<Record<string, string>> = {
  CI: '1',
  NO_COLOR: '1',
  FORCE_COLOR: '0',
  WRANGLER_HIDE_BANNER: 'true',
  WRANGLER_SEND_ERROR_REPORTS: 'false',
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_WRITE_LOGS: 'false',
};

/** The compatibility date of wrangler.toml. */
export function compatibilityDate(): string {
  const settings = readFileSync(join(projectDirectory, 'wrangler.toml'), 'utf8');
  const date = /^compatibility_date = "([\d-]+)"$/m.exec(settings)?.[1];
  if (date === undefined) throw new Error('wrangler.toml has no compatibility_date');
  return date;
}
