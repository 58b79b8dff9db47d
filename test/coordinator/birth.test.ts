import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { LifeEnvironment } from '../../functions/coordinator/coordinator.ts';
import { shardOfObject, UnknownShard } from '../../functions/coordinator/shard-name.ts';
import { limits } from '../../shared/limits.ts';
import { initialMap, ownershipIn } from '../../shared/shards/shard-map.ts';
import { LifeUnderTest } from './life.ts';
import { requestOf } from './requests.ts';
import { MemoryStorage } from './sqlite.ts';
import { begun, commit } from './stored.ts';

/** A registry whose answers are `given` in turn; the last one repeats. */
function registryOf(...given: readonly (() => unknown)[]) {
  let calls = 0;
  const call = async () => {
    const next = given[Math.min(calls, given.length - 1)];
    calls += 1;
    return { kind: 'answered' as const, value: next?.() };
  };
  const namespace: LifeEnvironment['REGISTRY'] = { getByName: () => ({ call }) };
  return { namespace, calls: () => calls };
}

const refuses = () => {
  throw new Error('the registry is down');
};

function storageOf(release: string): MemoryStorage {
  const memory = new MemoryStorage();
  memory.sql.exec(readFileSync(`test/storage-formats/coordinator-${release}.sql`, 'utf8'));
  return memory;
}

/** Lets the promises that wait now go on. */
const turn = () => new Promise((resolve) => setTimeout(resolve));

const id = '0-01990a5c-7d3e-7c1a-9b64-2f0d8a51c7e2';

describe('the first life of a coordinator', () => {
  it('asks the registry once, and stores the answer for its later lives', async () => {
    const memory = new MemoryStorage();
    const { namespace, calls } = registryOf(() => initialMap(1));
    const first = new LifeUnderTest(memory, {}, undefined, namespace);
    await turn();
    await expect(first.methods.inDoubt()).resolves.toMatchObject({ transactions: [] });
    expect(begun(memory).stored.ownership).toEqual(ownershipIn(initialMap(1), 0));
    const later = registryOf(refuses);
    const second = new LifeUnderTest(memory, {}, undefined, later.namespace);
    await turn();
    await expect(second.methods.history(null, 1)).resolves.toEqual([]);
    expect([calls(), later.calls()]).toEqual([1, 0]);
  });

  it.each([
    ['is down', refuses],
    ['answers something else than a map', () => ({ version: 1, shards: [] })],
    ['has a map with a gap', () => ({ ...initialMap(3), shards: initialMap(3).shards.slice(1) })],
  ])(
    'answers that nothing was written while the registry %s, and operators see why',
    async (_, fails) => {
      const { namespace } = registryOf(fails);
      const { methods, ended } = new LifeUnderTest(new MemoryStorage(), {}, undefined, namespace);
      const request = {
        ...requestOf(id, ['SET', 'a', '1']),
        timeoutMs: 2 * limits.registryBackoffMinMs,
      };
      await expect(methods.write(request)).resolves.toMatchObject({
        kind: 'unavailable',
        reason: expect.stringContaining('has not learned from the registry yet'),
      });
      const { slots, regions } = await methods.describe();
      expect(slots).toMatchObject({ phase: 'waiting' });
      expect(regions).toEqual([]);
      expect(ended).toBeNull();
    },
  );
});

describe.each(['0.1', '2'])('a storage of format %s', (release) => {
  it('asks as well, and owns all keys afterwards', async () => {
    const memory = storageOf(release);
    expect(begun(memory).stored.ownership).toBeNull();
    const { namespace, calls } = registryOf(() => initialMap(1));
    const { methods } = new LifeUnderTest(memory, {}, undefined, namespace);
    await turn();
    await expect(methods.inDoubt()).resolves.toBeDefined();
    expect(calls()).toBe(1);
    expect(begun(memory).stored.ownership).toEqual(ownershipIn(initialMap(1), 0));
  });
});

describe('a storage of the present format that was begun before there was a registry', () => {
  it('keeps its data, and asks once', async () => {
    const memory = new MemoryStorage();
    const before = begun(memory);
    commit(before.storage, 1);
    memory.sql.exec('DROP TABLE owned_slots');
    expect(shardOfObject(undefined, memory.sql)).toBe(0);
    const { namespace, calls } = registryOf(refuses, () => initialMap(1));
    const life = new LifeUnderTest(memory, {}, undefined, namespace);
    await expect.poll(calls).toBe(2);
    await turn();
    await expect(life.methods.lastWrites(['key:1'])).resolves.toEqual([1]);
    const { ownership, unconfirmed } = begun(memory).stored;
    expect(ownership).toEqual(ownershipIn(initialMap(1), 0));
    expect(unconfirmed).toMatchObject([{ transaction: [1, 1], sequence: 1 }]);
  });
});

describe('the shard of an object', () => {
  it.each([
    ['shard-0', 0],
    ['shard-7', 7],
    ['shard-99999', 99_999],
  ])('named %s is %i', (name, shard) => {
    expect(shardOfObject(name, new MemoryStorage().sql)).toBe(shard);
  });

  it.each(['shard', 'shard-', 'shard-01', 'shard-100000', 'shard--1', 'shard-1x', 'Shard-1', ''])(
    'named %j is none',
    (name) => {
      const memory = new MemoryStorage();
      expect(() => shardOfObject(name, memory.sql)).toThrow(UnknownShard);
      expect(memory.rowsWritten).toBe(0);
    },
  );

  it('without a name is the one whose storage it is, since releases without that had one shard', () => {
    expect(() => shardOfObject(undefined, new MemoryStorage().sql)).toThrow(UnknownShard);
    expect(shardOfObject(undefined, storageOf('0.1').sql)).toBe(0);
    const memory = new MemoryStorage();
    void new LifeUnderTest(memory);
    expect(shardOfObject(undefined, memory.sql)).toBe(0);
  });

  it('is none if it has the storage of another one', () => {
    expect(shardOfObject('shard-0', storageOf('0.1').sql)).toBe(0);
    expect(() => shardOfObject('shard-1', storageOf('0.1').sql)).toThrow('storage of shard 0');
  });
});
