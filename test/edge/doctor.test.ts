import { describe, expect, it } from 'vitest';
import type { CommandResult } from '../../shared/contracts/round.ts';
import { limits } from '../../shared/limits.ts';
import { configuration, EdgeUnderTest, regionIds, statusWith, tokens } from './stand-ins.ts';

interface ToldCheck {
  readonly name: string;
  readonly status: string;
  readonly found: string;
  readonly advice: string | null;
}

interface Diagnosis {
  readonly verdict: string;
  readonly deployment: readonly ToldCheck[];
  readonly regions: readonly { readonly id: string; readonly checks: readonly ToldCheck[] }[];
}

type Reply = CommandResult | unknown;

const noCommand: CommandResult = { kind: 'error', message: 'ERR unknown command' };
const now = 1_795_000_000_000;

/** A region as it has to be; `told` names what it answers otherwise, by the beginning of a command. */
class Clinic {
  readonly edge = new EdgeUnderTest();
  readonly commands: (readonly string[])[] = [];
  /** What each region holds. Two names for one map are two regions on one database. */
  readonly stored = new Map(regionIds.map((id) => [id as string, new Set<string>()]));

  constructor(told: Readonly<Record<string, Reply>> = {}, only: string | null = null) {
    this.edge.run = (region, command) => {
      this.commands.push(command);
      const applies = only === null || only === region;
      const line = command.join(' ');
      const name = Object.keys(told).find((one) => applies && line.startsWith(one));
      return resultOf(name === undefined ? this.#healthy(region, command) : told[name]);
    };
  }

  async ask(): Promise<Diagnosis> {
    const told = await this.edge.ask('GET', '/v1/admin/doctor', { token: tokens.admin });
    expect(told.status).toBe(200);
    for (const { token } of [...configuration.regions, ...configuration.tokens]) {
      expect(told.text).not.toContain(`"${token}"`);
    }
    return JSON.parse(told.text);
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
  ...['PXAT', 'COPY', 'RENAME', 'PEXPIRETIME', 'DUMP', 'RESTORE', 'UNLINK', 'ZADD', 'PEXPIREAT'],
  ...['ZMSCORE', 'HSET', 'HSCAN', 'SCAN', 'TIME'],
].flatMap((name) => [name, 'ok']);

/** A prepare that answers 42, its commit, and a read. */
function rounds(value: string | null): Reply {
  return [
    ['d', '', [['y', [[0, 42]], '', []]]],
    ['d', 'a', []],
    ['q', [value], '', []],
  ];
}

/** Replies to the doctor's scripts, by what stands in their texts. */
const evaluated: Readonly<Record<string, Reply>> = {
  'local told = {}': probed,
  'local failed = {}': [],
  'local given, told': rounds('42'),
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

/** What the first region's check of this name came to. */
function checkOf({ regions }: Diagnosis, name: string): ToldCheck | undefined {
  return regions[0]?.checks.find((check) => check.name === name);
}

function deploymentOf({ deployment }: Diagnosis, name: string): ToldCheck | undefined {
  return deployment.find((check) => check.name === name);
}

describe('the doctor', () => {
  it('finds nothing in regions that are as they have to be', async () => {
    const clinic = new Clinic();
    const told = await clinic.ask();
    const all = [...told.deployment, ...told.regions.flatMap(({ checks }) => checks)];
    expect(all.filter(({ status }) => status !== 'ok')).toEqual([]);
    expect(told.verdict).toBe('ok');
    expect(told.regions.map(({ id }) => id)).toEqual([...regionIds]);
  });

  it('writes only keys of its own that go by themselves, and removes its markers', async () => {
    const clinic = new Clinic();
    await clinic.ask();
    for (const stored of clinic.stored.values()) expect([...stored]).toEqual([]);
    const written = clinic.commands.filter(([name]) => name === 'SET');
    expect(written).toHaveLength(2 * regionIds.length);
    for (const [, key, , expiry] of written) {
      expect([key, expiry]).toEqual([expect.stringMatching(/^lockstep:doctor:/), 'PX']);
    }
    const probes = clinic.commands.filter(([name, , count]) => name === 'EVAL' && count !== '0');
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
    ['commands', { 'EVAL local told': ['PXAT', 'ok', 'COPY', 'ERR unknown command'] }],
    ['commands', { 'EVAL local told': probed.map((one) => (one === 'ZMSCORE' ? 'none' : one)) }],
    ['answers', { PING: { kind: 'silent', reason: 'no answer in time' } }],
  ] as const)('finds a problem with %s, and says what to do', async (name, told) => {
    const diagnosis = await new Clinic(told, 'us-east-1').ask();
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
    ['script flags', { 'EVAL #!lua': noCommand }],
    ['EVALSHA', { EVALSHA: { kind: 'error', message: 'NOSCRIPT No matching script' } }],
  ] as const)('warns of %s', async (name, told) => {
    const diagnosis = await new Clinic(told, 'us-east-1').ask();
    expect(checkOf(diagnosis, name)).toMatchObject({ status: 'warning' });
    expect(diagnosis.verdict).toBe('warning');
  });

  it('says of what a managed server keeps to itself that it is unknown, and what to look at', async () => {
    const diagnosis = await new Clinic(
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

  it('takes a server without DUMP for slower to copy, not for ill', async () => {
    const told = { 'EVAL local told': probed.map((one) => (one === 'DUMP' ? 'none' : one)) };
    expect(checkOf(await new Clinic(told).ask(), 'copy')).toMatchObject({
      status: 'ok',
      found: expect.stringContaining('element by element'),
    });
  });

  it('finds two regions on one database', async () => {
    const clinic = new Clinic();
    clinic.stored.set('eu-west-1', clinic.stored.get('us-east-1') ?? new Set());
    expect(deploymentOf(await clinic.ask(), 'databases')).toMatchObject({
      status: 'problem',
      found: 'the same: eu-west-1 and us-east-1',
    });
  });

  it('finds two regions on one server by its run_id', async () => {
    const clinic = new Clinic({ 'INFO server': 'redis_version:7.2.0\r\nrun_id:one\r\n' });
    expect(deploymentOf(await clinic.ask(), 'databases')).toMatchObject({ status: 'problem' });
  });

  it('does not call databases different where one took no marker', async () => {
    const clinic = new Clinic({ MGET: noCommand }, 'us-east-1');
    expect(deploymentOf(await clinic.ask(), 'databases')).toMatchObject({ status: 'unknown' });
  });

  it('finds clocks that are apart further than keys may expire', async () => {
    const clinic = new Clinic({ TIME: [String(now / 1_000 + 3), '0'] }, 'eu-west-1');
    expect(deploymentOf(await clinic.ask(), 'clocks')).toMatchObject({ status: 'problem' });
    expect(limits.clockSkewMs).toBeLessThan(3_000);
  });

  it.each([
    ['fewer voters than it takes', { state: 'out' }, 'problem'],
    ['all voters', {}, 'ok'],
  ] as const)('judges %s', async (_what, changes, status) => {
    const clinic = new Clinic();
    const describe = async () => statusWith({ 'eu-west-1': changes, 'us-east-1': changes });
    clinic.edge.coordinator.describe = describe;
    expect(deploymentOf(await clinic.ask(), 'voters')).toMatchObject({ status });
  });

  it('finds voters that hold more or fewer keys than others, as long as nothing is under way', async () => {
    const clinic = new Clinic({ DBSIZE: 512 }, 'us-east-1');
    expect(deploymentOf(await clinic.ask(), 'key counts')).toMatchObject({
      status: 'warning',
      found: 'us-east-1 510, eu-west-1 10, ap-northeast-1 10',
    });
    clinic.edge.coordinator.describe = async () => ({ ...statusWith(), undecided: 500 });
    expect(deploymentOf(await clinic.ask(), 'key counts')).toMatchObject({ status: 'ok' });
    const out = { 'us-east-1': { state: 'out' } } as const;
    clinic.edge.coordinator.describe = async () => statusWith(out);
    expect(deploymentOf(await clinic.ask(), 'key counts')).toMatchObject({ status: 'ok' });
  });

  it('says what a shard waits for that has not begun', async () => {
    const clinic = new Clinic();
    const keys = { 'us-east-1': 500, 'eu-west-1': 0, 'ap-northeast-1': null };
    const founding = { phase: 'waiting', detail: 'they differ', keys, compared: null } as const;
    clinic.edge.coordinator.describe = async () => ({ ...statusWith(), founding });
    expect(deploymentOf(await clinic.ask(), 'key counts')).toMatchObject({
      status: 'problem',
      found: 'they differ',
      advice: expect.stringContaining('POST /v1/admin/found'),
    });
  });

  it('tells of keys that wait for an operator', async () => {
    const clinic = new Clinic();
    clinic.edge.coordinator.describe = async () => ({ ...statusWith(), blockedKeys: 2 });
    expect(deploymentOf(await clinic.ask(), 'blocked keys')).toMatchObject({ status: 'problem' });
  });

  it('looks at the regions without a coordinator too', async () => {
    const clinic = new Clinic();
    const reset = () => Promise.reject(new Error('the object was reset'));
    clinic.edge.coordinator = { describe: reset, regions: reset };
    const told = await clinic.ask();
    expect(deploymentOf(told, 'coordinator')).toMatchObject({ status: 'problem' });
    expect(checkOf(told, 'answers')).toMatchObject({ status: 'ok' });
    expect(checkOf(told, 'state')).toMatchObject({ status: 'unknown' });
  });
});
