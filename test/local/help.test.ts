/** Tests the help of every script of package.json. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const { scripts }: { readonly scripts: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync('package.json', 'utf8'),
);
/** Programs of this project, which take paths from the working directory; other programs have their own help. */
const own = Object.entries(scripts).filter(([, line]) => /node\.mjs (?:local|test)\//.test(line));
const launcher = resolve('local/node.mjs');
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lockstep-help-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

/** Runs the program of a script in an empty directory. */
function run(line: string, args: readonly string[]) {
  const program = resolve(line.split(' ')[2] ?? '');
  const { status, stdout, stderr } = spawnSync(process.execPath, [launcher, program, ...args], {
    cwd: directory,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

describe('a script of package.json', () => {
  it.each(own)('%s shows its help, and starts nothing', (name, line) => {
    const { status, stdout, stderr } = run(line, ['--help']);
    expect([status, stderr]).toEqual([0, '']);
    const command = ['start', 'test'].includes(name) ? `npm ${name}` : `npm run ${name}`;
    expect(stdout).toContain(name === 'check' ? 'Usage: npm test' : `Usage: ${command}`);
    expect(stdout).toMatch(/--help +show this text/);
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each(Object.entries(scripts).filter(([, line]) => !own.some(([, each]) => each === line)))(
    '%s shows the help of its program',
    (name) => {
      const { status, stdout } = spawnSync('npm', ['run', name, '--', '--help'], {
        encoding: 'utf8',
      });
      expect([status, stdout]).toEqual([0, expect.stringContaining('--help')]);
    },
  );

  // vitest gets the arguments of the tests.
  it.each(own.filter(([name]) => name !== 'test' && name !== 'check'))(
    '%s explains an unknown option in words, and starts nothing',
    (_, line) => {
      const { status, stdout, stderr } = run(line, ['--no-such-option']);
      expect([status, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(/^Unknown option '--no-such-option'/);
      expect(stderr).toContain('Usage: npm ');
      expect(stderr).not.toMatch(/^ +at |[{}]/m);
      expect(readdirSync(directory)).toEqual([]);
    },
  );
});
