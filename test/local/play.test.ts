/** Tests the playground on real regions, with a fake Worker and keyboard. */
import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startGateway } from '../../local/gateway/gateway.ts';
import type { Coordinates } from '../../local/gateway/round-trips.ts';
import { placesFor } from '../../local/gateway/round-trips.ts';
import type { Keyboard, Play } from '../../local/playground/play.ts';
import { startPlay } from '../../local/playground/play.ts';
import { Screen } from '../../local/playground/screen.ts';
import { paintFor } from '../../local/playground/timeline.ts';
import type { RedisKind } from '../../local/stack/regions.ts';
import { redisKind, startRegion } from '../../local/stack/regions.ts';
import type { StackRegion } from '../../local/stack/stack.ts';
import { connectTo } from '../support/redis.ts';

/** A busy machine may take longer than the default time of a poll. */
const patience = { timeout: 120_000 };

/** A keyboard whose keys the test presses. */
class FakeKeyboard implements Keyboard {
  isRaw = false;
  isListened = false;
  press: (input: string) => void = () => {};

  setRawMode(isRaw: boolean): void {
    this.isRaw = isRaw;
  }

  setEncoding(): void {}

  on(event: 'data' | 'error', listener: (value: never) => void): void {
    if (event === 'data') this.press = listener as (input: string) => void;
  }

  resume(): void {
    this.isListened = true;
  }

  pause(): void {
    this.isListened = false;
  }
}

/** A Worker that responds with the test's `regions` and `write`. */
class FakeWorker {
  regions: readonly object[] = [];
  write: (response: ServerResponse) => void = () => {};
  url = '';
  private readonly server: Server = createServer((request, response) =>
    this.answer(request, response),
  );

  async start(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.server.listen(0, '127.0.0.1', resolve);
    await promise;
    const address = this.server.address();
    if (typeof address !== 'object' || address === null) throw new Error('it listens');
    this.url = `http://127.0.0.1:${address.port}`;
  }

  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    if (request.url === '/v1/writes') this.write(response);
    else response.end(JSON.stringify({ regions: this.regions, coordinators: [] }));
  }
}

const stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-play-'));
const worker = new FakeWorker();
let regions: readonly StackRegion[];
let redis: Redis;
let keyboard: FakeKeyboard;
let play: Play;
let shown: string;
let quits: number;

async function start(place: Coordinates, kind: RedisKind): Promise<StackRegion> {
  const server = await startRegion(place, stateDirectory, kind);
  const gateway = await startGateway({ redisPort: server.port, token: 'token', roundTripMs: 0 });
  return { place, redis: server, gateway };
}

function regionOf(index: number): StackRegion {
  const region = regions[index];
  if (region === undefined) throw new Error(`there is no region ${index}`);
  return region;
}

beforeAll(async () => {
  const kinds = [redisKind(), 'embedded'] as const;
  await worker.start();
  regions = await Promise.all(
    placesFor(2).map((place, index) => start(place, kinds[index] ?? 'embedded')),
  );
  redis = connectTo(regionOf(0).redis.port, { retryStrategy: () => 20 });
  redis.on('error', () => {});
});

afterAll(async () => {
  redis.disconnect();
  worker.stop();
  for (const { gateway } of regions) await gateway.close();
  for (const region of regions) await region.redis.stop();
  rmSync(stateDirectory, { recursive: true });
});

beforeEach(() => {
  shown = '';
  quits = 0;
  worker.regions = [];
  keyboard = new FakeKeyboard();
  const terminal = {
    write: (text: string) => {
      shown += text;
    },
  };
  play = startPlay({
    stack: { url: worker.url, tokens: { read: 'r', write: 'w', admin: 'a' }, regions },
    keyboard,
    screen: new Screen(terminal),
    paint: paintFor(false),
    quit: () => {
      quits += 1;
    },
  });
});

afterEach(async () => {
  await play.end();
  for (const { gateway } of regions) gateway.faults.clear();
});

/** Presses keys, and waits until the screen shows `said`. */
async function pressUntil(keys: string, said: string | RegExp): Promise<void> {
  shown = '';
  keyboard.press(keys);
  await expect.poll(() => shown, patience).toMatch(said);
}

