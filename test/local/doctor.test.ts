/** Runs `npm run doctor` against a fake deployment. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const token = 'a-token-that-is-never-shown';
const check = { name: 'role', status: 'ok', found: 'primary', advice: null };
const well = { verdict: 'ok', deployment: [check], regions: [] };

let server: Server;
let url: string;
let directory: string;
let answer: { status: number; body: unknown };
let authorization: string | undefined;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'lockstep-doctor-'));
  answer = { status: 200, body: well };
  server = createServer((request, response) => {
    authorization = request.headers.authorization;
    response.writeHead(request.url === '/v1/admin/doctor' ? answer.status : 404);
    response.end(JSON.stringify(answer.body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
});

afterEach(async () => {
  server.close();
  rmSync(directory, { recursive: true });
});

/** Runs `npm run doctor` in a directory without a running stack. Returns its output and its exit code. */
async function run(args: readonly string[], more: Readonly<Record<string, string>> = {}) {
  const doctor = spawn(process.execPath, [resolve('local/doctor.ts'), ...args], {
    cwd: directory,
    env: { ...process.env, ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(doctor, 'exit');
  const [said, complained] = await Promise.all([text(doctor.stdout), text(doctor.stderr)]);
  const [code] = await ended;
  return { code, said, complained };
}

describe('npm run doctor', () => {
  it('shows the diagnosis of a deployment, and ends with 0 if there is no problem', async () => {
    const { code, said } = await run(['--url', url], { LOCKSTEP_TOKEN: token });
    expect(authorization).toBe(`Bearer ${token}`);
    expect([code, said.trimEnd().split('\n').at(-1)]).toEqual([
      0,
      'Nothing to do: 1 check passed.',
    ]);
    expect(said).not.toContain(token);
  });

  it.each([
    ['warning', 0],
    ['problem', 1],
  ])('that finds a %s ends with %i', async (status, expected) => {
    const deployment = [{ ...check, status, advice: 'Mend it.' }];
    answer.body = { ...well, verdict: status, deployment };
    const { code, said } = await run(['--url', url, '--token', token]);
    expect(code).toBe(expected);
    expect(said).toContain('→ Mend it.');
  });

  it('shows the problem of the response, and ends with 1', async () => {
    answer = { status: 403, body: { title: 'Not allowed', detail: 'This needs admin.' } };
    const { code, complained } = await run(['--url', url], { LOCKSTEP_TOKEN: token });
    expect([code, complained.trim()]).toEqual([
      1,
      `${url} answers 403: Not allowed. This needs admin.`,
    ]);
  });

  it('reports an unreachable deployment', async () => {
    server.close();
    const { code, complained } = await run(['--url', url], { LOCKSTEP_TOKEN: token });
    expect(code).toBe(1);
    expect(complained).toMatch(/cannot be reached: .*ECONNREFUSED/);
  });

  it('names the missing option if no stack runs here, or no token is given', async () => {
    expect((await run([])).complained).toMatch(/Run npm start .*--url/);
    const { code, complained } = await run(['--url', url], { LOCKSTEP_TOKEN: '' });
    expect([code, complained]).toEqual([1, expect.stringContaining('LOCKSTEP_TOKEN')]);
  });
});
