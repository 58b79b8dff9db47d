/** Tests the launcher, which runs scripts under a current Node. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

/** Makes the launcher see another version of its Node. The Node that it starts does not load this. */
const pretending = (version: string) => {
  const versions = `{ value: { ...process.versions, node: '${version}' } }`;
  return `--import=data:text/javascript,${encodeURIComponent(`Object.defineProperty(process, 'versions', ${versions})`)}`;
};

const launcher = resolve('local/node.mjs');
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lockstep-node-'));
  const script =
    'console.log(import.meta.main, ...process.argv.slice(2)); process.exit(3 as number);';
  writeFileSync(join(directory, 'script.mts'), script);
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

/** An npx in front of all others on the PATH: a shell script that records its arguments. */
function environmentWithNpx(lines: string): NodeJS.ProcessEnv {
  const npx = join(directory, 'npx');
  writeFileSync(npx, `#!/bin/sh\necho "$@" >> '${join(directory, 'npx-calls')}'\n${lines}\n`);
  chmodSync(npx, 0o700);
  return { ...process.env, PATH: `${directory}${delimiter}${process.env.PATH}` };
}

function launch(version: string, npx: string) {
  const args = [pretending(version), launcher, 'script.mts', 'one', '--two'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: directory,
    env: environmentWithNpx(npx),
    encoding: 'utf8',
  });
  return { status, stdout: stdout.trim(), stderr: stderr.trim() };
}

const findsThisNode = `echo '${process.execPath}'`;

describe('the launcher of the npm scripts', () => {
  it.each(['22.18.0', '24.2.0', '25.0.0'])(
    'runs a script in its own process under Node %s',
    (version) => {
      const { status, stdout, stderr } = launch(version, 'exit 9');
      expect([status, stdout, stderr]).toEqual([3, 'true one --two', '']);
    },
  );

  it.each(['18.20.0', '20.20.2', '22.17.9', '23.11.0', '24.1.0'])(
    'continues under a Node that npm fetched if Node is %s, and reports that in one line',
    (version) => {
      const { status, stdout, stderr } = launch(version, findsThisNode);
      expect([status, stdout]).toEqual([3, 'true one --two']);
      expect(stderr).toMatch(/^Node [\d.]+ is too old: continuing with Node 24\.\S+, .*\.$/);
      const calls = readFileSync(join(directory, 'npx-calls'), 'utf8');
      expect(calls).toMatch(/^--yes --package node@24\.\S+ -- node -p process\.execPath\n$/);
    },
  );

  it('describes the remedy if npm cannot fetch Node', () => {
    const { status, stdout, stderr } = launch('20.20.2', 'echo no network >&2; exit 1');
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain('no network\nnpm could not fetch Node');
    expect(stderr).toContain('install Node 22.18 or later');
  });

  it('forwards a SIGTERM, and ends with the exit code of the script', async () => {
    const waiting =
      "process.on('SIGTERM', () => process.exit(5)); console.log('up'); setInterval(() => {}, 1e6);";
    writeFileSync(join(directory, 'script.mts'), waiting);
    const args = [pretending('20.20.2'), launcher, 'script.mts'];
    const env = environmentWithNpx(findsThisNode);
    const child = spawn(process.execPath, args, {
      cwd: directory,
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const exited = once(child, 'exit');
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect((await exited)[0]).toBe(5);
  });
});

describe('package.json', () => {
  it('requires a current Node, and installs none', () => {
    const wanted: {
      readonly engines: unknown;
      readonly devDependencies: Readonly<Record<string, string>>;
    } = JSON.parse(readFileSync('package.json', 'utf8'));
    expect(wanted.engines).toEqual({ node: '>=22.18' });
    expect(wanted.devDependencies.node).toBe(undefined);
  });
});

describe('a script of package.json', () => {
  it('starts with the launcher, or needs no current Node', () => {
    const { scripts }: { readonly scripts: Readonly<Record<string, string>> } = JSON.parse(
      readFileSync('package.json', 'utf8'),
    );
    const others = Object.values(scripts).filter(
      (line) => !line.startsWith('node local/node.mjs '),
    );
    expect(others).toEqual(['biome check --write .']);
  });
});