describe('a key that is pressed', () => {
  it('stops the chosen region, and starts it again with its data', async () => {
    await redis.set('key', 'value');
    await pressUntil('1s', 'us-east-1: stopped');
    expect(regionOf(0).redis.condition).toBe('stopped');
    expect(shown).toMatch(/▶ 1 us-east-1 +stopped/);
    await pressUntil('k', 'us-east-1: was not running');
    await pressUntil('s', 'us-east-1: started on the data it had');
    expect(await redis.get('key')).toBe('value');
  });

  it('takes a snapshot and rolls back to it, and wipes', async () => {
    await redis.set('key', 'old');
    await pressUntil('1b', 'us-east-1: has a snapshot');
    await redis.set('key', 'new');
    await pressUntil('o', 'us-east-1: rolled back');
    expect(await redis.get('key')).toBe('old');
    await pressUntil('w', 'us-east-1: wiped');
    expect(await redis.get('key')).toBe(null);
  });

  it('pauses a region and resumes it', async () => {
    await pressUntil('1p', 'us-east-1: paused');
    expect(regionOf(0).redis.condition).toBe('paused');
    await pressUntil('p', 'us-east-1: resumed');
    expect(regionOf(0).redis.condition).toBe('running');
  });

  it('slows the line of the chosen region down, cuts it and restores it', async () => {
    const { faults } = regionOf(1).gateway;
    await pressUntil('2lc', 'cut off: no request arrives');
    expect(faults.line).toEqual({ reach: 'cut', slowMs: 500 });
    expect(shown).toMatch(/▶ 2 eu-west-1 .* slowed by 500 ms cut off/);
    await pressUntil('a', 'its responses are lost');
    expect(faults.line.reach).toBe('answers-lost');
    await pressUntil('al', 'at its usual speed again');
    expect(faults.line).toEqual({ reach: 'whole', slowMs: 0 });
    expect(regionOf(0).gateway.faults.line).toEqual(faults.line);
  });

  it('gives the reason if it can do nothing, and the next key works', async () => {
    await pressUntil('2b', 'eu-west-1 is embedded, in memory');
    await pressUntil('k', 'eu-west-1: killed');
    await pressUntil('r', 'eu-west-1: started empty');
  });

  it('waits for the action of the previous key on the same region', async () => {
    await pressUntil('1kskrb', /us-east-1: has a snapshot/);
    const said = [...shown.matchAll(/us-east-1: (\w+)/g)].map(([, word]) => word);
    expect(said).toEqual(['killed', 'started', 'killed', 'started', 'has']);
  });

  it('writes, and shows the outcome', async () => {
    worker.write = (response) =>
      response.end(JSON.stringify({ outcome: 'committed', results: [7], attempts: 1 }));
    await pressUntil('g', /write: committed after \d+ ms, plays = 7/);
    worker.write = (response) => {
      response.statusCode = 503;
      response.end(JSON.stringify({ title: 'A region is missing' }));
    };
    await pressUntil('g', /write: 503 after \d+ ms\. A region is missing/);
    worker.write = (response) => response.destroy();
    await pressUntil('g', /write: \w+/);
  });

  it('lists the keys', async () => {
    await pressUntil('?', /1-2 +choose a region/);
  });
});

describe('the lines of the regions', () => {
  it('show the coordinator’s report', async () => {
    const silent = { id: 'us-east-1', health: 'silent', detail: 'no answer in time' };
    worker.regions = [{ ...silent, roundTripMs: 3, unacknowledged: 2, state: 'out' }];
    await expect
      .poll(() => shown, patience)
      .toMatch(/us-east-1 +running +out +silent +2 to apply all keys to copy no answer/);
    const copy = { done: 1, left: 3, keysPerSecond: 2, etaMs: 1_500 };
    const copying = { state: 'copying', health: 'answering', detail: null, copy };
    worker.regions = [{ ...silent, roundTripMs: 3, unacknowledged: 0, ...copying }];
    await expect
      .poll(() => shown)
      .toMatch(/copying answering +1 of 4 keys \(25 %\), 2\/s, 2 s left/);
    expect(shown).toMatch(/eu-west-1 +running +not known/);
  });
});

describe('the end of a play', () => {
  it.each(['q', '\u0003'])('comes with the key %j, and gives the terminal back first', (key) => {
    expect(keyboard.isRaw).toBe(true);
    keyboard.press(key);
    expect(keyboard.isRaw).toBe(false);
    expect(keyboard.isListened).toBe(false);
    expect(quits).toBe(1);
  });

  it('waits for the action on a region, and begins nothing more', async () => {
    keyboard.press('1wk');
    // The wipe has begun, as soon as the turn of the key is over; the kill has not.
    await Promise.resolve();
    await play.end();
    expect(regionOf(0).redis.condition).toBe('running');
    expect(shown).toContain('us-east-1: wiped');
    keyboard.press('1k');
    await expect(play.end()).resolves.toBe(undefined);
    expect(regionOf(0).redis.condition).toBe('running');
  });

  it('aborts a write that is in progress', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    worker.write = () => resolve();
    shown = '';
    keyboard.press('g');
    await promise;
    await play.end();
    expect(shown).not.toContain('write: ');
  });
});
