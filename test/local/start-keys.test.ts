/** Runs `npm start` on a terminal, and presses its keys. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const timeoutMs = 120_000;
const patience = { timeout: timeoutMs };
const controlC = '\u0003';
let directory: string;
let terminal: ChildProcess;
let exited: Promise<unknown[]>;
let output: string;

/** Runs `npm start` on a terminal that the program `script` of Linux makes, and then prints the terminal's settings. */
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lockstep-keys-'));
  output = '';
  const start = [process.execPath, resolve('local/start.ts')].map((word) => `'${word}'`).join(' ');
  const command = `${start} --port 0 --rtt none --regions 2; echo ended with $?; stty -a`;
  terminal = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: directory,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  exited = once(terminal, 'close');
  terminal.stdout?.on('data', (text) => {
    output += text;
  });
});

afterEach(async () => {
  // This closes the terminal, and the programs on it end.
  terminal.kill('SIGTERM');
  await exited;
  rmSync(directory, { recursive: true });
});

async function pressUntil(keys: string, shown: string | RegExp): Promise<void> {
  const before = output.length;
  terminal.stdin?.write(keys);
  await expect.poll(() => output.slice(before), patience).toMatch(shown);
}

/** The last drawn line of a region. */
function lastLine(id: string): string {
  const drawn = [...output.matchAll(new RegExp(`${id} +(?:running|stopped|paused) .*`, 'g'))];
  return stripVTControlCharacters(drawn.at(-1)?.[0] ?? '');
}

/** A key's value in one region. */
async function valueIn(id: string, key: string): Promise<unknown> {
  const file = join(directory, '.lockstep', 'local.json');
  const { regions }: { readonly regions: readonly LocalRegion[] } = JSON.parse(
    readFileSync(file, 'utf8'),
  );
  const gateway = regions.find((region) => region.id === id)?.gateway;
  const headers = { authorization: `Bearer ${gateway?.token}` };
  return (await fetch(`${gateway?.url}/get/${key}`, { headers })).json();
}

interface LocalRegion {
  readonly id: string;
  readonly gateway: { readonly url: string; readonly token: string };
}

describe('npm start on a terminal', () => {
  it(
    'acts on keys, shows the state of the regions, and restores the terminal',
    async () => {
      await pressUntil('', /us-east-1 +running.*answering[\s\S]*eu-west-1 +running.*answering/);
      const { url } = JSON.parse(readFileSync(join(directory, '.lockstep', 'local.json'), 'utf8'));
      await pressUntil('g', /write: committed after \d+ ms, plays = 1/);
      await pressUntil('2b', 'eu-west-1: has a snapshot');
      await pressUntil('k', /eu-west-1 +.*stopped/);
      await pressUntil('r', 'eu-west-1: started on the data it had');
      await pressUntil('g', /write: committed after .*, plays = 2/);
      // The next write detects the lost data, and waits until the region is out; then the region is copied without a
      // key.
      await pressUntil('o', 'eu-west-1: rolled back');
      await pressUntil('g', /write: committed after .*, plays = 3/);
      await expect.poll(() => valueIn('eu-west-1', 'plays'), patience).toEqual({ result: '3' });
      await pressUntil('w', 'eu-west-1: wiped, and started empty');
      await pressUntil('g', /write: committed after .*, plays = 4/);
      await expect.poll(() => valueIn('eu-west-1', 'plays'), patience).toEqual({ result: '4' });
      await expect.poll(() => lastLine('eu-west-1'), patience).toMatch(/running +voter +answering/);
      // Both times, the receiver got the events.
      for (const line of [
        /region\.out +eu-west-1 is out: .*\. Writes go on without it\./,
        /eu-west-1: its missing data are being copied/,
        /region\.returned +eu-west-1 is back: its data were copied, and it votes again\./,
      ]) {
        await expect.poll(() => output, patience).toMatch(line);
      }
      await pressUntil(controlC, 'ended with 0');
      await exited;
      await expect(fetch(url)).rejects.toThrow();
      // Lines, echo and signals are back.
      for (const mode of ['icanon', 'echo', 'isig']) {
        expect(output).toMatch(new RegExp(`\\s${mode}\\b`));
      }
    },
    timeoutMs,
  );
});
