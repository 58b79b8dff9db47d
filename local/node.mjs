import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

/**
 * `node local/node.mjs <script> [arguments]` runs a script of this project under a Node that can run it. On a current
 * Node it runs in this process. On an older one, npm fetches a Node into its cache, once, and the script runs under that.
 *
 * It is plain JavaScript because an old Node has to read it: Node 18 and 20 know no types.
 */

const needed = '22.18';
/** Exact, so that npm asks the registry only if its cache lacks it. */
const fetched = '24.21.0';

/** True if this Node strips types by itself and has `import.meta.main`, which 23 and the first 24 lack. */
function isCurrent(version) {
  const [major, minor] = version.split('.').map(Number);
  if (major === 22) return minor >= 18;
  return major === 24 ? minor >= 2 : major > 24;
}

/** The path of a current Node in npm's cache. Ends this process, with advice, if npm cannot fetch one. */
function fetchNode() {
  const own = process.versions.node;
  console.error(`Node ${own} is too old: continuing with Node ${fetched}, which npm fetches once.`);
  const query = ['--yes', '--package', `node@${fetched}`, '--', 'node', '-p', 'process.execPath'];
  // On Windows, npx is a script of the shell.
  const shell = process.platform === 'win32';
  const { status, stdout, stderr, error } = spawnSync('npx', query, { encoding: 'utf8', shell });
  const path = (stdout || '').trim().split('\n').pop();
  if (status === 0 && path) return path;
  console.error((error ? error.message : stderr || '').trim());
  console.error(
    `npm could not fetch Node ${fetched}. Check its connection to the registry, or install Node ${needed} or later.`,
  );
  process.exit(1);
}

/** Runs the script as a process of its own, and ends as it ends. */
function runUnder(node, args) {
  const child = spawn(node, args, {
    stdio: 'inherit',
    // Programs that the script starts by name, such as vitest, find the same Node.
    env: { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH || ''}` },
  });
  // A terminal sends these two to the script as well, which stops in order; this process waits for that.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('exit', (code, signal) => {
    process.exit(signal === null ? code : 128 + constants.signals[signal]);
  });
}

const [script, ...args] = process.argv.slice(2);
if (script === undefined || script === '--help') {
  console.log('Usage: node local/node.mjs <script> [arguments]\n');
  console.log(
    `Runs a script under this Node if it is ${needed} or later, else under Node ${fetched}.`,
  );
} else if (!existsSync(fileURLToPath(new URL('../node_modules', import.meta.url)))) {
  console.error('The packages are not installed. Run: npm ci');
  process.exit(1);
} else if (isCurrent(process.versions.node)) {
  const { runMain } = await import('node:module');
  process.argv = [process.argv[0], resolve(script), ...args];
  runMain();
} else {
  runUnder(fetchNode(), [resolve(script), ...args]);
}
