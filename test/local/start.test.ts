/** Runs `npm start` in empty and in used directories. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

interface Local {
  readonly url: string;
  readonly tokens: { readonly read: string; readonly write: string; readonly admin: string };
  readonly regions: readonly {
    readonly id: string;
    readonly gateway: { readonly url: string; readonly token: string };
    readonly redis: { readonly port: number } | null;
  }[];
}

const timeoutMs = 120_000;
let directory: string;
let started: Started[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lockstep-start-'));
  started = [];
});

afterEach(async () => {
  for (const one of started) await one.end('SIGTERM');
  rmSync(directory, { recursive: true });
});

/** `npm start` in an empty directory. */
class Started {
  readonly process: ChildProcess;
  readonly exited: Promise<unknown[]>;
  output = '';

  constructor(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    this.process = spawn(process.execPath, [resolve('local/start.ts'), ...args], {
      cwd: directory,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.exited = once(this.process, 'exit');
    this.process.stdout?.on('data', (text) => {
      this.output += text;
    });
    this.process.stderr?.on('data', (text) => {
      this.output += text;
    });
    started.push(this);
  }

  async serving(): Promise<Local> {
    const exited = this.exited.then(() => true);
    while (!this.output.includes('Ctrl-C stops everything')) {
      const data = once(this.process.stdout ?? this.process, 'data').then(() => false);
      if (await Promise.race([data, exited])) throw new Error(this.output);
    }
    return JSON.parse(readFileSync(join(directory, '.lockstep', 'local.json'), 'utf8'));
  }

  async end(signal: NodeJS.Signals): Promise<unknown> {
    if (this.process.exitCode === null) this.process.kill(signal);
    return (await this.exited)[0];
  }
}

async function get({ gateway }: Local['regions'][number], key: string): Promise<unknown> {
  const headers = { authorization: `Bearer ${gateway.token}` };
  const response = await fetch(`${gateway.url}/get/${key}`, { headers });
  return response.json();
}

function write(local: Local, ops: readonly (readonly string[])[]): Promise<Response> {
  return fetch(`${local.url}/v1/writes`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${local.tokens.write}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ ops, ack: 'confirmed' }),
  });
}

describe('npm start', () => {
  it(
    'shows a write in every region, serves, and leaves nothing running after Ctrl-C',
    async () => {
      const run = new Started(['--port', '0', '--rtt', '5', '--regions', '2']);
      const local = await run.serving();
      expect(run.output).toMatch(/^Starting the regions and bundling the Worker\./m);
      expect(run.output).toMatch(/us-east-1 +vote yes/);
      expect(run.output).toMatch(/eu-west-1 +commit/);
      expect(run.output).toMatch(/confirmed/);
      expect(local.regions.map(({ id }) => id)).toEqual(['us-east-1', 'eu-west-1']);
      expect((await write(local, [['SET', 'key', 'value']])).status).toBe(200);
      for (const region of local.regions) {
        expect(await get(region, 'key')).toEqual({ result: 'value' });
      }
      const heard = /write\.confirmed +hello .*\n.*write\.confirmed +key +us-east-1 \d+ ms/;
      await expect.poll(() => run.output, { timeout: timeoutMs }).toMatch(heard);
      expect(await run.end('SIGINT')).toBe(0);
      const addresses = [local.url, ...local.regions.map(({ gateway }) => gateway.url)];
      for (const address of addresses) await expect(fetch(address)).rejects.toThrow();
      expect(existsSync(join(directory, '.lockstep', 'local.json'))).toBe(false);
    },
    timeoutMs,
  );

  it(
    'continues with the data of the previous run, even a killed one',
    async () => {
      const first = new Started(['--port', '0', '--rtt', 'none']);
      const before = await first.serving();
      expect((await write(before, [['INCR', 'counter']])).status).toBe(200);
      await first.end('SIGKILL');
      const second = new Started(['--port', '0', '--rtt', 'none']);
      const after = await second.serving();
      expect(second.output).toContain('a killed run had left');
      expect(after.tokens).toEqual(before.tokens);
      expect((await write(after, [['INCR', 'counter']])).status).toBe(200);
      await expect.poll(() => second.output, { timeout: timeoutMs }).toMatch(/confirmed +counter/);
      // The subscription of the first run serves the second one.
      const headers = { authorization: `Bearer ${after.tokens.read}` };
      const listed = await fetch(`${after.url}/v1/webhooks`, { headers });
      expect(await listed.json()).toMatchObject({ webhooks: { length: 1 } });
      for (const region of after.regions) {
        expect(await get(region, 'counter')).toEqual({ result: '2' });
      }
    },
    timeoutMs,
  );

  it(
    'uses embedded regions if there is no Redis on the PATH, and reports that',
    async () => {
      const path = [dirname(process.execPath), '/bin'].join(delimiter);
      const environment = existsSync('/bin/redis-server')
        ? { PATH: dirname(process.execPath) }
        : { PATH: path };
      const run = new Started(['--port', '0', '--rtt', 'none'], environment);
      const local = await run.serving();
      expect(run.output).toContain('embedded');
      expect(local.regions.map(({ redis }) => redis)).toEqual([null, null, null]);
    },
    timeoutMs,
  );

  it(
    'over existing data describes how to found the deployment, and stays up for that',
    async () => {
      const first = new Started(['--port', '0', '--rtt', 'none']);
      const before = await first.serving();
      expect((await write(before, [['INCR', 'counter']])).status).toBe(200);
      await first.end('SIGINT');
      // The coordinator has lost its storage, so that the next one finds foreign data in the regions.
      rmSync(join(directory, '.lockstep', 'worker'), { recursive: true });
      const second = new Started(['--port', '0', '--rtt', 'none']);
      const local = await second.serving();
      expect(second.output).toMatch(/first write was refused.*\/v1\/admin\/found/);
      expect((await write(local, [['INCR', 'counter']])).status).toBe(503);
      const replace = Object.fromEntries(local.regions.slice(1).map(({ id }) => [id, 9]));
      const found = await fetch(`${local.url}/v1/admin/found`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${local.tokens.admin}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify({ source: local.regions[0]?.id, replace }),
      });
      expect([found.status, await found.text()]).toEqual([202, expect.any(String)]);
      const counted = async () => {
        const written = await write(local, [['INCR', 'counter']]);
        return written.json();
      };
      await expect.poll(counted, { timeout: timeoutMs }).toMatchObject({ results: [2] });
    },
    timeoutMs,
  );

  it(
    'uses the next free port if its own is in use',
    async () => {
      const taken = createServer().listen(0, '127.0.0.1');
      await once(taken, 'listening');
      const address = taken.address();
      if (typeof address !== 'object' || address === null) throw new Error('it listens');
      const local = await new Started(['--port', String(address.port), '--rtt', 'none']).serving();
      expect(local.url).not.toBe(`http://127.0.0.1:${address.port}`);
      taken.close();
    },
    timeoutMs,
  );

  it('refuses invalid options, and starts nothing', async () => {
    const run = new Started(['--regions', '6']);
    expect((await run.exited)[0]).toBe(1);
    expect(run.output).toContain('--regions takes a number from 1 to 5');
  });
});
