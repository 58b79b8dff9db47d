/** Tests the doctor's diagnosis against fake regions. */
import { describe, expect, it } from 'vitest';
import type { CommandResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { configuration, EdgeUnderTest, regionIds, statusWith, tokens } from './fakes.ts';

interface CheckResponse {
  readonly name: string;
  readonly status: string;
  readonly found: string;
  readonly advice: string | null;
}

interface Diagnosis {
  readonly verdict: string;
  readonly deployment: readonly CheckResponse[];
  readonly regions: readonly { readonly id: string; readonly checks: readonly CheckResponse[] }[];
}

type Reply = CommandResult | unknown;

const noCommand: CommandResult = { kind: 'error', message: 'ERR unknown command' };
const now = 1_795_000_000_000;

/** Healthy regions. `overrides` replaces responses, by the beginning of a command. */
class DoctorHarness {
  readonly edge = new EdgeUnderTest();
  readonly commands: (readonly string[])[] = [];
  /** The keys in each region. Regions that share a set are on the same database. */
  readonly stored = new Map(regionIds.map((id) => [id as string, new Set<string>()]));

  constructor(overrides: Readonly<Record<string, Reply>> = {}, only: string | null = null) {
    this.edge.run = (region, command) => {
      this.commands.push(command);
      const applies = only === null || only === region;
      const line = command.join(' ');
      const name = Object.keys(overrides).find((one) => applies && line.startsWith(one));
      return resultOf(name === undefined ? this.#healthy(region, command) : overrides[name]);
    };
  }

  async ask(): Promise<Diagnosis> {
    const response = await this.edge.ask('GET', '/v1/admin/doctor', { token: tokens.admin });
    expect(response.status).toBe(200);
    for (const { token } of [...configuration.regions, ...configuration.tokens]) {
      expect(response.text).not.toContain(`"${token}"`);
    }
    return JSON.parse(response.text);
  }

  #healthy(region: string, [name = '', ...args]: readonly string[]): Reply {
    const stored = this.stored.get(region) ?? new Set();
    switch (name) {
      case 'PING':
        return 'PONG';
      case 'INFO':
        return infoOf(region, args[0] ?? '');
      case 'CONFIG':
        return [args[1], settings[args[1] ?? '']];
      case 'ROLE':
        return ['master', 0, []];
      case 'TIME':
        return [String(now / 1_000), '0'];
      case 'DBSIZE':
        return 12;
      case 'EXISTS':
        return 2;
      case 'SET':
        stored.add(args[0] ?? '');
        return 'OK';
      case 'DEL':
        return Number(stored.delete(args[0] ?? ''));
      case 'MGET':
        return args.map((key) => (stored.has(key) ? '1' : null));
      case 'INCR':
        return 9_007_199_254_740_993n;
      case 'EVALSHA':
        return 1;
      default:
        if (args.some((arg) => arg.startsWith('[') && arg.includes('gmatch'))) return rounds(null);
        return evaluated[Object.keys(evaluated).find((text) => args[0]?.includes(text)) ?? ''];
    }
  }
}

const settings: Readonly<Record<string, string>> = {
  appendfsync: 'always',
  'maxmemory-policy': 'noeviction',
};

const probed = [
  ...['PXAT', 'COPY', 'RENAME', 'PEXPIRETIME', 'DUMP', 'RESTORE', 'UNLINK', 'MSET', 'MGET'],
  ...['SETRANGE', 'PEXPIREAT', 'HSET', 'HSCAN', 'SCAN', 'TIME'],
].flatMap((name) => [name, 'ok']);

/** A prepare that returns 42, its commit, and a read. */
function rounds(value: string | null): Reply {
  return [
    ['d', '', [['y', [[0, 42]], '', ['']]], ',1:one,', [], 0, null, null, 0],
    ['d', 'a', [], ',1:one,2:two,', [], 0, null, null, null],
    ['q', [value], '', []],
  ];
}

/** Replies to the doctor's scripts, by a fragment of their texts. */
const evaluated: Readonly<Record<string, Reply>> = {
  'local results = {}': probed,
  'local failed = {}': [],
  'local given, replies': rounds('42'),
  ':undeclared': 0,
  "{1, false, 'x'}": [1, null, 'x'],
  "{1, {false, {'x', {}}}}": [1, [null, ['x', []]]],
  '{1, {err': { kind: 'error', message: 'ERR of the doctor' },
  'return {err': { kind: 'error', message: 'ERR of the doctor' },
  "return '\\195": 'é\0"',
  'return 1': 1,
};

function infoOf(region: string, section: string): string {
  const sections: Readonly<Record<string, string>> = {
    server: `# Server\r\nredis_version:7.0.15\r\nrun_id:${region}\r\n`,
    persistence: '# Persistence\r\naof_enabled:1\r\n',
    memory: '# Memory\r\nused_memory:2000000\r\nmaxmemory:100000000\r\n',
    replication: '# Replication\r\nrole:master\r\n',
  };
  return sections[section] ?? '';
}

function resultOf(reply: Reply): CommandResult {
  const isResult = typeof reply === 'object' && reply !== null && 'kind' in reply;
  return isResult ? (reply as CommandResult) : { kind: 'answered', reply };
}

/** The result of this check in the first region. */
function checkOf({ regions }: Diagnosis, name: string): CheckResponse | undefined {
  return regions[0]?.checks.find((check) => check.name === name);
}

function deploymentOf({ deployment }: Diagnosis, name: string): CheckResponse | undefined {
  return deployment.find((check) => check.name === name);
}

describe('the doctor', () => {
  it('finds no problem in healthy regions', async () => {
    const harness = new DoctorHarness();
    const diagnosis = await harness.ask();
    const all = [...diagnosis.deployment, ...diagnosis.regions.flatMap(({ checks }) => checks)];
    expect(all.filter(({ status }) => status !== 'ok')).toEqual([]);
    expect(diagnosis.verdict).toBe('ok');
    expect(diagnosis.regions.map(({ id }) => id)).toEqual([...regionIds]);
  });

  it('writes only expiring keys of its own, and removes its markers', async () => {
    const harness = new DoctorHarness();
    await harness.ask();
    for (const stored of harness.stored.values()) expect([...stored]).toEqual([]);
    const written = harness.commands.filter(([name]) => name === 'SET');
    expect(written).toHaveLength(2 * regionIds.length);
    for (const [, key, , expiry] of written) {
      expect([key, expiry]).toEqual([expect.stringMatching(/^lockstep:doctor:/), 'PX']);
    }
    const probes = harness.commands.filter(([name, , count]) => name === 'EVAL' && count !== '0');
    expect(probes).toHaveLength(6 * regionIds.length);
    for (const [, , count, ...rest] of probes) {
      for (const key of rest.slice(0, Number(count))) expect(key).toMatch(/^lockstep:doctor:/);
    }
  });

  it.each([
    ['eviction', { 'CONFIG GET maxmemory-policy': ['maxmemory-policy', 'allkeys-lru'] }],
    ['persistence', { 'INFO persistence': 'aof_enabled:0\r\n' }],
    ['role', { ROLE: ['slave', 'a', 1, 'connected', 1] }],
    ['memory', { 'INFO memory': 'used_memory:95\r\nmaxmemory:100\r\n' }],
    ['clock', { TIME: [String(now / 1_000 + 2), '0'] }],
    ['scripts', { EVAL: noCommand }],
    ['commands', { 'EVAL local results': ['PXAT', 'ok', 'COPY', 'ERR unknown command'] }],
    ['commands', { 'EVAL local results': probed.map((one) => (one === 'MSET' ? 'none' : one)) }],
    ['answers', { PING: { kind: 'silent', reason: 'no answer in time' } }],
  ] as const)('reports a problem with %s, with advice', async (name, overrides) => {
    const diagnosis = await new DoctorHarness(overrides, 'us-east-1').ask();
    expect(checkOf(diagnosis, name)).toMatchObject({
      status: 'problem',
      advice: expect.stringMatching(/\w/),
    });
    expect(diagnosis.verdict).toBe('problem');
  });

  it.each([
    ['version', { 'INFO server': 'redis_version:6.2.1\r\n' }],
    ['persistence', { 'CONFIG GET appendfsync': ['appendfsync', 'everysec'] }],
    ['memory', { 'INFO memory': 'used_memory:80\r\nmaxmemory:100\r\n' }],
    ['EVALSHA', { EVALSHA: { kind: 'error', message: 'NOSCRIPT No matching script' } }],
  ] as const)('warns of %s', async (name, overrides) => {
    const diagnosis = await new DoctorHarness(overrides, 'us-east-1').ask();
    expect(checkOf(diagnosis, name)).toMatchObject({ status: 'warning' });
    expect(diagnosis.verdict).toBe('warning');
  });

  it('reports facts that a managed server hides as unknown, with advice', async () => {
    const diagnosis = await new DoctorHarness(
      { INFO: noCommand, CONFIG: noCommand, ROLE: noCommand, TIME: noCommand, DBSIZE: noCommand },
      'us-east-1',
    ).ask();
    for (const name of ['version', 'role', 'persistence', 'eviction', 'memory', 'clock', 'keys']) {
      expect(checkOf(diagnosis, name)).toMatchObject({
        status: 'unknown',
        advice: expect.stringMatching(/^It does not say\. ./),
      });
    }
    expect(diagnosis.verdict).toBe('warning');
  });

  it('accepts a server without DUMP, and reports that copying is slower', async () => {
    const overrides = {
      'EVAL local results': probed.map((one) => (one === 'DUMP' ? 'none' : one)),
    };
    expect(checkOf(await new DoctorHarness(overrides).ask(), 'copy')).toMatchObject({
      status: 'ok',
      found: expect.stringContaining('element by element'),
    });
  });

  it('detects two regions on one database', async () => {
    const harness = new DoctorHarness();
    harness.stored.set('eu-west-1', harness.stored.get('us-east-1') ?? new Set());
    expect(deploymentOf(await harness.ask(), 'databases')).toMatchObject({
      status: 'problem',
      found: 'the same: eu-west-1 and us-east-1',
    });
  });

  it('detects two regions on one server by its run_id', async () => {
    const harness = new DoctorHarness({ 'INFO server': 'redis_version:7.2.0\r\nrun_id:one\r\n' });
    expect(deploymentOf(await harness.ask(), 'databases')).toMatchObject({ status: 'problem' });
  });

  it('reports databases as unknown if a region took no marker', async () => {
    const harness = new DoctorHarness({ MGET: noCommand }, 'us-east-1');
    expect(deploymentOf(await harness.ask(), 'databases')).toMatchObject({ status: 'unknown' });
  });

  it('detects clocks that differ by more than the allowed skew', async () => {
    const harness = new DoctorHarness({ TIME: [String(now / 1_000 + 3), '0'] }, 'eu-west-1');
    expect(deploymentOf(await harness.ask(), 'clocks')).toMatchObject({ status: 'problem' });
    expect(limits.clockSkewMs).toBeLessThan(3_000);
  });

  it.each([
    ['fewer voters than required', { state: 'out' }, 'problem'],
    ['all voters', {}, 'ok'],
  ] as const)('judges %s', async (_what, changes, status) => {
    const harness = new DoctorHarness();
    const describe = async () => statusWith({ 'eu-west-1': changes, 'us-east-1': changes });
    harness.edge.coordinator.describe = describe;
    expect(deploymentOf(await harness.ask(), 'voters')).toMatchObject({ status });
  });

  it('warns of voters with different numbers of keys, unless writes are in progress', async () => {
    const harness = new DoctorHarness({ DBSIZE: 512 }, 'us-east-1');
    expect(deploymentOf(await harness.ask(), 'key counts')).toMatchObject({
      status: 'warning',
      found: 'us-east-1 510, eu-west-1 10, ap-northeast-1 10',
    });
    harness.edge.coordinator.describe = async () => ({ ...statusWith(), undecided: 500 });
    expect(deploymentOf(await harness.ask(), 'key counts')).toMatchObject({ status: 'ok' });
    const out = { 'us-east-1': { state: 'out' } } as const;
    harness.edge.coordinator.describe = async () => statusWith(out);
    expect(deploymentOf(await harness.ask(), 'key counts')).toMatchObject({ status: 'ok' });
  });

  it('reports the reason why a shard has not begun', async () => {
    const harness = new DoctorHarness();
    const keys = { 'us-east-1': 500, 'eu-west-1': 0, 'ap-northeast-1': null };
    const founding = { phase: 'waiting', detail: 'they differ', keys, compared: null } as const;
    harness.edge.coordinator.describe = async () => ({ ...statusWith(), founding });
    expect(deploymentOf(await harness.ask(), 'key counts')).toMatchObject({
      status: 'problem',
      found: 'they differ',
      advice: expect.stringContaining('POST /v1/admin/found'),
    });
  });

  it('reports keys that wait for an operator', async () => {
    const harness = new DoctorHarness();
    harness.edge.coordinator.describe = async () => ({ ...statusWith(), blockedKeys: 2 });
    expect(deploymentOf(await harness.ask(), 'blocked keys')).toMatchObject({ status: 'problem' });
  });

  it('checks the regions even if the coordinator does not answer', async () => {
    const harness = new DoctorHarness();
    const reset = () => Promise.reject(new Error('the object was reset'));
    harness.edge.coordinator = { describe: reset, regions: reset };
    const diagnosis = await harness.ask();
    expect(deploymentOf(diagnosis, 'coordinator')).toMatchObject({ status: 'problem' });
    expect(checkOf(diagnosis, 'answers')).toMatchObject({ status: 'ok' });
    expect(checkOf(diagnosis, 'state')).toMatchObject({ status: 'unknown' });
  });
});
