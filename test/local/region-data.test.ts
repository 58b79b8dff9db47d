/** Tests snapshots, rollbacks and wipes of local regions. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { placesFor } from '../../local/gateway/round-trips.ts';
import type { LocalRegion } from '../../local/stack/regions.ts';
import { redisKind, startRegion } from '../../local/stack/regions.ts';
import { connectTo } from '../support/redis.ts';

const [place] = placesFor(1);
if (place === undefined) throw new Error('there is a first place');

/** A busy machine may take longer than the default time of a poll. */
const patience = { timeout: 120_000 };
let stateDirectory: string;
let region: LocalRegion;
let redis: Redis;

beforeEach(async () => {
  stateDirectory = mkdtempSync(join(tmpdir(), 'lockstep-data-'));
  region = await startRegion(place, stateDirectory, redisKind());
  redis = connectTo(region.port, { retryStrategy: () => 20 });
  // The client ignores a connection that the test ends.
  redis.on('error', () => {});
});

afterEach(async () => {
  redis.disconnect();
  await region.stop();
  rmSync(stateDirectory, { recursive: true });
});

/** Two keys that only change together. */
const incrementBoth = 'redis.call("INCR", KEYS[1]) return redis.call("INCR", KEYS[2])';
const both = () => redis.mget('one', 'other');

/** Increments both keys until `stop`, in batches; `acknowledged` is the latest acknowledged value. */
function incrementing() {
  const state = { acknowledged: 0, isOver: false };
  const client = connectTo(region.port, { retryStrategy: () => null });
  client.on('error', () => {});
  const loop = async () => {
    while (!state.isOver) {
      const sent = Array.from({ length: 20 }, () => client.eval(incrementBoth, 2, 'one', 'other'));
      for (const answer of await Promise.all(sent)) state.acknowledged = Number(answer);
    }
  };
  const done = loop().finally(() => client.disconnect());
  return {
    state,
    stop: () => {
      state.isOver = true;
      return done;
    },
  };
}

describe('a wiped region', () => {
  it('is empty at the same port, and keeps later writes', async () => {
    await redis.set('before', '1');
    await region.wipe();
    expect(region.condition).toBe('running');
    expect(await redis.dbsize()).toBe(0);
    await redis.set('after', '1');
    await region.kill();
    await region.restart();
    expect(await redis.mget('before', 'after')).toEqual([null, '1']);
  });

  it('may have been stopped or paused', async () => {
    await redis.set('before', '1');
    await region.stop();
    await region.wipe();
    region.pause();
    await region.wipe();
    expect(await redis.dbsize()).toBe(0);
  });
});

describe('a region rolled back to its snapshot', () => {
  it('has the snapshot’s data, with every expiry, and keeps it over restarts', async () => {
    await redis.mset('kept', 'old', 'removed', '1');
    await redis.pexpireat('removed', Date.now() + 1_000_000);
    const expiry = await redis.pexpiretime('removed');
    await region.snapshot();
    await redis.mset('kept', 'new', 'late', '1');
    await redis.del('removed');
    await region.rollback();
    expect(await redis.mget('kept', 'removed', 'late')).toEqual(['old', '1', null]);
    expect(await redis.pexpiretime('removed')).toBe(expiry);
    await redis.set('since', '1');
    await region.restart();
    expect(await redis.mget('kept', 'removed', 'since')).toEqual(['old', '1', '1']);
  });

  it('has every acknowledged write, since no write to its file waits until the disk is idle', async () => {
    // Redis delays writes under `everysec`: test servers with a busy disk would lose some of them when they are killed.
    expect(await redis.config('GET', 'appendfsync')).toEqual(['appendfsync', 'no']);
  });

  it('can be rolled back again, also after a wipe', async () => {
    await redis.set('key', 'old');
    await region.snapshot();
    await region.rollback();
    await region.wipe();
    await region.rollback();
    expect(await redis.get('key')).toBe('old');
  });

  it('goes back to the later of two snapshots', async () => {
    await redis.set('key', 'first');
    await region.snapshot();
    await redis.set('key', 'second');
    await region.snapshot();
    await redis.set('key', 'third');
    await region.rollback();
    expect(await redis.get('key')).toBe('second');
  });

  it.each([false, true])(
    'has all writes acknowledged before, and no half of a script, even under load (rewritten: %s)',
    async (isRewritten) => {
      const writer = incrementing();
      await expect.poll(() => writer.state.acknowledged, patience).toBeGreaterThan(200);
      const acknowledged = writer.state.acknowledged;
      if (isRewritten) await redis.bgrewriteaof();
      await region.snapshot();
      await writer.stop();
      await region.rollback();
      const [one, other] = await both();
      expect(one).toBe(other);
      expect(Number(one)).toBeGreaterThanOrEqual(acknowledged);
      expect(Number(one)).toBeLessThanOrEqual(writer.state.acknowledged);
    },
  );

  it('may have been stopped when the snapshot was taken', async () => {
    await redis.set('key', 'old');
    await region.stop();
    await region.snapshot();
    await region.restart();
    await redis.set('key', 'new');
    await region.rollback();
    expect(await redis.get('key')).toBe('old');
  });

  it('without a snapshot reports that, and continues with its data', async () => {
    await redis.set('key', 'value');
    await expect(region.rollback()).rejects.toThrow('no snapshot of us-east-1');
    expect(await redis.get('key')).toBe('value');
  });
});

describe('a paused region', () => {
  /** `T` for a stopped process. */
  const letterOf = (pid: string) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0];

  it('queues its requests until it resumes', async () => {
    const pid = /process_id:(\d+)/.exec(await redis.info('server'))?.[1] ?? '';
    region.pause();
    expect(region.condition).toBe('paused');
    await expect.poll(() => letterOf(pid), patience).toBe('T');
    const incremented = redis.incr('key');
    region.resume();
    expect(await incremented).toBe(1);
    expect(region.condition).toBe('running');
  });

  it('ends cleanly when it is stopped, with all acknowledged writes', async () => {
    await redis.set('key', 'value');
    region.pause();
    await region.stop();
    expect(region.condition).toBe('stopped');
    await region.restart();
    expect(await redis.get('key')).toBe('value');
  });
});

describe('an embedded region', () => {
  it('can be wiped, and gives the reason why it can do no more', async () => {
    const embedded = await startRegion(place, stateDirectory, 'embedded');
    const client = connectTo(embedded.port, { retryStrategy: () => 20 });
    client.on('error', () => {});
    await client.set('key', 'value');
    await embedded.wipe();
    expect(await client.get('key')).toBe(null);
    await expect(embedded.snapshot()).rejects.toThrow('is embedded, in memory');
    await expect(embedded.rollback()).rejects.toThrow('is embedded, in memory');
    expect(() => embedded.pause()).toThrow('is embedded');
    expect(embedded.condition).toBe('running');
    client.disconnect();
    await embedded.stop();
    expect(embedded.condition).toBe('stopped');
  });
});
