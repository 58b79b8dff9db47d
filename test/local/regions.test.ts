/** Tests the start and the end of local regions. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseRoundTrips, placesFor, roundTripMsOf } from '../../local/gateway/round-trips.ts';
import { ownStateDirectory } from '../../local/stack/processes.ts';
import type { LocalRegion, RedisKind } from '../../local/stack/regions.ts';
import { redisKind, startRegion } from '../../local/stack/regions.ts';
import { connectTo } from '../support/redis.ts';

const [place] = placesFor(1);
if (place === undefined) throw new Error('there is a first place');

let stateDirectory: string;

beforeEach(() => {
  stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-regions-'));
});

afterEach(() => {
  rmSync(stateDirectory, { recursive: true });
});

async function withClient<T>(region: LocalRegion, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = connectTo(region.port);
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

async function isListening(port: number): Promise<boolean> {
  const { promise, resolve: settle } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1');
  socket.once('connect', () => settle(true));
  socket.once('error', () => settle(false));
  const listening = await promise;
  socket.destroy();
  return listening;
}

/** A process that starts a region, prints its port, and then does `then`. */
async function startOwner(then: string) {
  const script = `
    import { ownStateDirectory } from '${resolve('local/stack/processes.ts')}';
    import { startRegion } from '${resolve('local/stack/regions.ts')}';
    const [stateDirectory, kind, place] = JSON.parse(process.argv[1]);
    await ownStateDirectory(stateDirectory);
    const region = await startRegion(place, stateDirectory, kind);
    console.log(region.port);
    ${then}
  `;
  const input = JSON.stringify([stateDirectory, redisKind(), place]);
  const owner = spawn(process.execPath, ['--input-type=module', '-e', script, input], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [port] = await once(owner.stdout, 'data');
  return { owner, exited: once(owner, 'exit'), port: Number(port) };
}

describe('a region', () => {
  it('has its acknowledged writes after SIGKILL, at the same port', async () => {
    const region = await startRegion(place, stateDirectory, redisKind());
    await withClient(region, (redis) => redis.set('key', 'value'));
    await region.kill();
    expect(await isListening(region.port)).toBe(false);
    await region.restart();
    expect(await withClient(region, (redis) => redis.get('key'))).toBe('value');
    await region.stop();
    expect(await isListening(region.port)).toBe(false);
  });

  it('never evicts a key', async () => {
    const region = await startRegion(place, stateDirectory, redisKind());
    const policy = await withClient(region, (redis) => redis.config('GET', 'maxmemory-policy'));
    expect(policy).toEqual(['maxmemory-policy', 'noeviction']);
    await region.stop();
  });

  it('that is embedded runs scripts, and starts empty', async () => {
    const embedded: RedisKind = 'embedded';
    const region = await startRegion(place, stateDirectory, embedded);
    const script = 'return redis.call("INCR", KEYS[1])';
    expect(await withClient(region, (redis) => redis.eval(script, 1, 'key'))).toBe(1);
    await region.restart();
    expect(await withClient(region, (redis) => redis.get('key'))).toBe(null);
    await region.stop();
    expect(await isListening(region.port)).toBe(false);
  });
});

describe('a process that owns a state directory', () => {
  it.each([
    ['exits', 'process.exit(0);'],
    ['fails', "throw new Error('unforeseen');"],
    ['gets a SIGTERM', "process.kill(process.pid, 'SIGTERM'); await new Promise(() => {});"],
  ])('ends its regions when it %s', async (_how, then) => {
    const { exited, port } = await startOwner(then);
    await exited;
    await expect.poll(() => isListening(port)).toBe(false);
  });

  it('leaves regions behind after SIGKILL, which the next owner ends', async () => {
    const { owner, exited, port } = await startOwner('setInterval(() => {}, 1000);');
    owner.kill('SIGKILL');
    await exited;
    expect(await isListening(port)).toBe(true);
    expect(await ownStateDirectory(stateDirectory)).toEqual(['region-us-east-1']);
    expect(await isListening(port)).toBe(false);
  });

  it('is not disturbed by a second one', async () => {
    const { owner, exited, port } = await startOwner('setInterval(() => {}, 1000);');
    await expect(ownStateDirectory(stateDirectory)).rejects.toThrow(`process ${owner.pid}`);
    expect(await isListening(port)).toBe(true);
    owner.kill('SIGTERM');
    await exited;
  });
});

describe('round trips', () => {
  it('are read from the command line', () => {
    expect(parseRoundTrips('none')).toBe('none');
    expect(parseRoundTrips('aws')).toBe('aws');
    expect(parseRoundTrips('12.5')).toBe(12.5);
  });

  it.each(['', 'fast', '-1', '10001', '1e3'])('are refused in the form %j', (text) => {
    expect(() => parseRoundTrips(text)).toThrow('--rtt');
  });

  it('are those between AWS regions, none, or the same for all', () => {
    const [, second] = placesFor(2);
    if (second === undefined) throw new Error('there is a second place');
    expect(roundTripMsOf(second, 'aws')).toBe(70.5);
    expect(roundTripMsOf(second, 'none')).toBe(0);
    expect(roundTripMsOf(second, 20)).toBe(20);
  });
});

describe('places', () => {
  it('are the given number, the coordinator first', () => {
    expect(placesFor(2).map(({ id }) => id)).toEqual(['us-east-1', 'eu-west-1']);
  });

  it.each([0, 6, 1.5, Number.NaN])('are refused for %d regions', (count) => {
    expect(() => placesFor(count)).toThrow('from 1 to 5');
  });
});
